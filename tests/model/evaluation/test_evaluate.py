"""One pass of evaluation against a literal implementation and against LightFM's own."""

import lightfm.evaluation
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightfm import LightFM
from scipy import sparse

from recsvc.errors import TrainingDivergedError
from recsvc.model.data.features import token_features
from recsvc.model.data.identifiers import IdMap
from recsvc.model.evaluation.evaluate import Evaluation, MetricValue, evaluate
from recsvc.model.evaluation.metrics import ndcg_at_k
from recsvc.model.evaluation.segments import Described, by_activity, by_popularity
from recsvc.model.scores.factors import Factors


def split(
    seed: int, n_users: int, n_items: int, density: float = 0.2
) -> tuple[sparse.csr_array, sparse.csr_array]:
    rng = np.random.default_rng(seed)
    positive = rng.random((n_users, n_items)) < density
    held_out = positive & (rng.random((n_users, n_items)) < 0.3)
    return tuple(
        sparse.csr_array(part.astype(np.float32)) for part in (positive & ~held_out, held_out)
    )


def tied_factors(seed: int, n_users: int, n_items: int) -> Factors:
    rng = np.random.default_rng(seed)
    return Factors(
        *(rng.integers(-1, 2, (rows, 2)).astype(np.float32) for rows in (n_users, n_items))
    )


def value(evaluation: Evaluation, segment: str, metric: str, k: int | None) -> MetricValue:
    (row,) = [
        row for row in evaluation.rows if (row.segment, row.metric, row.k) == (segment, metric, k)
    ]
    return row


def literal_ranking(scores: np.ndarray, train: np.ndarray) -> list[int]:
    return [int(i) for i in np.argsort(-scores, kind="stable") if not train[i]]


def literal_auc(scores: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> float:
    if negatives.size == 0:
        return 0.5
    difference = np.subtract.outer(scores[positives], scores[negatives])
    return float(((difference > 0) + (difference == 0) / 2).mean())


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_users=st.integers(1, 20),
    n_items=st.integers(1, 90),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    threads=st.integers(1, 2),
    block_rows=st.none() | st.integers(1, 20),
)
def test_equals_the_literal_definition_user_by_user(
    *,
    seed: int,
    n_users: int,
    n_items: int,
    density: float,
    threads: int,
    block_rows: int | None,
) -> None:
    train, test = split(seed, n_users, n_items, density)
    factors = tied_factors(seed, n_users, n_items)
    evaluation = evaluate(factors, train, test, ks=(3,), threads=threads, block_rows=block_rows)
    require_literal(evaluation, factors, train, test)


