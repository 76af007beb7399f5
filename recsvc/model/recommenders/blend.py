"""``blend``: the hybrid, neighbours in time, and what is popular now, weighed by the holdout.

Three things that are right about different parts of a list: what a user likes in general, what goes
with what they liked last, and what is liked by everybody now.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from recsvc.model.blend.choosing import TERMS, Holdout, choose_weights
from recsvc.model.blend.parts import PLAIN, Parts, Weights
from recsvc.model.lightfm.fitting import Training
from recsvc.model.neighbours.cooccurrence import neighbours_of
from recsvc.model.neighbours.histories import histories_of
from recsvc.model.neighbours.scores import Term, WithNeighbours
from recsvc.model.recommenders.archive import Archive, Arrays, Previous
from recsvc.model.recommenders.explanation import Contribution, Explanation
from recsvc.model.recommenders.fallback import having_source
from recsvc.model.recommenders.lightfm_hybrid import (
    FittedLightfm,
    LightfmHybrid,
    describe,
    popularity_terms,
    token_terms,
)
from recsvc.model.recommenders.neighbours import arrays_of, liked_terms
from recsvc.model.recommenders.recent_popular import standard_popularity
from recsvc.model.recommenders.recommender import Description, Fitted, TrainingSet
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Int8
from recsvc.vocabulary import BLEND, HYBRID, LIGHTFM_HYBRID, SOURCES, NeighbourKind


@dataclass(frozen=True)
class Blend:
    """See :class:`recsvc.model.recommenders.recommender.Recommender`."""

    training: Training
    weights: Weights = PLAIN
    name: str = BLEND

    @property
    def description(self) -> Description:
        """That of the hybrid, and the weights."""
        return replace(describe(self.training), weights=self.weights)

    @property
    def continues(self) -> bool:
        """Whether the hybrid does."""
        return LightfmHybrid(self.training).continues

    def fit(self, data: TrainingSet, *, previous: Previous | None = None) -> "FittedBlend":
        """Fit the hybrid, find neighbours if they count, and add up by the weights."""
        hybrid = LightfmHybrid(self.training).fit(data, previous=previous)
        kinds = [self.weights.neighbours] if self.weights.neighbours else []
        return FittedBlend(hybrid, _parts(hybrid, kinds, self.training.threads), self.weights)


def tuned_blend(
    blend: Blend, fitted: Mapping[str, Fitted], holdout: Holdout
) -> tuple[Blend, WithNeighbours]:
    """Choose the weights by a holdout.

    Args:
        blend: whose weights are still open.
        fitted: the hybrid, by name, fitted without the held-out positives.
        holdout: what to find again.

    Returns:
        The blend with the weights chosen, and scores to judge it by: of each user with weights that
        the user had no say in.
    """
    hybrid = cast("FittedLightfm", fitted[LIGHTFM_HYBRID])
    kinds = sorted({kind for kind, _ in TERMS})
    chosen = choose_weights(_parts(hybrid, kinds, holdout.threads), holdout)
    return replace(blend, weights=chosen.weights), chosen.scores


def _parts(hybrid: FittedLightfm, kinds: Iterable[NeighbourKind], threads: int) -> Parts:
    histories = histories_of(hybrid.data.positives, hybrid.description.seed)
    return Parts(
        personal=hybrid.personal,
        popularity=standard_popularity(hybrid.recent),
        unknown_popularity=hybrid.popularity_weights,
        histories=histories,
        neighbours={kind: neighbours_of(histories, kind, threads=threads) for kind in kinds},
    )


@dataclass(frozen=True)
class FittedBlend:
    """See :class:`recsvc.model.recommenders.recommender.Fitted`."""

    hybrid: FittedLightfm
    parts: Parts
    weights: Weights

    @property
    def description(self) -> Description:
        """That of the hybrid, and the weights."""
        return replace(self.hybrid.description, weights=self.weights)

    @property
    def continued(self) -> bool:
        """Whether the hybrid went on from an earlier one."""
        return self.hybrid.continued

    @property
    def sources(self) -> Int8:
        """Those of the hybrid, where the blend takes the place of the model."""
        of_hybrid = self.hybrid.sources
        known = having_source(of_hybrid, HYBRID)
        return np.where(known, SOURCES.index(BLEND), of_hybrid).astype(np.int8)

    @property
    def scores(self) -> WithNeighbours:
        """The weighted sum; the hybrid and what is popular now for users without positives."""
        return self.parts.scores(self.weights)

    @property
    def similarity(self) -> Factors:
        """That of the hybrid."""
        return self.hybrid.similarity

    def arrays(self) -> Arrays:
        """Return the arrays of all parts, and what they are multiplied with."""
        everybody = np.full(len(self.parts.known), self.weights.popularity_weight, np.float32)
        arrays = self.hybrid.arrays() | {
            "sources": self.sources,
            "scales": self.parts.scales,
            "popularity_weights": self.parts.popularity_weights(everybody),
            "neighbour_weight": np.array(self.weights.neighbour_weight),
        }
        if self.weights.neighbours is None or self.weights.neighbour_decay is None:
            return arrays
        neighbours = self.parts.neighbours[self.weights.neighbours]
        term = Term(neighbours, self.weights.neighbour_decay)
        return arrays | arrays_of(term, self.parts.histories)


def explain_blend(archive: Archive, user: int, item: int) -> Explanation:
    """Split a score into tokens of the hybrid, movies that the user liked, and what is popular.

    Args:
        archive: of the published run.
        user: user index.
        item: item index.
    """
    arrays = archive.arrays
    scale = float(arrays["scales"][user])
    terms = [Contribution(t.token, t.value * scale) for t in token_terms(archive, user, item)]
    if "neighbour_items" in arrays:
        weight = float(arrays["neighbour_weight"])
        terms += liked_terms(archive, user, item, weight, standardised=True)
    terms += popularity_terms(archive, user, item)
    return Explanation.of(SOURCES[int(arrays["sources"][user])], terms)
