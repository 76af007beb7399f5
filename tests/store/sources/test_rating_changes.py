"""Ratings compared batch by batch: the same outcome as by the comparison of whole tables."""

import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.store.sources.changes import compare
from recsvc.store.sources.rating_changes import compare_ratings

TOP = 2**63 - 1
COLUMNS = ["user_id", "movie_id", "rating", "rated_at"]
Rows = dict[tuple[int, int], tuple[float, int]]

tables = st.dictionaries(
    st.tuples(st.sampled_from([0, 1, 2, 2**40, TOP]), st.sampled_from([0, 3, 4, 2**20, TOP])),
    st.tuples(st.sampled_from([0.5, 3.7, 3.7000000000000006]), st.sampled_from([0, 2**53, TOP])),
    max_size=20,
)


def frame(rows: Rows) -> pd.DataFrame:
    columns = zip(*[(*key, *value) for key, value in rows.items()], strict=True)
    kinds = ("int64", "int64", "float64", "int64")
    values = columns if rows else [()] * 4
    return pd.DataFrame(
        {
            name: pd.Series(list(column), dtype=kind)
            for name, column, kind in zip(COLUMNS, values, kinds, strict=True)
        }
    )


@settings(deadline=None)  # the first call compiles
@given(existing=tables, incoming=tables, size=st.integers(1, 5))
def test_batches_say_the_same_as_the_whole(existing: Rows, incoming: Rows, size: int) -> None:
    rows = frame(dict(sorted(incoming.items())))
    batches = pa.Table.from_pandas(frame(existing)).to_batches(size) if existing else []
    changes = compare_ratings(batches, rows)
    expected = compare(frame(existing), rows, ["user_id", "movie_id"])
    pd.testing.assert_frame_equal(changes.inserted, expected.inserted)
    pd.testing.assert_frame_equal(changes.updated, expected.updated)
    assert changes.unchanged == expected.unchanged


def test_what_is_there_and_not_in_the_file_does_not_count() -> None:
    there = frame({(user, 1): (4.0, 5) for user in range(100)})
    changes = compare_ratings(
        pa.Table.from_pandas(there).to_batches(7), frame({(50, 1): (4.0, 5), (200, 1): (4.0, 5)})
    )
    assert changes.inserted["user_id"].tolist() == [200]
    assert (len(changes.updated), changes.unchanged) == (0, 1)
