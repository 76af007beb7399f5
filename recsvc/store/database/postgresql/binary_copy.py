"""Rows in PostgreSQL's binary format of COPY, which the server need not parse.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension
TRAILER = b"\xff\xff"

#: How each column of a row is sent, by name.
Kinds = dict[str, str]

#: How PostgreSQL takes values of a type: the most significant byte first.
_WIRE: dict[type[sa.types.TypeEngine[Any]], str] = {
    sa.BigInteger: ">i8",
    sa.Integer: ">i4",
    sa.Double: ">f8",
    sa.Boolean: "?",
}
_TEXT = "text"
#: Rows that follow one another with the same texts, on average, from which the format pays, and
#: how many such runs cost nothing to speak of.
_LEAST_RUN, _FEW_RUNS = 50, 100


def kinds_of(table: sa.Table, rows: pd.DataFrame) -> Kinds | None:
    """Return how rows are sent, or None where the format is no choice.

    It is one where no column may be NULL and each is of NumPy's numbers or flags that the column
    holds whatever their value, or of a few texts (``category``) that do not change often.

    Args:
        table: whose column types count; those in the database must be the same.
        rows: some rows; others must have the same columns and dtypes.
    """
    kinds: Kinds = {}
    for name, dtype in rows.dtypes.items():
        column = table.columns[str(name)]
        kind = _kind_of(column.type, dtype)
        if kind is None or column.nullable:
            return None
        kinds[str(name)] = kind
    texts = [_Texts(rows[name]) for name, kind in kinds.items() if kind == _TEXT]
    runs = len(_cuts(len(rows), texts)) - 1
    return kinds if runs <= max(_FEW_RUNS, len(rows) / _LEAST_RUN) else None


def _kind_of(column: sa.types.TypeEngine[Any], dtype: Any) -> str | None:
    if isinstance(dtype, pd.CategoricalDtype):
        return _TEXT if isinstance(column, sa.Text) and _are_texts(dtype) else None
    kind = _WIRE.get(type(column))
    return kind if kind and isinstance(dtype, np.dtype) and np.can_cast(dtype, kind) else None


def _are_texts(dtype: pd.CategoricalDtype) -> bool:
    return str(dtype.categories.inferred_type) == "string"


def packed_rows(rows: pd.DataFrame, kinds: Kinds) -> bytes:
    """Return rows in the format, their columns in the order of ``kinds``.

    Raises:
        TypeError: columns or dtypes are others than those that the kinds are of.
        ValueError: a value is missing.
    """
    if set(rows.columns) != set(kinds):
        message = f"columns {', '.join(map(str, rows.columns))} after others: {', '.join(kinds)}"
        raise TypeError(message)
    texts = [_Texts(rows[name]) for name, kind in kinds.items() if kind == _TEXT]
    numbers = {
        name: _numbers(rows[name], np.dtype(kind)) for name, kind in kinds.items() if kind != _TEXT
    }
    packed = []
    for low, high in pairwise(_cuts(len(rows), texts)):
        at_hand = {text.name: text.of_code[text.codes[low]] for text in texts}
        lengths = {name: f"S{len(text)}" for name, text in at_hand.items()}
        part = np.empty(high - low, _record(kinds | lengths))
        part["number of fields"] = len(kinds)
        for name in kinds:
            part[f"size of {name}"] = part.dtype[name].itemsize
        for name, values in numbers.items():
            part[name] = values[low:high]
        for name, text in at_hand.items():
            if text:
                part[name] = text
        packed.append(part.tobytes())
    return b"".join(packed)


def _record(kinds: Kinds) -> "np.dtype[np.void]":
    """A row: the number of its fields, and the size of each before its value."""
    columns = [((f"size of {name}", ">i4"), (name, kind)) for name, kind in kinds.items()]
    return np.dtype([("number of fields", ">i2"), *chain.from_iterable(columns)])


def _numbers(values: pd.Series, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    if not isinstance(values.dtype, np.dtype) or not np.can_cast(values.dtype, kind):
        message = f"column {values.name} has values of {values.dtype} after others of {kind}"
        raise TypeError(message)
    numbers = values.to_numpy()
    if numbers.dtype.kind == "f" and np.isnan(numbers).any():
        message = f"column {values.name} may not be NULL, and a value is missing"
        raise ValueError(message)
    return numbers


class _Texts:
    """A column of a few texts, in UTF-8."""

    def __init__(self, values: pd.Series) -> None:
        self.name = str(values.name)
        if not (isinstance(values.dtype, pd.CategoricalDtype) and _are_texts(values.dtype)):
            message = f"column {self.name} has values of {values.dtype} after a category's"
            raise TypeError(message)
        self.codes = values.cat.codes.to_numpy()
        if (self.codes < 0).any():
            message = f"column {self.name} may not be NULL, and a value is missing"
            raise ValueError(message)
        categories = values.cat.categories
        self.of_code = {code: categories[code].encode() for code in np.unique(self.codes)}


def _cuts(n_rows: int, texts: list[_Texts]) -> list[int]:
    """Where rows begin whose texts are others than those of the row before, and the ends."""
    changes = np.zeros(max(0, n_rows - 1), np.bool_)
    for text in texts:
        changes |= text.codes[1:] != text.codes[:-1]
    return [0, *(np.flatnonzero(changes) + 1).tolist(), n_rows]
