"""Which run readers see, and which was published last."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recsvc.store.contract.tables import publications, runs
from recsvc.store.database.transactions import reading


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


def newest_published_run(engine: sa.Engine) -> sa.Row[Any] | None:
    """Return the newest run that was ever published, whether readers still see it or not."""
    newest = sa.select(sa.func.max(publications.c.run_id)).scalar_subquery()
    with reading(engine) as connection:
        return connection.execute(sa.select(runs).where(runs.c.run_id == newest)).one_or_none()
