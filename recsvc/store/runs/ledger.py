"""The run ledger: who runs what, since when, and how it ended.

A run is claimed by inserting its row: the database allows one running row for each job, and one
row for each night, unless it failed or was lost. The row is a lease, renewed by a heartbeat and
timed by the database's clock; a row whose lease ran out is marked ``lost`` by the next claim. It
carries a fence, a number that grows with every claim: whatever a run changes for others to see is
conditional on its row still running under its fence, so that a run which wakes up after it was
given up changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from recsvc.errors import LeaseLostError, NightDoneError, RunInProgressError
from recsvc.store.contract.tables import run_phases, runs
from recsvc.store.database.backends import backend_of
from recsvc.store.database.clock import database_now
from recsvc.store.database.transactions import reading, writing
from recsvc.vocabulary import LOST, RUNNING, UNFINISHED

_DEALT_WITH = runs.c.status.not_in(UNFINISHED)


@dataclass(frozen=True)
class Claim:
    """The right to run a job once."""

    run_id: int  #: row in ``runs``
    job: str  #: name of the job
    fence: int  #: grows with every claim of the job

    def holds(self) -> sa.ColumnElement[bool]:
        """Return the condition under which this run may still act."""
        return sa.and_(
            runs.c.run_id == self.run_id,
            runs.c.status == RUNNING,
            runs.c.fence == self.fence,
        )


def claim_run(
    engine: sa.Engine,
    job: str,
    *,
    host: str,
    settings: dict[str, Any],
    versions: dict[str, str],
    lease_seconds: float,
    scheduled_for: datetime | None = None,
) -> Claim:
    """Insert a running row, after marking as ``lost`` the one whose lease ran out, if any.

    Raises:
        RunInProgressError: another run of the job is running.
        NightDoneError: this night has been run.
    """
    values: dict[str, Any] = {"job": job, "status": RUNNING, "host": host}
    values |= {"settings": settings, "versions": versions, "lease_seconds": lease_seconds}
    mark_lost(engine, job)
    try:
        with writing(engine) as connection:
            now = database_now(connection)
            last = sa.select(sa.func.coalesce(sa.func.max(runs.c.fence), 0)).where(
                runs.c.job == job
            )
            fence = int(connection.scalar(last) or 0) + 1
            times = {"started_at": now, "heartbeat_at": now, "scheduled_for": scheduled_for or now}
            run_id: int = connection.execute(
                sa.insert(runs).values(**values, **times, fence=fence).returning(runs.c.run_id)
            ).scalar_one()
    except IntegrityError:
        raise _refusal(engine, job, scheduled_for) from None
    return Claim(run_id, job, fence)


def mark_lost(engine: sa.Engine, job: str) -> None:
    """End the running run of a job as ``lost`` if it showed no sign of life for its own lease."""
    backend_of(engine).let_heartbeats_through(engine)
    query = sa.select(
        runs.c.run_id, runs.c.status, runs.c.heartbeat_at, runs.c.lease_seconds
    ).where(runs.c.job == job, runs.c.status == RUNNING)
    with reading(engine) as connection:
        now = database_now(connection)
        found = [dict(row) for row in connection.execute(query).mappings()]
    overdue = [row for row in found if is_silent(row, now)]
    for row in overdue:
        with writing(engine) as connection:
            connection.execute(
                sa.update(runs)
                .where(
                    runs.c.run_id == row["run_id"],
                    runs.c.status == RUNNING,
                    runs.c.heartbeat_at <= row["heartbeat_at"],
                )
                .values(
                    status=LOST,
                    finished_at=database_now(connection),
                    error=f"No sign of life for {row['lease_seconds']:g} seconds: "
                    "the process died or hung.",
                )
            )


def is_silent(run: Mapping[str, Any], now: datetime) -> bool:
    """Whether a run that is said to be running has shown no sign of life for its own lease.

    Args:
        run: its status, heartbeat_at and lease_seconds.
        now: by the database's clock.
    """
    lease = timedelta(seconds=run["lease_seconds"])
    return bool(run["status"] == RUNNING and run["heartbeat_at"] < now - lease)


def _refusal(
    engine: sa.Engine, job: str, scheduled_for: datetime | None
) -> RunInProgressError | NightDoneError:
    running = sa.select(runs).where(runs.c.job == job, runs.c.status == RUNNING)
    night = sa.select(runs).where(
        runs.c.job == job, _DEALT_WITH, runs.c.scheduled_for == scheduled_for
    )
    with reading(engine) as connection:
        row = connection.execute(running).one_or_none()
        done = connection.execute(night).one_or_none() if scheduled_for else None
    if done is not None and done.status != RUNNING:
        return NightDoneError(
            f"The night of {scheduled_for:%Y-%m-%d %H:%M} UTC was run already: run {done.run_id} "
            f"{done.status}."
        )
    if row is None:
        return RunInProgressError(f"Another {job} was claimed at the same moment: try again later.")
    return RunInProgressError(
        f"Run {row.run_id} of {job} holds the lease since {row.started_at:%Y-%m-%d %H:%M:%S} UTC "
        f"on {row.host}: try again later, or see `recsvc status`."
    )


def update_run(connection: sa.Connection, claim: Claim, **values: Any) -> None:
    """Change the run's row.

    Raises:
        LeaseLostError: the run is not the running one any more.
    """
    changed = connection.execute(sa.update(runs).where(claim.holds()).values(**values))
    if changed.rowcount != 1:
        raise LeaseLostError(
            f"Run {claim.run_id} lost its lease: it was given up, and another run may have taken "
            "over. Nothing of it is published."
        )


def renew(connection: sa.Connection, claim: Claim) -> None:
    """Show a sign of life, and make sure that the transaction belongs to the running run.

    Raises:
        LeaseLostError: the run is not the running one any more.
    """
    update_run(connection, claim, heartbeat_at=database_now(connection))


def finish_run(engine: sa.Engine, claim: Claim, status: str, error: str | None = None) -> None:
    """End the run without publishing.

    Raises:
        LeaseLostError: somebody else ended it before.
    """
    with writing(engine) as connection:
        update_run(
            connection, claim, status=status, error=error, finished_at=database_now(connection)
        )


def last_scheduled(connection: sa.Connection, job: str) -> datetime | None:
    """Return the newest night that a job has dealt with; ``None`` before the first."""
    # A row that says running may be an orphan: whoever claims the night finds out.
    ended = runs.c.status != RUNNING
    newest = sa.select(sa.func.max(runs.c.scheduled_for)).where(
        runs.c.job == job, _DEALT_WITH, ended
    )
    moment: datetime | None = connection.scalar(newest)
    return moment


@dataclass(frozen=True)
class DataRecord:
    """What a run read."""

    fingerprint: str  #: the same for the same data
    ratings: int  #: how many
    users: int  #: that there are, whether they rated or not
    movies: int  #: that there are, rated or not


def record_data(engine: sa.Engine, claim: Claim, record: DataRecord) -> None:
    """Store what was read."""
    with writing(engine) as connection:
        update_run(connection, claim, **vars(record))


@dataclass(frozen=True)
class HoldoutRecord:
    """How a run is judged."""

    protocol: str  #: how the holdout was made
    protocol_reason: str | None  #: a sentence, where it is not the protocol that was asked for
    mask: str  #: what lists that are judged leave out


def record_holdout(engine: sa.Engine, claim: Claim, record: HoldoutRecord) -> None:
    """Store how the run is judged."""
    with writing(engine) as connection:
        update_run(connection, claim, **vars(record))


def record_gate(engine: sa.Engine, claim: Claim, model: str, decision: dict[str, Any]) -> None:
    """Store the gate's decision, and the model that it is about."""
    with writing(engine) as connection:
        update_run(connection, claim, model=model, gate=decision)


@dataclass(frozen=True)
class PhaseRecord:
    """How one phase went."""

    phase: str  #: name, with the model's after a colon for fit and evaluate
    started_at: datetime  #: UTC
    seconds: float  #: by a monotonic clock
    rows: int | None  #: rows handled, where that means something
    peak_memory: int  #: bytes, of the process so far


def record_phase(engine: sa.Engine, claim: Claim, record: PhaseRecord) -> None:
    """Store how a phase went; what an earlier try of the same phase left is replaced."""
    with writing(engine) as connection:
        connection.execute(
            sa.delete(run_phases).where(
                run_phases.c.run_id == claim.run_id, run_phases.c.phase == record.phase
            )
        )
        connection.execute(sa.insert(run_phases).values(run_id=claim.run_id, **vars(record)))
