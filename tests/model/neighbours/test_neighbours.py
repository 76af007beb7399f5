"""Neighbours in time, against their definition written out; and the same bytes by any threads."""

import numpy as np
import pytest

from recsvc.model.data.splits import Positives
from recsvc.model.neighbours.cooccurrence import (
    NEAREST,
    REACH,
    SHRINKAGE,
    Neighbours,
    neighbours_of,
)
from recsvc.model.neighbours.histories import Histories, histories_of
from recsvc.model.neighbours.scores import NEWEST, Term, WithNeighbours
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32, Float64
from recsvc.vocabulary import NEIGHBOUR_KINDS, NeighbourKind

N_ITEMS = 60


def random_histories(seed: int = 1, users: int = 40, longest: int = 50) -> Histories:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest, users)
    items = [rng.permutation(N_ITEMS)[:length] for length in lengths]
    return Histories(
        np.concatenate(([0], np.cumsum(lengths))),
        np.concatenate(items).astype(np.int32),
        N_ITEMS,
    )


def by_definition(histories: Histories, kind: NeighbourKind) -> Float64:
    """``W[j, i]`` for all pairs, whole."""
    together = np.zeros((histories.n_items, histories.n_items))
    for user in range(histories.n_users):
        mine = histories.items[histories.indptr[user] : histories.indptr[user + 1]]
        for a, j in enumerate(mine):
            for b, i in enumerate(mine):
                if a == b:
                    continue
                if kind == "cosine":
                    together[j, i] += 1
                elif abs(a - b) <= REACH and (kind == "window" or b > a):
                    together[j, i] += 1 / abs(a - b)
    counts = histories.counts()
    return together / (np.sqrt(np.outer(counts, counts)) + SHRINKAGE)


def whole(neighbours: Neighbours, n_items: int = N_ITEMS) -> Float64:
    matrix = np.zeros((n_items, n_items))
    for item in range(n_items):
        there = neighbours.items[item] >= 0
        matrix[item, neighbours.items[item][there]] = neighbours.weights[item][there]
    return matrix


class TestHistories:
    def test_they_are_in_the_order_of_time_and_not_of_items(self) -> None:
        made = Positives(
            np.array([1, 0, 1, 1], np.int32),
            np.array([2, 5, 9, 4], np.int32),
            np.array([30, 1, 10, 20]),
            (3, 10),
        )
        histories = histories_of(made, seed=1)
        assert histories.indptr.tolist() == [0, 1, 4, 4]
        assert histories.items.tolist() == [5, 9, 4, 2]

    def test_equal_times_are_in_no_order_but_a_repeatable_one(self) -> None:
        items = np.arange(200, dtype=np.int32)
        made = Positives(np.zeros(200, np.int32), items, np.zeros(200, np.int64), (1, 200))
        first, again, other = (histories_of(made, seed).items for seed in (1, 1, 2))
        assert first.tolist() == again.tolist() != other.tolist()
        assert abs(np.corrcoef(first, items)[0, 1]) < 0.3
        assert sorted(first) == items.tolist()

    def test_the_newest_are_the_last(self) -> None:
        histories = Histories(np.array([0, 3, 3, 4]), np.array([7, 8, 9, 1], np.int32), 10)
        newest = histories.newest(2)
        assert (newest.indptr.tolist(), newest.items.tolist()) == ([0, 2, 2, 3], [8, 9, 1])


