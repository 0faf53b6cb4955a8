"""`arbhub notify`: people are told what happens to a hub, by a process of its own."""

import asyncio
import os
from typing import Annotated

import typer

from arbhub.cli.app import ConfigOption, SetOption, app, settings_of
from arbhub.service import run_until_signal
from arbhub.telemetry import configure_logs


@app.command()
def notify(
    config: ConfigOption,
    assignments: SetOption = None,
    test: Annotated[
        bool, typer.Option("--test", help="Only send a test message everywhere; exit 1 names who did not take it.")
    ] = False,
) -> None:
    """Tell people what happens to a hub: halts, breakers, losses near a limit, who is gone or back, a summary a day.

    The file that notify.urls_file names has an Apprise URL a line: a webhook (json://HOST/PATH), Telegram
    (tgram://TOKEN/CHAT), Slack (slack://A/B/C), mail (mailto://USER:PASSWORD@HOST) and many more. Only its owner may
    read and change it (0600), as such URLs are secrets.
    """
    from arbhub.notify.channels import under_way
    from arbhub.notify.service import run, send_test

    settings = settings_of(config, assignments)
    configure_logs()
    if test:
        typer.echo(f"sent to {', '.join(asyncio.run(send_test(settings)))}")
        return
    run_until_signal(lambda shutdown: run(settings, shutdown))
    if under_way():  # the interpreter would wait for Apprise's threads, for as long as a channel does not answer
        os._exit(0)
