"""How the recommenders of the line-up compare: with each other, and with what is in service."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import sqlalchemy as sa

from recsvc.errors import PublicationRefusedError
from recsvc.model.blend.choosing import Holdout
from recsvc.model.blend.parts import PLAIN, Weights
from recsvc.model.data.identifiers import Csr
from recsvc.model.data.interactions import Interactions
from recsvc.model.data.seen import seen_before
from recsvc.model.data.splits import Positives, Split, hold_out, split_positives
from recsvc.model.evaluation.evaluate import Evaluation, evaluate
from recsvc.model.evaluation.gate import Decision, Incumbent, Mark, Z, best_of, decide
from recsvc.model.evaluation.segments import Described
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.recommenders.recommender import Fitted, Recommender
from recsvc.model.recommenders.registry import REGISTRY, LineupConfiguration, lineup, settled
from recsvc.model.scores.scores import Scores
from recsvc.pipeline.load import TrainingData
from recsvc.pipeline.run import Run
from recsvc.runtime.arrays import Float64
from recsvc.settings import Recipe, Settings
from recsvc.store.runs import ledger, results
from recsvc.store.runs.results import MetricRecord
from recsvc.vocabulary import (
    BEST,
    GATE_K,
    GATE_METRIC,
    KS,
    LIGHTFM_CF,
    LIGHTFM_HYBRID,
    RATED,
    TRAINING,
    MaskName,
)

VALIDATION_FRACTION = 0.1
PUBLISHED_RUN = "published"  #: what phases call the settings of the published run
LATELY = 30  #: published runs that the gate looks back on

#: Recommenders that others are made of: they are kept until these have been tuned.
PARTS = {part for entry in REGISTRY.values() for part in entry.made_of}


@dataclass(frozen=True)
class HeldOut:
    """A holdout, and what lists that are judged by it leave out."""

    split: Split
    mask: MaskName
    seen: Csr  #: shape ``(n_users, n_items)``


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
    evaluation = evaluate(scores, train, test, ks=(GATE_K,), threads=threads, segments=False)
    return evaluation.per_user(GATE_METRIC, GATE_K)[1]


@dataclass(frozen=True)
class Judged:
    """The line-up, judged by one holdout."""

    recommenders: dict[str, Recommender]  #: as they are to be fitted again, the simplest first
    evaluations: dict[str, Evaluation]  #: empty where nothing is held out

    def figures(self) -> dict[str, Float64]:
        """Return the gate's metric of each model for each judged user."""
        return {
            name: evaluation.per_user(GATE_METRIC, GATE_K)[1]
            for name, evaluation in self.evaluations.items()
        }

    def published(self, settings: Settings) -> str:
        """Return the model whose lists readers are to get."""
        if settings.publish != BEST:
            return settings.publish
        return best_of(self.figures()) if self.evaluations else LIGHTFM_HYBRID


def mask_of(recipe: Recipe) -> MaskName:
    """Return what lists that are judged leave out: what those that are published do, if asked."""
    return RATED if (recipe.mask, recipe.exclude) == (RATED, RATED) else TRAINING


def held_out(run: Run, data: TrainingData) -> HeldOut:
    """Set positives aside, and record how."""
    settings = run.settings
    with run.phase("split") as phase:
        split = hold_out(data.interactions, settings, settings.seed)
        mask = mask_of(settings)
        phase.rows = len(split.test.rows)
        run.record(ledger.record_holdout, ledger.HoldoutRecord(split.protocol, split.instead, mask))
        return HeldOut(split, mask, seen_before(data.interactions, split, mask))


def evaluate_lineup(
    run: Run, data: TrainingData, held_out: HeldOut, configuration: LineupConfiguration
) -> Judged:
    """Fit each recommender on the same split and store its metrics."""
    recommenders = lineup(configuration)
    split = held_out.split
    if not len(split.train.rows) or not len(split.test.rows):
        return Judged(recommenders, {})
    train, test = split.train.csr(), split.test.csr()
    holdout = Holdout(held_out.seen, test, run.settings.seed, run.settings.threads)
    learnable = data.features.with_positives(split.train)
    fitted: dict[str, Fitted] = {}
    evaluations: dict[str, Evaluation] = {}
    for name, entry in REGISTRY.items():
        with run.phase("fit", name) as phase:
            if entry.tune:
                recommenders[name], scores = entry.tune(recommenders[name], fitted, holdout)
            else:
                each = recommenders[name].fit(learnable)
                scores = each.scores
                if name in PARTS:
                    fitted[name] = each
            phase.rows = len(split.train.rows)
        with run.phase("evaluate", name) as phase:
            evaluations[name] = evaluate(
                scores,
                train,
                test,
                seen=held_out.seen,
                described=Described(data.features.items, data.features.users),
                ks=KS,
                threads=run.settings.threads,
            )
            phase.rows = len(split.test.rows)
            rows = list(_metric_rows(name, split.protocol, evaluations[name]))
            run.record(results.record_metrics, rows)
    return Judged(recommenders, evaluations)


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