class TestNearest:
    @pytest.mark.parametrize("kind", NEIGHBOUR_KINDS)
    def test_weights_are_those_of_the_definition(self, kind: NeighbourKind) -> None:
        histories = random_histories()
        found = neighbours_of(histories, kind, threads=2)
        assert whole(found) == pytest.approx(by_definition(histories, kind), rel=1e-5)

    @pytest.mark.parametrize("kind", NEIGHBOUR_KINDS)
    def test_any_number_of_threads_gives_the_same_bytes(self, kind: NeighbourKind) -> None:
        histories = random_histories(2)
        one, three = (neighbours_of(histories, kind, threads=threads) for threads in (1, 3))
        assert one.items.tobytes() == three.items.tobytes()
        assert one.weights.tobytes() == three.weights.tobytes()

    def test_ties_go_to_the_smaller_item(self) -> None:
        pairs = [[0, 1]] * 3 + [[0, 2]] * 5 + [[0, 3]] * 3 + [[0, 4]] + [[4, 5]] * 9
        indptr = np.arange(0, 2 * len(pairs) + 1, 2)
        histories = Histories(indptr, np.array(pairs, np.int32).ravel(), 6)
        assert neighbours_of(histories, "window").items[0, :5].tolist() == [2, 1, 3, 4, -1]

    def test_of_many_the_hundred_nearest_are_kept(self) -> None:
        rng = np.random.default_rng(3)
        items = np.concatenate([rng.permutation(250)[:120] for _ in range(40)]).astype(np.int32)
        histories = Histories(np.arange(0, 40 * 120 + 1, 120), items, 250)
        found = neighbours_of(histories, "cosine", threads=2)
        assert found.items.shape == (250, NEAREST)
        best = -np.sort(-by_definition(histories, "cosine"), axis=1)[:, :NEAREST]
        assert found.weights == pytest.approx(best, rel=1e-5)

    def test_without_positives_nothing_is_near(self) -> None:
        nothing = Histories(np.zeros(4, np.int64), np.empty(0, np.int32), 3)
        found = neighbours_of(nothing, "cosine", threads=2)
        assert (found.items == -1).all()
        assert not found.weights.any()


class TestScores:
    histories = random_histories(4)
    neighbours = neighbours_of(histories, "forward")
    weights = by_definition(histories, "forward")

    def sums(self, user: int, decay: float) -> Float64:
        mine = self.histories.items[self.histories.indptr[user] : self.histories.indptr[user + 1]]
        total = np.zeros(N_ITEMS)
        for k, item in enumerate(mine[::-1][:NEWEST]):
            total += (1 + k) ** -decay * self.weights[item]
        return total

    def scores(self, *, standardised: bool, weight: float = 1.0) -> WithNeighbours:
        rng = np.random.default_rng(5)
        base = Factors(
            rng.standard_normal((40, 3)).astype(np.float32),
            rng.standard_normal((N_ITEMS, 3)).astype(np.float32),
        )
        return WithNeighbours.for_some(
            base,
            self.histories,
            Term(self.neighbours, 0.5),
            weight,
            np.arange(40) % 2 == 0,
            standardised=standardised,
        )

    def scored(self, scores: WithNeighbours, users: list[int]) -> Float32:
        return scores.scorer(48).score(np.array(users, np.int32)).copy()

    def test_they_are_sums_over_the_newest_positives(self) -> None:
        scores = self.scores(standardised=False)
        base = self.scored(scores, [4]) - self.sums(4, 0.5)
        assert base[0] == pytest.approx(scores.base.users[4] @ scores.base.items.T, abs=1e-5)

    def test_standardised_they_have_a_deviation_of_the_weight(self) -> None:
        scores = self.scores(standardised=True, weight=0.7)
        added = self.scored(scores, [4])[0] - scores.base.users[4] @ scores.base.items.T
        expected = self.sums(4, 0.5)
        assert added.std() == pytest.approx(0.7, rel=1e-3)
        assert added == pytest.approx(0.7 * expected / expected.std(), abs=1e-4)

    def test_nothing_is_added_for_the_others(self) -> None:
        scores = self.scores(standardised=True)
        assert self.scored(scores, [5])[0] == pytest.approx(
            scores.base.users[5] @ scores.base.items.T, abs=1e-6
        )

    def test_a_score_does_not_depend_on_the_block(self) -> None:
        scores = self.scores(standardised=True)
        together = self.scored(scores, list(range(40)))
        for user in range(40):
            assert self.scored(scores, [user])[0].tobytes() == together[user].tobytes()

    @pytest.mark.parametrize("standardised", [True, False])
    def test_what_each_positive_adds_adds_up(self, standardised: bool) -> None:
        scores = self.scores(standardised=standardised, weight=0.4)
        newest, places, scale = scores.sums(4)
        added = scale * sum(
            place * self.weights[item] for item, place in zip(newest, places, strict=True)
        )
        base = scores.base.users[4] @ scores.base.items.T
        assert self.scored(scores, [4])[0] == pytest.approx(base + added, abs=1e-4)
        assert scores.sums(5)[2] == 0
