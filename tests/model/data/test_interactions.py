"""Ids and indices meet in one place, and the order of the rows that come in does not matter."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.model.data.identifiers import IdMap
from recsvc.model.data.interactions import Interactions, RatingColumns, build_interactions

# user, movie, time, positive
RATED = [
    (30, 8, 500, True),
    (10, 8, 400, False),
    (10, 5, 300, True),
    (30, 9, 100, True),
    (10, 9, 200, True),
]
USERS, MOVIES = np.array([10, 20, 30]), np.array([5, 8, 9])


def columns(rows: list[tuple[int, int, int, bool]]) -> RatingColumns:
    users, movies, times, positive = (np.array(column) for column in zip(*rows, strict=True))
    return RatingColumns(users, movies, times, positive)


def build(rows: list[tuple[int, int, int, bool]], batch: int = 100) -> Interactions:
    batches: Iterator[RatingColumns] = (
        columns(rows[start : start + batch]) for start in range(0, len(rows), batch)
    )
    return build_interactions(USERS, MOVIES, np.array([True, True, False]), batches)


class TestIdMap:
    @given(st.sets(st.integers(-(2**63), 2**63 - 1), max_size=40))
    def test_an_id_and_its_index_lead_to_each_other(self, ids: set[int]) -> None:
        ids_array = np.array(sorted(ids), dtype=np.int64)
        indices = IdMap(ids_array).to_indices(ids_array[::-1])
        assert indices.dtype == np.int32
        assert indices.tolist() == list(range(len(ids)))[::-1]

    @pytest.mark.parametrize("unknown", [4, 6, 11])
    def test_an_unknown_id_is_named(self, unknown: int) -> None:
        with pytest.raises(KeyError, match=str(unknown)):
            IdMap(np.array([5, 10])).to_indices(np.array([10, unknown]))

    def test_nothing_is_known_to_an_empty_map(self) -> None:
        empty = IdMap(np.array([], dtype=np.int64))
        assert len(empty) == 0
        assert empty.to_indices(np.array([], dtype=np.int64)).tolist() == []
        with pytest.raises(KeyError, match="1"):
            empty.to_indices(np.array([1]))

    @pytest.mark.parametrize("ids", [[2, 1], [1, 1]])
    def test_ids_that_are_not_ascending_and_distinct_are_refused(self, ids: list[int]) -> None:
        with pytest.raises(ValueError, match="ascending"):
            IdMap(np.array(ids))


class TestInteractions:
    def test_ratings_become_matrices_in_id_order(self) -> None:
        data = build(RATED)
        assert data.rated.toarray().tolist() == [
            [True, True, True],
            [False, False, False],
            [False, True, True],
        ]
        assert data.positives.toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]
        assert data.n_ratings == 5

    def test_models_get_float32_ones_with_sorted_indices(self) -> None:
        positives = build(RATED).positives
        assert positives.dtype == np.float32
        assert positives.indices.dtype == np.int32
        assert positives.has_sorted_indices
        assert positives.has_canonical_format

    def test_times_go_with_the_positives_that_they_belong_to(self) -> None:
        assert build(RATED).positive_times.tolist() == [300, 200, 500, 100]

    @given(st.permutations(RATED), st.integers(1, 6))
    def test_the_order_and_the_batches_of_rows_do_not_matter(
        self, rows: list[tuple[int, int, int, bool]], batch: int
    ) -> None:
        assert build(rows, batch).fingerprint() == build(sorted(RATED)).fingerprint()

    def test_no_rating_at_all_is_data_too(self) -> None:
        data = build([])
        assert data.rated.shape == data.positives.shape == (3, 3)
        assert data.n_ratings == 0
        assert data.fingerprint() != build(RATED).fingerprint()

    def test_neither_users_nor_movies_need_exist(self) -> None:
        nothing = np.array([], dtype=np.int64)
        data = build_interactions(nothing, nothing, np.array([], dtype=np.bool_), [])
        assert data.rated.shape == (0, 0)
        assert len(data.fingerprint()) == 32

    def test_a_rating_of_an_unknown_movie_is_refused(self) -> None:
        with pytest.raises(KeyError, match="77"):
            build([*RATED, (10, 77, 1, True)])


class TestFingerprint:
    @pytest.mark.parametrize(
        "rows",
        [
            RATED[:-1],
            [*RATED[:-1], (10, 9, 201, True)],
            [*RATED[:-1], (10, 9, 200, False)],
            [*RATED, (20, 5, 1, False)],
        ],
        ids=["a rating less", "another time", "no longer positive", "a rating more"],
    )
    def test_it_changes_with_the_ratings(self, rows: list[tuple[int, int, int, bool]]) -> None:
        assert build(rows).fingerprint() != build(RATED).fingerprint()

    def test_it_changes_when_a_movie_is_withdrawn(self) -> None:
        withdrawn = build_interactions(
            USERS, MOVIES, np.array([False, True, False]), [columns(RATED)]
        )
        assert withdrawn.fingerprint() != build(RATED).fingerprint()

    def test_it_changes_with_ids_alone(self) -> None:
        renamed = [(40 if user == 30 else user, *rest) for user, *rest in RATED]
        data = build_interactions(
            np.array([10, 20, 40]), MOVIES, np.array([True, True, False]), [columns(renamed)]
        )
        assert data.fingerprint() != build(RATED).fingerprint()
