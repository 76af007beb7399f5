"""Figures for Prometheus: a file that node_exporter's textfile collector picks up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from recsvc.store.reading.figures import Figures
from recsvc.vocabulary import RUN_STATUSES, RUNNING

Labels = tuple[tuple[str, str], ...]

ENDINGS = tuple(status for status in RUN_STATUSES if status != RUNNING)


@dataclass(frozen=True)
class Gauge:
    """A metric with its samples."""

    name: str  #: without the prefix recsvc_
    help: str  #: one line
    samples: Mapping[Labels, float]  #: value for each set of labels


def exposition(found: Figures) -> str:
    """Return the figures of the nightly job in Prometheus' text format."""
    return "".join(_exposition(_gauges(found)))


def _gauges(found: Figures) -> Iterator[Gauge]:
    yield Gauge("last_run_timestamp_seconds", "When the last run ended.", _time(found.ended_at))
    yield Gauge(
        "last_success_timestamp_seconds",
        "When a run was last published.",
        _time(found.published_at),
    )
    statuses: dict[Labels, float] = {
        (("status", name),): name == found.status for name in ENDINGS if found.status
    }
    yield Gauge("last_run_status", "1 for how the last run ended.", statuses)
    yield Gauge("last_run_duration_seconds", "How long the last run took.", _single(found.seconds))
    phases: dict[Labels, float] = {(("phase", name),): took for name, took in found.phases.items()}
    yield Gauge("run_phase_seconds", "How long each phase of the last run took.", phases)
    yield Gauge("recommendation_rows", "Recommendations in the published run.", _single(found.rows))
    yield Gauge("ratings", "Ratings that the last run read.", _single(found.ratings))
    metrics: dict[Labels, float] = {
        (("model", model), ("metric", metric), ("k", k)): value
        for (model, metric, k), value in found.metrics.items()
    }
    yield Gauge("metric", "Quality on the holdout of the newest evaluation.", metrics)


def _time(moment: datetime | None) -> dict[Labels, float]:
    return _single(moment.timestamp() if moment else None)


def _single(value: float | None) -> dict[Labels, float]:
    return {} if value is None else {(): value}


def _exposition(gauges: Iterator[Gauge]) -> Iterator[str]:
    """Yield lines of Prometheus' text format.

    https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
    """
    for gauge in gauges:
        name = f"recsvc_{gauge.name}"
        if gauge.samples:
            yield f"# HELP {name} {gauge.help}\n# TYPE {name} gauge\n"
        for labels, value in gauge.samples.items():
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels if text)
            yield f"{name}{f'{{{pairs}}}' if pairs else ''} {float(value)!r}\n"


def _escaped(label: str) -> str:
    r"""Escape a label's value.

    >>> print(_escaped('a "b"\\c'))
    a \"b\"\\c
    """
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
