"""Whole columns into the database: COPY on PostgreSQL, executemany on SQLite."""

import io
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, cast

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
import sqlalchemy as sa

from recsvc.store.contract.tables import publications
from recsvc.store.database.engine import full_disk, is_full_disk, is_sqlite, unreachable
from recsvc.store.database.postgresql.binary_copy import HEADER, TRAILER, kinds_of, packed_rows

CHUNK_ROWS = 100_000
STATEMENT_ROWS = 256  # on SQLite; the columns of as many rows stay far below its 32,766 parameters
LARGE_LOAD = 10_000  # rows from which it pays to check keys all at once

# Texts are quoted, so that an empty one is not NULL.
_CSV = pa_csv.WriteOptions(include_header=False, quoting_style="needed")


Frames = pd.DataFrame | Iterable[pd.DataFrame]


def insert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Frames,
    into: str = "",
    *,
    frozen: bool = False,
) -> int:
    """Insert rows, whose columns are named as in ``table``; return how many.

    Args:
        connection: in whose transaction it happens.
        table: where to, unless ``into`` names another table of the same columns.
        rows: one frame, or several of the same columns and dtypes; missing values become NULL.
        into: a partition or a temporary table (PostgreSQL).
        frozen: whether the table was made or truncated in this transaction, and nobody is to find
            anything in it yet (PostgreSQL). Rows are then written as those of a settled past:
            whoever reads them first need not look up, and note on each page, that they were
            committed, and indexes alone answer for them.
    """
    frames = (frame for frame in _frames(rows) if len(frame))
    first = next(frames, None)
    if first is None:
        return 0
    columns = [str(name) for name in first.columns]
    chunks = _chunks(chain([first], frames))
    if is_sqlite(connection):
        statement = f"INSERT INTO {table.name} ({_names(columns)})"
        return _executemany(connection, statement, "", _referring(connection, table, chunks))
    return _copy(connection, table, into or table.name, columns, chunks, frozen=frozen)


