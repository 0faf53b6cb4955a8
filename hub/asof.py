"""The book as of each tick of a batch: a plain loop that takes one after the other, compiled.

Tables have the shape (instruments, venues), venues in the order of their names: so the first of equal prices is the
venue whose name sorts first. A side is (count, price, size), its levels along the last axis, of which `count` are
real. What the ticks offer is written one after the other from the start: to row r what the r-th opportunity is.
"""

import math
from typing import TypeAlias

from numba import bool_, float64, int64

from arbhub.columns import Bools, Floats, Ints
from arbhub.compiled import compiled, inlined, read, tuple_of, write

OPPORTUNITY, NO_COUNTERPART, SAME_VENUE = 0, 1, 2
BUY, SELL, BUY_TS, SELL_TS, SINCE = range(5)  # of an opportunity's whole numbers
ASK, BID = range(2)  # of its prices

SideArrays: TypeAlias = tuple[Ints, Floats, Floats]
_SIDE = tuple_of(read(int64, 1), read(float64, 2), read(float64, 2))
_STORED_SIDE = tuple_of(write(int64, 2), write(float64, 3), write(float64, 3))
_FOUND_SIDE = tuple_of(write(int64, 1), write(float64, 2), write(float64, 2))


@compiled(_SIDE, _SIDE, write(bool_, 1))
def find_well_formed(bids: SideArrays, asks: SideArrays, fine: Bools) -> None:
    """Whether each tick's levels make a book at all: positive, finite, in order, uncrossed, both sides there."""
    (bid_count, bid_price, bid_size), (ask_count, ask_price, ask_size) = bids, asks
    for k in range(len(fine)):
        sound = bid_count[k] > 0 and ask_count[k] > 0 and bid_price[k, 0] < ask_price[k, 0]
        better = math.inf
        for level in range(bid_count[k] if sound else 0):
            price, size = bid_price[k, level], bid_size[k, level]
            if not (0.0 < price <= better and price < math.inf and 0.0 < size < math.inf):
                sound = False
            better = price
        better = 0.0
        for level in range(ask_count[k] if sound else 0):
            price, size = ask_price[k, level], ask_size[k, level]
            if not (price > 0.0 and better <= price < math.inf and 0.0 < size < math.inf):
                sound = False
            better = price
        fine[k] = sound


@inlined
def _keep(side: SideArrays, row: int, stored: SideArrays, instrument: int, column: int) -> None:
    """Replace a stored side by a row's; zeros beyond its last level."""
    (count, price, size), (counts, prices, sizes) = side, stored
    counts[instrument, column] = count[row]
    for level in range(prices.shape[2]):
        real = level < count[row]
        prices[instrument, column, level] = price[row, level] if real else 0.0
        sizes[instrument, column, level] = size[row, level] if real else 0.0


@inlined
def _show(stored: SideArrays, instrument: int, column: int, found: SideArrays, row: int) -> None:
    """Write a stored side down as a row's."""
    (counts, prices, sizes), (count, price, size) = stored, found
    count[row] = counts[instrument, column]
    for level in range(prices.shape[2]):
        price[row, level], size[row, level] = prices[instrument, column, level], sizes[instrument, column, level]


@compiled(
    *(tuple_of(read(int64, 1), read(int64, 1), read(int64, 1), read(bool_, 1)), _SIDE, _SIDE),
    *(tuple_of(write(bool_, 2), write(int64, 2), write(int64, 1), write(int64, 1)), _STORED_SIDE, _STORED_SIDE),
    float64,
    *(tuple_of(write(int64, 1), write(int64, 2), write(float64, 2)), _FOUND_SIDE, _FOUND_SIDE),
)
def take_in(
    ticks: tuple[Ints, Ints, Ints, Bools],
    bids: SideArrays,
    asks: SideArrays,
    store: tuple[Bools, Ints, Ints, Ints],
    stored_bids: SideArrays,
    stored_asks: SideArrays,
    max_age_ns: float,
    found: tuple[Ints, Ints, Floats],
    found_asks: SideArrays,
    found_bids: SideArrays,
) -> int:
    """Take the ticks in, in order, and say what each then offers; gives how many opportunities there are.

    `ticks`: ts_ns, instrument, column, well-formed. `store`: usable, ts_ns, legs and since when of each instrument's
    run. `found`: every tick's outcome, and of opportunities whole numbers and prices, a row of each a kind.
    """
    (ts_ns, instruments, columns, fine), (usable, ts, run_legs, run_since) = ticks, store
    (outcome, whole, price), ask_prices, bid_prices = found, stored_asks[1], stored_bids[1]
    venues, count = usable.shape[1], 0
    for k in range(len(ts_ns)):
        i, now_ns = instruments[k], ts_ns[k]
        usable[i, columns[k]], ts[i, columns[k]] = fine[k], now_ns
        _keep(bids, k, stored_bids, i, columns[k])
        _keep(asks, k, stored_asks, i, columns[k])
        buy, sell, quoting, ask, bid = 0, 0, 0, math.inf, -math.inf
        for venue in range(venues):
            if usable[i, venue] and float(now_ns - ts[i, venue]) <= max_age_ns:
                quoting += 1
                if ask_prices[i, venue, 0] < ask:
                    buy, ask = venue, ask_prices[i, venue, 0]
                if bid_prices[i, venue, 0] > bid:
                    sell, bid = venue, bid_prices[i, venue, 0]
        offered = quoting > 1 and buy != sell
        legs = buy * venues + sell if offered and bid > ask else -1
        if legs < 0 or legs != run_legs[i]:
            run_since[i] = now_ns
        run_legs[i] = legs
        if offered:
            whole[BUY, count], whole[BUY_TS, count] = buy, ts[i, buy]
            whole[SELL, count], whole[SELL_TS, count] = sell, ts[i, sell]
            whole[SINCE, count], price[ASK, count], price[BID, count] = run_since[i], ask, bid
            _show(stored_asks, i, buy, found_asks, count)
            _show(stored_bids, i, sell, found_bids, count)
            count += 1
            outcome[k] = OPPORTUNITY
        else:
            outcome[k] = SAME_VENUE if quoting > 1 else NO_COUNTERPART
    return count
