"""What is held out, and that the same data and seed always hold out the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightfm.cross_validation import random_train_test_split

from recsvc.model.data.interactions import Interactions, RatingColumns, build_interactions
from recsvc.model.data.splits import (
    Positives,
    Split,
    all_positives,
    split_leave_last,
    split_random,
    split_temporal,
)

Pairs = set[tuple[int, int]]


def interactions(rows: list[tuple[int, int, int]], users: int = 3, movies: int = 8) -> Interactions:
    """Positives as (user, movie, time); ids are indices here."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    ratings = RatingColumns(table[:, 0], table[:, 1], table[:, 2], np.ones(len(table), np.bool_))
    return build_interactions(
        np.arange(users), np.arange(movies), np.ones(movies, np.bool_), [ratings]
    )


def random_interactions(seed: int, users: int = 20, movies: int = 15) -> Interactions:
    rng = np.random.default_rng(seed)
    cells = rng.choice(users * movies, size=120, replace=False)
    times = rng.integers(0, 60, size=120)
    rows = [(c // movies, c % movies, t) for c, t in zip(cells, times, strict=True)]
    return interactions(rows, users, movies)


def pairs(part: Positives) -> Pairs:
    return set(zip(part.rows.tolist(), part.columns.tolist(), strict=True))


def test_all_positives_come_sorted_by_user_and_item() -> None:
    everything = all_positives(interactions([(2, 1, 0), (0, 7, 0), (0, 3, 0)]))
    assert list(zip(everything.rows, everything.columns, strict=True)) == [(0, 3), (0, 7), (2, 1)]
    assert everything.shape == (3, 8)


def test_positives_as_csr_are_the_same_ones_sorted() -> None:
    part = Positives(np.array([1, 0, 1], np.int32), np.array([2, 1, 0], np.int32), (2, 3))
    assert part.coo().row.tolist() == [1, 0, 1], "LightFM gets the order of training"
    assert part.csr().toarray().tolist() == [[0, 1, 0], [1, 0, 1]]
    assert part.csr().has_sorted_indices


@pytest.mark.parametrize(
    "split",
    [
        lambda data: split_random(data, 0.2, 42),
        lambda data: split_leave_last(data, 2),
        lambda data: split_temporal(data, 0.3),
    ],
    ids=["random", "leave_last", "temporal"],
)
class TestEverySplit:
    def test_parts_are_disjoint_and_together_everything(self, split: object) -> None:
        data = random_interactions(1)
        parts: Split = split(data)  # type: ignore[operator]
        assert pairs(parts.train) & pairs(parts.test) == set()
        assert pairs(parts.train) | pairs(parts.test) == pairs(all_positives(data))
        assert pairs(parts.test)

    def test_it_is_the_same_every_time(self, split: object) -> None:
        first, second = (split(random_interactions(1)) for _ in range(2))  # type: ignore[operator]
        for part in ("train", "test"):
            ours, theirs = getattr(first, part), getattr(second, part)
            assert np.array_equal(ours.rows, theirs.rows)
            assert np.array_equal(ours.columns, theirs.columns)

    def test_without_positives_there_is_nothing_on_either_side(self, split: object) -> None:
        parts: Split = split(interactions([]))  # type: ignore[operator]
        assert len(parts.train.rows) == len(parts.test.rows) == 0


class TestRandom:
    @given(seed=st.integers(0, 2**32 - 1), fraction=st.sampled_from([0.1, 0.2, 0.25, 0.5]))
    def test_it_is_lightfms_own(self, seed: int, fraction: float) -> None:
        data = random_interactions(2)
        train, test = random_train_test_split(
            all_positives(data).coo(), fraction, np.random.RandomState(seed)
        )
        split = split_random(data, fraction, seed)
        for ours, theirs in ((split.train, train), (split.test, test)):
            assert ours.rows.tolist() == theirs.row.tolist()
            assert ours.columns.tolist() == theirs.col.tolist()

    def test_another_seed_holds_out_others(self) -> None:
        data = random_interactions(3)
        one, other = split_random(data, 0.2, 1), split_random(data, 0.2, 2)
        assert pairs(one.test) != pairs(other.test)


class TestLeaveLast:
    def test_the_last_by_time_are_held_out(self) -> None:
        data = interactions([(0, 4, 10), (0, 1, 30), (0, 2, 20), (1, 5, 7), (1, 0, 8), (1, 3, 9)])
        split = split_leave_last(data, 2)
        assert pairs(split.test) == {(0, 1), (0, 2), (1, 0), (1, 3)}

    def test_of_equal_times_the_higher_item_counts_as_later(self) -> None:
        split = split_leave_last(interactions([(0, item, 5) for item in range(6)]), 2)
        assert pairs(split.test) == {(0, 4), (0, 5)}

    def test_a_user_with_no_more_than_that_stays_in_training_whole(self) -> None:
        data = interactions([(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, 2), (1, 2, 3)])
        assert pairs(split_leave_last(data, 2).test) == {(1, 1), (1, 2)}

    def test_nobody_is_held_out_entirely(self) -> None:
        split = split_leave_last(random_interactions(4), 3)
        assert set(split.test.rows) <= set(split.train.rows)

    def test_training_keeps_the_order_of_users_and_items(self) -> None:
        train = split_leave_last(random_interactions(5), 2).train
        keys = train.rows.astype(np.int64) * 100 + train.columns
        assert (np.diff(keys) > 0).all()


class TestTemporal:
    def test_what_came_after_one_moment_is_held_out_for_everyone(self) -> None:
        data = random_interactions(6)
        split = split_temporal(data, 0.3)
        times = dict(
            zip(
                zip(all_positives(data).rows, all_positives(data).columns, strict=True),
                data.positive_times,
                strict=True,
            )
        )
        assert max(times[pair] for pair in pairs(split.train)) < min(
            times[pair] for pair in pairs(split.test)
        )

    def test_the_share_is_met_when_all_times_differ(self) -> None:
        data = interactions([(0, item, item) for item in range(8)] + [(1, 0, 9), (1, 1, 10)])
        assert pairs(split_temporal(data, 0.2).test) == {(1, 0), (1, 1)}

    def test_positives_of_one_second_stay_together(self) -> None:
        data = interactions([(0, 0, 1), (0, 1, 2), (0, 2, 2), (1, 0, 2), (1, 1, 3)])
        assert pairs(split_temporal(data, 0.5).test) == {(1, 1)}

    def test_with_one_time_for_all_nothing_is_held_out(self) -> None:
        data = interactions([(0, item, 5) for item in range(6)])
        assert len(split_temporal(data, 0.2).test.rows) == 0

    def test_times_beyond_what_doubles_hold_are_told_apart(self) -> None:
        start = 2**60
        data = interactions([(0, item, start + item) for item in range(5)])
        assert pairs(split_temporal(data, 0.2).test) == {(0, 4)}
