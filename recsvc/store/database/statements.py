"""What statements that write whole columns have in common."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pandas as pd
import sqlalchemy as sa

from recsvc.store.database.backends import backend_of
from recsvc.store.database.failures import full_disk, unreachable

CHUNK_ROWS = 100_000
LARGE_LOAD = 10_000  # rows from which it pays to check, or to settle, a table as a whole


def chunks(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Cut frames into pieces of at most :data:`CHUNK_ROWS` rows."""
    for frame in frames:
        for start in range(0, len(frame), CHUNK_ROWS):
            yield frame.iloc[start : start + CHUNK_ROWS]


def names(columns: Iterable[str]) -> str:
    """Return names as a statement lists them."""
    return ", ".join(columns)


def on_conflict(table: sa.Table, columns: list[str]) -> str:
    """Say that a row replaces the one of the same primary key."""
    key = [column.name for column in table.primary_key.columns]
    others = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    action = f"UPDATE SET {others}" if others else "NOTHING"
    return f"ON CONFLICT ({names(key)}) DO {action}"


@contextmanager
def named_errors(connection: sa.Connection, sql: str) -> Iterator[None]:
    """Raise what the driver reports as SQLAlchemy would: one family of errors for all callers."""
    dialect = connection.dialect
    base = dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        url = connection.engine.url
        if backend_of(connection).is_full_disk(error):
            raise full_disk(url, error) from error
        if not dialect.is_disconnect(error, connection.connection.dbapi_connection, None):
            raise sa.exc.DBAPIError.instance(sql, None, error, base, dialect=dialect) from error
        connection.invalidate(error)
        raise unreachable(url, error) from error
