"""What is popular now: recent positives count for more, how much more the data say."""

import numpy as np
import pytest

from recsvc.model.data.splits import Positives
from recsvc.model.recommenders.recent_popular import (
    LEAST,
    SHARE,
    decayed_counts,
    half_life,
    standard_popularity,
)

DAY = 86_400


def positives(items: list[int], times: list[int], n_items: int = 3) -> Positives:
    rows = np.arange(len(items), dtype=np.int32)
    columns = np.array(items, np.int32)
    return Positives(rows, columns, np.array(times, np.int64), (len(items), n_items))


@pytest.mark.parametrize("span", [60, 30 * DAY, 20 * 365 * DAY])
def test_weights_add_up_to_a_tenth_of_the_positives_whatever_the_span(span: int) -> None:
    times = np.random.default_rng(1).integers(0, span, 20_000)
    made = Positives(
        np.zeros(20_000, np.int32), np.arange(20_000, dtype=np.int32), times, (1, 20_000)
    )
    assert decayed_counts(made).sum() == pytest.approx(SHARE * 20_000, rel=0.05)


def test_a_positive_a_half_life_older_counts_half() -> None:
    times = np.random.default_rng(2).integers(0, 1000 * DAY, 5_000)
    older = half_life(times.max() - times)
    made = positives([0] * 5_000, times.tolist())
    count = decayed_counts(made)[0]
    newest = int(times.max())
    more = positives([0] * 5_000 + [1, 2], [*times.tolist(), newest, newest - round(older)])
    counted = decayed_counts(more)
    assert counted[1] == pytest.approx(1.0)
    assert counted[2] == pytest.approx(0.5, rel=0.01)
    assert counted[0] == pytest.approx(count, rel=0.01)


def test_old_fame_is_worth_less_than_new() -> None:
    counts = decayed_counts(positives([0] * 30 + [1] * 20, [0] * 30 + [1000 * DAY] * 20))
    assert counts[1] > counts[0]


def test_where_all_times_are_the_same_every_positive_counts_whole() -> None:
    assert decayed_counts(positives([0, 0, 1], [7, 7, 7])).tolist() == [2, 1, 0]


def test_of_few_positives_more_than_the_newest_counts() -> None:
    counts = decayed_counts(positives([0, 1, 1, 2], [1, 2, 3, 4]))
    assert counts.sum() == pytest.approx(min(LEAST, 2), rel=0.01)
    assert (counts > 0.05).all()


def test_without_positives_nothing_is_popular() -> None:
    assert decayed_counts(positives([], [])).tolist() == [0, 0, 0]
    assert standard_popularity(np.zeros(3)).tolist() == [0, 0, 0]


def test_the_standard_scale_has_a_deviation_of_one_and_keeps_the_order() -> None:
    recent = np.random.default_rng(3).exponential(5, 200)
    standard = standard_popularity(recent)
    assert standard.std() == pytest.approx(1, rel=1e-5)
    assert np.argsort(standard).tolist() == np.argsort(recent).tolist()
