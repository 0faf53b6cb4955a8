"""`arbhub admin ...`: look at a running hub and change it, over its admin port."""

import asyncio
import functools
import getpass
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated, Any

import grpc
import orjson
import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console, RenderableType

from arbhub.cli import admin_tables
from arbhub.cli.app import app, settings_of
from arbhub.security.bearer import presented, read_token
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.security.credentials import Credentials
from arbhub.service import ServiceError, channel
from arbhub.settings.load import SettingsError
from arbhub.settings.schema import Settings
from arbhub.v1 import admin_pb2, admin_pb2_grpc
from arbhub.v1.ledger_pb2 import TradingState

Metadata = tuple[tuple[str, str], ...]
WIDE = 200
PATIENCE_S = 40.0  # a reload asks everybody, and judges the latest ticks twice

admin = typer.Typer(
    help="Look at a running hub and change it: configuration, trading state, engines.\n\n"
    "What is refused changes nothing, and says why; the exit code is then 1, or 2 where the input makes no sense.",
    no_args_is_help=True,
)
app.add_typer(admin, name="admin")

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="HOST:PORT", help="The hub's admin port. Default: --config's, or 127.0.0.1:7407."
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The hub's configuration: its hub.admin_listen, hub.token_file and [tls] are used.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="The answer as JSON.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only show how the latest ticks would have been decided; change nothing.")
]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="Written down beside it.")]


