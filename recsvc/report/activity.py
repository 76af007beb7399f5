"""What was done and how long it took: runs, phases, ingests and what they could not take."""

from collections.abc import Iterator

from recsvc.report.blocks import Block, Picture, Section, Table, Text
from recsvc.report.charts import Bar, Point, bar_chart, line_chart
from recsvc.report.wording import count, duration, moment
from recsvc.store.reading.overview import Overview
from recsvc.vocabulary import PUBLISHED, REFUSED

MEBIBYTE = 1 << 20
SHOWN = 10  #: runs and ingests in tables


def sections(found: Overview) -> Iterator[Section]:
    """Yield what happened; nothing where nothing did."""
    if found.runs:
        yield Section("durations", "How long it took", [*_phases(found), *_durations(found)])
    if found.ingests:
        yield Section("ingests", "Ingests", [*_ingests(found), *_rejects(found)])


def _phases(found: Overview) -> Iterator[Block]:
    if not found.phases:
        return
    bars = [
        Bar(row["phase"], "time", row["seconds"], duration(row["seconds"])) for row in found.phases
    ]
    yield Picture(
        "phases-chart",
        f"Seconds of each phase of run {found.timed_run}",
        "The figures are in the table after it.",
        bar_chart([("", bars)]),
    )
    columns = ("phase", "time", "rows", "peak memory")
    rows = [
        [
            row["phase"],
            duration(row["seconds"]),
            count(row["rows"]),
            f"{row['peak_memory'] / MEBIBYTE:,.0f} MiB",
        ]
        for row in found.phases
    ]
    yield Table(f"Phases of run {found.timed_run}", columns, rows, frozenset(columns[1:]))


def _durations(found: Overview) -> Iterator[Block]:
    trained = [row for row in reversed(found.runs) if row["status"] in (PUBLISHED, REFUSED)]
    if trained:
        points = [Point(place, row["seconds"]) for place, row in enumerate(trained)]
        yield Picture(
            "durations-chart",
            "Seconds of each run that came to a decision",
            "The figures of the newest are in the table after it.",
            line_chart({"time": points}, [str(row["run_id"]) for row in trained]),
        )
    rows = [
        [
            str(row["run_id"]),
            row["status"],
            moment(row["started_at"]),
            duration(row["seconds"]),
            count(row["ratings"]),
            row["error"] or "",
        ]
        for row in found.runs[:SHOWN]
    ]
    columns = ("run", "status", "started", "time", "ratings", "why it did not publish")
    yield Table("The newest runs", columns, rows, frozenset(("time", "ratings")))


def _ingests(found: Overview) -> Iterator[Block]:
    kinds = ("inserted", "updated", "unchanged", "duplicates", "rejected")
    rows = [
        [
            str(row["ingest_id"]),
            moment(row["finished_at"]),
            row["source"],
            *(count(row[kind]) for kind in kinds),
        ]
        for row in found.ingests[:SHOWN]
    ]
    columns = ("ingest", "ended", "folder", *kinds)
    yield Table("Rows that the newest ingests brought", columns, rows, frozenset(kinds))


def _rejects(found: Overview) -> Iterator[Block]:
    if not found.rejects:
        yield Text("No row was ever rejected.")
        return
    rows = [[row["file"], count(row["line"]), row["reason"], row["raw"]] for row in found.rejects]
    caption = (
        f"The first rows that ingest {found.rejects[0]['ingest_id']} rejected: "
        "correct them at the source and ingest again"
    )
    columns = ("file", "line", "reason", "the row, or its beginning")
    yield Table(caption, columns, rows, frozenset(("line",)), columns[-1])
