"""Rows of numbers in PostgreSQL's binary format of COPY, which the server need not parse.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension
TRAILER = b"\xff\xff"

#: How PostgreSQL sends values of a type: the most significant byte first.
_WIRE: dict[type[sa.types.TypeEngine[Any]], str] = {
    sa.BigInteger: ">i8",
    sa.Integer: ">i4",
    sa.Double: ">f8",
    sa.Boolean: "?",
}


def record_of(
    table: sa.Table, columns: Sequence[str], dtypes: Sequence[Any]
) -> np.dtype[np.void] | None:
    """Return the layout of a row, or None where a column may hold something else than numbers.

    Args:
        table: whose column types count.
        columns: names of the columns to be copied.
        dtypes: of their values, in the same order.
    """
    kinds = []
    for name, dtype in zip(columns, dtypes, strict=True):
        column = table.columns[name]
        kind = _WIRE.get(type(column.type))
        if kind is None or column.nullable or not isinstance(dtype, np.dtype):
            return None
        if not np.can_cast(dtype, kind):
            return None
        kinds.append((f"{name} size", ">i4"))
        kinds.append((name, kind))
    return np.dtype([(" fields", ">i2"), *kinds])


def packed_rows(frame: pd.DataFrame, record: "np.dtype[np.void]") -> memoryview:
    """Return rows in that layout.

    Raises:
        TypeError: a column is of another type than the layout was made for.
    """
    rows = np.empty(len(frame), record)
    rows[" fields"] = frame.shape[1]
    for name in map(str, frame.columns):
        rows[f"{name} size"] = record[name].itemsize
        np.copyto(rows[name], frame[name].to_numpy(), casting="safe")
    return rows.view(np.uint8).data
