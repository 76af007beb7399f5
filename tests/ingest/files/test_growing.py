"""A frame that grows by others is what pandas makes of them together."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.ingest.files.growing import GrowingFrame

KINDS = {"n": "int64", "x": "float64", "text": "str", "maybe": "Int64"}


def frame(rows: list[int]) -> pd.DataFrame:
    columns = {
        "n": rows,
        "x": [row / 2 for row in rows],
        "text": [str(row) for row in rows],
        "maybe": [row or None for row in rows],
    }
    return pd.DataFrame(columns).astype(KINDS)


@given(
    parts=st.lists(
        st.tuples(st.lists(st.integers(0, 9), max_size=5), st.integers(0, 20)), min_size=1
    )
)
def test_the_whole_is_all_rows_whatever_was_expected(parts: list[tuple[list[int], int]]) -> None:
    growing = GrowingFrame(KINDS)
    for rows, expected in parts:
        growing.append(frame(rows), expected)
    together = pd.concat([frame(rows) for rows, _ in parts], ignore_index=True)
    pd.testing.assert_frame_equal(growing.whole(), together)


def test_the_whole_of_nothing_has_the_columns() -> None:
    pd.testing.assert_frame_equal(GrowingFrame(KINDS).whole(), frame([]))


def test_a_frame_that_was_added_may_change_afterwards() -> None:
    growing = GrowingFrame({"n": "int64"})
    part = pd.DataFrame({"n": [1, 2]})
    growing.append(part, 9)
    part.loc[0, "n"] = 7
    assert growing.whole()["n"].tolist() == [1, 2]


@pytest.mark.parametrize("expected", [0, 3, 100])
def test_rows_that_are_there_stay_when_room_is_made(expected: int) -> None:
    growing = GrowingFrame({"n": "int64"})
    for start in range(0, 50, 5):
        growing.append(pd.DataFrame({"n": range(start, start + 5)}), expected)
    assert growing.whole()["n"].tolist() == list(range(50))
