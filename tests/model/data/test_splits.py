"""What is held out, and that the same data and seed always hold out the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightfm.cross_validation import random_train_test_split

from recsvc.model.data.configuration import HoldoutConfiguration
from recsvc.model.data.interactions import Interactions, RatingColumns, build_interactions
from recsvc.model.data.seen import seen_before
from recsvc.model.data.splits import (
    DAY_SECONDS,
    Positives,
    Split,
    all_positives,
    hold_out,
    split_last_day,
    split_leave_last,
    split_random,
    split_temporal,
)
from recsvc.vocabulary import MASKS, PROTOCOLS, MaskName

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
    times = rng.integers(0, 60, size=120) * DAY_SECONDS // 10
    rows = [(c // movies, c % movies, t) for c, t in zip(cells, times, strict=True)]
    return interactions(rows, users, movies)


def pairs(part: Positives) -> Pairs:
    return set(zip(part.rows.tolist(), part.columns.tolist(), strict=True))


def test_all_positives_come_sorted_by_user_and_item() -> None:
    everything = all_positives(interactions([(2, 1, 0), (0, 7, 0), (0, 3, 0)]))
    assert list(zip(everything.rows, everything.columns, strict=True)) == [(0, 3), (0, 7), (2, 1)]
    assert everything.shape == (3, 8)


def test_positives_as_csr_are_the_same_ones_sorted() -> None:
    part = Positives(
        np.array([1, 0, 1], np.int32), np.array([2, 1, 0], np.int32), np.arange(3), (2, 3)
    )
    assert part.coo().row.tolist() == [1, 0, 1], "LightFM gets the order of training"
    assert part.csr().toarray().tolist() == [[0, 1, 0], [1, 0, 1]]
    assert part.csr().has_sorted_indices


@pytest.mark.parametrize(
    "split",
    [
        lambda data: split_random(data, 0.2, 42),
        lambda data: split_leave_last(data, 2, 42),
        lambda data: split_temporal(data, 0.3),
        split_last_day,
    ],
    ids=["random", "leave_last", "temporal", "last_day"],
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
        split = split_leave_last(data, 2, 42)
        assert pairs(split.test) == {(0, 1), (0, 2), (1, 0), (1, 3)}

    def test_equal_times_are_put_in_order_by_the_seed_and_not_by_the_item(self) -> None:
        data = interactions([(user, item, 5) for user in range(3) for item in range(6)])
        held_out = [pairs(split_leave_last(data, 2, seed).test) for seed in range(20)]
        assert all(len(each) == 6 for each in held_out)
        assert held_out[0] == pairs(split_leave_last(data, 2, 0).test)
        counts = np.bincount([item for each in held_out for _, item in each], minlength=6)
        assert counts.min() > 10, "each of six items is held out 20 times of 60 on average"
        first_user = {frozenset(i for u, i in each if u == 0) for each in held_out}
        assert len(first_user) > 5

    def test_a_user_with_no_more_than_that_stays_in_training_whole(self) -> None:
        data = interactions([(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, 2), (1, 2, 3)])
        assert pairs(split_leave_last(data, 2, 42).test) == {(1, 1), (1, 2)}

    def test_nobody_is_held_out_entirely(self) -> None:
        split = split_leave_last(random_interactions(4), 3, 42)
        assert set(split.test.rows) <= set(split.train.rows)

    def test_training_keeps_the_order_of_users_and_items(self) -> None:
        train = split_leave_last(random_interactions(5), 2, 42).train
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


class TestLastDay:
    def test_what_was_liked_on_the_last_day_is_held_out(self) -> None:
        evening, midnight = 5 * DAY_SECONDS - 1, 5 * DAY_SECONDS
        data = interactions([(0, 4, 10), (0, 1, evening), (0, 2, midnight), (0, 3, midnight + 99)])
        assert pairs(split_last_day(data).test) == {(0, 2), (0, 3)}

    def test_a_user_of_one_day_stays_in_training_whole(self) -> None:
        data = interactions([(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 1, DAY_SECONDS)])
        assert pairs(split_last_day(data).test) == {(1, 1)}

    def test_nobody_is_held_out_entirely(self) -> None:
        split = split_last_day(random_interactions(4))
        assert set(split.test.rows) <= set(split.train.rows)

    def test_days_before_1970_are_days_too(self) -> None:
        data = interactions([(0, 0, -1), (0, 1, 1), (1, 0, -DAY_SECONDS), (1, 1, -1)])
        assert pairs(split_last_day(data).test) == {(0, 1)}


def protocol(name: str, **settings: object) -> HoldoutConfiguration:
    return HoldoutConfiguration.model_validate({"protocol": name, **settings})


class TestTimesThatSayNothing:
    """The holdout is random then, and says why; it is the same as if random had been asked for."""

    one_time = interactions([(user, item, 7) for user in range(3) for item in range(8)])
    in_order = interactions(
        [(user, item, item * DAY_SECONDS) for user in range(3) for item in range(8)]
    )

    @pytest.mark.parametrize("name", ["leave_last", "last_day", "temporal"])
    def test_one_time_for_all(self, name: str) -> None:
        split = hold_out(self.one_time, protocol(name), 42)
        expected = split_random(self.one_time, 0.2, 42)
        assert split.protocol == "random"
        assert pairs(split.test) == pairs(expected.test)
        assert split.instead is not None
        assert split.instead.startswith(f"The holdout is random and not {name}: ")

    @pytest.mark.parametrize("name", ["leave_last", "last_day", "temporal", "random"])
    def test_where_they_do_the_protocol_is_followed(self, name: str) -> None:
        split = hold_out(self.in_order, protocol(name), 42)
        assert (split.protocol, split.instead) == (name, None)

    @pytest.mark.parametrize(("tied", "followed"), [(5, True), (6, False)])
    def test_most_boundaries_decided_by_ties_are_too_many(
        self,
        tied: int,
        followed: bool,
    ) -> None:
        rows = [
            (user, item, 9 if user < tied else item * DAY_SECONDS)
            for user in range(10)
            for item in range(8)
        ]
        data = interactions(rows, users=10)
        for name in ("leave_last", "last_day"):
            assert (hold_out(data, protocol(name), 42).protocol == name) is followed

    def test_a_single_user_to_judge_by_is_none(self) -> None:
        rows = [(0, 0, 1), (0, 1, 2 * DAY_SECONDS), *((1, item, item) for item in range(8))]
        split = hold_out(interactions(rows), protocol("last_day"), 42)
        assert split.protocol == "random"
        assert split.instead is not None
        assert "no more than 1 users" in split.instead

    def test_random_is_never_replaced(self) -> None:
        assert hold_out(interactions([]), protocol("random"), 42).instead is None


class TestWhatWasSeen:
    """A user who rates movie 0 to 5 in order and dislikes the odd ones."""

    data = build_interactions(
        np.arange(2),
        np.arange(7),
        np.ones(7, np.bool_),
        [
            RatingColumns(
                np.array([0] * 6 + [1]),
                np.array([0, 1, 2, 3, 4, 5, 6]),
                np.array([1, 2, 3, 4, 5, 6, 1]) * DAY_SECONDS,
                np.array([True, False, True, False, True, False, False]),
            )
        ],
    )

    def seen(self, name: str, mask: MaskName) -> list[set[int]]:
        split = {
            "leave_last": lambda: split_leave_last(self.data, 1, 42),
            "random": lambda: replace(split_leave_last(self.data, 1, 42), protocol="random"),
        }[name]()
        matrix = seen_before(self.data, split, mask)
        return [set(matrix[[user]].indices.tolist()) for user in range(2)]

    def test_is_everything_rated_up_to_the_last_training_positive(self) -> None:
        assert self.seen("leave_last", "rated") == [{0, 1, 2}, set()]

    def test_is_every_rating_but_what_is_held_out_where_time_plays_no_part(self) -> None:
        assert self.seen("random", "rated") == [{0, 1, 2, 3, 5}, {6}]

    @pytest.mark.parametrize("name", ["leave_last", "random"])
    def test_is_the_training_positives_alone_if_told_so(self, name: str) -> None:
        assert self.seen(name, "training") == [{0, 2}, set()]

    @given(seed=st.integers(0, 1000), name=st.sampled_from(PROTOCOLS))
    def test_training_is_seen_and_the_holdout_is_not(self, seed: int, name: str) -> None:
        data = random_interactions(seed)
        split = hold_out(data, protocol(name), seed)
        for mask in MASKS:
            seen = seen_before(data, split, mask)
            assert (seen.indices < seen.shape[1]).all()
            there = set(zip(*(axis.tolist() for axis in seen.nonzero()), strict=True))
            assert pairs(split.train) <= there
            assert not pairs(split.test) & there
