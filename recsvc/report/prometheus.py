"""Figures for Prometheus, in the text that node_exporter's textfile collector picks up."""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from recsvc.store.reading.figures import Figures
from recsvc.vocabulary import RUN_STATUSES, RUNNING

ENDINGS = tuple(status for status in RUN_STATUSES if status != RUNNING)


def exposition(found: Figures) -> str:
    """Return the figures of the nightly job in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collected(found))
    return generate_latest(registry).decode()


class _Collected(Collector):
    """The figures as Prometheus' client asks for them; what has no sample is left out."""

    def __init__(self, found: Figures) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        return (family for family in _families(self._found) if family.samples)


def _families(found: Figures) -> Iterator[Metric]:
    yield _single("last_run_timestamp_seconds", "When the last run ended.", _time(found.ended_at))
    yield _single(
        "last_success_timestamp_seconds",
        "When a run was last published.",
        _time(found.published_at),
    )
    statuses = _family("last_run_status", "1 for how the last run ended.", "status")
    for status in ENDINGS if found.status else ():
        statuses.add_metric([status], status == found.status)
    yield statuses
    yield _single("last_run_duration_seconds", "How long the last run took.", found.seconds)
    phases = _family("run_phase_seconds", "How long each phase of the last run took.", "phase")
    for name, took in found.phases.items():
        phases.add_metric([name], took)
    yield phases
    yield _single("recommendation_rows", "Recommendations in the published run.", found.rows)
    yield _single("ratings", "Ratings that the last run read.", found.ratings)
    metrics = _family("metric", "Quality on the holdout of the newest evaluation.")
    for (model, metric, k), value in found.metrics.items():
        length = {"k": k} if k else {}  # coverage and others have no lists of a length
        metrics.add_sample(metrics.name, {"model": model, "metric": metric} | length, value)
    yield metrics


def _family(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"recsvc_{name}", help_text, labels=labels)


def _single(name: str, help_text: str, value: float | None) -> Metric:
    family = _family(name, help_text)
    if value is not None:
        family.add_metric([], value)
    return family


def _time(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
