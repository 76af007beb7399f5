"""What a blend is made of, and its scores once the weights are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from recsvc.model.neighbours.cooccurrence import Neighbours
from recsvc.model.neighbours.histories import Histories
from recsvc.model.neighbours.scores import NONE, Term, WithNeighbours
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32, Int8, Mask
from recsvc.vocabulary import NeighbourKind


class Weights(NamedTuple):
    """What is added to the hybrid, each part in standard deviations over a user's scores."""

    neighbours: NeighbourKind | None = None  #: what near means; ``None`` adds no neighbours
    neighbour_decay: float | None = None  #: how fast a history fades, place by place
    neighbour_weight: float = 0.0  #: ``w``
    popularity_weight: float = 0.0  #: ``r``


PLAIN = Weights()  #: the hybrid as it is


@dataclass(frozen=True)
class Parts:
    """Models that were fitted on the same positives.

    The blend scores item ``i`` for a user ``u`` with positives by

        ``h(u, i) / s_u + w N(u, i) / t_u + r R(i)``

    with the hybrid's score ``h``, the sum over neighbours ``N``, and ``s_u`` and ``t_u`` their
    standard deviations over all items; ``R`` has a standard deviation of 1. Means are not taken
    off: within a list they change nothing, and a score stays a sum of what each token adds.
    """

    personal: Factors  #: ``h``; zero for users about whom the hybrid knows nothing
    popularity: Float32  #: ``R``, shape ``(n_items,)``
    unknown_popularity: Float32  #: what ``R`` adds to ``h`` for users without positives
    histories: Histories
    neighbours: Mapping[NeighbourKind, Neighbours]

    @property
    def known(self) -> Mask:
        """Users with positives, shape ``(n_users,)``."""
        return np.diff(self.histories.indptr) > 0

    @cached_property
    def scales(self) -> Float32:
        """``1 / s_u``, shape ``(n_users,)``; 0 where the hybrid says the same of every item."""
        deviations = self.personal.deviations()
        inverse = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=deviations > 0)
        return inverse.astype(np.float32)

    def popularity_weights(self, weights: Float32) -> Float32:
        """Return how much ``R`` adds to the scores of each user, shape ``(n_users,)``.

        Args:
            weights: shape ``(n_users,)``, ``r`` of users with positives.
        """
        rescaled = self.unknown_popularity * np.where(self.scales > 0, self.scales, 1)
        return np.where(self.known, weights, rescaled).astype(np.float32)

    def scores(self, weights: Weights) -> WithNeighbours:
        """Return the blend with the same weights for everybody."""
        return self.scores_by_part([weights], np.zeros(len(self.known), np.int8))

    def scores_by_part(self, weights: Sequence[Weights], part: Int8) -> WithNeighbours:
        """Return the blend, with weights of its own for each part of the users.

        Args:
            weights: of each part.
            part: shape ``(n_users,)``, the part that a user belongs to.
        """
        terms: dict[tuple[NeighbourKind, float], Term] = {}
        choice = np.full(len(part), NONE, np.int8)
        for number, each in enumerate(weights):
            if each.neighbours is not None and each.neighbour_decay is not None:
                key = each.neighbours, each.neighbour_decay
                terms.setdefault(key, Term(self.neighbours[key[0]], key[1]))
                choice[self.known & (part == number)] = list(terms).index(key)
        popularity = np.array([each.popularity_weight for each in weights], np.float32)[part]
        return WithNeighbours(
            base=self._standardised(self.popularity_weights(popularity)),
            histories=self.histories,
            terms=tuple(terms.values()),
            choice=choice,
            weights=np.array([each.neighbour_weight for each in weights], np.float32)[part],
        )

    def _standardised(self, popularity_weights: Float32) -> Factors:
        users = np.hstack([self.personal.users * self.scales[:, None], popularity_weights[:, None]])
        return Factors(users, np.hstack([self.personal.items, self.popularity[:, None]]))
