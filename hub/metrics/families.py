"""Families of samples by name, every one of them `arbhub_...`, from plain numbers and the hub's own histograms."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hub.histograms import Histogram
from hub.hub import Hub
from hub.pulse import Pulse

Families = Callable[[Hub, Pulse], Iterable[Metric]]
"""One topic's."""


def gauge(name: str, what: str, value: float) -> Metric:
    """One value that goes up and down."""
    return GaugeMetricFamily(f"arbhub_{name}", what, value=value)


def gauges(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    """The same by a label."""
    return _by_label(GaugeMetricFamily(f"arbhub_{name}", what, labels=[label]), values)


def counter(name: str, what: str, value: float) -> Metric:
    """One count since the hub began; its sample ends in `_total`."""
    return CounterMetricFamily(f"arbhub_{name}", what, value=value)


def counters(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    """The same by a label."""
    return _by_label(CounterMetricFamily(f"arbhub_{name}", what, labels=[label]), values)


def _by_label(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def histogram(name: str, what: str, values: Histogram) -> Metric:
    """One histogram; where bounds are below zero it has no sum, as a sum that falls is no counter."""
    return HistogramMetricFamily(f"arbhub_{name}", what, values.buckets(), values.sum)


def histograms(name: str, what: str, label: str, values: Mapping[str, Histogram]) -> Metric:
    """The same by a label."""
    family = HistogramMetricFamily(f"arbhub_{name}", what, labels=[label])
    for key, one in values.items():
        family.add_metric([key], one.buckets(), one.sum)
    return family
