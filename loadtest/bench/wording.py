"""Rows in words: figures with their units, their spread and whether they are what was asked. Pure."""

import math

from loadtest.bench.results import Figure, Row


def number(value: float) -> str:
    """Three digits that count, thousands apart; "failed" for what has no value."""
    if not math.isfinite(value):
        return "failed"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def figures(row: Row) -> str:
    """The medians, such as "p50 1.7, p99.99 6.9 ms"."""
    if row.error:
        return f"failed: {row.error}"
    return _listed([(figure, f"{figure.name} {number(figure.median)}") for figure in row.figures]) or "charted"


def spread(row: Row) -> str:
    """From the least to the greatest run, such as "p50 1.6 to 1.8, p99.99 6.2 to 14 ms"."""
    several = [figure for figure in row.figures if len(figure.runs) > 1]
    if row.error or not several:
        return "one run" if row.figures and not row.error else ""
    return _listed([(figure, f"{figure.name} {_span(figure)}") for figure in several])


def met(row: Row) -> str:
    """Whether it is what was asked."""
    return {True: "yes", False: "no", None: ""}[row.met]


def stalls(row: Row) -> str:
    """The machine's longest stall in any of the row's runs."""
    return f"{number(max(row.stalls_ms))} ms" if row.stalls_ms else ""


def duration(seconds: float) -> str:
    """Minutes, or seconds where it is less than two of them."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _span(figure: Figure) -> str:
    if figure.span is None:
        return "failed"
    least, most = figure.span
    return f"{number(least)} to {number(most)}"


def _listed(said: list[tuple[Figure, str]]) -> str:
    """Joined, with a unit only where the next one's is another."""
    units = [figure.unit for figure, _ in said]
    after = [*units[1:], None][: len(units)]
    parts = [
        text if unit == following else f"{text} {unit}".rstrip()
        for (_, text), unit, following in zip(said, units, after, strict=True)
    ]
    return ", ".join(parts)
