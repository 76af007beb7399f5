"""What is popular, and who gets it."""

import numpy as np
from scipy import sparse

from recsvc.model.recommenders.fallback import with_popularity
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


class TestWhatIsPopularIsAdded:
    model = Factors(
        users=np.array([[1, 2], [0, 0]], np.float32),
        items=np.array([[1, 0], [0, 1], [5, 5]], np.float32),
    )

    def test_to_the_scores_of_those_for_whom_it_counts(self) -> None:
        weights = np.array([0, 2], np.float32)
        factors = with_popularity(self.model, weights, popularity(TRAIN))
        assert scores(factors) == [[1, 2, 15], [4, 0, 2]]

    def test_the_model_itself_is_left_as_it_is(self) -> None:
        with_popularity(self.model, np.ones(2, np.float32), popularity(TRAIN))
        assert self.model.users.tolist() == [[1, 2], [0, 0]]

    def test_where_it_counts_for_nobody_the_model_is_used_as_it_is(self) -> None:
        nobody = np.zeros(2, np.float32)
        assert with_popularity(self.model, nobody, popularity(TRAIN)) is self.model

    def test_the_result_is_laid_out_for_the_matrix_product(self) -> None:
        factors = with_popularity(self.model, np.ones(2, np.float32), popularity(TRAIN))
        for matrix in (factors.users, factors.items):
            assert matrix.flags.c_contiguous
            assert matrix.dtype == np.float32
