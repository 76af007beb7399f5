"""How the recommenders of the line-up compare: with each other, and with what is in service."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.errors import PublicationRefusedError
from recsvc.model.data.identifiers import Csr
from recsvc.model.data.interactions import Interactions
from recsvc.model.data.splits import Positives, Split, split_positives
from recsvc.model.evaluation.evaluate import Evaluation, evaluate
from recsvc.model.evaluation.gate import Decision, Incumbent, decide
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.recommenders.registry import PUBLISHED_MODEL, LineupConfiguration, lineup, settled
from recsvc.model.scores.scores import Scores
from recsvc.pipeline.load import FeatureSets, TrainingData
from recsvc.pipeline.run import Run
from recsvc.runtime.arrays import Float64
from recsvc.settings import Recipe, Settings
from recsvc.store.runs import ledger, results
from recsvc.store.runs.results import MetricRecord
from recsvc.vocabulary import GATE_K, GATE_METRIC, KS, LIGHTFM_CF, POPULAR

VALIDATION_FRACTION = 0.1
PUBLISHED_RUN = "published"  #: what phases call the settings of the published run


def lineup_configuration(settings: Settings, recipe: Recipe | None = None) -> LineupConfiguration:
    """Return how the line-up is configured by ``recipe``, by default by the settings themselves."""
    recipe = recipe or settings
    return LineupConfiguration(
        lightfm=recipe.part(LightfmConfiguration), seed=recipe.seed, threads=settings.threads
    )


def settle(run: Run, data: TrainingData, train: Positives) -> LineupConfiguration:
    """Return how the line-up is configured once what a slice of the positives decides is decided.

    A tenth of the training positives is set aside, and the settings that do best on it by NDCG@10
    serve for every fit of the run. The holdout is not looked at.
    """
    configuration, settings = lineup_configuration(run.settings), run.settings
    if not configuration.settles:
        return configuration
    with run.phase("fit", "epochs") as phase:
        part = split_positives(train, VALIDATION_FRACTION, settings.seed)
        sliced = data.features.with_positives(part.train)
        seen, held_out = part.train.csr(), part.test.csr()

        def judge(scores: Scores) -> float:
            return float(_gate_figures(scores, seen, held_out, settings.threads).mean())

        found = settled(configuration, sliced, judge)
        phase.rows = found.lightfm.epochs
    return found


def _gate_figures(scores: Scores, train: Csr, test: Csr, threads: int) -> Float64:
    """Return the gate's metric for each user with held-out positives, shape ``(users,)``."""
    evaluation = evaluate(
        scores,
        train,
        test,
        ks=(GATE_K,),
        threads=threads,
        segments=False,
    )
    return evaluation.per_user(GATE_METRIC, GATE_K)[1]


def evaluate_lineup(
    run: Run, data: TrainingData, split: Split, configuration: LineupConfiguration
) -> dict[str, Evaluation]:
    """Fit each recommender on the same split and store its metrics.

    Returns:
        By name; nothing where nothing is held out.
    """
    if not len(split.train.rows) or not len(split.test.rows):
        return {}
    train, test = split.train.csr(), split.test.csr()
    learnable = data.features.with_positives(split.train)
    evaluations: dict[str, Evaluation] = {}
    for name, recommender in lineup(configuration).items():
        with run.phase("fit", name) as phase:
            scores = recommender.fit(learnable).scores
            phase.rows = len(split.train.rows)
        with run.phase("evaluate", name) as phase:
            evaluations[name] = evaluate(scores, train, test, ks=KS, threads=run.settings.threads)
            phase.rows = len(split.test.rows)
            rows = list(_metric_rows(name, run.settings.protocol, evaluations[name]))
            run.record(results.record_metrics, rows)
            if name == PUBLISHED_MODEL:
                per_user = _per_user_rows(name, data.interactions, evaluations[name])
                run.record(results.record_user_metrics, per_user)
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

    If the settings changed since, the former ones are fitted on this run's split, for as many
    epochs as that run settled on. If they did not, such a fit would repeat this run's, and the risk
    is the data: the figures that were stored when the run was made are what is left to compare
    with.
    """
    former = Recipe.of_run(published.settings)
    if former is None or data.former is None:
        stored = results.stored_user_metrics(
            run.engine, published.run_id, PUBLISHED_MODEL, GATE_METRIC, GATE_K
        )
        return Incumbent(published.run_id, paired=None, stored=stored)
    with run.phase("fit", PUBLISHED_RUN):
        scores = _fit_former(run, published.run_id, former, data.former, split)
    with run.phase("evaluate", PUBLISHED_RUN):
        train, test = split.train.csr(), split.test.csr()
        paired = _gate_figures(scores, train, test, run.settings.threads)
    return Incumbent(published.run_id, paired=paired, stored=None)


def _fit_former(
    run: Run, run_id: int, former: Recipe, features: FeatureSets, split: Split
) -> Scores:
    configuration = lineup_configuration(run.settings, former)
    # What was published may have been trained on from an earlier run, in fewer epochs; the model
    # without features was fitted for the comparison only, as both were.
    epochs = results.stored_epochs(run.engine, run_id, LIGHTFM_CF)
    if epochs is not None:
        configuration = configuration.with_epochs(epochs)
    return lineup(configuration)[PUBLISHED_MODEL].fit(features.with_positives(split.train)).scores


def _metric_rows(model: str, protocol: str, evaluation: Evaluation) -> Iterator[MetricRecord]:
    for row in evaluation.rows:
        yield MetricRecord(model, protocol, **asdict(row))


def pass_gate(
    run: Run, evaluations: dict[str, Evaluation], incumbent: Incumbent | None, *, force: bool
) -> Decision:
    """Decide whether this run may be published, and record why.

    Raises:
        PublicationRefusedError: it may not, and ``force`` is not set.
    """
    with run.phase("gate"):
        nobody = np.empty(0)
        figures = {
            name: evaluation.per_user(GATE_METRIC, GATE_K)[1]
            for name, evaluation in evaluations.items()
        }
        decision = decide(
            figures.get(PUBLISHED_MODEL, nobody),
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
