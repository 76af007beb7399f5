"""What readers see: one row decides, and switching it is one transaction."""

import logging

import sqlalchemy as sa

from recsvc.errors import UsageError
from recsvc.runtime.checkpoints import checkpoint
from recsvc.store.contract.tables import (
    OUTPUT_TABLES,
    models,
    publications,
    runs,
    user_metrics,
)
from recsvc.store.database.backends import backend_of
from recsvc.store.database.clock import database_now
from recsvc.store.database.retry import is_transient
from recsvc.store.database.transactions import reading, writing
from recsvc.store.runs.current import Publication, current_publication
from recsvc.store.runs.ledger import Claim, update_run
from recsvc.store.runs.output import delete_output, runs_left
from recsvc.vocabulary import PUBLISH, PUBLISHED, ROLLBACK, RUNNING

log = logging.getLogger("recsvc")


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
        update_run(connection, claim, status=PUBLISHED, finished_at=now)
        checkpoint("publish:ended")
        connection.execute(
            sa.insert(publications).values(
                run_id=claim.run_id, published_at=now, action=PUBLISH, reason=reason
            )
        )
        checkpoint("publish:switched")


def retained_runs(connection: sa.Connection) -> list[int]:
    """Return the runs whose output rows are there to be shown, the newest first."""
    kept = sa.select(runs.c.run_id).where(_is_retained()).order_by(runs.c.run_id.desc())
    return list(connection.scalars(kept))


def _is_retained() -> sa.ColumnElement[bool]:
    return sa.and_(runs.c.status == PUBLISHED, runs.c.pruned_at.is_(None))


def roll_back(engine: sa.Engine, run_id: int | None = None) -> Publication:
    """Show readers an earlier run again; by default the one before the current.

    Raises:
        UsageError: there is no such run, or its rows are gone.
    """
    with writing(engine) as connection:
        backend_of(connection).lock(connection, publications)
        current = current_publication(connection)
        if current is None:
            raise UsageError("Nothing is published yet: run `recsvc retrain`.")
        others = [run for run in retained_runs(connection) if run != current.run_id]
        if run_id is None:
            run_id = next((run for run in others if run < current.run_id), None)
            if run_id is None:
                raise UsageError(f"No run earlier than {current.run_id} is kept.")
        # The row stays locked until the switch is done, so that prune cannot give it up meanwhile.
        chosen = sa.select(runs.c.run_id).where(runs.c.run_id == run_id, _is_retained())
        if run_id not in others or connection.scalar(chosen.with_for_update()) is None:
            kept = ", ".join(map(str, others)) or "none"
            raise UsageError(f"Run {run_id} cannot be shown: other runs kept are {kept}.")
        now = database_now(connection)
        reason = f"rolled back from run {current.run_id}"
        connection.execute(
            sa.insert(publications).values(
                run_id=run_id, published_at=now, action=ROLLBACK, reason=reason
            )
        )
    return Publication(run_id, now, ROLLBACK, reason)


def prune(engine: sa.Engine, keep: int, *, lock_timeout: float) -> list[int]:
    """Delete the output rows and arrays of all but the newest runs and the one readers see.

    Metrics and the history stay. A run whose rows a reader holds for longer than ``lock_timeout``
    seconds is left for the next time. Returns the runs that were pruned.
    """
    pruned: list[int] = []
    for run_id in _doomed(engine, keep):
        checkpoint("prune:run")
        if not _give_up(engine, run_id):
            continue
        checkpoint("prune:given_up")
        try:
            delete_output(engine, run_id, lock_timeout=lock_timeout)
        except sa.exc.DBAPIError as error:
            handled = backend_of(engine).is_handled_elsewhere(error.orig)
            if not (handled or is_transient(error)):
                raise
            log.warning("run %d is in use and is pruned another time: %s", run_id, error.orig)
        else:
            pruned.append(run_id)
    return pruned


def _doomed(engine: sa.Engine, keep: int) -> list[int]:
    """Return runs that have ended, have something left, and are not to be kept."""
    with reading(engine) as connection:
        kept = set(retained_runs(connection)[:keep])
        ended = sa.select(runs.c.run_id).where(runs.c.status != RUNNING)
        left = [
            *(sa.exists().where(table.c.run_id == runs.c.run_id) for table in OUTPUT_TABLES),
            sa.exists().where(models.c.run_id == runs.c.run_id, models.c.arrays.is_not(None)),
            sa.exists().where(user_metrics.c.run_id == runs.c.run_id),
            runs.c.run_id.in_(runs_left(connection)),
        ]
        return sorted(set(connection.scalars(ended.where(sa.or_(*left)))) - kept)


def _give_up(engine: sa.Engine, run_id: int) -> bool:
    """Mark a run as not to be shown any more, unless readers see it."""
    with writing(engine) as connection:
        connection.execute(
            sa.update(runs)
            .where(runs.c.run_id == run_id)
            .values(pruned_at=database_now(connection))
        )
        current = current_publication(connection)
        if current is not None and current.run_id == run_id:
            connection.rollback()
            return False
        connection.execute(sa.update(models).where(models.c.run_id == run_id).values(arrays=None))
        connection.execute(sa.delete(user_metrics).where(user_metrics.c.run_id == run_id))
    return True
