"""The run ledger: who runs what, since when, and how it ended.

A run is claimed by inserting its row: the database allows one running row for each job, and one
row for each night. The row carries a fence, a number that grows with every claim; whatever a run
changes for others to see is conditional on its row still running under its fence.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from recsvc.errors import LeaseLostError, RunInProgressError
from recsvc.store.clock import database_now
from recsvc.store.engine import reading, writing
from recsvc.store.schema import metrics, models, run_phases, runs


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
            runs.c.status == "running",
            runs.c.fence == self.fence,
        )


def claim_run(
    engine: sa.Engine,
    job: str,
    *,
    host: str,
    settings: dict[str, Any],
    versions: dict[str, str],
    scheduled_for: datetime | None = None,
) -> Claim:
    """Insert a running row.

    Raises:
        RunInProgressError: another run of the job is running, or has done this night.
    """
    try:
        with writing(engine) as connection:
            now = database_now(connection)
            last = sa.select(sa.func.coalesce(sa.func.max(runs.c.fence), 0)).where(
                runs.c.job == job
            )
            fence = int(connection.scalar(last) or 0) + 1
            run_id: int = connection.execute(
                sa.insert(runs)
                .values(
                    job=job,
                    scheduled_for=scheduled_for or now,
                    status="running",
                    started_at=now,
                    heartbeat_at=now,
                    fence=fence,
                    host=host,
                    settings=settings,
                    versions=versions,
                )
                .returning(runs.c.run_id)
            ).scalar_one()
    except IntegrityError:
        raise RunInProgressError(_who_runs(engine, job)) from None
    return Claim(run_id, job, fence)


def _who_runs(engine: sa.Engine, job: str) -> str:
    query = sa.select(runs).where(runs.c.job == job, runs.c.status == "running")
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return f"Another {job} was claimed at the same moment: try again later."
    return (
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
            f"Run {claim.run_id} lost its lease: another run may have taken over; "
            "nothing was published."
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


def record_data(engine: sa.Engine, claim: Claim, **figures: Any) -> None:
    """Store what was read: fingerprint, ratings, users, movies."""
    with writing(engine) as connection:
        update_run(connection, claim, **figures)


def record_gate(engine: sa.Engine, claim: Claim, decision: dict[str, Any]) -> None:
    """Store the gate's decision."""
    with writing(engine) as connection:
        update_run(connection, claim, gate=decision)


@dataclass(frozen=True)
class PhaseRecord:
    """How one phase went."""

    phase: str  #: name, with the model's after a colon for fit and evaluate
    started_at: datetime  #: UTC
    seconds: float  #: by a monotonic clock
    rows: int | None  #: rows handled, where that means something
    peak_memory: int  #: bytes, of the process so far


def record_phase(engine: sa.Engine, claim: Claim, record: PhaseRecord) -> None:
    """Store how a phase went."""
    with writing(engine) as connection:
        connection.execute(sa.insert(run_phases).values(run_id=claim.run_id, **vars(record)))


def record_models(engine: sa.Engine, claim: Claim, rows: list[dict[str, Any]]) -> None:
    """Store the models of a run: model, hyperparameters, seed, epochs, arrays."""
    with writing(engine) as connection:
        renew(connection, claim)
        for row in rows:
            connection.execute(sa.insert(models).values(run_id=claim.run_id, **row))


def record_metrics(engine: sa.Engine, claim: Claim, rows: list[dict[str, Any]]) -> None:
    """Store metric values: model, protocol, segment, metric, k, value, ci_low, ci_high, users."""
    with writing(engine) as connection:
        renew(connection, claim)
        if rows:
            connection.execute(
                sa.insert(metrics), [{"run_id": claim.run_id, **row} for row in rows]
            )
