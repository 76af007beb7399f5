"""How tonight's models compare: with each other, and with what is in service."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.errors import PublicationRefusedError
from recsvc.model.data.interactions import Interactions
from recsvc.model.data.splits import Positives, Split, split_positives
from recsvc.model.evaluation.evaluate import Evaluation, evaluate
from recsvc.model.evaluation.gate import Decision, Incumbent, decide
from recsvc.model.fast.early_stopping import EarlyStopping
from recsvc.model.fast.hyperparameters import Hyperparameters
from recsvc.model.fast.state import EpochProgress
from recsvc.model.lightfm.fitting import TrainedModel, Training
from recsvc.model.recommenders.registry import CF, HYBRID, LINEUP, POPULAR, fit_hybrid, fit_model
from recsvc.pipeline.load import TrainingData
from recsvc.pipeline.run import Run
from recsvc.settings import Recipe, Settings
from recsvc.store.runs import ledger
from recsvc.store.runs.publication import published_epochs, published_user_metrics

KS = (5, 10, 20)
GATE_METRIC, GATE_K = "ndcg", 10
VALIDATION_FRACTION = 0.1


def training_of(settings: Settings, recipe: Recipe | None = None) -> Training:
    """Return how to train by ``recipe``, by default tonight's settings."""
    recipe = recipe or settings
    names = Hyperparameters.__dataclass_fields__
    chosen = {name: getattr(recipe, name) for name in names}
    return Training(
        Hyperparameters(**chosen),
        seed=recipe.seed,
        threads=settings.threads,
        trainer=recipe.trainer,
        shards=recipe.shards,
        blocks_per_epoch=recipe.blocks_per_epoch,
    )


def settle_epochs(run: Run, data: TrainingData, train: Positives) -> Training:
    """Return how to train tonight: with early stopping, for as many epochs as a slice asks for.

    A tenth of the training positives is set aside; the epoch with the best NDCG@10 on it is the
    number of epochs for every fit of the night. The holdout is not looked at.
    """
    training, settings = training_of(run.settings), run.settings
    if not settings.patience or settings.trainer != "fast":
        return training
    with run.phase("fit:epochs") as phase:
        part = split_positives(train, VALIDATION_FRACTION, settings.seed)
        seen, held_out = part.train.csr(), part.test.csr()
        known = np.diff(seen.indptr) > 0
        stopping = EarlyStopping(patience=settings.patience)

        def on_epoch(_: EpochProgress, model: TrainedModel) -> bool:
            nonlocal stopping
            evaluation = evaluate(
                model.factors(known),
                seen,
                held_out,
                ks=(GATE_K,),
                threads=settings.threads,
                segments=False,
            )
            score = float(evaluation.per_user(GATE_METRIC, GATE_K)[1].mean())
            stopping = stopping.after(score)
            return stopping.should_stop

        fit_hybrid(part.train, data.items, data.users, training, on_epoch=on_epoch)
        phase.rows = stopping.best_epoch
    return _for_epochs(training, max(1, stopping.best_epoch))


def _for_epochs(training: Training, epochs: int) -> Training:
    return replace(training, hyperparameters=replace(training.hyperparameters, epochs=epochs))


def evaluate_lineup(
    run: Run, data: TrainingData, split: Split, training: Training
) -> dict[str, Evaluation]:
    """Fit each model on the same split and store its metrics; none where nothing is held out."""
    if not len(split.train.rows) or not len(split.test.rows):
        return {}
    train, test = split.train.csr(), split.test.csr()
    evaluations: dict[str, Evaluation] = {}
    for name in LINEUP:
        with run.phase(f"fit:{name}") as phase:
            factors = fit_model(name, split.train, data.items, data.users, training)
            phase.rows = len(split.train.rows)
        with run.phase(f"evaluate:{name}") as phase:
            evaluations[name] = evaluate(factors, train, test, ks=KS, threads=run.settings.threads)
            phase.rows = len(split.test.rows)
            rows = list(_metric_rows(name, run.settings.protocol, evaluations[name]))
            run.record(ledger.record_metrics, rows)
            if name == HYBRID:
                per_user = _per_user_rows(name, data.interactions, evaluations[name])
                run.record(ledger.record_user_metrics, per_user)
    return evaluations


def _per_user_rows(model: str, data: Interactions, evaluation: Evaluation) -> pd.DataFrame:
    users, values = evaluation.per_user(GATE_METRIC, GATE_K)
    return pd.DataFrame(
        {
            "model": model,
            "metric": GATE_METRIC,
            "k": GATE_K,
            "user_id": data.users.ids[users],
            "value": values,
        }
    )


def find_incumbent(run: Run, data: TrainingData, split: Split, published: sa.Row[Any]) -> Incumbent:
    """Find out how the published run compares: never on positives that it was fitted on.

    If the settings changed since, the former ones are fitted on tonight's split, for as many epochs
    as that night settled on. If they did not, such a fit would repeat tonight's, and the risk is
    the data: the figures that were stored when the run was made are what is left to compare with.
    """
    former = Recipe.of_run(published.settings)
    if former is None or data.former is None:
        stored = published_user_metrics(run.engine, published.run_id, HYBRID, GATE_METRIC, GATE_K)
        return Incumbent(published.run_id, paired=None, stored=stored)
    with run.phase("fit:published"):
        training = _former_training(run, published.run_id, former)
        factors = fit_model(HYBRID, split.train, data.former.items, data.former.users, training)
    with run.phase("evaluate:published"):
        evaluation = evaluate(
            factors,
            split.train.csr(),
            split.test.csr(),
            ks=(GATE_K,),
            threads=run.settings.threads,
            segments=False,
        )
    paired = evaluation.per_user(GATE_METRIC, GATE_K)[1]
    return Incumbent(published.run_id, paired=paired, stored=None)


def _former_training(run: Run, run_id: int, former: Recipe) -> Training:
    training = training_of(run.settings, former)
    # The hybrid that was published may have been trained on from an earlier one, in fewer epochs;
    # the model without features was fitted for the comparison only, as both were.
    epochs = published_epochs(run.engine, run_id, CF)
    return training if epochs is None else _for_epochs(training, epochs)


def _metric_rows(model: str, protocol: str, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for row in evaluation.rows:
        yield {"model": model, "protocol": protocol, **asdict(row)}


def pass_gate(
    run: Run, evaluations: dict[str, Evaluation], incumbent: Incumbent | None, *, force: bool
) -> Decision:
    """Decide whether tonight's hybrid may be published, and record why.

    Raises:
        PublicationRefusedError: it may not, and nobody insists.
    """
    with run.phase("gate"):
        nobody = np.empty(0)
        figures = {
            name: evaluation.per_user(GATE_METRIC, GATE_K)[1]
            for name, evaluation in evaluations.items()
        }
        decision = decide(
            figures.get(HYBRID, nobody),
            figures.get(POPULAR, nobody),
            incumbent,
            tolerance=run.settings.gate_tolerance,
            seed=run.settings.seed,
        )
        run.record(ledger.record_gate, decision.document() | {"forced": force})
    if not decision.passed and not force:
        raise PublicationRefusedError(
            f"Run {run.claim.run_id} is not published; readers keep what they had. "
            f"{decision.reason} `recsvc metrics` shows the figures, "
            "`recsvc retrain --force` publishes all the same."
        )
    return decision
