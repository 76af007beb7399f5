"""The nightly job: from rows in the database to recommendations that readers see."""

import logging
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recsvc.errors import PublicationRefusedError, RecsvcError
from recsvc.model.data.splits import all_positives
from recsvc.model.lightfm.archive import ArchivedModel, from_bytes, to_bytes
from recsvc.model.lightfm.fitting import Start, TrainedModel, Training
from recsvc.model.lightfm.warm import warm_start
from recsvc.model.recommenders.popular import popularity
from recsvc.model.recommenders.registry import (
    CF,
    HYBRID,
    POPULAR,
    FittedHybrid,
    fit_hybrid,
    user_sources,
)
from recsvc.pipeline.calendar import JOB
from recsvc.pipeline.compare import evaluate_lineup, find_incumbent, pass_gate, settle_epochs
from recsvc.pipeline.load import TrainingData, hold_out, load_training_data
from recsvc.pipeline.monitoring import after_run
from recsvc.pipeline.publish import prune_runs, publish_run, verify_lists, write_lists
from recsvc.pipeline.run import Run, claimed_run, versions
from recsvc.runtime.logs import masked
from recsvc.settings import Recipe, Settings
from recsvc.store.database.engine import reading
from recsvc.store.reading.queries import archived_model
from recsvc.store.runs import ledger
from recsvc.store.runs.publication import newest_published_run, published_run

log = logging.getLogger("recsvc")

WARM_SHARE = 5  # a warm start takes a fifth of the epochs


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
) -> RetrainReport:
    """Train, compare, and publish if the gate agrees.

    Args:
        engine: the database, its schema at head.
        settings: what to train and how.
        force: publish whatever the gate says, and even if nothing is new; it is recorded.
        scheduled_for: the night this run stands for; now, if it is started by hand.

    Raises:
        RunInProgressError: another run holds the lease.
        NightDoneError: this night has been run.
        PublicationRefusedError: the gate refused; readers keep what they had.
    """
    with claimed_run(engine, settings, JOB, scheduled_for=scheduled_for) as run:
        try:
            report = _retrain(run, force=force)
        except BaseException as error:
            _end(run, error)
            if isinstance(error, Exception):  # and not a signal to stop
                prune_runs(run)  # it may have left rows behind
            raise
        finally:
            after_run(engine, settings)
        log.info("run ends", extra={"status": report.status, "reason": report.reason})
        prune_runs(run)
        return report


def _end(run: Run, error: BaseException) -> None:
    """Record how a run ended that does not publish; if that fails too, the lease tells."""
    status = "refused" if isinstance(error, PublicationRefusedError) else "failed"
    reason = masked(_said(error))
    log.warning("run ends", extra={"status": status, "reason": reason})
    try:
        ledger.finish_run(run.engine, run.claim, status, reason)
    except (RecsvcError, sa.exc.SQLAlchemyError) as problem:
        log.warning("run %d could not be ended as failed: %s", run.claim.run_id, problem)


def _said(error: BaseException) -> str:
    """Return what readers of ``run_history`` see of an error: no SQL, no parameters."""
    if isinstance(error, RecsvcError | SystemExit):
        return str(error)
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return f"{type(error).__name__}: {cause}"


def _retrain(run: Run, *, force: bool) -> RetrainReport:
    published = published_run(run.engine)
    data = _load(run, _former_recipe(run, published))
    same = None if force else _same_run(run, data)
    if same is not None:
        ledger.finish_run(run.engine, run.claim, "skipped")
        reason = f"Nothing is new since run {same}: data and settings are the same."
        return RetrainReport(run.claim.run_id, "skipped", reason)
    if not data.interactions.positives.nnz:
        raise PublicationRefusedError(
            f"Run {run.claim.run_id} is not published: there is nothing to learn from. No rating "
            f"reaches RECSVC_POSITIVE_RATING ({run.settings.positive_rating:g}); "
            "`recsvc status` shows what is there."
        )
    with run.phase("split") as phase:
        split = hold_out(data.interactions, run.settings)
        phase.rows = len(split.test.rows)
    training = settle_epochs(run, data, split.train)
    evaluations = evaluate_lineup(run, data, split, training)
    incumbent = find_incumbent(run, data, split, published) if evaluations and published else None
    decision = pass_gate(run, evaluations, incumbent, force=force)
    del split, evaluations
    final = _refit(run, data, training, published)
    write_lists(run, data, final)
    verify_lists(run, data)
    reason = decision.reason if decision.passed else f"Forced: {decision.reason}"
    publish_run(run, reason)
    return RetrainReport(run.claim.run_id, "published", reason)


