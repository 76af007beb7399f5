"""Rows into SQLite, by statements of many rows each."""

import sqlite3
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.store.database.statements import named_errors, names, on_conflict

STATEMENT_ROWS = 256  # their columns stay far below the 32,766 parameters there may be


def insert(
    connection: sa.Connection, table: sa.Table, chunks: Iterator[pd.DataFrame], conflict: str = ""
) -> int:
    """Insert chunks of the same columns, at half the cost of one statement a row."""
    checked = _referring(connection, table, chunks)
    cursor: Any = connection.connection.cursor()
    written = 0
    try:
        for chunk in checked:
            for sql, rows in _statements(f"INSERT INTO {table.name}", chunk, conflict):
                with named_errors(connection, sql):
                    cursor.executemany(sql, rows)
            written += len(chunk)
    finally:
        cursor.close()
    return written


def upsert(connection: sa.Connection, table: sa.Table, chunks: Iterator[pd.DataFrame]) -> int:
    """Insert chunks of the same columns, replacing rows of the same primary key."""
    first = next(chunks)
    conflict = on_conflict(table, list(first.columns))
    return insert(connection, table, chain([first], chunks), conflict)


def _statements(
    into: str, chunk: pd.DataFrame, conflict: str
) -> Iterator[tuple[str, Iterator[tuple[Any, ...]]]]:
    """Yield statements of many rows each, the last of the rest, with their parameters."""
    values = chain.from_iterable(zip(*map(_python_values, chunk.items()), strict=True))
    row = f"({', '.join('?' * chunk.shape[1])})"
    whole, rest = divmod(len(chunk), STATEMENT_ROWS)
    for n_rows, times in ((STATEMENT_ROWS, whole), (rest, 1)):
        if n_rows * times:
            several = ", ".join([row] * n_rows)
            sql = f"{into} ({names(chunk.columns)}) VALUES {several} {conflict}"
            size = n_rows * chunk.shape[1]
            # A list of them would have the collector walk through all their values.
            yield sql, (tuple(islice(values, size)) for _ in range(times))


def _referring(
    connection: sa.Connection, table: sa.Table, chunks: Iterator[pd.DataFrame]
) -> Iterator[pd.DataFrame]:
    """Have references checked as chunks pass, if SQLite does not; none of them may be missing.

    Raises:
        IntegrityError: a row refers to nothing.
    """
    if connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
        return chunks
    known: dict[str, pd.Index[Any]] = {
        key.parent.name: pd.Index(np.fromiter(connection.scalars(sa.select(key.column)), np.int64))
        for key in table.foreign_keys
    }
    return (_checked(table, known, chunk) for chunk in chunks)


def _checked(
    table: sa.Table, known: dict[str, "pd.Index[Any]"], chunk: pd.DataFrame
) -> pd.DataFrame:
    for name, ids in known.items():
        if np.any(ids.get_indexer(pd.Index(chunk[name])) < 0):
            cause = sqlite3.IntegrityError(f"{table.name}.{name} refers to a row that is not there")
            raise sa.exc.IntegrityError(f"INSERT INTO {table.name}", None, cause)
    return chunk


def _python_values(column: tuple[Any, "pd.Series[Any]"]) -> list[Any]:
    values = column[1]
    if isinstance(values.dtype, np.dtype):
        return values.tolist()
    return [None if value is pd.NA else value for value in values.tolist()]
