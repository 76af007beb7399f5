"""The decision whether a new model may replace what readers have."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy import stats

from recsvc.runtime.arrays import Float64
from recsvc.vocabulary import GATE_K, GATE_METRIC, LIGHTFM_HYBRID, POPULAR

Z = NormalDist().inv_cdf(0.975)  #: for 95 % confidence intervals

RESAMPLES = 1_000
AT_ONCE = 2**20  #: values that are resampled at once: users may be many
_METRIC = f"{GATE_METRIC.upper()}@{GATE_K}"
FEWEST_USERS = 2  # the mean of a single user has no interval


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class Decision:
    """What the gate decided, and why."""

    passed: bool  #: whether publication may go on
    reason: str  #: one sentence for people
    comparisons: dict[str, Interval]  #: difference in NDCG@10, by what was compared with

    def document(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "passed": self.passed,
            "reason": self.reason,
            "comparisons": {
                name: {"mean": interval.mean, "ci_low": interval.low, "ci_high": interval.high}
                for name, interval in self.comparisons.items()
            },
        }


def paired_difference(ours: Float64, theirs: Float64, seed: int) -> Interval:
    """Bootstrap the mean of per-user differences (Efron 1979), percentile interval.

    Args:
        ours: shape ``(users,)``, the metric of the new model for each user.
        theirs: the same users, the other model.
        seed: of the resampling.
    """
    return _bootstrapped([ours - theirs], _mean, seed)


def two_sample_difference(ours: Float64, theirs: Float64, seed: int) -> Interval:
    """Bootstrap the difference of two means over different users, percentile interval.

    Args:
        ours: shape ``(users,)``, the metric of the new model on its own holdout.
        theirs: shape ``(other users,)``, the metric of the other model on its own holdout.
        seed: of the resampling.
    """
    return _bootstrapped([ours, theirs], _difference_of_means, seed)


def _mean(values: Float64, axis: int = -1) -> Any:
    return values.mean(axis=axis)


def _difference_of_means(ours: Float64, theirs: Float64, axis: int = -1) -> Any:
    return ours.mean(axis=axis) - theirs.mean(axis=axis)


def _bootstrapped(samples: list[Float64], statistic: Callable[..., Any], seed: int) -> Interval:
    value = float(statistic(*samples))
    if all(np.ptp(sample) == 0 for sample in samples):
        return Interval(value, value, value)  # no resample differs, of which SciPy would warn
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // max(map(len, samples))),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = found.confidence_interval
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class Incumbent:
    """The published run, as far as it can be compared with a new one."""

    run_id: int
    paired: Float64 | None  #: its settings fitted on the new run's split, for the same users
    stored: Float64 | None  #: else the figures of the run itself, for its own users


@dataclass(frozen=True)
class Mark:
    """What the best of the runs published lately achieved, for its own users."""

    run_id: int
    mean: float
    error: float  #: standard error of the mean


def best_of(figures: Mapping[str, Float64]) -> str:
    """Return the model to publish: the one whose mean has the largest lower bound.

    The lower bound is that of the 95 % interval of the mean, by the normal approximation; the
    models are judged by the same users. Equal ones: the first.

    Args:
        figures: NDCG@10 of each model for each user, shape ``(users,)``, the simplest model first.
    """
    return max(figures, key=lambda name: _lower_bound(figures[name]))


def _lower_bound(values: Float64) -> float:
    if len(values) < FEWEST_USERS:
        return -np.inf
    return float(values.mean() - Z * values.std(ddof=1) / np.sqrt(len(values)))


def decide(
    figures: Mapping[str, Float64],
    model: str,
    incumbent: Incumbent | None,
    mark: Mark | None = None,
    *,
    named: bool = False,
    tolerance: float,
    seed: int,
) -> Decision:
    """Require that what is to be published is not worse than what was published lately.

    "Worse" is meant beyond what the choice of users explains: the whole interval of the difference
    lies below 0. Where the data are not the same, a run may lose the tolerance, against the run in
    service and against the best of the last ones, so that small losses do not add up.

    Args:
        figures: NDCG@10 of each model for each user with held-out positives, the same users.
        model: which of them is to be published.
        incumbent: what is in service, if anything is.
        mark: the best of the runs published lately, where it is another one.
        named: whether the model is a choice of the settings, and not the best of the line-up: then
            it must beat ``popular`` beyond chance.
        tolerance: what a run may lose on other data.
        seed: of the resampling.
    """
    ours = figures.get(model, np.empty(0))
    if len(ours) < FEWEST_USERS:
        reason = f"There is no holdout to judge by: {len(ours)} users have enough positives."
        return Decision(passed=False, reason=reason, comparisons={})
    comparisons = {
        name: paired_difference(ours, theirs, seed)
        for name, theirs in figures.items()
        if name != model
    }
    if named and model != POPULAR and comparisons[POPULAR].low <= 0:
        difference = comparisons[POPULAR]
        reason = f"{model} does not beat {POPULAR} in {_METRIC}: difference {difference}."
        return Decision(passed=False, reason=reason, comparisons=comparisons)
    clauses = [_standing(model, comparisons, named=named)]
    passed = True
    for name, interval, allowed in _rivals(ours, incumbent, mark, tolerance, seed):
        comparisons[name] = interval
        bad = interval.mean < -allowed and interval.high < 0
        passed = passed and not bad
        clauses.append(_verdict(name, interval, allowed, bad=bad))
    return Decision(passed, f"{', '.join(clauses)}.", comparisons)


def _standing(model: str, comparisons: Mapping[str, Interval], *, named: bool) -> str:
    """Say which model it is and how it compares with the one that it is measured against."""
    against = POPULAR if model != POPULAR else LIGHTFM_HYBRID
    if against not in comparisons:
        return f"{model} is published"
    interval = comparisons[against]
    if interval.low > 0:
        beats = f"{model} beats {against} in {_METRIC}: difference {interval}"
        return beats if named else f"{beats}, the best of the line-up"
    return f"{model} is the best of the line-up in {_METRIC}: difference to {against} {interval}"


def _rivals(
    ours: Float64, incumbent: Incumbent | None, mark: Mark | None, tolerance: float, seed: int
) -> Iterator[tuple[str, Interval, float]]:
    """Yield what was published: its name, the difference to it, and what may be lost."""
    if incumbent is not None:
        name = f"run {incumbent.run_id}"
        if incumbent.paired is not None:
            yield name, paired_difference(ours, incumbent.paired, seed), 0.0
        elif incumbent.stored is not None and len(incumbent.stored):
            yield name, two_sample_difference(ours, incumbent.stored, seed), tolerance
    if mark is not None:
        difference = float(ours.mean()) - mark.mean
        half = Z * float(np.hypot(ours.std(ddof=1) / np.sqrt(len(ours)), mark.error))
        interval = Interval(difference, difference - half, difference + half)
        yield f"run {mark.run_id}, the best published lately", interval, tolerance


def _verdict(name: str, interval: Interval, allowed: float, *, bad: bool) -> str:
    if bad:
        limit = f", and {allowed:g} is allowed" if allowed else ""
        return f"but is worse than {name}: {interval}{limit}"
    if interval.high < 0:
        return f"{-interval.mean:.4f} worse than {name}, within the allowed {allowed:g}"
    return f"holds its own against {name}: {interval}"
