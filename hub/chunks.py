"""Cases as they wait in a link: their chunks joined into one question, and answers cut to the shape of a case."""

import numpy as np

from arbhub.columns import ABSTAIN, Floats, Ints, Verdicts
from arbhub.queueing import Chunk
from arbhub.rows import MAX_ROWS, opportunity_columns
from hub.seats import Case


def are_rows(chunks: list[Chunk[Case]]) -> bool:
    """Whether all that was asked are rows, and none of them was shed."""
    return all(chunk.rows is None and isinstance(chunk.payload.opportunities, list) for chunk in chunks)


def merged(chunks: list[Chunk[Case]]) -> Case:
    """One case of all the rows, so that they are encoded at once."""
    asked = [chunk.payload.opportunities for chunk in chunks]
    rows = [row for case in asked if isinstance(case, list) for row in case]
    return Case.of(0, rows if len(rows) <= MAX_ROWS else opportunity_columns(rows))


def kept(chunk: Chunk[Case]) -> Case:
    """The case, or what is left of it."""
    return chunk.payload if chunk.rows is None else chunk.payload.cut(chunk.rows)


def as_columns(chunk: Chunk[Case]) -> Case:
    """The same as columns: joined with others that are, it has to have those that they have, and no more."""
    case = kept(chunk)
    asked = case.opportunities
    return Case.of(case.number, opportunity_columns(asked)) if isinstance(asked, list) else case


def spread(answer: Verdicts, rows: Ints, n: int) -> Verdicts:
    """Verdicts on some rows as verdicts on all n; the others were shed and are decided as such."""

    def full(column: Floats, rest: float) -> Floats:
        spread = np.full(n, rest)
        spread[rows] = column
        return spread

    verdict, reason = np.full(n, ABSTAIN, np.int64), np.zeros(n, np.int64)
    verdict[rows], reason[rows] = answer.verdict, answer.reason
    limits = (None if c is None else full(c, np.nan) for c in (answer.buy_limit, answer.sell_limit))
    return Verdicts(verdict, reason, full(answer.bps, 0.0), full(answer.quantity, 0.0), *limits)
