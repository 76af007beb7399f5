"""What is popular, and who gets it."""

import numpy as np
from scipy import sparse

from recsvc.model.recommenders.fallback import with_fallback
from recsvc.model.recommenders.popular import popular_factors, popularity
from recsvc.model.scores.factors import Factors

TRAIN = sparse.csr_array(np.array([[1, 0, 1], [1, 0, 0]], np.float32))


def scores(factors: Factors) -> list[list[float]]:
    return (factors.users @ factors.items.T).tolist()


def test_popularity_counts_the_positives_of_each_item() -> None:
    assert popularity(TRAIN).tolist() == [2, 0, 1]
    assert popularity(TRAIN).dtype == np.float32


def test_popular_gives_everyone_the_same_scores() -> None:
    assert scores(popular_factors(TRAIN)) == [[2, 0, 1], [2, 0, 1]]


def test_without_users_or_positives_nothing_is_popular() -> None:
    assert popularity(sparse.csr_array((0, 3), dtype=np.float32)).tolist() == [0, 0, 0]
    assert scores(popular_factors(sparse.csr_array((1, 2), dtype=np.float32))) == [[0, 0]]


class TestFallback:
    model = Factors(
        users=np.array([[1, 2], [3, 4]], np.float32),
        items=np.array([[1, 0], [0, 1], [5, 5]], np.float32),
    )

    def test_those_who_fall_back_see_popularity_and_others_the_model(self) -> None:
        factors = with_fallback(self.model, np.array([False, True]), popularity(TRAIN))
        assert scores(factors) == [[1, 2, 15], [2, 0, 1]]

    def test_the_model_itself_is_left_as_it_is(self) -> None:
        with_fallback(self.model, np.array([True, True]), popularity(TRAIN))
        assert self.model.users.tolist() == [[1, 2], [3, 4]]

    def test_when_nobody_falls_back_the_model_is_used_as_it_is(self) -> None:
        nobody = np.array([False, False])
        assert with_fallback(self.model, nobody, popularity(TRAIN)) is self.model

    def test_the_result_is_laid_out_for_the_matrix_product(self) -> None:
        factors = with_fallback(self.model, np.array([False, True]), popularity(TRAIN))
        for matrix in (factors.users, factors.items):
            assert matrix.flags.c_contiguous
            assert matrix.dtype == np.float32