@pytest.mark.parametrize("n_items", [2048, 2049, 4097])
def test_items_are_counted_in_every_piece_of_a_large_catalogue(n_items: int) -> None:
    train, test = split(1, 3, n_items, density=0.01)
    rng = np.random.default_rng(1)
    scores = rng.integers(0, n_items // 2, (3, n_items)).astype(np.float32)
    factors = Factors(np.eye(3, dtype=np.float32), scores.T.copy())
    require_literal(evaluate(factors, train, test, ks=(3,)), factors, train, test)


def require_literal(
    evaluation: Evaluation, factors: Factors, train: sparse.csr_array, test: sparse.csr_array
) -> None:

    users, precision = evaluation.per_user("precision", 3)
    _, ndcg = evaluation.per_user("ndcg", 3)
    _, auc = evaluation.per_user("auc")
    held_out, seen, scores = test.toarray(), train.toarray(), factors.users @ factors.items.T
    assert users.tolist() == np.flatnonzero(held_out.sum(axis=1)).tolist()
    for row, user in enumerate(users):
        ranking = literal_ranking(scores[user], seen[user])
        positives = np.flatnonzero(held_out[user])
        negatives = np.flatnonzero((held_out[user] == 0) & (seen[user] == 0))
        ranks = np.array([ranking.index(item) for item in positives])
        start, stop = evaluation.placement.indptr[row : row + 2]
        assert evaluation.placement.ranks[start:stop].tolist() == ranks.tolist()
        assert evaluation.placement.lists[row].tolist() == (ranking + [-1] * 3)[:3]
        assert precision[row] == np.count_nonzero(ranks < 3) / 3
        assert ndcg[row] == pytest.approx(ndcg_at_k(ranks, np.array([0, ranks.size]), 3)[0])
        assert auc[row] == pytest.approx(literal_auc(scores[user], positives, negatives))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_equals_lightfm_evaluation(k: int) -> None:
    train, test = (sparse.csr_matrix(part) for part in split(3, 40, 120))
    model = LightFM(no_components=8, loss="warp", random_state=1).fit(train, epochs=3)
    user_biases, user_embeddings = model.get_user_representations()
    item_biases, item_embeddings = model.get_item_representations()
    factors = Factors(
        np.column_stack([user_embeddings, user_biases, np.ones(40)]).astype(np.float32),
        np.column_stack([item_embeddings, np.ones(120), item_biases]).astype(np.float32),
    )
    evaluation = evaluate(factors, train, test, ks=(k,))

    theirs = {
        "precision": lightfm.evaluation.precision_at_k(model, test, train, k=k),
        "recall": lightfm.evaluation.recall_at_k(model, test, train, k=k),
    }
    for metric, expected in theirs.items():
        np.testing.assert_allclose(evaluation.per_user(metric, k)[1], expected, atol=1e-6)
    auc = lightfm.evaluation.auc_score(model, test, train)
    np.testing.assert_allclose(evaluation.per_user("auc")[1], auc, atol=1e-6)


class TestSegments:
    train = sparse.csr_array(
        np.array(
            [[1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0], [1, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]],
            np.float32,
        )
    )
    test = sparse.csr_array(
        np.array(
            [[0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]],
            np.float32,
        )
    )
    # All users rank the items 0 to 5 in that order, but for what they have seen.
    factors = Factors(
        np.ones((4, 1), np.float32), np.arange(6, 0, -1, dtype=np.float32)[:, np.newaxis]
    )

    def evaluated(self) -> Evaluation:
        return evaluate(self.factors, self.train, self.test, ks=(1, 2))

    def test_an_item_segment_counts_only_its_positives_but_ranks_the_full_catalogue(self) -> None:
        # Positives of items: 4, 2, 1, 1, 0, 0; so the head is 0, mid 1 and 2, the tail 3.
        evaluation = self.evaluated()
        mid = value(evaluation, "popularity:mid", "recall", 2)
        assert (mid.value, mid.users) == (1.0, 2)  # items 2 and 1 come 1st of users 0 and 1
        cold = value(evaluation, "popularity:cold", "recall", 2)
        assert (cold.value, cold.users) == (0.5, 2)  # item 5 comes 4th of user 0, 4 2nd of user 2
        assert value(evaluation, "popularity:cold", "precision", 2).value == 0.25

    def test_auc_of_an_item_segment_compares_with_negatives_alone(self) -> None:
        # User 0 ranks 2, 3, 4, 5: the cold positive 5 is below both negatives, not compared to 2.
        # User 2 ranks 2, 4, 5: the cold positive 4 is below one of two negatives.
        assert value(self.evaluated(), "popularity:cold", "auc", None).value == 0.25

    def test_a_segment_without_held_out_positives_has_no_rows(self) -> None:
        assert not [row for row in self.evaluated().rows if row.segment == "popularity:head"]

    def test_item_segments_have_neither_coverage_nor_novelty(self) -> None:
        named = {row.metric for row in self.evaluated().rows if row.segment == "popularity:cold"}
        assert named == {"precision", "recall", "ndcg", "map", "mrr", "hit_rate", "auc"}

    def test_activity_segments_share_out_the_evaluated_users(self) -> None:
        evaluation = self.evaluated()
        low = value(evaluation, "activity:low", "mrr", 2)
        medium_or_high = [
            row
            for row in evaluation.rows
            if row.segment in {"activity:medium", "activity:high"} and row.metric == "auc"
        ]
        assert low.users + sum(row.users for row in medium_or_high) == 3

    def test_coverage_counts_what_a_segment_of_users_is_shown(self) -> None:
        assert value(self.evaluated(), "all", "coverage", 1).value == pytest.approx(2 / 6)
        assert value(self.evaluated(), "activity:high", "coverage", 1).value == pytest.approx(1 / 6)

    def test_users_without_training_positives_are_apart(self) -> None:
        test = self.test.copy().tolil()
        test[3, 5] = 1
        train = self.train.copy().tolil()
        train[3, 0] = 0
        train = sparse.csr_array(train)
        train.eliminate_zeros()
        evaluation = evaluate(self.factors, train, sparse.csr_array(test), ks=(1, 2))
        assert value(evaluation, "activity:none", "recall", 2).users == 1
        assert value(evaluation, "all", "recall", 2).users == 4

    def described(self) -> Described:
        genres = pd.DataFrame(
            {"id": [0, 4, 5, 1], "token": ["genre:a", "genre:a", "tag:x", "genre:b"]}
        )
        gender = pd.DataFrame({"id": range(40), "token": ["g:F", "g:M"] * 20})
        few = pd.DataFrame({"id": range(9), "token": ["zip:1"] * 9})
        return Described(
            token_features(IdMap(np.arange(6)), genres, normalize=False),
            token_features(IdMap(np.arange(40)), pd.concat([gender, few]), normalize=False),
        )

    def forty(self) -> Evaluation:
        """Each of the four users ten times."""
        train, test = (
            sparse.csr_array(sparse.vstack([part] * 10)) for part in (self.train, self.test)
        )
        factors = Factors(np.ones((40, 1), np.float32), self.factors.items)
        return evaluate(factors, train, test, described=self.described())

    def test_users_are_evaluated_by_attribute_where_enough_have_it(self) -> None:
        evaluation = self.forty()
        # Users 0 and 2 of four are in g:F, user 1 in g:M; user 3 has nothing held out.
        assert value(evaluation, "g:F", "ndcg", 10).users == 20
        assert value(evaluation, "g:M", "ndcg", 10).users == 10
        assert "zip:1" not in {row.segment for row in evaluation.rows}
        assert {row.k for row in evaluation.rows if row.segment == "g:F"} == {10, None}

    def test_items_are_evaluated_by_genre(self) -> None:
        evaluation = self.forty()
        found = value(evaluation, "genre:a", "recall", 10)
        assert (found.users, found.value) == (10, 1.0), "item 4 is held out for one user of four"
        assert value(evaluation, "genre:b", "hit_rate", 10).users == 10
        assert "tag:x" not in {row.segment for row in evaluation.rows}

    def test_lists_are_diverse_where_tokens_are_known(self) -> None:
        evaluation = self.forty()
        assert value(evaluation, "all", "diversity", 10).ci_low is not None
        bare = evaluate(self.factors, self.train, self.test)
        assert "diversity" not in {row.metric for row in bare.rows}

    def test_can_be_left_out(self) -> None:
        rows = evaluate(self.factors, self.train, self.test, segments=False).rows
        assert {row.segment for row in rows} == {"all"}

    @given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
    def test_every_item_is_in_one_segment_by_popularity(self, popularity: list[int]) -> None:
        parts = list(by_popularity(np.array(popularity)))
        assert np.sum([part.items for part in parts], axis=0).tolist() == [1] * len(popularity)

    @given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
    def test_the_head_is_the_fewest_items_with_half_of_the_positives(
        self, counts: list[int]
    ) -> None:
        popularity = np.array(counts)
        head = next(by_popularity(popularity)).items
        assert popularity[head].sum() >= popularity.sum() / 2
        assert popularity[head].sum() - popularity[head].min() < popularity.sum() / 2
        assert popularity[head].min() >= popularity[~head].max(initial=0)

    @given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
    def test_every_user_is_in_one_segment_by_activity(self, activity: list[int]) -> None:
        parts = [part.users for part in by_activity(np.array(activity))]
        assert np.sum(parts, axis=0).tolist() == [1] * len(activity)


def test_the_interval_is_the_normal_approximation_over_users() -> None:
    train, test = split(1, 30, 50)
    evaluation = evaluate(tied_factors(1, 30, 50), train, test)
    row, (_, values) = value(evaluation, "all", "ndcg", 10), evaluation.per_user("ndcg", 10)
    half = 1.959964 * np.std(values, ddof=1) / np.sqrt(values.size)
    assert row.value == pytest.approx(values.mean())
    assert row.ci_low == pytest.approx(row.value - half)
    assert row.ci_high == pytest.approx(row.value + half)
    assert row.users == values.size


def test_one_user_has_no_interval() -> None:
    train = sparse.csr_array(np.array([[1, 0, 0]], np.float32))
    test = sparse.csr_array(np.array([[0, 1, 0]], np.float32))
    row = value(evaluate(tied_factors(0, 1, 3), train, test), "all", "recall", 5)
    assert (row.ci_low, row.ci_high, row.users) == (None, None, 1)


def test_an_empty_holdout_has_no_rows() -> None:
    train, _ = split(1, 5, 6)
    assert evaluate(tied_factors(0, 5, 6), train, sparse.csr_array((5, 6))).rows == ()


def test_a_split_that_overlaps_is_refused() -> None:
    both = sparse.csr_array(np.array([[1, 0], [0, 1]], np.float32))
    with pytest.raises(ValueError, match="overlaps"):
        evaluate(tied_factors(0, 2, 2), both, both)


def test_factors_that_are_not_finite_are_refused() -> None:
    train, test = split(1, 5, 6)
    factors = tied_factors(0, 5, 6)
    factors.items[2, 0] = np.nan
    with pytest.raises(TrainingDivergedError):
        evaluate(factors, train, test)


def test_what_was_seen_and_not_liked_is_left_out_too_if_told_so() -> None:
    train = sparse.csr_array(np.array([[1, 0, 0, 0]], np.float32))
    test = sparse.csr_array(np.array([[0, 0, 0, 1]], np.float32))
    seen = sparse.csr_array(np.array([[1, 1, 0, 0]], np.float32))
    factors = Factors(np.ones((1, 1), np.float32), np.array([[4], [3], [2], [1]], np.float32))
    by_training, by_all = (
        value(evaluate(factors, train, test, seen=each, ks=(3,)), "all", "mrr", 3).value
        for each in (None, seen)
    )
    assert (by_training, by_all) == (pytest.approx(1 / 3), pytest.approx(1 / 2))


@pytest.mark.parametrize("arguments", [{"ks": ()}, {"ks": (0, 5)}, {"threads": 0}])
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, object]) -> None:
    train, test = split(1, 5, 6)
    with pytest.raises(ValueError, match="positive"):
        evaluate(tied_factors(0, 5, 6), train, test, **arguments)


@pytest.mark.parametrize(
    ("metric", "k"),
    [("coverage", 10), ("ndcg", None), ("novelty", 21), ("gini", 5), ("diversity", 5)],
)
def test_values_per_user_that_do_not_exist_are_refused(metric: str, k: int | None) -> None:
    train, test = split(1, 5, 6)
    with pytest.raises(ValueError, match="per user"):
        evaluate(tied_factors(0, 5, 6), train, test).per_user(metric, k)
