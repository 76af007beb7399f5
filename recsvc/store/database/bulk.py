"""Whole columns into the database: COPY on PostgreSQL, statements of many rows on SQLite."""

from collections.abc import Iterable
from itertools import chain

import pandas as pd
import sqlalchemy as sa

from recsvc.store.database.backends import backend_of
from recsvc.store.database.statements import chunks

Frames = pd.DataFrame | Iterable[pd.DataFrame]


def insert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Frames,
) -> int:
    """Insert rows, whose columns are named as in ``table``; return how many.

    Args:
        connection: in whose transaction it happens.
        table: where to.
        rows: one frame, or several of the same columns and dtypes; missing values become NULL.
    """
    frames = (frame for frame in _frames(rows) if len(frame))
    first = next(frames, None)
    if first is None:
        return 0
    several = chunks(chain([first], frames))
    return backend_of(connection).insert(connection, table, several)


def fill(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> int:
    """Insert rows into a table that no other refers to; return how many.

    PostgreSQL checks key and references row by row, at ten times the cost of the COPY. So a table
    that is empty and not in use loses them for the load and gets them back, within the
    transaction, which checks all rows at once; then it is analysed.
    """
    return backend_of(connection).fill(connection, table, rows) if len(rows) else 0


def upsert(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> int:
    """Insert rows, replacing those of the same primary key; return how many."""
    return backend_of(connection).upsert(connection, table, rows) if len(rows) else 0


def _frames(rows: Frames) -> Iterable[pd.DataFrame]:
    return [rows] if isinstance(rows, pd.DataFrame) else rows