def _former_recipe(run: Run, published: sa.Row[Any] | None) -> Recipe | None:
    """Return the published run's settings if a model would be trained otherwise tonight."""
    former = Recipe.of_run(published.settings) if published else None
    same = former is None or former.training() == run.settings.training()
    return None if same else former


def _load(run: Run, former: Recipe | None) -> TrainingData:
    with run.phase("load") as phase:
        for attempt in run.attempts():
            with attempt:
                data = load_training_data(run.engine, run.settings, former)
        interactions = data.interactions
        phase.rows = interactions.n_ratings
        run.record(
            ledger.record_data,
            fingerprint=data.fingerprint(),
            ratings=interactions.n_ratings,
            users=len(interactions.users),
            movies=len(interactions.items),
        )
    return data


def _same_run(run: Run, data: TrainingData) -> int | None:
    """Return the run that tonight's would repeat: the one in service, or one rolled back from."""
    fingerprint = data.fingerprint()
    for earlier in (published_run(run.engine), newest_published_run(run.engine)):
        if (
            earlier is not None
            and earlier.fingerprint == fingerprint
            and earlier.settings == run.settings.recipe()
            and earlier.versions["recsvc"] == versions()["recsvc"]
        ):
            return int(earlier.run_id)
    return None


def _refit(
    run: Run, data: TrainingData, training: Training, published: sa.Row[Any] | None
) -> FittedHybrid:
    """Fit the hybrid on all positives, going on from the published one where that is wanted."""
    with run.phase("refit"):
        positives = all_positives(data.interactions)
        start = _start(run, data, published)
        tonight = _for_a_fifth(training) if start else training
        final = fit_hybrid(positives, data.items, data.users, tonight, start=start)
        warm_from = published.run_id if start and published else None
        rows = _model_rows(training, tonight, warm_from)
        rows[-1]["arrays"] = to_bytes(_archived(data, final.trained))
        run.record(ledger.record_models, rows)
    return final


def _start(run: Run, data: TrainingData, published: sa.Row[Any] | None) -> Start | None:
    """Return the published embeddings, unless they are unwanted or of other settings."""
    settings = run.settings
    if not settings.warm_start or settings.trainer != "fast" or published is None:
        return None
    former = Recipe.of_run(published.settings)
    if former is None or former.training() != settings.training():
        return None
    with reading(run.engine) as connection:
        archived = from_bytes(archived_model(connection, int(published.run_id)))
    interactions = data.interactions
    return warm_start(
        archived,
        interactions.users,
        interactions.items,
        data.users,
        data.items,
        seed=settings.seed,
    )


def _for_a_fifth(training: Training) -> Training:
    epochs = -(-training.hyperparameters.epochs // WARM_SHARE)
    return replace(training, hyperparameters=replace(training.hyperparameters, epochs=epochs))


def _archived(data: TrainingData, trained: TrainedModel) -> ArchivedModel:
    interactions = data.interactions
    return ArchivedModel(
        trained,
        interactions.users,
        interactions.items,
        sources=user_sources(interactions.positives, data.users),
        popularity=popularity(interactions.positives),
    )


def _model_rows(
    compared: Training, refitted: Training, warm_from: int | None
) -> list[dict[str, Any]]:
    """Describe the line-up, the published hybrid last."""

    def row(model: str, training: Training | None) -> dict[str, Any]:
        return {
            "model": model,
            "hyperparameters": asdict(training.hyperparameters) if training else {},
            "seed": compared.seed,
            "epochs": training.hyperparameters.epochs if training else 0,
            "warm_from": None,
            "arrays": None,
        }

    return [row(POPULAR, None), row(CF, compared), row(HYBRID, refitted) | {"warm_from": warm_from}]
