"""Rows of numbers on their way out of a database, many of them packed into one value."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

_ARROW_TYPES = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    bytes: pa.large_binary(),
}


def schema_of(query: sa.Select[Any]) -> pa.Schema:
    """Return what the columns of a query are in Arrow."""
    columns = query.selected_columns
    return pa.schema([(column.name, _ARROW_TYPES[column.type.python_type]) for column in columns])


def unlabelled(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a column without the name that a query gave it."""
    return column.element if isinstance(column, sa.Label) else column


def unpacked(blobs: Sequence[bytes], kinds: Sequence[pa.DataType], order: str) -> list[pa.Array]:
    """Make columns of rows that were packed into blobs.

    Args:
        blobs: row by row, each number in eight bytes; a text as its length in bytes, likewise, and
            its UTF-8, filled up to whole words.
        kinds: what the columns are; truth values are stored as 0 and 1.
        order: of the bytes of a number, as in ``struct``.
    """
    words = np.frombuffer(b"".join(blobs), f"{order}i8")
    if pa.string() in kinds:
        return _with_texts(words, kinds)
    rows = words.reshape(-1, len(kinds))
    return [_numbers(column, kind, order) for column, kind in zip(rows.T, kinds, strict=True)]


def _numbers(words: Any, kind: pa.DataType, order: str) -> pa.Array:
    numbers = words.view(f"{order}f8") if pa.types.is_floating(kind) else words
    return pa.array(numbers.astype(kind.to_pandas_dtype()))


def _with_texts(words: Any, kinds: Sequence[pa.DataType]) -> list[pa.Array]:
    """Unpack rows of differing lengths, in the machine's byte order."""
    # Numba takes long to import, and most commands read few rows.
    from recsvc.store.database.words import gathered, places_of_rows  # noqa: PLC0415

    is_text = np.array([kind == pa.string() for kind in kinds])
    places = places_of_rows(words, is_text)
    columns = []
    for column, kind in zip(places, kinds, strict=True):
        if kind != pa.string():
            columns.append(_numbers(words[column], kind, "="))
            continue
        lengths = words[column]
        ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        text = gathered(words.view(np.uint8), 8 * (column + 1), ends)
        columns.append(
            pa.StringArray.from_buffers(len(lengths), pa.py_buffer(ends), pa.py_buffer(text))
        )
    return columns
