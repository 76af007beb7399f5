"""The nightly job: from rows in the database to recommendations that readers see."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from recsvc.errors import LeaseLostError, PublicationRefusedError
from recsvc.model.archive import ArchivedModel, to_bytes
from recsvc.model.baselines import popularity
from recsvc.model.dataset import Csr, Interactions
from recsvc.model.evaluation import Evaluation, evaluate
from recsvc.model.gate import Decision, decide
from recsvc.model.hybrid import TrainedModel
from recsvc.model.hyperparameters import Hyperparameters
from recsvc.model.lineup import (
    HYBRID,
    LINEUP,
    POPULAR,
    FittedHybrid,
    Training,
    fit_hybrid,
    fit_model,
    user_sources,
)
from recsvc.model.ranking import rank, similar_items
from recsvc.model.rows import recommendation_rows, similarity_rows
from recsvc.model.split import Split, all_positives
from recsvc.run import OnPhase, Run, start_run
from recsvc.settings import Recipe, Settings
from recsvc.store import ledger
from recsvc.store.output import write_output
from recsvc.store.publication import prune, publish, published_run
from recsvc.store.schema import recommendations, similar_movies
from recsvc.store.verification import Expectation, verify_output
from recsvc.training_data import TrainingData, hold_out, load_training_data

JOB = "retrain"
KS = (5, 10, 20)
GATE_METRIC, GATE_K = "ndcg", 10


@dataclass(frozen=True)
class RetrainReport:
    """How a run ended that did not fail."""

    run_id: int  #: row in ``runs``
    status: str  #: published or skipped
    reason: str  #: one sentence


def retrain(
    engine: sa.Engine,
    settings: Settings,
    *,
    force: bool = False,
    scheduled_for: datetime | None = None,
    on_phase: OnPhase | None = None,
) -> RetrainReport:
    """Train, compare, and publish if the gate agrees.

    Args:
        engine: the database, its schema at head.
        settings: what to train and how.
        force: publish whatever the gate says, and even if nothing is new; it is recorded.
        scheduled_for: the night this run stands for; now, if it is started by hand.
        on_phase: called with the name of each phase as it begins.

    Raises:
        RunInProgressError: another run holds the lease.
        PublicationRefusedError: the gate refused; readers keep what they had.
    """
    run = start_run(engine, settings, JOB, scheduled_for=scheduled_for, on_phase=on_phase)
    try:
        return _retrain(run, force=force)
    except PublicationRefusedError as refusal:
        ledger.finish_run(engine, run.claim, "refused", str(refusal))
        raise
    except LeaseLostError:
        raise
    except BaseException as error:
        ledger.finish_run(engine, run.claim, "failed", f"{type(error).__name__}: {error}")
        raise


def _retrain(run: Run, *, force: bool) -> RetrainReport:
    data = _load(run)
    if not force and _nothing_new(run, data):
        reason = "Nothing is new since the published run: data and settings are the same."
        ledger.finish_run(run.engine, run.claim, "skipped")
        return RetrainReport(run.claim.run_id, "skipped", reason)
    with run.phase("split") as phase:
        split = hold_out(data.interactions, run.settings)
        phase.rows = len(split.test.rows)
    decision = _pass_gate(run, _evaluate_lineup(run, data, split), force=force)
    del split
    with run.phase("refit"):
        positives = all_positives(data.interactions)
        final = fit_hybrid(positives, data.items, data.users, _training(run.settings))
        _record_models(run, data, final.trained)
    _write(run, data, final)
    _write_similar(run, data, final.trained)
    with run.phase("verify") as phase:
        expected = _expectation(data, run.settings)
        phase.rows = verify_output(run.engine, run.claim.run_id, expected)
    with run.phase("publish"):
        publish(run.engine, run.claim, decision.reason)
    with run.phase("prune") as phase:
        phase.rows = len(prune(run.engine, run.settings.keep_runs))
    return RetrainReport(run.claim.run_id, "published", decision.reason)


def _load(run: Run) -> TrainingData:
    with run.phase("load") as phase:
        data = load_training_data(run.engine, run.settings)
        interactions = data.interactions
        phase.rows = interactions.n_ratings
        ledger.record_data(
            run.engine,
            run.claim,
            fingerprint=data.fingerprint(),
            ratings=interactions.n_ratings,
            users=len(interactions.users),
            movies=len(interactions.items),
        )
    return data


def _nothing_new(run: Run, data: TrainingData) -> bool:
    current = published_run(run.engine)
    return (
        current is not None
        and current.fingerprint == data.fingerprint()
        and current.settings == run.settings.recipe()
    )


def _training(settings: Settings) -> Training:
    names = Hyperparameters.__dataclass_fields__
    chosen = {name: getattr(settings, name) for name in names}
    return Training(Hyperparameters(**chosen), settings.seed, settings.threads)


def _evaluate_lineup(run: Run, data: TrainingData, split: Split) -> dict[str, Evaluation]:
    """Fit each model on the same split and store its metrics; none where nothing is held out."""
    if not len(split.train.rows) or not len(split.test.rows):
        return {}
    train, test = split.train.csr(), split.test.csr()
    evaluations: dict[str, Evaluation] = {}
    for name in LINEUP:
        with run.phase(f"fit:{name}") as phase:
            training = _training(run.settings)
            factors = fit_model(name, split.train, data.items, data.users, training)
            phase.rows = len(split.train.rows)
        with run.phase(f"evaluate:{name}") as phase:
            evaluations[name] = evaluate(factors, train, test, ks=KS, threads=run.settings.threads)
            phase.rows = len(split.test.rows)
            rows = list(_metric_rows(name, run.settings.protocol, evaluations[name]))
            ledger.record_metrics(run.engine, run.claim, rows)
    return evaluations


def _metric_rows(model: str, protocol: str, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for row in evaluation.rows:
        yield {"model": model, "protocol": protocol, **asdict(row)}


def _pass_gate(run: Run, evaluations: dict[str, Evaluation], *, force: bool) -> Decision:
    with run.phase("gate"):
        nobody = np.empty(0)
        figures = {
            name: evaluation.per_user(GATE_METRIC, GATE_K)[1]
            for name, evaluation in evaluations.items()
        }
        decision = decide(
            figures.get(HYBRID, nobody), figures.get(POPULAR, nobody), run.settings.seed
        )
        ledger.record_gate(run.engine, run.claim, decision.document() | {"forced": force})
    if not decision.passed and not force:
        raise PublicationRefusedError(
            f"Run {run.claim.run_id} is not published; readers keep what they had. "
            f"{decision.reason} `recsvc metrics` shows the figures, "
            "`recsvc retrain --force` publishes all the same."
        )
    return decision


def _record_models(run: Run, data: TrainingData, final: TrainedModel) -> None:
    hyperparameters = asdict(_training(run.settings).hyperparameters)
    rows: list[dict[str, Any]] = [
        {
            "model": name,
            "hyperparameters": {} if name == POPULAR else hyperparameters,
            "seed": run.settings.seed,
            "epochs": 0 if name == POPULAR else run.settings.epochs,
            "arrays": None,
        }
        for name in LINEUP
    ]
    interactions = data.interactions
    archived = ArchivedModel(
        final,
        interactions.users,
        interactions.items,
        sources=user_sources(interactions.positives, data.users),
        popularity=popularity(interactions.positives),
    )
    rows[LINEUP.index(HYBRID)]["arrays"] = to_bytes(archived)
    ledger.record_models(run.engine, run.claim, rows)


def _write(run: Run, data: TrainingData, final: FittedHybrid) -> None:
    """Rank and write block by block, so that lists never fill the memory."""
    interactions, settings = data.interactions, run.settings
    seen = _seen(interactions, settings)
    blocks = run.timed(
        "rank",
        rank(
            final.factors,
            seen,
            settings.top_n,
            available=interactions.available,
            threads=settings.threads,
        ),
    )
    sources = user_sources(interactions.positives, data.users)
    rows = recommendation_rows(blocks, interactions.users, interactions.items, sources)
    with run.phase("write") as phase:
        phase.rows = write_output(run.engine, run.claim, recommendations, rows)


def _write_similar(run: Run, data: TrainingData, trained: TrainedModel) -> None:
    interactions, settings = data.interactions, run.settings
    blocks = run.timed(
        "rank:similar_movies",
        similar_items(
            trained.item_vectors(),
            settings.similar_n,
            available=interactions.available,
            threads=settings.threads,
        ),
    )
    with run.phase("write:similar_movies") as phase:
        rows = similarity_rows(blocks, interactions.items)
        phase.rows = write_output(run.engine, run.claim, similar_movies, rows)


def _seen(data: Interactions, recipe: Recipe) -> Csr:
    return data.rated if recipe.exclude == "rated" else data.positives


def _expectation(data: TrainingData, recipe: Recipe) -> Expectation:
    """Work out how many rows each list must have: N, or all there is."""
    interactions = data.interactions
    available = interactions.available
    n_available = int(available.sum())
    seen = _seen(interactions, recipe)
    seen_available = (seen @ available.astype(np.int64)).astype(np.int64)
    return Expectation(
        user_ids=interactions.users.ids,
        user_rows=np.minimum(recipe.top_n, n_available - seen_available),
        movie_ids=interactions.items.ids,
        movie_rows=np.minimum(recipe.similar_n, n_available - available.astype(np.int64)),
        seen_rating=recipe.positive_rating if recipe.exclude == "positive" else 0.0,
        last_ingest=data.last_ingest,
    )