def fill(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> int:
    """Insert rows into a table that no other refers to; return how many.

    PostgreSQL checks key and references row by row, at ten times the cost of the COPY. So a table
    that is empty and not in use loses them for the load and gets them back, within the
    transaction, which checks all rows at once; then it is analysed.
    """
    large = len(rows) >= LARGE_LOAD and not is_sqlite(connection)
    checks = _drop_checks(connection, table) if large else []
    written = insert(connection, table, rows)
    for check in checks:
        connection.execute(sa.schema.AddConstraint(check, isolate_from_table=False))
    if checks:
        # Until it knows how many groups there are, PostgreSQL gathers them in memory and spills.
        connection.exec_driver_sql(f"ANALYZE {table.name}")
    return written


def _drop_checks(connection: sa.Connection, table: sa.Table) -> list[sa.Constraint]:
    """Drop key and references of an empty table; return them, or nothing if that cannot be.

    Nobody may read meanwhile, so this is for the first load only, before anything is published.
    """
    empty = ~sa.exists().select_from(table)
    unpublished = ~sa.exists().select_from(publications)
    if not connection.scalar(sa.select(sa.and_(empty, unpublished))):
        return []
    references = sorted(table.foreign_key_constraints, key=lambda reference: str(reference.name))
    tables = {table.name, *(reference.referred_table.name for reference in references)}
    try:
        with connection.begin_nested() as savepoint:
            names = _names(sorted(tables))
            connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE NOWAIT")
            if not connection.scalar(sa.select(empty)):
                savepoint.rollback()  # and with it the locks
                return []
            for check in (*references, table.primary_key):
                connection.execute(sa.schema.DropConstraint(check))
    except (sa.exc.OperationalError, sa.exc.ProgrammingError):  # in use, or somebody else's
        return []
    return [table.primary_key, *references]


def _frames(rows: Frames) -> Iterable[pd.DataFrame]:
    return [rows] if isinstance(rows, pd.DataFrame) else rows


def _chunks(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for frame in frames:
        for start in range(0, len(frame), CHUNK_ROWS):
            yield frame.iloc[start : start + CHUNK_ROWS]


def upsert(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> int:
    """Insert rows, replacing those of the same primary key; return how many."""
    if rows.empty:
        return 0
    conflict = _on_conflict(table, list(rows.columns))
    if is_sqlite(connection):
        into = f"INSERT INTO {table.name} ({_names(list(rows.columns))})"
        chunks = _referring(connection, table, _chunks([rows]))
        return _executemany(connection, into, conflict, chunks)
    columns = _names(list(rows.columns))
    stage = f"stage_{table.name}"
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE {stage} ON COMMIT DROP AS SELECT {columns} FROM {table.name} LIMIT 0"
    )
    _copy(connection, table, stage, list(rows.columns), _chunks([rows]))
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {stage} {conflict}"
    )
    connection.exec_driver_sql(f"DROP TABLE {stage}")
    return len(rows)


def _names(columns: list[str]) -> str:
    return ", ".join(columns)


def _on_conflict(table: sa.Table, columns: list[str]) -> str:
    key = [column.name for column in table.primary_key.columns]
    others = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    action = f"UPDATE SET {others}" if others else "NOTHING"
    return f"ON CONFLICT ({_names(key)}) DO {action}"


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


def _executemany(
    connection: sa.Connection, into: str, conflict: str, chunks: Iterator[pd.DataFrame]
) -> int:
    """Insert by statements of many rows each, at half the cost of one statement a row."""
    cursor: Any = connection.connection.cursor()
    written = 0
    try:
        for chunk in chunks:
            values = chain.from_iterable(zip(*map(_python_values, chunk.items()), strict=True))
            row = f"({', '.join('?' * chunk.shape[1])})"
            whole, rest = divmod(len(chunk), STATEMENT_ROWS)
            for n_rows, times in ((STATEMENT_ROWS, whole), (rest, 1)):
                if not n_rows * times:
                    continue
                sql = f"{into} VALUES {', '.join([row] * n_rows)} {conflict}"
                size = n_rows * chunk.shape[1]
                # A list of them would have the collector walk through all their values.
                rows = (tuple(islice(values, size)) for _ in range(times))
                with _named_errors(connection, sql):
                    cursor.executemany(sql, rows)
            written += len(chunk)
    finally:
        cursor.close()
    return written


@contextmanager
def _named_errors(connection: sa.Connection, sql: str) -> Iterator[None]:
    """Raise what the driver reports as SQLAlchemy would: one family of errors for all callers."""
    dialect = connection.dialect
    base = dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        url = connection.engine.url
        if is_full_disk(error):
            raise full_disk(url, error) from error
        if not dialect.is_disconnect(error, connection.connection.dbapi_connection, None):
            raise sa.exc.DBAPIError.instance(sql, None, error, base, dialect=dialect) from error
        connection.invalidate(error)
        raise unreachable(url, error) from error


def _python_values(column: tuple[Any, "pd.Series[Any]"]) -> list[Any]:
    values = column[1]
    if isinstance(values.dtype, np.dtype):
        return values.tolist()
    return [None if value is pd.NA else value for value in values.tolist()]


def _copy(
    connection: sa.Connection,
    table: sa.Table,
    target: str,
    columns: list[str],
    chunks: Iterator[pd.DataFrame],
    *,
    frozen: bool = False,
) -> int:
    """COPY chunks of the same columns and dtypes."""
    first = next(chunks)
    kinds = kinds_of(table, first)
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    options = ("FREEZE, " if frozen else "") + f"FORMAT {'csv' if kinds is None else 'binary'}"
    sql = f"COPY {target} ({_names(columns)}) FROM STDIN ({options})"
    written = 0
    with (
        _named_errors(connection, sql),
        driver.cursor() as cursor,
        cursor.copy(sql.encode()) as copy,
    ):
        if kinds is not None:
            copy.write(HEADER)
        for chunk in chain([first], chunks):
            copy.write(_as_csv(chunk) if kinds is None else packed_rows(chunk, kinds))
            written += len(chunk)
        if kinds is not None:
            copy.write(TRAILER)
    return written


def _as_csv(rows: pd.DataFrame) -> memoryview:
    texts = {name: "str" for name, kind in rows.dtypes.items() if kind == "category"}
    buffer = io.BytesIO()
    pa_csv.write_csv(pa.Table.from_pandas(rows.astype(texts), preserve_index=False), buffer, _CSV)
    return buffer.getbuffer()
