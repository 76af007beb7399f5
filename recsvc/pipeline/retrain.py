"""The scheduled run: from rows in the database to recommendations that readers see."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recsvc.errors import PublicationRefusedError, RecsvcError
from recsvc.model.data.splits import all_positives
from recsvc.model.recommenders.archive import Archive, Previous, from_bytes, to_bytes
from recsvc.model.recommenders.recommender import Description, Fitted, Recommender
from recsvc.pipeline.audit import audit_if_due
from recsvc.pipeline.compare import (
    evaluate_lineup,
    find_incumbent,
    find_mark,
    held_out,
    pass_gate,
    settle,
)
from recsvc.pipeline.load import TrainingData, load_training_data
from recsvc.pipeline.monitoring import after_run
from recsvc.pipeline.publish import prune_runs, publish_run, verify_lists, write_lists
from recsvc.pipeline.run import Run, claimed_run, versions
from recsvc.runtime.logs import masked
from recsvc.settings import Recipe, Settings
from recsvc.store.database.transactions import reading
from recsvc.store.reading.queries import archived_model
from recsvc.store.runs import ledger
from recsvc.store.runs.current import newest_published_run, published_run
from recsvc.store.runs.results import ModelRecord, record_models
from recsvc.vocabulary import FAILED, PUBLISHED, REFUSED, RETRAIN, SKIPPED

log = logging.getLogger("recsvc")


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
    with claimed_run(engine, settings, RETRAIN, scheduled_for=scheduled_for) as run:
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
    status = REFUSED if isinstance(error, PublicationRefusedError) else FAILED
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
        ledger.finish_run(run.engine, run.claim, SKIPPED)
        reason = f"Nothing is new since run {same}: data and settings are the same."
        return RetrainReport(run.claim.run_id, SKIPPED, reason)
    if not data.interactions.positives.nnz:
        raise PublicationRefusedError(
            f"Run {run.claim.run_id} is not published: there is nothing to learn from. No rating "
            f"reaches RECSVC_POSITIVE_RATING ({run.settings.positive_rating:g}); "
            "`recsvc status` shows what is there."
        )
    holdout = held_out(run, data)
    configuration = settle(run, data, holdout.split.train)
    judged = evaluate_lineup(run, data, holdout, configuration)
    comparable = published if judged.evaluations else None
    incumbent = find_incumbent(run, data, holdout, comparable) if comparable else None
    mark = find_mark(run, holdout, incumbent)
    decision = pass_gate(run, data, judged, incumbent, mark, force=force)
    model, recommenders = judged.published(run.settings), judged.recommenders
    del holdout, judged
    final = _refit(run, data, recommenders, model, published)
    write_lists(run, data, final)
    verify_lists(run, data)
    reason = decision.reason if decision.passed else f"Forced: {decision.reason}"
    publish_run(run, reason)
    audit_if_due(run, data)
    return RetrainReport(run.claim.run_id, PUBLISHED, reason)


def _former_recipe(run: Run, published: sa.Row[Any] | None) -> Recipe | None:
    """Return the published run's settings if this run would train otherwise."""
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
            ledger.DataRecord(
                fingerprint=data.fingerprint(),
                ratings=interactions.n_ratings,
                users=len(interactions.users),
                movies=len(interactions.items),
            ),
        )
    return data


def _same_run(run: Run, data: TrainingData) -> int | None:
    """Return the run that this one would repeat: the one in service, or one rolled back from."""
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
    run: Run,
    data: TrainingData,
    recommenders: dict[str, Recommender],
    model: str,
    published: sa.Row[Any] | None,
) -> Fitted:
    """Fit what is published on all positives, going on from the published run if that is set."""
    with run.phase("refit"):
        previous = _previous(run, data, recommenders[model], published)
        positives = all_positives(data.interactions)
        final = recommenders[model].fit(data.features.with_positives(positives), previous=previous)
        records = {name: _record(name, each.description) for name, each in recommenders.items()}
        interactions = data.interactions
        archive = Archive(model, interactions.users, interactions.items, final.arrays())
        records[model] = replace(
            _record(model, final.description),
            warm_from=published.run_id if final.continued and published else None,
            arrays=to_bytes(archive),
        )
        run.record(record_models, list(records.values()))
    return final


def _record(name: str, description: Description) -> ModelRecord:
    weights = description.weights._asdict() if description.weights else {}
    return ModelRecord(
        model=name,
        hyperparameters=description.hyperparameters,
        seed=description.seed,
        epochs=description.epochs,
        **weights,
    )


def _previous(
    run: Run, data: TrainingData, recommender: Recommender, published: sa.Row[Any] | None
) -> Previous | None:
    """Return the published model, unless it is of no use or of other settings."""
    if not recommender.continues or published is None:
        return None
    former = Recipe.of_run(published.settings)
    if former is None or former.training() != run.settings.training():
        return None
    with reading(run.engine) as connection:
        archive = from_bytes(archived_model(connection, int(published.run_id)))
    return Previous(archive, data.interactions.users, data.interactions.items)
