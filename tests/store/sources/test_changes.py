"""How rows from a file relate to those in the database."""

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from recsvc.store.sources.changes import compare

TOP = 2**63 - 1
KINDS = {"a": "int64", "b": "str", "n": "Int64", "x": "float64", "t": "str"}
KEY = ["a", "b"]

Values = tuple[int | None, float, str]
Rows = dict[tuple[int, str], Values]

keys = st.tuples(
    st.sampled_from([0, 1, 7, 2**53, 2**53 + 1, TOP - 1, TOP]), st.sampled_from("ab\u00e9")
)
values = st.tuples(
    st.sampled_from([None, 0, 2**53, 2**53 + 1, TOP]),
    st.sampled_from([0.5, 3.7, 3.7000000000000006]),
    st.sampled_from(["", "x", "X", "x "]),
)
tables = st.dictionaries(keys, values, max_size=8)


def frame(rows: Rows) -> pd.DataFrame:
    columns = zip(*[(*key, *value) for key, value in rows.items()], strict=True)
    lists: list[Any] = list(columns) if rows else [[]] * len(KINDS)
    return pd.DataFrame(
        {
            name: pd.Series(part, dtype=kind)
            for (name, kind), part in zip(KINDS.items(), lists, strict=True)
        }
    )


def unframed(rows: pd.DataFrame) -> Rows:
    plain = rows.astype(object).where(rows.notna(), None)
    return {row[:2]: row[2:] for row in plain.itertuples(index=False, name=None)}


@given(existing=tables, incoming=tables)
def test_rows_are_new_changed_or_unchanged_by_key_and_by_value(
    existing: Rows, incoming: Rows
) -> None:
    changes = compare(frame(existing), frame(incoming), KEY)
    assert unframed(changes.inserted) == {
        key: value for key, value in incoming.items() if key not in existing
    }
    assert unframed(changes.updated) == {
        key: value for key, value in incoming.items() if existing.get(key, value) != value
    }
    assert changes.unchanged == sum(existing.get(key) == value for key, value in incoming.items())


@given(rows=tables.filter(bool), other=values, place=st.integers(0, 7))
def test_rows_that_are_there_in_the_same_order_are_unchanged_but_for_the_one_that_is_not(
    rows: Rows, other: Values, place: int
) -> None:
    changes = compare(frame(rows), frame(rows), KEY)
    assert (len(changes.inserted), len(changes.updated), changes.unchanged) == (0, 0, len(rows))
    key = list(rows)[place % len(rows)]
    changes = compare(frame(rows), frame(rows | {key: other}), KEY)
    assert unframed(changes.updated) == ({} if rows[key] == other else {key: other})


def test_the_order_of_either_side_makes_no_difference() -> None:
    rows: Rows = {(user, "a"): (user, 0.5, "x") for user in range(50)}
    changes = compare(frame(rows).sample(frac=1, random_state=1), frame(rows), KEY)
    assert (len(changes.inserted), len(changes.updated), changes.unchanged) == (0, 0, 50)


def test_keys_of_more_combinations_than_64_bits_are_kept_apart() -> None:
    names = list("abcdefgh")
    rows = pd.DataFrame({name: pd.Series(range(400), dtype="int64") for name in names})
    shifted = rows.assign(h=rows["h"] + 1)
    changes = compare(rows, shifted, names)
    assert (len(changes.inserted), changes.unchanged) == (400, 0)
    assert compare(rows.iloc[::-1], rows, names).unchanged == 400
