"""Metrics against literal formulas; their docstrings hold the worked examples."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recsvc.model.evaluation import metrics

Metric = Callable[[np.ndarray, np.ndarray, int], np.ndarray]

RANKS = np.array([4, 0, 2, 7, 1])
INDPTR = np.array([0, 3, 4, 4, 5])  # users with three, one, no and one positive

user_ranks = st.lists(st.sets(st.integers(0, 60), max_size=12), min_size=1, max_size=8)


def ragged(users: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    ranks = np.array([rank for user in users for rank in user], dtype=np.int32)
    return ranks, np.cumsum([0, *map(len, users)])


def literal_ndcg(ranks: set[int], k: int) -> float:
    dcg = sum(1 / np.log2(rank + 2) for rank in ranks if rank < k)
    ideal = sum(1 / np.log2(rank + 2) for rank in range(min(k, len(ranks))))
    return dcg / ideal if ranks else 0.0


def literal_average_precision(ranks: set[int], k: int) -> float:
    precisions = [sum(other <= rank for other in ranks) / (rank + 1) for rank in ranks if rank < k]
    return sum(precisions) / min(k, len(ranks)) if ranks else 0.0


LITERAL = {
    metrics.precision_at_k: lambda ranks, k: sum(r < k for r in ranks) / k,
    metrics.recall_at_k: lambda ranks, k: sum(r < k for r in ranks) / max(len(ranks), 1),
    metrics.hit_rate_at_k: lambda ranks, k: float(any(r < k for r in ranks)),
    metrics.reciprocal_rank_at_k: lambda ranks, k: max(
        (1 / (r + 1) for r in ranks if r < k), default=0.0
    ),
    metrics.ndcg_at_k: literal_ndcg,
    metrics.average_precision_at_k: literal_average_precision,
}


@pytest.mark.parametrize("metric", LITERAL, ids=lambda metric: metric.__name__)
@given(users=user_ranks, k=st.integers(1, 30))
def test_equals_its_formula_user_by_user(metric: Metric, users: list[set[int]], k: int) -> None:
    values = metric(*ragged(users), k)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, [LITERAL[metric](user, k) for user in users], atol=1e-12)


@pytest.mark.parametrize("metric", LITERAL, ids=lambda metric: metric.__name__)
@given(users=user_ranks, k=st.integers(1, 30))
def test_stays_between_zero_and_one(metric: Metric, users: list[set[int]], k: int) -> None:
    values = metric(*ragged(users), k)
    assert np.all((values >= 0) & (values <= 1 + 1e-12))


@pytest.mark.parametrize(
    "metric",
    [metric for metric in LITERAL if metric is not metrics.precision_at_k],
    ids=lambda metric: metric.__name__,
)
def test_a_perfect_list_scores_one(metric: Metric) -> None:
    assert metric(np.array([2, 0, 1]), np.array([0, 3]), 5).tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("metric", LITERAL, ids=lambda metric: metric.__name__)
def test_a_user_without_positives_gets_zero(metric: Metric) -> None:
    assert metric(RANKS, INDPTR, 5)[2] == 0.0


@given(seed=st.integers(0, 2**32 - 1), n_positives=st.integers(1, 8), n_negatives=st.integers(0, 9))
def test_auc_is_the_share_of_pairs_in_order(seed: int, n_positives: int, n_negatives: int) -> None:
    rng = np.random.default_rng(seed)
    positives, negatives = rng.integers(0, 5, n_positives), rng.integers(0, 5, n_negatives)
    difference = np.subtract.outer(positives, negatives)
    above = (difference < 0).sum(axis=1) + (difference == 0).sum(axis=1) / 2

    value = metrics.auc(above, np.array([0, n_positives]), np.array([n_negatives]))

    pairs = ((difference > 0) + (difference == 0) / 2).mean() if n_negatives else 0.5
    assert value.tolist() == pytest.approx([pairs])


def test_coverage_counts_an_item_once_and_no_padding() -> None:
    lists = np.array([[2, 0], [2, -1], [-1, -1]])
    assert metrics.coverage_at_k(lists, n_items=4, k=1) == 0.25
    assert metrics.coverage_at_k(lists, n_items=4, k=2) == 0.5


def test_novelty_of_an_unknown_item_is_that_of_an_item_with_one_user() -> None:
    lists = np.array([[0], [1]])
    unknown, once = metrics.novelty_at_k(lists, np.array([0, 1]), n_users=16, k=1)
    assert unknown == once == 4.0


def test_novelty_of_an_empty_list_is_undefined() -> None:
    assert np.isnan(metrics.novelty_at_k(np.array([[-1, -1]]), np.array([3]), n_users=4, k=2)[0])


class TestLists:
    rng = np.random.default_rng(4)
    lists = rng.permuted(np.tile(np.arange(12, dtype=np.int32), (30, 1)), axis=1)[:, :6]

    def test_diversity_is_one_less_the_mean_cosine_of_pairs(self) -> None:
        tokens = self.rng.random((12, 5)) * (self.rng.random((12, 5)) < 0.5)
        tokens[3] = 0
        unit = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
        cosines = unit @ unit.T
        found = metrics.diversity_at_k(self.lists, sparse.csr_array(tokens), 4)
        for items, value in zip(self.lists, found, strict=True):
            pairs = [cosines[a, b] for a, b in combinations(items[:4], 2)]
            assert value == pytest.approx(1 - np.mean(pairs))

    def test_gini_is_the_mean_difference_over_twice_the_mean(self) -> None:
        counts = np.bincount(self.lists[:, :3].ravel(), minlength=12)
        differences = np.abs(np.subtract.outer(counts, counts)).mean()
        expected = differences / (2 * counts.mean())
        assert metrics.gini_at_k(self.lists, 12, 3) == pytest.approx(expected)

    def test_one_item_shown_to_everybody_is_as_unequal_as_can_be(self) -> None:
        assert metrics.gini_at_k(np.zeros((5, 1), np.int32), 100, 1) == pytest.approx(0.99)
        assert metrics.gini_at_k(np.full((5, 1), -1, np.int32), 100, 1) == 0

    def test_shares_and_diversity_are_of_the_places_that_are_filled(self) -> None:
        short = np.array([[0, -1, -1], [-1, -1, -1]], np.int32)
        assert metrics.head_share_at_k(short, np.array([True, False]), 3).tolist() == [1, 0]
        tokens = sparse.csr_array(np.ones((2, 1)))
        assert metrics.diversity_at_k(short, tokens, 3).tolist() == [0, 0]
