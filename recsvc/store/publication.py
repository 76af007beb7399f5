"""What readers see: one row decides, and switching it is one transaction."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from recsvc.checkpoints import checkpoint
from recsvc.errors import UsageError
from recsvc.store.clock import database_now
from recsvc.store.engine import reading, writing
from recsvc.store.ledger import Claim, update_run
from recsvc.store.output import delete_output, partitions_left
from recsvc.store.schema import models, publications, recommendations, runs, user_metrics
from recsvc.store.snapshot import snapshot
from recsvc.store.transient import is_transient

log = logging.getLogger("recsvc")


@dataclass(frozen=True)
class Publication:
    """The switch that is in force."""

    run_id: int  #: the run that readers see
    published_at: datetime  #: UTC
    action: str  #: publish or rollback
    reason: str  #: why


def current_publication(connection: sa.Connection) -> Publication | None:
    """Return what readers see now; ``None`` before the first publication."""
    columns = (
        publications.c.run_id,
        publications.c.published_at,
        publications.c.action,
        publications.c.reason,
    )
    newest = sa.select(*columns).order_by(publications.c.publication_id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return Publication(*row) if row else None


def published_run(engine: sa.Engine) -> sa.Row[Any] | None:
    """Return the row in ``runs`` of the run that readers see; ``None`` before the first."""
    with reading(engine) as connection:
        current = current_publication(connection)
        if current is None:
            return None
        return connection.execute(sa.select(runs).where(runs.c.run_id == current.run_id)).one()


def published_user_metrics(
    engine: sa.Engine, run_id: int, model: str, metric: str, k: int
) -> npt.NDArray[np.float64]:
    """Return a metric of the published run for each user of its holdout, in user order."""
    table = user_metrics.c
    query = (
        sa.select(table.user_id, table.value)
        .where(table.run_id == run_id, table.model == model, table.metric == metric, table.k == k)
        .order_by(table.user_id)
    )
    with snapshot(engine) as database:
        return database.frame(query)["value"].to_numpy(dtype=np.float64)


def publish(engine: sa.Engine, claim: Claim, reason: str) -> None:
    """Show readers the run, and end it: both or neither.

    Doing so again changes nothing: a commit may succeed though its answer gets lost.

    Raises:
        LeaseLostError: the run is not the running one any more.
    """
    with writing(engine) as connection:
        done = sa.exists().where(publications.c.run_id == claim.run_id)
        if connection.scalar(sa.select(done)):
            return
        now = database_now(connection)
        update_run(connection, claim, status="published", finished_at=now)
        checkpoint("publish:ended")
        connection.execute(
            sa.insert(publications).values(
                run_id=claim.run_id, published_at=now, action="publish", reason=reason
            )
        )
        checkpoint("publish:switched")


def retained_runs(connection: sa.Connection) -> list[int]:
    """Return the runs whose output rows are there to be shown, the newest first."""
    published = (
        sa.select(runs.c.run_id)
        .where(runs.c.status == "published", _has_output())
        .order_by(runs.c.run_id.desc())
    )
    return list(connection.scalars(published))


def _has_output() -> sa.ColumnElement[bool]:
    return sa.exists().where(recommendations.c.run_id == runs.c.run_id)


def roll_back(engine: sa.Engine, run_id: int | None = None) -> Publication:
    """Show readers an earlier run again; by default the one before the current.

    Raises:
        UsageError: there is no such run, or its rows are gone.
    """
    with writing(engine) as connection:
        current = current_publication(connection)
        if current is None:
            raise UsageError("Nothing is published yet: run `recsvc retrain`.")
        candidates = [run for run in retained_runs(connection) if run != current.run_id]
        if run_id is None:
            earlier = [run for run in candidates if run < current.run_id]
            if not earlier:
                raise UsageError(f"No earlier run than {current.run_id} is kept.")
            run_id = earlier[0]
        if run_id not in candidates:
            kept = ", ".join(map(str, candidates)) or "none"
            raise UsageError(f"Run {run_id} cannot be shown: other runs kept are {kept}.")
        connection.execute(
            sa.insert(publications).values(
                run_id=run_id,
                published_at=database_now(connection),
                action="rollback",
                reason=f"rolled back from run {current.run_id}",
            )
        )
        publication = current_publication(connection)
    if publication is None:
        raise UsageError("Nothing is published.")
    return publication


def prune(engine: sa.Engine, keep: int, *, lock_timeout: float) -> list[int]:
    """Delete the output rows and arrays of all but the newest runs and the one readers see.

    Metrics and the history stay. A run whose rows a reader holds for longer than ``lock_timeout``
    seconds is left for the next time. Returns the runs that were pruned.
    """
    pruned: list[int] = []
    for run_id in _doomed(engine, keep):
        checkpoint("prune:run")
        try:
            delete_output(engine, run_id, lock_timeout=lock_timeout)
        except sa.exc.DBAPIError as error:
            if not is_transient(error):
                raise
            log.warning("run %d is in use and is pruned another time: %s", run_id, error.orig)
            continue
        with writing(engine) as connection:
            connection.execute(
                sa.update(models).where(models.c.run_id == run_id).values(arrays=None)
            )
            connection.execute(sa.delete(user_metrics).where(user_metrics.c.run_id == run_id))
        pruned.append(run_id)
    return pruned


def _doomed(engine: sa.Engine, keep: int) -> list[int]:
    with reading(engine) as connection:
        current = current_publication(connection)
        kept = set(retained_runs(connection)[:keep]) | ({current.run_id} if current else set())
        with_arrays = sa.exists().where(
            models.c.run_id == runs.c.run_id, models.c.arrays.is_not(None)
        )
        with_figures = sa.exists().where(user_metrics.c.run_id == runs.c.run_id)
        ended = sa.select(runs.c.run_id).where(
            runs.c.status != "running", _has_output() | with_arrays | with_figures
        )
        left = partitions_left(connection)
        return sorted((set(connection.scalars(ended)) | left) - kept - running(connection))


def running(connection: sa.Connection) -> set[int]:
    """Return the runs under way, whose rows are not shown yet."""
    return set(connection.scalars(sa.select(runs.c.run_id).where(runs.c.status == "running")))
