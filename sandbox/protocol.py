"""The shapes of Binance's spot market-data API: what a client is sent, as plain objects and JSON.

Pure. Only what market-data clients read is there; fields have the names and types of the real exchange.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from arbhub.reference import split_symbol
from arbhub.settings.sandbox import InstrumentSettings
from sandbox.book import UNIT, Book, Change, decimal, units

DEFAULT_DEPTH, MAX_DEPTH = 100, 5000
_LARGEST = decimal(9_000_000 * UNIT)
_ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET"]


def market_id(symbol: str) -> str:
    """The venue's name of an instrument: BTCUSDT for BTC/USDT."""
    return symbol.replace("/", "").upper()


def stream_names(symbol: str) -> tuple[str, ...]:
    """The streams that carry an instrument's depth; the sandbox sends all of them equally often."""
    name = market_id(symbol).lower()
    return f"{name}@depth", f"{name}@depth@100ms"


def exchange_info(instruments: dict[str, InstrumentSettings], halted: bool, now_ms: int) -> dict[str, Any]:
    """The answer of /api/v3/exchangeInfo."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}],
        "exchangeFilters": [],
        "symbols": [_market(symbol, instrument, halted) for symbol, instrument in instruments.items()],
    }


def _market(symbol: str, instrument: InstrumentSettings, halted: bool) -> dict[str, Any]:
    base, quote = split_symbol(symbol)
    return {
        "symbol": market_id(symbol),
        "status": "BREAK" if halted else "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": False,
        "ocoAllowed": False,
        "quoteOrderQtyMarketAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(instrument),
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _filters(instrument: InstrumentSettings) -> list[dict[str, Any]]:
    tick, lot = decimal(units(instrument.tick_size)), decimal(units(instrument.lot_size))
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": _LARGEST, "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": _LARGEST, "stepSize": lot},
        {
            "filterType": "NOTIONAL",
            "minNotional": decimal(units(instrument.min_notional)),
            "applyMinToMarket": True,
            "maxNotional": _LARGEST,
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
    ]


def depth_snapshot(book: Book, limit: int) -> dict[str, Any]:
    """The answer of /api/v3/depth: the book as of now."""
    return {
        "lastUpdateId": book.last_id,
        "bids": _rows(book.best_bids(limit)),
        "asks": _rows(book.best_asks(limit)),
    }


def depth_update(change: Change, first_id: int, last_id: int, now_ms: int) -> bytes:
    """A message of the depth streams."""
    return orjson.dumps(
        {
            "e": "depthUpdate",
            "E": now_ms,
            "s": market_id(change.symbol),
            "U": first_id,
            "u": last_id,
            "b": _rows(sorted(change.bids.items(), reverse=True)),
            "a": _rows(sorted(change.asks.items())),
        }
    )


def combined(stream: str, data: bytes) -> bytes:
    """A message as the combined endpoint (/stream) wraps it."""
    return b'{"stream":' + orjson.dumps(stream) + b',"data":' + data + b"}"


def error(code: int, message: str) -> dict[str, Any]:
    """The body of a refused REST request."""
    return {"code": code, "msg": message}


def _rows(levels: Iterable[tuple[int, int]]) -> list[list[str]]:
    return [[decimal(price), decimal(size)] for price, size in levels]
