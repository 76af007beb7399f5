"""Does each kind of features help? The hybrid with it, with it shuffled, and without it."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import sqlalchemy as sa

from recsvc.errors import RecsvcError, UsageError
from recsvc.model.data.alterations import has_kind, with_shuffled_kind, without_kind
from recsvc.model.data.features import Features
from recsvc.model.data.seen import seen_before
from recsvc.model.data.splits import Split, hold_out
from recsvc.model.evaluation.evaluate import evaluate
from recsvc.model.evaluation.gate import FEWEST_USERS, paired_difference
from recsvc.model.recommenders.registry import lineup
from recsvc.pipeline.compare import lineup_configuration, mask_of
from recsvc.pipeline.load import TrainingData, load_training_data
from recsvc.pipeline.run import Run
from recsvc.pipeline.tokens import OF_MOVIES
from recsvc.runtime.arrays import Float64
from recsvc.settings import Settings
from recsvc.store.database.clock import database_now
from recsvc.store.database.transactions import reading
from recsvc.store.runs.audits import AuditRecord, last_audit, record_audit
from recsvc.vocabulary import GATE_K, GATE_METRIC, LIGHTFM_HYBRID, NOTHING, SHUFFLED

SEEDS = 3
log = logging.getLogger("recsvc")


def audit(engine: sa.Engine, settings: Settings, seeds: int = SEEDS) -> list[AuditRecord]:
    """Find out, by the holdout, what each kind of features of movies brings, and store it.

    Args:
        engine: the database, its schema at head.
        settings: what the hybrid is trained with.
        seeds: trainings of each kind, each with a seed of its own.

    Raises:
        UsageError: there is nothing to learn from, to judge by, or to take away.
    """
    records = list(audited(load_training_data(engine, settings), settings, seeds))
    record_audit(engine, records)
    return records


def audit_if_due(run: Run, data: TrainingData) -> None:
    """Audit if the settings ask for it and the last audit is old enough.

    The run is published by then, and how it ended does not depend on this.
    """
    days = run.settings.audit_days
    if not days:
        return
    try:
        with reading(run.engine) as connection:
            last, now = last_audit(connection), database_now(connection)
        if last is not None and now - last < timedelta(days=days):
            return
        with run.phase("audit", leased=False) as phase:
            records = list(audited(data, run.settings, SEEDS))
            record_audit(run.engine, records)
            phase.rows = len(records)
    except (RecsvcError, sa.exc.SQLAlchemyError) as error:
        log.warning("features are audited another time: %s", error)


def audited(data: TrainingData, settings: Settings, seeds: int) -> Iterator[AuditRecord]:
    """Yield what each kind of features brings, compared in both ways.

    Users are compared with themselves: the interval is that of the mean over users of what each
    gains, averaged over the seeds.

    Args:
        data: what the hybrid learns from.
        settings: what it is trained with.
        seeds: trainings of each kind.

    Raises:
        UsageError: there is nothing to learn from, to judge by, or to take away.
    """
    split = hold_out(data.interactions, settings, settings.seed)
    kinds = [kind for kind in OF_MOVIES if has_kind(data.features.items, kind.prefix)]
    if split.n_judged < FEWEST_USERS or not kinds:
        raise UsageError(
            "There is nothing to audit: it takes movies with genres or tags, and users whose "
            "positives can be held out. `recsvc status` shows what there is."
        )
    whole = _figures(data, settings, split, seeds, lambda items, _: items)
    for kind in kinds:
        for compared_with, change in _changes(kind.prefix, settings):
            changed = _figures(data, settings, split, seeds, change)
            interval = paired_difference(whole, changed, settings.seed)
            yield AuditRecord(
                feature=kind.name,
                compared_with=compared_with,
                protocol=split.protocol,
                metric=GATE_METRIC,
                k=GATE_K,
                value=float(whole.mean()),
                compared_value=float(changed.mean()),
                difference=interval.mean,
                ci_low=interval.low,
                ci_high=interval.high,
                seeds=seeds,
                users=len(whole),
            )


#: Changes features of movies, given the seed of the training.
Change = Callable[[Features, int], Features]


def _changes(prefix: str, settings: Settings) -> Iterator[tuple[str, Change]]:
    normalize = settings.normalize_features
    yield (
        SHUFFLED,
        lambda items, seed: with_shuffled_kind(items, prefix, seed, normalize=normalize),
    )
    yield NOTHING, lambda items, _: without_kind(items, prefix, normalize=normalize)


def _figures(
    data: TrainingData, settings: Settings, split: Split, seeds: int, change: Change
) -> Float64:
    """Return NDCG@10 of the hybrid for each judged user, the mean over seeds."""
    train, test = split.train.csr(), split.test.csr()
    seen = seen_before(data.interactions, split, mask_of(settings))
    configuration = lineup_configuration(settings)
    figures = []
    for seed in range(settings.seed, settings.seed + seeds):
        recommender = lineup(replace(configuration, seed=seed))[LIGHTFM_HYBRID]
        features = replace(data.features, items=change(data.features.items, seed))
        scores = recommender.fit(features.with_positives(split.train)).scores
        evaluation = evaluate(
            scores,
            train,
            test,
            seen=seen,
            ks=(GATE_K,),
            threads=settings.threads,
            segments=False,
        )
        figures.append(evaluation.per_user(GATE_METRIC, GATE_K)[1])
    return np.asarray(np.mean(figures, axis=0))
