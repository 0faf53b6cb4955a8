"""The charts of docs/benchmarks.md, as small PNG files: latency over rate, cost of a tick, the designs compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.bench.results import Results, Row

if TYPE_CHECKING:  # only who draws needs matplotlib: where arbhub runs, such as in its image, there is none
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LATENCY, COST, DESIGNS = "benchmarks-latency.png", "benchmarks-cost.png", "benchmarks-designs.png"
DPI = 110


def draw(results: Results, folder: Path) -> list[str]:
    """Write the charts whose rows there are; gives their names."""
    import matplotlib as mpl

    mpl.use("agg")
    charts = {LATENCY: ("rates", latency), COST: ("cost", cost), DESIGNS: ("designs", designs)}
    drawn = []
    for name, (key, chart) in charts.items():
        row = results.rows.get(key)
        if row is not None and not row.error:
            chart(row).savefig(folder / name, dpi=DPI, metadata={"Software": None})
            drawn.append(name)
    return drawn


def latency(row: Row) -> "Figure":
    """Quantiles over rate, both on logarithmic scales."""
    figure, (axes,) = _page(1)
    for name, points in row.points.items():
        good = [(rate, ms) for rate, ms in points if ms is not None]
        axes.plot([x for x, _ in good], [y for _, y in good], marker="o", markersize=4, label=name.replace("_", "."))
    axes.set(xscale="log", yscale="log", xlabel="ticks a second", ylabel="ms from the intended send")
    axes.set_title("four engine processes, depth 1, 200 instruments, 4 venues")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:g}"[0] in "235" else "")
    axes.legend()
    return figure


def cost(row: Row) -> "Figure":
    """A panel an axis, all on one scale from zero."""
    figure, panels = _page(len(row.points))
    top = max(y or 0.0 for points in row.points.values() for _, y in points)
    for axes, (axis, points) in zip(panels, row.points.items(), strict=True):
        axes.plot([x for x, _ in points], [y or 0.0 for _, y in points], marker="o", markersize=4)
        axes.set(xlabel=axis, ylim=(0, top * 1.1))
        if axis != "engines":
            axes.set_xscale("log", base=10 if axis == "instruments" else 2)
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    panels[0].set_ylabel("CPU of all services, us a tick")
    return figure


def designs(row: Row) -> "Figure":
    """A bar a design, on a logarithmic scale."""
    figure, (axes,) = _page(1)
    rates = {f.name: f.median for f in row.figures if f.unit == "ticks/s"}
    bars = axes.bar(list(rates), list(rates.values()), width=0.5)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates.values()])
    axes.set(yscale="log", ylabel="most ticks a second, p99.99 < 60 ms", ylim=(10, max(rates.values(), default=10) * 4))
    return figure


def _page(panels: int) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    return figure, list(_lined(figure, panels))


def _lined(figure: "Figure", panels: int) -> "Iterator[Axes]":
    for number in range(panels):
        axes = figure.add_subplot(1, panels, number + 1)
        axes.grid(visible=True, alpha=0.3)
        axes.set_axisbelow(True)
        yield axes
