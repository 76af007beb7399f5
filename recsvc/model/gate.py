"""The decision whether tonight's model may replace what readers have."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

RESAMPLES = 1_000


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
    differences = ours - theirs
    rng = np.random.default_rng(seed)
    means = [
        float(differences[rng.integers(0, len(differences), len(differences))].mean())
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(differences.mean()), float(low), float(high))


def decide(hybrid: Float64, popular: Float64, seed: int) -> Decision:
    """Require that the hybrid beats ``popular``, beyond what the choice of users explains.

    Args:
        hybrid: shape ``(users,)``, NDCG@10 of the hybrid for each user with held-out positives.
        popular: the same users, the baseline.
        seed: of the resampling.
    """
    if not len(hybrid):
        return Decision(
            passed=False,
            reason="There is no holdout to judge by: no user has enough positives.",
            comparisons={},
        )
    interval = paired_difference(hybrid, popular, seed)
    passed = interval.low > 0
    verdict = "beats" if passed else "does not beat"
    reason = f"lightfm_hybrid {verdict} popular in NDCG@10: difference {interval}."
    return Decision(passed, reason, {"popular": interval})
