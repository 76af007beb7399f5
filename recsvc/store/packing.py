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
        blobs: row by row, each number in eight bytes.
        kinds: what the columns are: whole numbers, doubles, or truth values as 0 and 1.
        order: of the bytes, as in ``struct``.
    """
    words = np.frombuffer(b"".join(blobs), f"{order}i8").reshape(-1, len(kinds))
    columns = []
    for column, kind in zip(words.T, kinds, strict=True):
        numbers = column.view(f"{order}f8") if pa.types.is_floating(kind) else column
        columns.append(pa.array(numbers.astype(kind.to_pandas_dtype())))
    return columns