def find_incumbent(
    run: Run, data: TrainingData, held_out: HeldOut, published: sa.Row[Any]
) -> Incumbent:
    """Find out how the published run compares: never on positives that it was fitted on.

    If the settings changed since, the former ones are fitted on this run's split, for as many
    epochs as that run settled on. If they did not, such a fit would repeat this run's, and the risk
    is the data: the figures that were stored when the run was made are what is left to compare
    with, if they were taken in the same way.
    """
    former = Recipe.of_run(published.settings)
    model = published.model or LIGHTFM_HYBRID
    if former is None or data.former is None:
        same_way = (published.protocol, published.mask) == (held_out.split.protocol, held_out.mask)
        stored = (
            results.stored_user_metrics(run.engine, published.run_id, model, GATE_METRIC, GATE_K)
            if same_way
            else None
        )
        return Incumbent(published.run_id, paired=None, stored=stored)
    with run.phase("fit", PUBLISHED_RUN):
        configuration = _former_configuration(run, published.run_id, model, former)
        learnable = data.former.with_positives(held_out.split.train)
        scores = lineup(configuration)[model].fit(learnable).scores
    with run.phase("evaluate", PUBLISHED_RUN):
        train, test = held_out.split.train.csr(), held_out.split.test.csr()
        evaluation = evaluate(
            scores,
            train,
            test,
            seen=held_out.seen,
            ks=(GATE_K,),
            threads=run.settings.threads,
            segments=False,
        )
        paired = evaluation.per_user(GATE_METRIC, GATE_K)[1]
    return Incumbent(published.run_id, paired=paired, stored=None)


def _former_configuration(run: Run, run_id: int, model: str, former: Recipe) -> LineupConfiguration:
    configuration = lineup_configuration(run.settings, former)
    # What was published may have been trained on from an earlier run, in fewer epochs; the model
    # without features was fitted for the comparison only, as both were.
    epochs = results.stored_epochs(run.engine, run_id, LIGHTFM_CF)
    if epochs is not None:
        configuration = configuration.with_epochs(epochs)
    weights = results.stored_weights(run.engine, run_id, model)
    return replace(configuration, weights=Weights(*weights) if weights else PLAIN)


def find_mark(run: Run, held_out: HeldOut, incumbent: Incumbent | None) -> Mark | None:
    """Return the best of the runs published lately that were judged as this one is.

    The run in service is left out: it is compared with user by user.
    """
    best = results.best_published(
        run.engine, held_out.split.protocol, held_out.mask, GATE_METRIC, GATE_K, lately=LATELY
    )
    if best is None or (incumbent is not None and best.run_id == incumbent.run_id):
        return None
    error = 0.0 if best.ci_high is None else (best.ci_high - best.value) / Z
    return Mark(best.run_id, best.value, error)


def _metric_rows(model: str, protocol: str, evaluation: Evaluation) -> Iterator[MetricRecord]:
    for row in evaluation.rows:
        yield MetricRecord(model, protocol, **asdict(row))


def pass_gate(
    run: Run,
    data: TrainingData,
    judged: Judged,
    incumbent: Incumbent | None,
    mark: Mark | None,
    *,
    force: bool,
) -> Decision:
    """Decide whether this run may be published, and record why.

    Raises:
        PublicationRefusedError: it may not, and ``force`` is not set.
    """
    with run.phase("gate"):
        model = judged.published(run.settings)
        decision = decide(
            judged.figures(),
            model,
            incumbent,
            mark,
            named=run.settings.publish != BEST,
            tolerance=run.settings.gate_tolerance,
            seed=run.settings.seed,
        )
        if model in judged.evaluations:
            per_user = _per_user_rows(model, data.interactions, judged.evaluations[model])
            run.record(results.record_user_metrics, per_user)
        run.record(ledger.record_gate, model, decision.document() | {"forced": force})
    if not decision.passed and not force:
        raise PublicationRefusedError(
            f"Run {run.claim.run_id} is not published; readers keep what they had. "
            f"{decision.reason} `recsvc metrics` shows the figures, "
            "`recsvc retrain --force` publishes all the same."
        )
    return decision
