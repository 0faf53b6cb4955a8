"""What ccxt says of markets and books, in the normal form."""

from typing import Any

import ccxt
import pytest

from arbhub.reference import FeeTier, ReferenceData, Universe, taker_table
from arbhub.settings.feed import FeedVenue
from arbhub.settings.secret import SecretUrl
from feeds.clients import make_client
from feeds.markets import fee_schedule, listing, reference_data, side

MARKET: dict[str, Any] = {
    "precision": {"price": 0.01, "amount": 0.0001},
    "limits": {"amount": {"min": 0.001}, "cost": {"min": 5}},
    "taker": 0.0006,
    "maker": 0.0002,
    "active": True,
}
TIERED = {
    "trading": {
        "tierBased": True,
        "percentage": True,
        "tiers": {"taker": [[0, 0.0026], [50_000, 0.0024]], "maker": [[0, 0.0016], [100_000, 0.001]]},
    }
}


def test_listing_holds_the_figures() -> None:
    """Steps and minimums are taken over, fees become bps without rounding errors."""
    got = listing("EX1", "A/B", MARKET, ccxt.TICK_SIZE, None)
    assert (got.tick_size, got.lot_size, got.min_quantity, got.min_notional) == (0.01, 0.0001, 0.001, 5.0)
    assert (got.maker_bps, got.taker_bps, got.active) == (2.0, 6.0, True)


@pytest.mark.parametrize(
    ("mode", "precision", "step"),
    [
        (ccxt.TICK_SIZE, 0.25, 0.25),
        (ccxt.DECIMAL_PLACES, 3, 0.001),
        (ccxt.DECIMAL_PLACES, 0, 1.0),
        (ccxt.SIGNIFICANT_DIGITS, 5, 0.0),
        (ccxt.TICK_SIZE, None, 0.0),
    ],
)
def test_precision_becomes_a_step(mode: int, precision: float | None, step: float) -> None:
    """Each of ccxt's ways to state a precision gives a step, zero where there is no fixed one."""
    market = MARKET | {"precision": {"price": precision, "amount": precision}}
    got = listing("EX1", "A/B", market, mode, None)
    assert (got.tick_size, got.lot_size) == (step, step)


def test_what_is_not_stated() -> None:
    """Missing figures are zero, a missing fee is unknown, and a market that says nothing is active."""
    got = listing("EX1", "A/B", {"limits": {"cost": None}, "active": None}, ccxt.TICK_SIZE, None)
    assert (got.tick_size, got.lot_size, got.min_quantity, got.min_notional) == (0.0, 0.0, 0.0, 0.0)
    assert (got.maker_bps, got.taker_bps, got.active) == (None, None, True)
    assert listing("EX1", "A/B", MARKET | {"percentage": False}, ccxt.TICK_SIZE, None).taker_bps is None
    assert not listing("EX1", "A/B", MARKET | {"active": False}, ccxt.TICK_SIZE, None).active


def test_tiers_become_a_schedule() -> None:
    """Maker and taker tiers of different volumes are joined, each with the rate that holds from there on."""
    schedule = fee_schedule("EX1", TIERED)
    assert schedule is not None
    assert schedule.tiers == (FeeTier(0, 16, 26), FeeTier(50_000, 16, 24), FeeTier(100_000, 10, 24))
    assert fee_schedule("EX1", {"trading": TIERED["trading"] | {"tierBased": False}}) is None
    assert fee_schedule("EX1", {}) is None


def test_the_schedule_counts_where_a_market_has_no_fee_of_its_own() -> None:
    """A market whose fee is just the base tier follows the tiers; one with a fee of its own does not."""
    markets = {"A/B": MARKET | {"maker": 0.0016, "taker": 0.0026}, "C/D": MARKET}
    universe = Universe()
    universe.merge(reference_data("EX1", ["A/B", "C/D", "E/F"], markets, TIERED, ccxt.TICK_SIZE))
    assert universe.symbols == ["A/B", "C/D"]
    assert taker_table(universe, {}, {"EX1": 60_000.0}).tolist() == [[24.0], [6.0]]


def test_reference_data_of_nothing() -> None:
    """A venue without any of the symbols still states its name."""
    assert reference_data("EX1", ["A/B"], {}, {}, ccxt.TICK_SIZE) == ReferenceData(venues=("EX1",))


def test_side_is_a_copy_of_the_best_levels() -> None:
    """The levels are cut to the depth, copied, and freed of what some exchanges add to a level."""
    rows: list[list[Any]] = [[10, 1.5, 1700000000], ["9.5", 2], [9, 3]]
    got = side(rows, 2)
    rows[0][0] = 0
    assert got == ((10.0, 1.5), (9.5, 2.0))


@pytest.mark.parametrize("number", [None, "", "nan", float("nan"), float("inf"), [], 10**400])
def test_a_number_that_is_none_makes_no_side(number: object) -> None:
    """A missing or unbounded price or size within the depth leaves no side; deeper it is not seen."""
    assert side([[10.0, 1.0], [number, 1.0]], 2) is None
    assert side([[10.0, number]], 2) is None
    assert side([[10.0, 1.0], [number, 1.0]], 1) == ((10.0, 1.0),)


def test_every_address_is_replaced() -> None:
    """With addresses set no request of any kind can reach the real exchange."""
    client = make_client(
        "A", FeedVenue(exchange="binance", rest_url=SecretUrl("http://r"), ws_url=SecretUrl("ws://w")), 1e4
    )

    def leaves(tree: Any) -> set[str]:
        return set().union(*map(leaves, tree.values())) if isinstance(tree, dict) else {tree}

    addresses = dict(client.urls["api"])
    assert leaves(addresses.pop("ws")) == {"ws://w"}
    assert leaves(addresses) == {"http://r"}


@pytest.mark.parametrize("exchange", ["binance", "bybit", "kraken"])
def test_own_addresses_and_options(exchange: str) -> None:
    """Without addresses the exchange's own stay; only spot markets load, and options are handed over."""
    plain = getattr(ccxt, exchange)()
    client = make_client("A", FeedVenue(exchange=exchange, options={"ours": {"deep": 1}}), 1e4)
    assert (
        client.urls["api"]["public" if exchange != "kraken" else "private"]
        == plain.urls["api"]["public" if exchange != "kraken" else "private"]
    )
    types = client.options.get("fetchMarkets", {}).get("types", ["spot"])
    assert types == ["spot"]
    assert client.options["ours"] == {"deep": 1}
    assert client.streaming["keepAlive"] <= 10_000
