"""How good tonight's models are, and how that went over the last nights."""

from collections.abc import Iterable, Iterator
from typing import Any

from recsvc import vocabulary
from recsvc.report.blocks import Block, Picture, Section, Table, Text
from recsvc.report.charts import Bar, Point, bar_chart, line_chart
from recsvc.report.wording import count, figure, percent, with_interval
from recsvc.store.reading.overview import Overview
from recsvc.store.reading.queries import Row
from recsvc.vocabulary import (
    ALL,
    AUC,
    COVERAGE,
    GATE_K,
    GATE_METRIC,
    HIT_RATE,
    MAP,
    MRR,
    NDCG,
    NOVELTY,
    PRECISION,
    RECALL,
)

MODELS = vocabulary.MODELS[::-1]  #: what readers get comes first

NAMES = {
    NDCG: "NDCG",
    RECALL: "Recall",
    PRECISION: "Precision",
    MAP: "MAP",
    MRR: "MRR",
    HIT_RATE: "Hit rate",
    AUC: "AUC",
}
PICTURED = (NDCG, RECALL, MRR)  # of one order of magnitude

Key = tuple[str, str, int | None, str]  #: segment, metric, k, model


def sections(found: Overview) -> Iterator[Section]:
    """Yield what is known of quality; nothing before the first evaluation."""
    if found.measured:
        by_key = {_key(row): row for row in found.measured}
        run_id = found.measured[0]["run_id"]
        run = next((row for row in found.runs if row["run_id"] == run_id), None)
        lineup = list(_lineup(found.measured[0], run, by_key))
        yield Section("lineup", "Quality of the line-up", lineup)
    if found.nights:
        yield Section("nights", "Quality across the nights", list(_nights(found.nights)))
    if found.measured:
        yield Section("segments", "For whom, and what is found", list(_segments(by_key)))
        yield Section("reach", "Coverage and novelty", list(_reach(by_key)))


def _key(row: Row) -> Key:
    return row["segment"], row["metric"], row["k"], row["model"]


def _interval(row: Row | None) -> str:
    return with_interval(row["value"], row["ci_low"], row["ci_high"]) if row else figure(None)


def _bars(rows: Iterable[Row | None]) -> list[Bar]:
    return [
        Bar(
            name=row["model"],
            series=row["model"],
            value=row["value"],
            text=figure(row["value"]),
            low=row["ci_low"],
            high=row["ci_high"],
        )
        for row in rows
        if row
    ]


def _lineup(first: Row, run: Row | None, by_key: dict[Key, Row]) -> Iterator[Block]:
    model = f" Its lists are those of `{run['model']}`." if run and run["model"] else ""
    yield Text(
        f"Run {first['run_id']} ({first['status']}), on a holdout made by `{first['protocol']}`."
        f"{model} Lines across the bars are 95 % confidence intervals; higher is better."
    )
    if run and run["protocol_reason"]:
        yield Text(run["protocol_reason"])
    yield Picture(
        "lineup-chart",
        f"Quality of each model, at {GATE_K}",
        "The figures are in the table after it.",
        bar_chart(
            (
                f"{NAMES[metric]}@{GATE_K}",
                _bars(by_key.get((ALL, metric, GATE_K, model)) for model in MODELS),
            )
            for metric in PICTURED
        ),
    )
    rows = [
        [_title(name, k), *(_interval(by_key.get((ALL, metric, k, model))) for model in MODELS)]
        for metric, name in NAMES.items()
        for k in (None if metric == AUC else GATE_K,)
    ]
    users = max((row["users"] for key, row in by_key.items() if key[0] == ALL), default=None)
    caption = f"Quality with 95 % confidence intervals, over {count(users)} users"
    yield Table(caption, ("metric", *MODELS), rows, frozenset(MODELS))


def _title(name: str, k: int | None) -> str:
    return name if k is None else f"{name}@{k}"


def _nights(rows: list[Row]) -> Iterator[Block]:
    rows = [row for row in rows if row["protocol"] == rows[-1]["protocol"]]
    runs = list(dict.fromkeys(row["run_id"] for row in rows))
    places = {run_id: place for place, run_id in enumerate(runs)}
    series: dict[str, list[Point]] = {}
    for model in MODELS:
        with_ends = model == MODELS[0]  # of all they would hide each other
        points = [
            Point(
                places[row["run_id"]],
                row["value"],
                row["ci_low"] if with_ends else None,
                row["ci_high"] if with_ends else None,
            )
            for row in rows
            if row["model"] == model
        ]
        if points:
            series[model] = points
    yield Picture(
        "nights-chart",
        f"{NAMES[GATE_METRIC]}@{GATE_K} of each published run",
        f"{MODELS[0]} has its 95 % confidence interval. The figures are in the table after it.",
        line_chart(series, [str(run_id) for run_id in runs]),
    )
    by_run: dict[Any, dict[str, Row]] = {run_id: {} for run_id in reversed(runs)}
    for row in rows:
        by_run[row["run_id"]][row["model"]] = row
    lines = []
    for run_id, models in by_run.items():
        first = next(iter(models.values()))
        night = f"{first['finished_at']:%Y-%m-%d}"
        cells = (_interval(models.get(model)) for model in MODELS)
        lines.append([str(run_id), night, first["protocol"], *cells])
    yield Table(
        f"{NAMES[GATE_METRIC]}@{GATE_K} of published runs, the newest first",
        ("run", "ended on", "holdout", *MODELS),
        lines,
        frozenset(MODELS),
    )


def _segments(by_key: dict[Key, Row]) -> Iterator[Block]:
    yield Text(
        "`activity` is how much a user rated, and attributes are those of users; `popularity` is "
        "how often a movie was rated: there, and by `genre`, only the movies of the segment count."
    )
    known = sorted({segment for segment, metric, _, _ in by_key if metric == GATE_METRIC} - {ALL})
    order = ("none", "low", "medium", "high", "head", "mid", "tail", "cold")
    known.sort(key=lambda name: _place(name.partition(":")[2], order))
    rows = []
    for segment in sorted(known, key=lambda name: name.partition(":")[0]):
        found = [by_key.get((segment, GATE_METRIC, GATE_K, model)) for model in MODELS]
        users = next((row["users"] for row in found if row), None)
        rows.append([segment, count(users), *map(_interval, found)])
    columns = ("segment", "users", *MODELS)
    caption = f"{NAMES[GATE_METRIC]}@{GATE_K} by segment, with 95 % confidence intervals"
    yield Table(caption, columns, rows, frozenset(columns[1:]))


def _place(name: str, order: tuple[str, ...]) -> int:
    return order.index(name) if name in order else len(order)


def _reach(by_key: dict[Key, Row]) -> Iterator[Block]:
    yield Text(
        "Coverage is the share of the catalogue that is on anybody's list; novelty is how far from "
        "what everybody knows the lists are. Neither is better for being higher alone."
    )
    for metric, form in ((COVERAGE, percent), (NOVELTY, figure)):
        found = [
            (k, [by_key.get((ALL, metric, k, model)) for model in MODELS])
            for k in sorted({key[2] for key in by_key if key[1] == metric and key[2]})
        ]
        rows = [
            [f"{metric}@{k}", *(form(row["value"] if row else None) for row in models)]
            for k, models in found
        ]
        yield Picture(
            f"{metric}-chart",
            f"{metric.capitalize()} of each model, at {GATE_K}",
            "The figures are in the table after it.",
            bar_chart(("", _bars(models)) for k, models in found if k == GATE_K),
        )
        caption = f"{metric.capitalize()} by length of the list"
        yield Table(caption, ("metric", *MODELS), rows, frozenset(MODELS))
