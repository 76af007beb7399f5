"""Rows of numbers in PostgreSQL's binary format of COPY, which the server need not parse.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension
TRAILER = b"\xff\xff"

#: How PostgreSQL takes values of a type: the most significant byte first.
_WIRE: dict[type[sa.types.TypeEngine[Any]], str] = {
    sa.BigInteger: ">i8",
    sa.Integer: ">i4",
    sa.Double: ">f8",
    sa.Boolean: "?",
}
_FIELDS, _SIZE = "fields of", "size of "  # no column's name has a space


def record_of(table: sa.Table, rows: pd.DataFrame) -> "np.dtype[np.void] | None":
    """Return the layout of a row, or None where the format is no choice.

    It is one where no column may be NULL and all are NumPy's numbers or flags that their column
    holds whatever their value.

    Args:
        table: whose column types count; those in the database must be the same.
        rows: some rows; others must have the same columns and dtypes.
    """
    fields = [(_FIELDS, ">i2")]
    for name, dtype in rows.dtypes.items():
        column = table.columns[str(name)]
        kind = _WIRE.get(type(column.type))
        if kind is None or column.nullable or not isinstance(dtype, np.dtype):
            return None
        if not np.can_cast(dtype, kind):
            return None
        fields += [(f"{_SIZE}{name}", ">i4"), (str(name), kind)]
    return np.dtype(fields)


def packed_rows(rows: pd.DataFrame, record: "np.dtype[np.void]") -> memoryview:
    """Return rows in a layout that was made for them.

    Raises:
        TypeError: a column is of another dtype than those that the layout was made for.
        ValueError: a value is missing.
    """
    packed = np.empty(len(rows), record)
    names = [name for name in record.names or () if name in rows.columns]
    packed[_FIELDS] = len(names)
    for name in names:
        values = rows[name]
        if not isinstance(values.dtype, np.dtype) or not np.can_cast(values.dtype, record[name]):
            message = f"column {name} has values of {values.dtype} after others of {record[name]}"
            raise TypeError(message)
        numbers = values.to_numpy()
        if numbers.dtype.kind == "f" and np.isnan(numbers).any():
            message = f"column {name} may not be NULL, and a value is missing"
            raise ValueError(message)
        packed[f"{_SIZE}{name}"] = record[name].itemsize
        packed[name] = numbers
    return packed.view(np.uint8).data
