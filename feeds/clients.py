"""Makes the ccxt.pro client of a venue, with the addresses and options of its settings.

The only place that knows how ccxt is configured. Instruments are spot (BASE/QUOTE), so where an exchange can
load its markets by type only spot is loaded: with addresses overridden the other types would not be there.
"""

from collections.abc import Callable
from typing import Any

import ccxt.pro

from arbhub.settings.feed import FeedVenue
from arbhub.settings.secret import SecretUrl

Client = Any
"""A ccxt.pro exchange; ccxt has no types."""


def make_client(name: str, venue: FeedVenue, keep_alive_ms: float) -> Client:
    """A client, not yet connected; ValueError names the venue if its exchange cannot be used."""
    if venue.exchange not in ccxt.pro.exchanges:
        raise ValueError(f'venue {name}: ccxt.pro knows no exchange "{venue.exchange}"')
    client = getattr(ccxt.pro, venue.exchange)()
    if client.has.get("watchOrderBook") is not True:
        raise ValueError(f'venue {name}: ccxt.pro\'s "{venue.exchange}" cannot watch order books')
    client.options = client.deep_extend(client.options, _spot_only(client.options), dict(venue.options))
    client.streaming = client.extend(
        client.streaming,
        {"keepAlive": min(keep_alive_ms, client.streaming.get("keepAlive") or keep_alive_ms)},
    )
    client.urls = client.extend(client.urls, {"api": _addresses(client.urls.get("api"), venue)})
    break_on_bad_message(client)
    return client


def on_break(client: Client, callback: Callable[[], None]) -> None:
    """Call back whenever a connection of the client fails or is closed, besides what ccxt does then.

    ccxt tells only whoever is waiting at that moment; a stream that has just been given a book would not
    learn that the connection broke right after.
    """
    for name in ("on_error", "on_close"):
        setattr(client, name, _also(getattr(client, name), callback))


def break_on_bad_message(client: Client) -> None:
    """Let a message that ccxt cannot handle break its connection, which is then made anew.

    By itself ccxt stops reading such a connection without telling anyone. (What is not even JSON fails before
    this: then the watchdog and, at the next pings, ccxt itself notice.)
    """
    handle = client.handle_message

    def guarded(connection: Any, message: object) -> None:
        try:
            handle(connection, message)
        except Exception as error:
            connection.on_error(error)

    client.handle_message = guarded


def _also(original: Callable[..., None], callback: Callable[[], None]) -> Callable[..., None]:
    def both(*arguments: object) -> None:
        callback()
        original(*arguments)

    return both


def _spot_only(options: dict[str, Any]) -> dict[str, Any]:
    """What limits loading of markets to spot, in either of the two forms ccxt's exchanges know."""
    kinds = options.get("fetchMarkets")
    if isinstance(kinds, list):
        return {"fetchMarkets": ["spot"]}
    if isinstance(kinds, dict) and isinstance(kinds.get("types"), list):
        return {"fetchMarkets": {"types": ["spot"]}}
    return {}


def _addresses(api: Any, venue: FeedVenue) -> Any:
    if not isinstance(api, dict):
        return venue.rest_url.reveal() if venue.rest_url else api
    return {key: _replaced(value, venue.ws_url if key == "ws" else venue.rest_url) for key, value in api.items()}


def _replaced(addresses: Any, address: SecretUrl | None) -> Any:
    """The same structure with `address` at every leaf, or as it was where there is none to put."""
    if address is None:
        return addresses
    if isinstance(addresses, dict):
        return {key: _replaced(value, address) for key, value in addresses.items()}
    return address.reveal()
