"""The decision whether a new model may replace what readers have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from recsvc.runtime.arrays import Float64
from recsvc.vocabulary import GATE_K, GATE_METRIC, LIGHTFM_HYBRID, POPULAR

RESAMPLES = 1_000
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
        batch=1,  # a resample at a time: users may be many
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


def decide(
    hybrid: Float64, popular: Float64, incumbent: Incumbent | None, *, tolerance: float, seed: int
) -> Decision:
    """Require that the hybrid beats ``popular`` and is not worse than what is in service.

    "Beats" and "worse" are meant beyond what the choice of users explains: the whole interval lies
    above 0, or below 0 (below ``-tolerance`` where the users are not the same).

    Args:
        hybrid: shape ``(users,)``, NDCG@10 of the hybrid for each user with held-out positives.
        popular: the same users, the baseline.
        incumbent: what is in service, if anything is.
        tolerance: what a run may lose on other data.
        seed: of the resampling.
    """
    if len(hybrid) < FEWEST_USERS:
        reason = f"There is no holdout to judge by: {len(hybrid)} users have enough positives."
        return Decision(passed=False, reason=reason, comparisons={})
    interval = paired_difference(hybrid, popular, seed)
    comparisons = {POPULAR: interval}
    if interval.low <= 0:
        reason = f"{LIGHTFM_HYBRID} does not beat {POPULAR} in {_METRIC}: difference {interval}."
        return Decision(passed=False, reason=reason, comparisons=comparisons)
    reason = f"{LIGHTFM_HYBRID} beats {POPULAR} in {_METRIC}: difference {interval}"
    if incumbent is None:
        return Decision(passed=True, reason=f"{reason}.", comparisons=comparisons)
    name = f"run {incumbent.run_id}"
    compared, limit = _against(hybrid, incumbent, tolerance, seed)
    if compared is None:
        return Decision(passed=True, reason=f"{reason}.", comparisons=comparisons)
    comparisons[name] = compared
    passed = compared.high >= limit
    verdict = "holds its own against" if passed else "but is worse than"
    return Decision(passed, f"{reason}, {verdict} {name}: {compared}.", comparisons)


def _against(
    hybrid: Float64, incumbent: Incumbent, tolerance: float, seed: int
) -> tuple[Interval | None, float]:
    """Return the difference to the published run, and what its upper end must reach."""
    if incumbent.paired is not None:
        return paired_difference(hybrid, incumbent.paired, seed), 0.0
    if incumbent.stored is not None and len(incumbent.stored):
        return two_sample_difference(hybrid, incumbent.stored, seed), -tolerance
    return None, 0.0
