"""``popular``: the number of positives of each item, for everyone alike.

The baseline that every model must beat, and the fallback for users it knows nothing about.
"""

from dataclasses import dataclass

import numpy as np

from recsvc.model.data.identifiers import Csr
from recsvc.model.recommenders.archive import Archive, Arrays, Previous
from recsvc.model.recommenders.explanation import Contribution, Explanation
from recsvc.model.recommenders.recommender import Description, TrainingSet
from recsvc.model.scores.factors import Factors, cosines
from recsvc.runtime.arrays import Float32, Int8
from recsvc.vocabulary import POPULAR, POPULAR_ITEMS, SOURCES


def popularity(train: Csr) -> Float32:
    """Return the number of positives of each item, shape ``(n_items,)``."""
    return np.bincount(train.indices, minlength=train.shape[1]).astype(np.float32)


def popular_factors(train: Csr) -> Factors:
    """Score every item, for everyone, by its number of positives."""
    everyone = np.ones((train.shape[0], 1), np.float32)
    return Factors(everyone, np.ascontiguousarray(popularity(train)[:, None]))


@dataclass(frozen=True)
class Popular:
    """See :class:`recsvc.model.recommenders.recommender.Recommender`."""

    description: Description
    name: str = POPULAR
    continues: bool = False

    def fit(self, data: TrainingSet, *, previous: Previous | None = None) -> "FittedPopular":  # noqa: ARG002
        """Count."""
        return FittedPopular(self.description, popular_factors(data.positives.csr()))


@dataclass(frozen=True)
class FittedPopular:
    """See :class:`recsvc.model.recommenders.recommender.Fitted`."""

    description: Description
    scores: Factors
    continued: bool = False

    @property
    def sources(self) -> Int8:
        """Everybody gets what is popular."""
        return np.full(self.scores.n_users, SOURCES.index(POPULAR_ITEMS), np.int8)

    @property
    def similarity(self) -> Factors:
        """Counts say nothing of likeness: every item is as far from every other."""
        return cosines(np.zeros_like(self.scores.items))

    def arrays(self) -> Arrays:
        """Return the counts."""
        return {"popularity": self.scores.items[:, 0]}


def explain_popular(archive: Archive, user: int, item: int) -> Explanation:  # noqa: ARG001
    """Return the number of positives of the item as the one term of its score."""
    counted = Contribution("popularity", float(archive.arrays["popularity"][item]))
    return Explanation.of(POPULAR_ITEMS, [counted])
