"""The paper venue: limits and depth, what stays taken, and books that fill nothing."""

import math
from decimal import Decimal

import pytest

from arbhub.columns import Side
from executor.orders import Order
from executor.paper import PaperVenue

KEY = ("A", "BTC/USD")
BIDS = [(99.0, 1.0), (98.0, 2.0)]
ASKS = [(100.0, 1.0), (101.0, 2.0)]
Levels = list[tuple[float, float]]
Got = list[tuple[float, float]]


def venue(bids: Levels = BIDS, asks: Levels = ASKS) -> PaperVenue:
    """A venue with one book."""
    paper = PaperVenue()
    show(paper, bids, asks)
    return paper


def show(paper: PaperVenue, bids: Levels, asks: Levels) -> None:
    """A tick."""
    paper.replace(KEY, Side.from_levels([bids]), Side.from_levels([asks]), 0)


def take(
    paper: PaperVenue, quantity: str, limit: str | None = None, buy: bool = True, budget: str | None = None
) -> Got:
    """An order, and its fills."""
    price = None if limit is None else Decimal(limit)
    order = Order((1, 1), "buy", 0, KEY[1], KEY[0], buy, Decimal(quantity), price, 0, 0)
    fills = paper.match(order, Decimal("0.001"), None if budget is None else Decimal(budget))
    return [(float(p), float(q)) for p, q in fills]


@pytest.mark.parametrize(
    ("quantity", "limit", "buy", "got"),
    [
        ("0.5", "100", True, [(100.0, 0.5)]),
        ("2.5", "101", True, [(100.0, 1.0), (101.0, 1.5)]),
        ("9", "101", True, [(100.0, 1.0), (101.0, 2.0)]),
        ("9", "100.99", True, [(100.0, 1.0)]),
        ("9", "99.99", True, []),
        ("9", None, True, [(100.0, 1.0), (101.0, 2.0)]),
        ("1.5", "98", False, [(99.0, 1.0), (98.0, 0.5)]),
        ("9", "98.5", False, [(99.0, 1.0)]),
        ("9", "99.5", False, []),
        ("9", None, False, [(99.0, 1.0), (98.0, 2.0)]),
    ],
)
def test_depth_is_walked_up_to_the_limit(quantity: str, limit: str | None, buy: bool, got: Got) -> None:
    """Best level first, never worse than the limit, partly where the book is thin."""
    assert take(venue(), quantity, limit, buy) == got


@pytest.mark.parametrize(
    ("quantity", "buy", "budget", "got"),
    [
        ("5", True, "50.05", [(100.0, 0.5)]),
        ("5", True, "-1", []),
        ("5", False, "0.25", [(99.0, 0.25)]),
        ("5", False, "-1", []),
    ],
)
def test_an_account_without_means_gets_no_more_than_it_pays_for(
    quantity: str, buy: bool, budget: str, got: Got
) -> None:
    """A buy costs its price and the fee, a sale what is sold."""
    assert take(venue(), quantity, None, buy, budget) == got


def test_a_repeated_snapshot_refills_nothing() -> None:
    """What was taken stays taken while the level shows the same size, however often, whatever else changes."""
    paper = venue()
    assert take(paper, "0.75") == [(100.0, 0.75)]
    for _ in range(3):
        show(paper, BIDS, ASKS)
    show(paper, [(99.5, 7.0)], [*ASKS, (102.0, 4.0)])
    assert take(paper, "0.5") == [(100.0, 0.25), (101.0, 0.25)]
    show(paper, BIDS, ASKS)
    assert take(paper, "9") == [(101.0, 1.75)]


@pytest.mark.parametrize("between", [[(100.0, 1.5)], [(100.0, 0.25)], [(100.5, 1.0)], []])
def test_a_changed_or_vanished_level_is_new(between: Levels) -> None:
    """Another size, or a tick without the level, makes the level's whole size available again."""
    paper = venue()
    take(paper, "0.75")
    show(paper, BIDS, between)
    show(paper, BIDS, ASKS)
    assert take(paper, "1") == [(100.0, 1.0)]


def test_sides_are_taken_from_apart() -> None:
    """Selling leaves the asks as they are, and the bids stay taken."""
    paper = venue()
    assert take(paper, "1", None, buy=False) == [(99.0, 1.0)]
    show(paper, BIDS, ASKS)
    assert take(paper, "1", None, buy=True) == [(100.0, 1.0)]
    assert take(paper, "1", None, buy=False) == [(98.0, 1.0)]


@pytest.mark.parametrize(
    ("bids", "asks"),
    [
        ([], ASKS),
        (BIDS, []),
        ([(100.0, 1.0)], ASKS),
        ([(100.5, 1.0)], ASKS),
        (BIDS, [(100.0, 1.0), (99.5, 1.0)]),
        (BIDS, [(100.0, 1.0), (100.0, 1.0)]),
        ([(98.0, 1.0), (99.0, 1.0)], ASKS),
        (BIDS, [(100.0, 0.0), (101.0, 2.0)]),
        (BIDS, [(100.0, -1.0)]),
        ([(99.0, 1.0), (0.0, 1.0)], ASKS),
        (BIDS, [(100.0, 1.0), (math.nan, 1.0)]),
        (BIDS, [(100.0, 1.0), (math.inf, 1.0)]),
        (BIDS, [(100.0, math.nan)]),
        (BIDS, [(100.0, 1.0), (101.0, math.inf)]),
    ],
)
def test_a_broken_book_fills_nothing(bids: Levels, asks: Levels) -> None:
    """Empty, crossed, unsorted or with anything that is no price or size at any depth: nothing is filled."""
    paper = venue(bids, asks)
    assert take(paper, "1") == take(paper, "1", buy=False) == []


def test_an_unknown_book_fills_nothing() -> None:
    """A venue that never showed a book is no venue to trade on."""
    paper = PaperVenue()
    assert take(paper, "1") == []
