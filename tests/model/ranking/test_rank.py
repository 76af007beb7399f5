"""Ranking gives what a full stable sort of the same scores gives, whatever the blocks."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsvc.errors import TrainingDivergedError
from recsvc.model.ranking.rank import RankedBlock, rank, similar_items
from recsvc.model.scores.factors import Factors, cosines


def whole(factors: Factors) -> np.ndarray:
    """Scores as one product; exact in float32 while factors are small integers."""
    return factors.users @ factors.items.T


def literal(scores: np.ndarray, exclude: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The plain definition: sort everything, then cut."""
    items = np.full((scores.shape[0], n), -1, dtype=np.int32)
    best = np.full((scores.shape[0], n), np.nan, dtype=np.float32)
    for user, row in enumerate(scores):
        order = [i for i in np.argsort(-row, kind="stable") if not exclude[user, i]][:n]
        items[user, : len(order)] = order
        best[user, : len(order)] = row[order]
    return items, best


def joined(blocks: Iterable[RankedBlock]) -> RankedBlock:
    parts = list(blocks)
    return RankedBlock(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("users", "items", "scores", "counts")
        )
    )


def integer_factors(
    seed: int, n_users: int, n_items: int, largest: int = 2, n_factors: int = 4
) -> Factors:
    rng = np.random.default_rng(seed)
    return Factors(
        *(
            rng.integers(-largest, largest + 1, (rows, n_factors)).astype(np.float32)
            for rows in (n_users, n_items)
        )
    )


def seen(seed: int, n_users: int, n_items: int, share: float) -> sparse.csr_array:
    draw = np.random.default_rng(seed).random((n_users, n_items))
    return sparse.csr_array((draw < share).astype(np.float32))


nothing_seen = sparse.csr_array


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_users=st.integers(1, 40),
    n_items=st.integers(1, 500),
    n=st.integers(1, 130),
    largest=st.sampled_from([0, 1, 3, 100]),
    n_factors=st.sampled_from([1, 2, 4]),
    seen_share=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    available_share=st.sampled_from([0.0, 0.5, 1.0]),
    threads=st.integers(1, 3),
    block_rows=st.none() | st.integers(1, 50),
)
def test_equals_a_full_stable_sort(
    *,
    seed: int,
    n_users: int,
    n_items: int,
    n: int,
    largest: int,
    n_factors: int,
    seen_share: float,
    available_share: float,
    threads: int,
    block_rows: int | None,
) -> None:
    factors = integer_factors(seed, n_users, n_items, largest, n_factors)
    exclude = seen(seed + 1, n_users, n_items, seen_share)
    available = np.random.default_rng(seed + 2).random(n_items) < available_share

    result = joined(
        rank(factors, exclude, n, available=available, threads=threads, block_rows=block_rows)
    )

    left_out = (exclude.toarray() != 0) | ~available
    items, scores = literal(whole(factors), left_out, n)
    np.testing.assert_array_equal(result.users, np.arange(n_users))
    np.testing.assert_array_equal(result.items, items)
    np.testing.assert_array_equal(result.scores, scores)
    np.testing.assert_array_equal(result.counts, np.minimum((~left_out).sum(axis=1), n))


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
def test_a_long_catalogue_is_selected_right_in_any_order_of_scores(order: str) -> None:
    rng = np.random.default_rng(5)
    scores = np.sort(rng.standard_normal(20_000).astype(np.float32))
    scores = {"rising": scores, "falling": scores[::-1], "shuffled": rng.permutation(scores)}[order]
    factors = Factors(np.ones((2, 1), np.float32), scores[:, np.newaxis].copy())

    result = joined(rank(factors, nothing_seen((2, 20_000)), 100))

    np.testing.assert_array_equal(result.items[1], np.argsort(-scores, kind="stable")[:100])


def test_scores_do_not_depend_on_block_size_or_threads_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    factors = Factors(
        rng.standard_normal((150, 66), dtype=np.float32),
        rng.standard_normal((997, 66), dtype=np.float32),
    )
    exclude = seen(1, 150, 997, 0.05)
    reference = joined(rank(factors, exclude, 50, threads=1, block_rows=150))
    for block_rows in (1, 48, 49, 100, None):
        for threads in (1, 2, 5):
            result = joined(rank(factors, exclude, 50, threads=threads, block_rows=block_rows))
            np.testing.assert_array_equal(result.items, reference.items)
            np.testing.assert_array_equal(result.scores, reference.scores)


def test_negative_zero_ties_with_zero() -> None:
    factors = Factors(np.array([[1.0]], np.float32), np.array([[-0.0], [0.0], [-0.0]], np.float32))
    result = joined(rank(factors, nothing_seen((1, 3)), 3))
    assert result.items.tolist() == [[0, 1, 2]]


def test_a_user_with_everything_seen_gets_an_empty_row() -> None:
    exclude = sparse.csr_array(np.array([[1, 1, 1], [0, 1, 0]], np.float32))
    result = joined(rank(integer_factors(0, 2, 3), exclude, 2))
    assert result.counts.tolist() == [0, 2]
    assert result.items[0].tolist() == [-1, -1]
    assert np.isnan(result.scores[0]).all()


