"""``recent_popular``: the number of positives of each item, recent ones counting for more.

What is liked now says more about tomorrow than what was liked years ago. How fast a positive fades
is found from the data: the same half-life does not fit a set of films and one of tweets.
"""

from dataclasses import dataclass

import numpy as np

from recsvc.model.data.splits import Positives
from recsvc.model.recommenders.archive import Archive, Arrays, Previous
from recsvc.model.recommenders.explanation import Contribution, Explanation
from recsvc.model.recommenders.recommender import Description, TrainingSet
from recsvc.model.scores.factors import Factors, cosines
from recsvc.runtime.arrays import Float32, Float64, Int8, Int64
from recsvc.vocabulary import RECENT_POPULAR, SOURCES

SHARE = 0.1  #: of the number of positives: what their weights add up to
LEAST = 10  #: of that sum; half of the positives where there are few
_BINS = 2**16
_HALVINGS = 60


def decayed_counts(positives: Positives) -> Float64:
    """Return for each item the sum of ``2^(-age / h)`` over its positives, shape ``(n_items,)``.

    The age of a positive is the time from it to the newest of all. The half-life ``h`` is such that
    all weights add up to :data:`SHARE` of their number, but to :data:`LEAST` at least; where times
    say nothing, every positive counts whole.

    Args:
        positives: with their times.
    """
    ages = _ages(positives.times)
    weights = 2.0 ** (-ages / half_life(ages)) if len(ages) else np.empty(0)
    counts = np.bincount(positives.columns, weights=weights, minlength=positives.shape[1])
    return counts.astype(np.float64)


def standard_popularity(recent: Float64) -> Float32:
    """Return the logarithm of one more than each decayed count, over its standard deviation.

    The scale of what is popular where it is added to what a user likes, shape ``(n_items,)``.
    """
    logs = np.log1p(recent)
    deviation = float(logs.std())
    return np.asarray(logs / deviation if deviation > 0 else logs, dtype=np.float32)


def half_life(ages: Int64) -> float:
    """Return the half-life in seconds by which weights add up to :data:`SHARE` of their number.

    Found by bisection on a histogram of ages.

    Args:
        ages: seconds, not negative, shape ``(n,)``.

    >>> half_life(np.array([5, 5, 5])), half_life(np.zeros(3, np.int64))
    (inf, inf)
    >>> ages = np.arange(1000)
    >>> round(float(np.sum(2.0 ** (-ages / half_life(ages)))))
    100
    """
    oldest = int(ages.max(initial=0))
    width = max(1, -(-oldest // _BINS))
    counts = np.bincount(ages // width)
    filled = np.flatnonzero(counts)
    counts, centres = counts[filled], filled * float(width)
    wanted = max(SHARE * len(ages), min(LEAST, len(ages) / 2))
    if len(filled) < 2:  # noqa: PLR2004 - of one age alone none is recent
        return float("inf")
    shortest, longest = np.log(width / 64), np.log(64.0 * oldest)
    for _ in range(_HALVINGS):
        middle = (shortest + longest) / 2
        if counts @ (2.0 ** (-centres / np.exp(middle))) > wanted:
            longest = middle
        else:
            shortest = middle
    return float(np.exp(shortest))


def _ages(times: Int64) -> Int64:
    return np.asarray(times.max(initial=np.iinfo(np.int64).min) - times)


@dataclass(frozen=True)
class RecentPopular:
    """See :class:`recsvc.model.recommenders.recommender.Recommender`."""

    description: Description
    name: str = RECENT_POPULAR
    continues: bool = False

    def fit(self, data: TrainingSet, *, previous: Previous | None = None) -> "FittedRecentPopular":  # noqa: ARG002
        """Count, by age."""
        counts = decayed_counts(data.positives).astype(np.float32)
        everyone = np.ones((data.positives.shape[0], 1), np.float32)
        return FittedRecentPopular(self.description, Factors(everyone, counts[:, None]))


@dataclass(frozen=True)
class FittedRecentPopular:
    """See :class:`recsvc.model.recommenders.recommender.Fitted`."""

    description: Description
    scores: Factors
    continued: bool = False

    @property
    def sources(self) -> Int8:
        """Everybody gets what is popular now."""
        return np.full(self.scores.n_users, SOURCES.index(RECENT_POPULAR), np.int8)

    @property
    def similarity(self) -> Factors:
        """Counts say nothing of likeness: every item is as far from every other."""
        return cosines(np.zeros_like(self.scores.items))

    def arrays(self) -> Arrays:
        """Return the counts."""
        return {"recent_popularity": self.scores.items[:, 0]}


def explain_recent_popular(archive: Archive, user: int, item: int) -> Explanation:  # noqa: ARG001
    """Return the decayed number of positives of the item as the one term of its score."""
    counted = Contribution("popularity", float(archive.arrays["recent_popularity"][item]))
    return Explanation.of(RECENT_POPULAR, [counted])
