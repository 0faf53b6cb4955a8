"""A short story of trades for the crash tests: full fills, partial ones traded back, and a denial."""

from executor_probes import CHEAP, DEAR, Decision, Tick

BALANCES = {"A": {"USD": 5000.0, "BTC": 1.0}, "B": {"USD": 50.0, "BTC": 9.0}}


def books(ms: float, size: float) -> list[Tick]:
    """Both venues, with this much on the best levels."""
    return [Tick(ms, "A", CHEAP, [(100.0, size)]), Tick(ms, "B", [(103.0, size)], DEAR)]


# Even sequences are A's ticks, odd ones B's; decisions belong to B's.
STORY: list[tuple[list[Tick], list[Decision]]] = [
    (books(0, 2.0), [Decision(1, 0)]),
    (books(30, 1.0), [Decision(3, 30, sell_limit=103.5)]),
    (books(60, 3.0), [Decision(5, 60, quantity=2.0), Decision(5, 60)]),
    (books(90, 1.5), [Decision(7, 90, buy_limit=99.0)]),
    (books(120, 2.5), []),
    (books(400, 2.5), []),
]
