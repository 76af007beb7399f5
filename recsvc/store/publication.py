"""What readers see: one row decides, and switching it is one transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recsvc.errors import UsageError
from recsvc.store.clock import database_now
from recsvc.store.engine import reading, writing
from recsvc.store.ledger import Claim, update_run
from recsvc.store.output import delete_output
from recsvc.store.schema import models, publications, recommendations, runs, user_metrics


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


def publish(engine: sa.Engine, claim: Claim, reason: str) -> None:
    """Show readers the run, and end it: both or neither.

    Raises:
        LeaseLostError: the run is not the running one any more.
    """
    with writing(engine) as connection:
        now = database_now(connection)
        update_run(connection, claim, status="published", finished_at=now)
        connection.execute(
            sa.insert(publications).values(
                run_id=claim.run_id, published_at=now, action="publish", reason=reason
            )
        )


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


def prune(engine: sa.Engine, keep: int) -> list[int]:
    """Delete the output rows and arrays of all but the newest runs and the one readers see.

    Metrics and the history stay. Returns the runs that were pruned.
    """
    with reading(engine) as connection:
        current = current_publication(connection)
        kept = set(retained_runs(connection)[:keep]) | ({current.run_id} if current else set())
        ended = connection.scalars(
            sa.select(runs.c.run_id).where(
                runs.c.status != "running",
                _has_output()
                | sa.exists().where(models.c.run_id == runs.c.run_id, models.c.arrays.is_not(None)),
            )
        )
        doomed = sorted(set(ended) - kept)
    for run_id in doomed:
        delete_output(engine, run_id)
        with writing(engine) as connection:
            connection.execute(
                sa.update(models).where(models.c.run_id == run_id).values(arrays=None)
            )
            connection.execute(sa.delete(user_metrics).where(user_metrics.c.run_id == run_id))
    return doomed
