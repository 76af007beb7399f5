"""The figures by which a monitor judges the nightly job, from the run ledger."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from recsvc.store.contract.tables import metrics, run_phases, runs
from recsvc.store.runs.current import current_publication
from recsvc.vocabulary import ALL, PUBLISHED, RUNNING, phase_of


@dataclass(frozen=True)
class Figures:
    """What the last run, and the last good one, left behind; ``None`` where there was none."""

    status: str | None  #: of the last run that ended
    ended_at: datetime | None  #: when it did
    seconds: float | None  #: how long it took
    ratings: int | None  #: ratings that it read, if it got so far
    phases: dict[str, float]  #: seconds of each of its phases
    published_at: datetime | None  #: when a run was last published
    rows: int | None  #: recommendations that readers see
    metrics: dict[tuple[str, str, str], float]  #: by model, metric and k, of the newest evaluation


def figures(connection: sa.Connection, job: str = "retrain") -> Figures:
    """Gather the figures of a job."""
    columns = (runs.c.run_id, runs.c.status, runs.c.started_at, runs.c.finished_at, runs.c.ratings)
    ended = sa.select(*columns).where(runs.c.job == job, runs.c.status != RUNNING)
    last = connection.execute(ended.order_by(runs.c.run_id.desc()).limit(1)).one_or_none()
    published = sa.select(sa.func.max(runs.c.finished_at)).where(
        runs.c.job == job, runs.c.status == PUBLISHED
    )
    return Figures(
        status=last.status if last else None,
        ended_at=last.finished_at if last else None,
        seconds=(last.finished_at - last.started_at).total_seconds() if last else None,
        ratings=last.ratings if last else None,
        phases=_phases(connection, last.run_id) if last else {},
        published_at=connection.scalar(published),
        rows=_rows_published(connection),
        metrics=_metrics(connection),
    )


def _phases(connection: sa.Connection, run_id: int) -> dict[str, float]:
    query = sa.select(run_phases.c.phase, run_phases.c.seconds).where(run_phases.c.run_id == run_id)
    rows = connection.execute(query.order_by(run_phases.c.started_at, run_phases.c.phase))
    return {row.phase: row.seconds for row in rows}


def _rows_published(connection: sa.Connection) -> int | None:
    """Return what the published run wrote, as its phase says: counting would read every row."""
    current = current_publication(connection)
    if current is None:
        return None
    written = sa.select(run_phases.c.rows).where(
        run_phases.c.run_id == current.run_id, run_phases.c.phase == phase_of("write")
    )
    rows: int | None = connection.scalar(written)
    return rows


def _metrics(connection: sa.Connection) -> dict[tuple[str, str, str], float]:
    newest = sa.select(sa.func.max(metrics.c.run_id)).scalar_subquery()
    query = (
        sa.select(metrics.c.model, metrics.c.metric, metrics.c.k, metrics.c.value)
        .where(metrics.c.run_id == newest, metrics.c.segment == ALL)
        .order_by(metrics.c.model, metrics.c.metric, metrics.c.k)
    )
    return {
        (row.model, row.metric, "" if row.k is None else str(row.k)): row.value
        for row in connection.execute(query)
    }
