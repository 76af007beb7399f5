"""Scores of two matrices, and on top of them what is near the newest items of a user's history."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from recsvc.model.neighbours.cooccurrence import Neighbours
from recsvc.model.neighbours.histories import Histories
from recsvc.model.scores.factors import Factors
from recsvc.model.scores.scores import Scorer
from recsvc.runtime.arrays import Float32, Float64, Int8, Int32, Int64, Mask
from recsvc.runtime.compiled import jit

NEWEST = 100  #: positives of a user that are looked at
NONE = -1  #: of a user for whom nothing is added


def recency(decay: float) -> Float64:
    """Return what the positive ``k`` places from the end weighs: ``(1 + k)^-decay``."""
    return np.asarray((1.0 + np.arange(NEWEST)) ** -decay, dtype=np.float64)


@dataclass(frozen=True)
class Term:
    """A way to score by neighbours."""

    neighbours: Neighbours
    decay: float  #: how fast a history fades, place by place


@dataclass(frozen=True)
class WithNeighbours:
    """See :class:`recsvc.model.scores.scores.Scores`.

    For user ``u`` whose ``k``-th positive from the end is ``j_k``, the score of item ``i`` is

        ``base(u, i) + weight_u * sum_k (1 + k)^-decay W[j_k, i] / s_u``

    where ``W`` and ``decay`` are those of the user's term, and ``s_u`` is the standard deviation of
    the sum over all items of the catalogue; 1 if the sums are not ``standardised``.
    """

    base: Factors
    histories: Histories  #: of all users
    terms: tuple[Term, ...]
    choice: Int8  #: shape ``(n_users,)``, which of the terms counts for whom, or ``NONE``
    weights: Float32  #: shape ``(n_users,)``
    standardised: bool = True

    @classmethod
    def for_some(
        cls,
        base: Factors,
        histories: Histories,
        term: Term,
        weight: float,
        users: Mask,
        *,
        standardised: bool = True,
    ) -> Self:
        """Add the same term with the same weight for some users."""
        choice = np.where(users, 0, NONE).astype(np.int8)
        weights = np.full(len(users), weight, np.float32)
        return cls(base, histories, (term,), choice, weights, standardised)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.base.n_users

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.base.n_items

    def require_finite(self) -> None:
        """Make sure that no score of the base can overflow; sums of neighbours are bounded.

        Raises:
            TrainingDivergedError: one could.
        """
        self.base.require_finite()

    def scorer(self, rows: int) -> Scorer:
        """Return one worker's buffers for blocks of at most ``rows`` users."""
        return _Scorer(self, self.base.scorer(rows))

    @cached_property
    def _newest(self) -> Histories:
        return self.histories.newest(NEWEST)

    def add_to(self, scores: Float32, users: Int32) -> None:
        """Add the neighbours' part to the scores of some users, shape ``(rows, n_items)``."""
        for number, term in enumerate(self.terms):
            _add(
                scores,
                users,
                np.where(self.choice[users] == number, self.weights[users], np.float32(0)),
                self._newest.indptr,
                self._newest.items,
                term.neighbours.items,
                term.neighbours.weights,
                recency(term.decay).astype(np.float32),
                self.standardised,
            )

    def sums(self, user: int) -> tuple[Int32, Float64, float]:
        """Take apart what is added for one user.

        Returns:
            Positives of the user, newest first, what each weighs, and the number that the sum over
            them is multiplied with.
        """
        number = int(self.choice[user])
        start, stop = self._newest.indptr[user : user + 2]
        newest = self._newest.items[start:stop][::-1]
        if number == NONE:
            return newest[:0], np.empty(0), 0.0
        term = self.terms[number]
        places = recency(term.decay)[: len(newest)]
        scale = float(self.weights[user])
        if self.standardised:
            scale *= _inverse_deviation(term, newest, places, self.n_items)
        return newest, places, scale


def _inverse_deviation(term: Term, newest: Int32, places: Float64, n_items: int) -> float:
    sums = np.zeros(n_items)
    for item, place in zip(newest.tolist(), places.tolist(), strict=True):
        found = term.neighbours.items[item] >= 0
        nearest = term.neighbours.items[item][found]
        sums[nearest] += place * term.neighbours.weights[item][found]
    deviation = float(sums.std())
    return 1.0 / deviation if deviation > 0 else 0.0


class _Scorer:
    """The base's scores, and the neighbours' part added in place."""

    def __init__(self, scores: WithNeighbours, base: Scorer) -> None:
        self._scores = scores
        self._base = base

    def score(self, users: Int32) -> Float32:
        values = self._base.score(users)
        self._scores.add_to(values, users)
        return values


@jit()
def _add(
    scores: Float32,
    users: Int32,
    user_weights: Float32,
    indptr: Int64,
    history: Int32,
    nearest: Int32,
    nearness: Float32,
    recency: Float32,
    standardised: bool,
) -> None:
    """Add to each row of ``scores`` the weighted, standardised sums of one user."""
    n_items = scores.shape[1]
    sums = np.zeros(n_items, dtype=np.float32)
    # One place more than can be filled: the loop writes before it knows.
    met = np.empty(n_items + 1, dtype=np.int32)
    for row in range(users.size):
        if user_weights[row] == 0:
            continue
        n_met = 0
        last = indptr[users[row] + 1] - 1
        for k in range(indptr[users[row] + 1] - indptr[users[row]]):
            item = history[last - k]
            for p in range(nearest.shape[1]):
                neighbour = nearest[item, p]
                if neighbour < 0:
                    break
                met[n_met] = neighbour
                n_met += sums[neighbour] == 0
                sums[neighbour] += recency[k] * nearness[item, p]
        scale = user_weights[row]
        if standardised:
            total, squares = 0.0, 0.0
            for m in range(n_met):
                value = np.float64(sums[met[m]])
                total += value
                squares += value * value
            variance = squares / n_items - (total / n_items) ** 2
            scale = np.float32(user_weights[row] / np.sqrt(variance)) if variance > 0 else 0.0
        for m in range(n_met):
            scores[row, met[m]] += np.float32(scale) * sums[met[m]]
            sums[met[m]] = 0
