"""Whether the hub trades, what it decided and why, how long that took, and what the deadline cost."""

from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, Metric

from arbhub.state import TRADING_STATES
from hub.hub import Hub
from hub.metrics.families import counter, counters, gauge, gauges, histogram
from hub.pulse import Pulse


def state(hub: Hub, pulse: Pulse) -> Iterator[Metric]:
    """What decisions are made under."""
    yield InfoMetricFamily("arbhub_config", "The configuration that decisions are made by.", {"version": hub.version})
    yield gauge("start_time_seconds", "When this hub began, since 1970.", pulse.began_s)
    yield gauge("epoch", "The executor's epoch; 0: none yet.", hub.epoch)
    yield gauge("executor_up", "Whether the executor is there: without it nothing is approved.", hub.trades.up)
    now = hub.view.trading.in_force(hub.settings.risk)
    states = {name: state == now for name, state in TRADING_STATES.items()}
    yield gauges("trading_state", "1 for the state in force; none: nobody has said it yet.", "state", states)


def rounds(hub: Hub, pulse: Pulse) -> Iterator[Metric]:
    """Rate, errors and duration of what the hub is for."""
    s = hub.statistics
    outcomes = {"approved": s.approved, **s.rejected}
    yield counter("ticks", "Ticks decided, one decision each.", s.ticks)
    yield counter("opportunities", "Ticks with two legs, about which engines were asked.", s.opportunities)
    yield counters("decisions", "Decisions by reason; SHED: given up in a full queue.", "reason", outcomes)
    yield counters("denied_decisions", "Approved, but stopped at the executor's gate.", "reason", s.denied)
    yield counter("fills", "Fills that the executor has reported.", s.fills)
    yield histogram("round_duration_seconds", "From a batch's receipt to its decisions.", pulse.rounds.histogram)
    yield counter("overdue_rounds", "Rounds that were decided after the deadline in force.", pulse.rounds.beyond)
    yield counter(
        "failed_rounds", "Rounds that failed to be folded: decided as if engines were silent.", s.failed_rounds
    )
    yield gauge("deadline_seconds", "The time that a round has.", hub.settings.hub.deadline_ms / 1e3)
    yield _batches(s.ticks, s.sizes)


def _batches(ticks: int, sizes: Sequence[int]) -> Metric:
    """The bounds are those that bit lengths make: 0, 1, 3, 7 and so on."""
    counts = np.cumsum(sizes).tolist()
    buckets = [(str((1 << bits) - 1), count) for bits, count in enumerate(counts)]
    return HistogramMetricFamily(
        "arbhub_batch_ticks", "Ticks decided together.", [*buckets, ("+Inf", counts[-1])], sum_value=ticks
    )


def edges(_: Hub, pulse: Pulse) -> Iterator[Metric]:
    """What the market offered, and what was taken."""
    m = pulse.market
    yield histogram("gross_edge_bps", "Gross edges of opportunities.", m.gross)
    yield histogram("net_edge_bps", "Net edges of opportunities that every engine answered.", m.net)
    yield histogram("approved_edge_bps", "Net edges of what was approved.", m.approved)


def late(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """What the deadline costs: what would have been with the verdicts that came too late."""
    tally = hub.statistics.late
    yield counters("late_verdicts", "Verdicts that came after their round was decided.", "engine", tally.verdicts)
    yield counter("late_approvals", "Ticks that would have been approved with them.", tally.would_approve)
    yield counter("late_rejections", "Ticks that would not have been approved with them.", tally.would_reject)
    yield gauge("late_forgone_edge_bps", "The net edges of those approvals, added up.", tally.forgone_bps)
    yield gauges("late_forgone_quote", "What those edges were worth, added up.", "asset", tally.forgone_quote)
