"""Audits of features: whether each kind of them helps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from recsvc.store.contract.tables import audits
from recsvc.store.database.clock import database_now
from recsvc.store.database.transactions import writing


@dataclass(frozen=True)
class AuditRecord:
    """What a kind of features brings, a row of ``audits`` but for its time."""

    feature: str  #: kind of tokens, such as ``genres``
    compared_with: str  #: ``shuffled`` or ``none``
    protocol: str  #: how the holdout was made
    metric: str  #: what was measured
    k: int  #: length of the lists
    value: float  #: with the feature as it is
    compared_value: float  #: with what it is compared with
    difference: float  #: the mean over users and seeds
    ci_low: float  #: lower end of its 95 % confidence interval
    ci_high: float  #: upper end of its 95 % confidence interval
    seeds: int  #: trainings of each kind
    users: int  #: that it is a mean of


def record_audit(engine: sa.Engine, records: Sequence[AuditRecord]) -> None:
    """Store an audit, all of it at one time."""
    with writing(engine) as connection:
        now = database_now(connection)
        rows = [{"audited_at": now, **vars(record)} for record in records]
        if rows:
            connection.execute(sa.insert(audits), rows)


def last_audit(connection: sa.Connection) -> datetime | None:
    """Return when the newest audit was stored; ``None`` before the first."""
    moment: datetime | None = connection.scalar(sa.select(sa.func.max(audits.c.audited_at)))
    return moment