@admin.command()
def status(address: AddressOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the hub: version, trading state, engines, links, decisions by reason."""
    reply = _call(address, config, lambda stub: stub.Inspect(admin_pb2.InspectRequest(), timeout=PATIENCE_S))
    _show(reply, as_json, admin_tables.status)


@admin.command()
def reload(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A configuration, TOML. Default: the file the hub was started with."),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Over the file, as with every command.")
    ] = None,
    dry_run: DryRunOption = False,
    expect: Annotated[
        str, typer.Option("--expect", metavar="VERSION", help="Refuse unless this version is in force.")
    ] = "",
    address: AddressOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a configuration into force, everywhere or nowhere.

    It is offered to every engine and the executor, tried on the latest ticks, and only then in force. An engine that
    is down gets it when it connects. Addresses, places and other services' sections do not change: restart those.
    """
    request = admin_pb2.ReloadRequest(sets=assignments or (), dry_run=dry_run, expected_version=expect, who=_who())
    if file is None:
        request.file = True
    else:
        request.toml = _text(file)
    reply = _call(address, config, lambda stub: stub.Reload(request, timeout=PATIENCE_S))
    _show(reply, as_json, admin_tables.reloaded)


@admin.command()
def history(address: AddressOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the configurations that were in force, the latest last."""
    reply = _call(address, config, lambda stub: stub.History(admin_pb2.HistoryRequest(), timeout=PATIENCE_S))
    _show(reply, as_json, admin_tables.history)


@admin.command()
def rollback(
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The version's number, from the history.")],
    dry_run: DryRunOption = False,
    address: AddressOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a configuration of the history into force again, under a new version."""
    request = admin_pb2.RollbackRequest(number=number, dry_run=dry_run, who=_who())
    reply = _call(address, config, lambda stub: stub.Rollback(request, timeout=PATIENCE_S))
    _show(reply, as_json, admin_tables.reloaded)


@admin.command()
def halt(
    why: WhyOption = "", address: AddressOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Approve nothing any more, from now on and over restarts, whoever is down."""
    _trade(TradingState.TRADING_STATE_HALTED, why, address, config, as_json)


@admin.command()
def reduce(
    why: WhyOption = "", address: AddressOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Approve only what takes positions back, from now on and over restarts."""
    _trade(TradingState.TRADING_STATE_REDUCING, why, address, config, as_json)


@admin.command()
def resume(
    why: WhyOption = "", address: AddressOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Trade again, as soon as the ledger has taken it down."""
    _trade(TradingState.TRADING_STATE_ACTIVE, why, address, config, as_json)


@admin.command()
def engine(
    name: Annotated[str, typer.Argument(metavar="NAME", help="spread, fee or liquidity; risk always has its say.")],
    mode: Annotated[str, typer.Argument(metavar="MODE", help="active, shadow (judges without a say) or off.")],
    address: AddressOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch an engine. It is a new version of the configuration, which nobody is asked about."""
    request = admin_pb2.SetEngineModeRequest(engine=name, mode=mode, who=_who())
    reply = _call(address, config, lambda stub: stub.SetEngineMode(request, timeout=PATIENCE_S))
    _show(reply, as_json, admin_tables.reloaded)


def _trade(state: "TradingState.ValueType", why: str, address: str | None, config: Path | None, as_json: bool) -> None:
    request = admin_pb2.SetTradingStateRequest(state=state, why=why, who=_who())
    reply = _call(address, config, lambda stub: stub.SetTradingState(request, timeout=PATIENCE_S))
    _show(reply, as_json, admin_tables.trading)


@admin.command()
def venue(
    name: Annotated[str, typer.Argument(help="As feeds call it.")],
    state: Annotated[str, typer.Argument(help="open; or anything else, such as halted, and nothing is traded there.")],
    address: AddressOption = None,
    config: ConfigOption = None,
) -> None:
    """Open or close a venue, for every hub that follows the same Redis."""
    _state(address, config, admin_pb2.StateReferenceRequest(venue=name, state=state, who=_who()))


@admin.command()
def correct(
    venue: Annotated[str, typer.Argument(help="As feeds call it.")],
    symbol: Annotated[str, typer.Argument(metavar="BASE/QUOTE")],
    figures: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=FIGURE]...", help="taker_bps=7.5, lot_size=0.001 and so on; none: as feeds say."),
    ] = None,
    address: AddressOption = None,
    config: ConfigOption = None,
) -> None:
    """Correct what feeds state of an instrument, for every hub that follows the same Redis."""
    request = admin_pb2.StateReferenceRequest(venue=venue, symbol=symbol, who=_who())
    for word in figures or ():
        name, _, figure = word.partition("=")
        try:
            request.figures[name] = float(figure)
        except ValueError:
            raise SettingsError(f"{word}: should be NAME=FIGURE, such as taker_bps=7.5") from None
    _state(address, config, request)


def _state(address: str | None, config: Path | None, request: admin_pb2.StateReferenceRequest) -> None:
    _call(address, config, lambda stub: stub.StateReference(request, timeout=PATIENCE_S))


def _call(address: str | None, config: Path | None, ask: Any) -> Any:
    """The answer; SettingsError or ServiceError with the hub's reasons where it refuses."""
    settings = settings_of(config, None) if config else Settings()
    place = address or settings.hub.admin_listen
    if not place:
        raise SettingsError("hub.admin_listen is empty: this hub has no admin port")
    token = settings.hub.token_file
    metadata = presented(read_token(token)) if token else ()
    credentials = credentials_of(settings.tls, CLIENT)
    return asyncio.run(_asked(place, credentials, lambda stub: ask(Bearing(stub, metadata))))


class Bearing:
    """A stub whose calls show the token."""

    def __init__(self, stub: admin_pb2_grpc.AdminStub, metadata: Metadata) -> None:
        self._stub, self._metadata = stub, metadata

    def __getattr__(self, call: str) -> Any:
        return functools.partial(getattr(self._stub, call), metadata=self._metadata)


async def _asked(address: str, credentials: Credentials, ask: Any) -> Any:
    async with channel(address, credentials) as wire:
        answer: Awaitable[Any] = ask(admin_pb2_grpc.AdminStub(wire))
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            text = error.details() or error.code().name
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise SettingsError(text) from None
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise ServiceError(text) from None
            raise ServiceError(f"no answer from a hub's admin port at {address}: {text}") from None


def _show(reply: Message, as_json: bool, table: Any) -> None:
    if as_json:
        values = MessageToDict(reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        Console().print_json(orjson.dumps(values).decode())
        return
    shown: RenderableType = table(reply)
    console = Console()
    if not console.is_terminal:
        console.width = WIDE  # for a file or a pipe nothing is cut
    console.print(shown)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}") from None


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return ""
