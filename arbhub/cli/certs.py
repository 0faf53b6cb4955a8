"""`arbhub certs`: certificates for a development set-up."""

from pathlib import Path
from typing import Annotated

import typer

from arbhub.cli.app import app


@app.command()
def certs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write them; made if it is not there.")],
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host at which services are reached. May be given again and again."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long they are valid.")] = 365,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there, the authority too.")] = False,
) -> None:
    """Make a development authority and a certificate for each service, for mutual TLS between them.

    They are good for loopback, unix sockets, the services' own names (hub, engine, executor, feed, notify) and every
    --host. Say the lines that this prints in the configuration of every service, and nobody without one of these
    certificates is answered any more. Keep ca.key away from the services: whoever has it can be any of them.
    """
    from arbhub.security.authority import make_certificates

    place = folder.absolute()
    for file in make_certificates(folder, host or (), days, force=force):
        typer.echo(f"wrote {file}", err=True)
    typer.echo("in the configuration of every service; {service} stays as it is, each one reads its own:", err=True)
    typer.echo(
        f'[tls]\nca = "{place}/ca.pem"\ncertificate = "{place}/{{service}}.pem"\nkey = "{place}/{{service}}.key"'
    )
