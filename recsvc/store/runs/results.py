"""What a run made and measured: models, metrics, and figures for each user of the holdout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.runtime.arrays import Float64
from recsvc.store.contract.tables import metrics, models, publications, runs, user_metrics
from recsvc.store.database.bulk import insert
from recsvc.store.database.snapshot import snapshot
from recsvc.store.database.transactions import reading, writing
from recsvc.store.runs.ledger import Claim, renew
from recsvc.vocabulary import ALL, NeighbourKind


@dataclass(frozen=True)
class ModelRecord:
    """One of a run's models, a row of ``models``."""

    model: str  #: name, of :data:`recsvc.vocabulary.MODELS`
    hyperparameters: dict[str, Any]  #: in the model's own terms
    seed: int  #: of its random numbers
    epochs: int  #: that it was trained for; 0 if it makes none
    neighbours: str | None = None  #: what co-occurrence a blend adds
    neighbour_decay: float | None = None  #: how fast it lets a history fade
    neighbour_weight: float | None = None  #: what it multiplies neighbours with
    popularity_weight: float | None = None  #: what it multiplies recent popularity with
    warm_from: int | None = None  #: the run that training went on from
    arrays: bytes | None = None  #: the archive, of the model that is to be published


@dataclass(frozen=True)
class Standing:
    """What a published run achieved."""

    run_id: int
    value: float  #: a metric of the model that it published
    ci_high: float | None  #: upper end of its 95 % confidence interval


@dataclass(frozen=True)
class MetricRecord:
    """One figure of a model, a row of ``metrics``."""

    model: str  #: name, of :data:`recsvc.vocabulary.MODELS`
    protocol: str  #: how the holdout was made
    segment: str  #: whom or what it is about; ``all`` for everybody
    metric: str  #: what was measured
    k: int | None  #: length of the lists; ``None`` where it means nothing
    value: float  #: the mean over ``users``
    ci_low: float | None  #: lower end of its confidence interval
    ci_high: float | None  #: upper end of its confidence interval
    users: int  #: that it is a mean of


def record_models(engine: sa.Engine, claim: Claim, records: Sequence[ModelRecord]) -> None:
    """Store the models of a run; those that an earlier try left are replaced."""
    with writing(engine) as connection:
        connection.execute(sa.delete(models).where(models.c.run_id == claim.run_id))
        for record in records:
            connection.execute(sa.insert(models).values(run_id=claim.run_id, **vars(record)))
        renew(connection, claim)


def record_metrics(engine: sa.Engine, claim: Claim, records: Sequence[MetricRecord]) -> None:
    """Store metrics; those that an earlier try left of the same models are replaced."""
    with writing(engine) as connection:
        for model in {record.model for record in records}:
            connection.execute(
                sa.delete(metrics).where(metrics.c.run_id == claim.run_id, metrics.c.model == model)
            )
        if records:
            rows = [{"run_id": claim.run_id, **vars(record)} for record in records]
            connection.execute(sa.insert(metrics), rows)
        renew(connection, claim)


def record_user_metrics(engine: sa.Engine, claim: Claim, rows: pd.DataFrame) -> None:
    """Store per-user figures: model, metric, k, user_id, value."""
    with writing(engine) as connection:
        connection.execute(sa.delete(user_metrics).where(user_metrics.c.run_id == claim.run_id))
        insert(connection, user_metrics, rows.assign(run_id=claim.run_id))
        renew(connection, claim)


def stored_user_metrics(engine: sa.Engine, run_id: int, model: str, metric: str, k: int) -> Float64:
    """Return a metric of a run for each user of its holdout, in user order."""
    table = user_metrics.c
    query = (
        sa.select(table.user_id, table.value)
        .where(table.run_id == run_id, table.model == model, table.metric == metric, table.k == k)
        .order_by(table.user_id)
    )
    with snapshot(engine) as database:
        return database.frame(query)["value"].to_numpy(dtype=np.float64)


def stored_epochs(engine: sa.Engine, run_id: int, model: str) -> int | None:
    """Return the epochs that a model of a run took; ``None`` if it is not on record."""
    query = sa.select(models.c.epochs).where(models.c.run_id == run_id, models.c.model == model)
    with reading(engine) as connection:
        epochs: int | None = connection.scalar(query)
    return epochs


def stored_weights(
    engine: sa.Engine, run_id: int, model: str
) -> tuple[NeighbourKind | None, float | None, float, float] | None:
    """Return the weights of a blend: neighbours, decay and both weights.

    ``None`` if the model has none.
    """
    columns = (
        models.c.neighbours,
        models.c.neighbour_decay,
        models.c.neighbour_weight,
        models.c.popularity_weight,
    )
    query = sa.select(*columns).where(models.c.run_id == run_id, models.c.model == model)
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None or row.neighbour_weight is None else tuple(row)


def best_published(
    engine: sa.Engine, protocol: str, mask: str, metric: str, k: int, *, lately: int
) -> Standing | None:
    """Return the best of the newest published runs that were judged in the same way.

    Args:
        engine: the database.
        protocol: how the holdout was made.
        mask: what the lists that were judged left out.
        metric: what to go by.
        k: length of the lists.
        lately: how many published runs to look back on.

    Returns:
        What the model that the run published achieved; of equal ones the newest.
    """
    published = sa.select(publications.c.run_id).distinct()
    newest = (
        sa.select(runs.c.run_id)
        .where(runs.c.run_id.in_(published))
        .order_by(runs.c.run_id.desc())
        .limit(lately)
    )
    query = (
        sa.select(metrics.c.run_id, metrics.c.value, metrics.c.ci_high)
        .join(runs, runs.c.run_id == metrics.c.run_id)
        .where(
            runs.c.run_id.in_(newest),
            runs.c.protocol == protocol,
            runs.c.mask == mask,
            metrics.c.model == runs.c.model,
            metrics.c.segment == ALL,
            metrics.c.metric == metric,
            metrics.c.k == k,
        )
        .order_by(metrics.c.value.desc(), metrics.c.run_id.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    return Standing(*row) if row else None