@pytest.mark.parametrize("users", [slice(10, 20), np.array([31, 4, 4, 0])])
def test_chosen_users_are_ranked_in_the_order_asked_for(users: slice | np.ndarray) -> None:
    factors, exclude = integer_factors(3, 40, 60), seen(4, 40, 60, 0.3)
    everyone = joined(rank(factors, exclude, 10))
    chosen = joined(rank(factors, exclude, 10, users=users, block_rows=3, threads=2))
    np.testing.assert_array_equal(chosen.users, np.arange(40)[users])
    np.testing.assert_array_equal(chosen.items, everyone.items[users])


def test_no_users_give_no_blocks() -> None:
    assert list(rank(integer_factors(0, 3, 3), nothing_seen((3, 3)), 2, users=slice(0, 0))) == []


@pytest.mark.parametrize(("asked", "given"), [(48, [48, 48, 4]), (50, [96, 4])])
def test_blocks_hold_as_many_rows_as_asked_in_whole_strips(asked: int, given: list[int]) -> None:
    factors = integer_factors(0, 100, 20)
    blocks = list(rank(factors, nothing_seen((100, 20)), 5, threads=3, block_rows=asked))
    assert [block.users.size for block in blocks] == given


def test_a_ranking_may_be_left_half_way() -> None:
    factors = integer_factors(0, 500, 20)
    blocks = rank(factors, nothing_seen((500, 20)), 5, threads=2, block_rows=1)
    assert next(blocks).users.tolist() == list(range(48))
    blocks.close()
    assert next(blocks, None) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["user", "item"])
def test_factors_that_are_not_finite_are_refused(bad: float, side: str) -> None:
    factors = integer_factors(0, 5, 6)
    (factors.users if side == "user" else factors.items)[3, 1] = bad
    with pytest.raises(TrainingDivergedError, match=f"{side}s are not finite.* index 3"):
        rank(factors, nothing_seen((5, 6)), 2)


def test_scores_that_overflow_are_refused() -> None:
    factors = Factors(np.full((1, 2), 1e20, np.float32), np.full((1, 2), 1e20, np.float32))
    with pytest.raises(TrainingDivergedError, match="overflow"):
        rank(factors, nothing_seen((1, 1)), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be positive"),
        ({"threads": 0}, "threads and block_rows must be positive"),
        ({"block_rows": 0}, "threads and block_rows must be positive"),
        ({"available": np.ones(5, np.bool_)}, "there are 4 items"),
        ({"exclude": nothing_seen((3, 5))}, "exclude is"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rank(integer_factors(0, 3, 4), **{"exclude": nothing_seen((3, 4)), "n": 2, **arguments})


class TestSimilarItems:
    def test_equals_a_full_sort_of_cosines(self) -> None:
        vectors = np.random.default_rng(2).standard_normal((300, 8)).astype(np.float32)
        result = joined(similar_items(cosines(vectors), 20, threads=2, block_rows=17))
        exact = vectors.astype(np.float64)
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
        items, exact_cosines = literal(exact @ exact.T, np.eye(300, dtype=bool), 20)
        np.testing.assert_array_equal(result.items, items)
        np.testing.assert_allclose(result.scores, exact_cosines, atol=1e-6)

    def test_ignores_the_length_of_vectors(self) -> None:
        vectors = np.array([[1, 0], [0, 5], [3, 4]], np.float32)
        result = joined(similar_items(cosines(vectors), 2))
        assert result.items.tolist() == [[2, 1], [2, 0], [1, 0]]
        np.testing.assert_allclose(result.scores, [[0.6, 0.0], [0.8, 0.0], [0.8, 0.6]], atol=1e-6)

    def test_a_zero_vector_has_similarity_zero_to_all_in_index_order(self) -> None:
        vectors = np.array([[1, 0], [0, 0], [-1, 0], [1, 1]], np.float32)
        result = joined(similar_items(cosines(vectors), 3))
        assert result.items[1].tolist() == [0, 2, 3]
        assert result.scores[1].tolist() == [0.0, 0.0, 0.0]
        assert result.items[0].tolist() == [3, 1, 2]

    def test_unavailable_items_are_similar_to_none(self) -> None:
        vectors = np.ones((4, 2), np.float32)
        available = np.array([True, False, True, True])
        result = joined(similar_items(cosines(vectors), 4, available=available))
        assert result.items.tolist() == [
            [2, 3, -1, -1],
            [0, 2, 3, -1],
            [0, 3, -1, -1],
            [0, 2, -1, -1],
        ]

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_vectors_that_are_not_finite_are_refused(self, bad: float) -> None:
        vectors = np.ones((4, 2), np.float32)
        vectors[2, 0] = bad
        with pytest.raises(TrainingDivergedError, match="index 2"):
            similar_items(cosines(vectors), 3)
