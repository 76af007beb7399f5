"""How things stand this morning, in one sentence, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from recsvc.report.blocks import Table
from recsvc.report.wording import age, count, duration, moment
from recsvc.store.reading.overview import Overview
from recsvc.store.reading.queries import Row
from recsvc.store.runs.ledger import is_silent
from recsvc.vocabulary import FAILED, LOST, REFUSED, ROLLBACK, RUNNING, SKIPPED

Level = Literal["good", "attention", "bad"]

OLD = timedelta(hours=26)  # a day and two hours for the run itself, as the alarm in the README

TAKE_OVER = "The process died or hung: `recsvc retrain` takes over."
AGAIN = "Run `recsvc retrain` again; `recsvc status` shows how far it came."
OVERRULE = "Look at what was ingested; `recsvc retrain --force` publishes all the same."
REPLACE = "A retrain replaces it as soon as there is something new, or at once with `--force`."
UNDO = "`recsvc metrics` shows the figures; `recsvc rollback` goes back to the run before."

#: How a run can end that an operator should know of, and what to do.
_ENDINGS: dict[str, tuple[Level, str]] = {
    FAILED: ("bad", AGAIN),
    LOST: ("bad", AGAIN),
    REFUSED: ("attention", OVERRULE),
}


@dataclass(frozen=True)
class State:
    """What an operator reads first."""

    level: Level
    headline: str
    advice: str  #: what to do; empty if nothing


def judge(found: Overview, now: datetime) -> State:
    """Return how things stand."""
    last = found.runs[0] if found.runs else None
    if found.publication is None:
        return _unpublished(found, last, now)
    since = age(now - found.publication.published_at)
    seen = f"Readers see run {found.publication.run_id}"
    trouble = _trouble(last, now) if last else None
    if trouble:
        return State(trouble.level, f"{trouble.headline} {seen}, {since} old.", trouble.advice)
    if last and now - last["started_at"] > OLD:
        headline = f"There was no run for {age(now - last['started_at'])}. {seen}, {since} old."
        return State("attention", headline, "Look whether the scheduler runs.")
    if found.publication.action == ROLLBACK:
        headline = f"{seen}, to which they were rolled back {since} ago."
        return State("attention", headline, REPLACE)
    if _overruled(found, found.publication.run_id):
        headline = f"{seen}, published by force {since} ago: the gate did not let it pass."
        return State("attention", headline, UNDO)
    under_way = f" Run {last['run_id']} is under way." if last and _is_running(last) else ""
    return State("good", f"{seen}, published {since} ago.{under_way}", "")


def _trouble(last: Row, now: datetime) -> State | None:
    """Return what went wrong with the last run, if anything did."""
    if is_silent(last, now):
        silence = f"Run {last['run_id']} showed no sign of life for "
        return State("bad", f"{silence}{age(now - last['heartbeat_at'])}.", TAKE_OVER)
    if last["status"] not in _ENDINGS:
        return None
    level, advice = _ENDINGS[last["status"]]
    return State(level, _ended(last), advice)


def _overruled(found: Overview, run_id: int) -> bool:
    gates = (row["gate"] for row in found.runs if row["run_id"] == run_id)
    return any(gate and not gate["passed"] for gate in gates)


def _unpublished(found: Overview, last: Row | None, now: datetime) -> State:
    nothing = "Readers see nothing yet:"
    if not found.counts["ratings"]:
        advice = "Run `recsvc ingest DIR` with a folder of MovieLens files, then `recsvc retrain`."
        return State("attention", f"{nothing} there are no ratings.", advice)
    if last is None:
        return State("attention", f"{nothing} there was no run.", "Run `recsvc retrain`.")
    trouble = _trouble(last, now)
    if trouble is None and _is_running(last):
        return State("attention", f"{nothing} a run is under way.", "Wait for its end.")
    trouble = trouble or State("attention", _ended(last), AGAIN)
    return State(trouble.level, f"{nothing} {trouble.headline}", trouble.advice)


def _is_running(run: Row) -> bool:
    return bool(run["status"] == RUNNING)


def _ended(run: Row) -> str:
    verb = "was" if run["status"] in (LOST, REFUSED, SKIPPED) else ""
    return f"Run {run['run_id']} {verb} {run['status']}.".replace("  ", " ")


def facts(found: Overview, now: datetime) -> list[tuple[str, str]]:
    """Return what is published, the last run, and how much data there is, each with its name."""
    return [*_published(found, now), *_last_run(found), *_data(found, now)]


def _published(found: Overview, now: datetime) -> Iterator[tuple[str, str]]:
    if found.publication is None:
        yield "Published", "nothing yet"
        return
    at = found.publication.published_at
    yield "Published", f"run {found.publication.run_id}, {moment(at)} ({age(now - at)} ago)"
    yield "Why", found.publication.reason


def _last_run(found: Overview) -> Iterator[tuple[str, str]]:
    if not found.runs:
        yield "Last run", "none yet"
        return
    last = found.runs[0]
    took = f", {duration(last['seconds'])}" if last["finished_at"] else ""
    yield "Last run", f"run {last['run_id']}, {last['status']}, {moment(last['started_at'])}{took}"
    if last["error"]:
        yield "Its outcome", last["error"]


def _data(found: Overview, now: datetime) -> Iterator[tuple[str, str]]:
    yield "Data", ", ".join(f"{count(number)} {name}" for name, number in found.counts.items())
    newest = found.newest_rating_at
    yield "Newest rating", f"{moment(newest)} ({age(now - newest)} old)" if newest else "none yet"
    if found.ingests:
        ingest = found.ingests[0]
        yield "Last ingest", f"{moment(ingest['finished_at'])}, {ingest['source']}"


def gate_table(found: Overview) -> Table | None:
    """Return the newest decision of the gate; ``None`` if none of the runs had any."""
    run = next((row for row in found.runs if row["gate"]), None)
    if run is None:
        return None
    gate = run["gate"]
    verdict = "passed" if gate["passed"] else "did not pass"
    forced = ", and was told to publish in any case" if gate.get("forced") else ""
    rows = [
        (name, *(f"{interval[part]:+.4f}" for part in ("mean", "ci_low", "ci_high")))
        for name, interval in sorted(gate["comparisons"].items())
    ]
    columns = ("compared with", "difference", "95 % from", "to")
    caption = f"The gate: run {run['run_id']} {verdict}{forced}. {gate['reason']}"
    return Table(caption, columns, rows, frozenset(columns[1:]))
