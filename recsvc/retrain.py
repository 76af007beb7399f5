"""The nightly job: from rows in the database to recommendations that readers see."""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recsvc.comparison import evaluate_lineup, find_incumbent, pass_gate, training_of
from recsvc.errors import PublicationRefusedError, RecsvcError
from recsvc.model.archive import ArchivedModel, to_bytes
from recsvc.model.baselines import popularity
from recsvc.model.hybrid import TrainedModel
from recsvc.model.lineup import (
    HYBRID,
    LINEUP,
    POPULAR,
    fit_hybrid,
    user_sources,
)
from recsvc.model.split import all_positives
from recsvc.publishing import prune_runs, publish_run, verify_lists, write_lists
from recsvc.run import OnPhase, Run, claimed_run, versions
from recsvc.settings import Recipe, Settings
from recsvc.store import ledger
from recsvc.store.publication import newest_published_run, published_run
from recsvc.training_data import TrainingData, hold_out, load_training_data

log = logging.getLogger("recsvc")

JOB = "retrain"


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
        NightDoneError: this night has been run.
        PublicationRefusedError: the gate refused; readers keep what they had.
    """
    with claimed_run(engine, settings, JOB, scheduled_for=scheduled_for, on_phase=on_phase) as run:
        try:
            return _retrain(run, force=force)
        except BaseException as error:
            _end(run, error)
            raise
        finally:
            # After a failure as well, for it may have left rows behind.
            prune_runs(run)


def _end(run: Run, error: BaseException) -> None:
    """Record how a run ended that does not publish; if that fails too, the lease tells."""
    refused = isinstance(error, PublicationRefusedError)
    try:
        ledger.finish_run(run.engine, run.claim, "refused" if refused else "failed", _said(error))
    except (RecsvcError, sa.exc.SQLAlchemyError) as problem:
        log.warning("run %d could not be ended as failed: %s", run.claim.run_id, problem)


def _said(error: BaseException) -> str:
    """Return what readers of ``run_history`` see of an error: no SQL, no parameters."""
    if isinstance(error, RecsvcError):
        return str(error)
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return f"{type(error).__name__}: {cause}"


def _retrain(run: Run, *, force: bool) -> RetrainReport:
    published = published_run(run.engine)
    former = Recipe.model_validate(published.settings) if published else None
    data = _load(run, former)
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
    evaluations = evaluate_lineup(run, data, split)
    incumbent = find_incumbent(run, data, split, published) if evaluations and published else None
    decision = pass_gate(run, evaluations, incumbent, force=force)
    del split, evaluations
    with run.phase("refit"):
        positives = all_positives(data.interactions)
        final = fit_hybrid(positives, data.items, data.users, training_of(run.settings))
        _record_models(run, data, final.trained)
    write_lists(run, data, final)
    verify_lists(run, data)
    reason = decision.reason if decision.passed else f"Forced: {decision.reason}"
    publish_run(run, reason)
    return RetrainReport(run.claim.run_id, "published", reason)


def _load(run: Run, former: Recipe | None) -> TrainingData:
    with run.phase("load") as phase:
        for attempt in run.attempts():
            with attempt:
                data = load_training_data(run.engine, run.settings, former)
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


def _record_models(run: Run, data: TrainingData, final: TrainedModel) -> None:
    hyperparameters = asdict(training_of(run.settings).hyperparameters)
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
