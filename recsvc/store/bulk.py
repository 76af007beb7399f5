"""Whole columns into the database: COPY on PostgreSQL, executemany on SQLite."""

import io
from typing import Any, cast

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
import sqlalchemy as sa

from recsvc.store.engine import is_sqlite

CHUNK_ROWS = 100_000

_CSV = pa_csv.WriteOptions(include_header=False, quoting_style="all_valid")


def insert(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame, into: str = "") -> int:
    """Insert rows, whose columns are named as in ``table``; return how many.

    Args:
        connection: in whose transaction it happens.
        table: where to, unless ``into`` names another table of the same columns.
        rows: missing values become NULL.
        into: a partition or a temporary table (PostgreSQL).
    """
    if rows.empty:
        return 0
    if is_sqlite(connection):
        _executemany(connection, _insert_sql(table, list(rows.columns)), rows)
    else:
        _copy(connection, into or table.name, rows)
    return len(rows)


def upsert(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> int:
    """Insert rows, replacing those of the same primary key; return how many."""
    if rows.empty:
        return 0
    conflict = _on_conflict(table, list(rows.columns))
    if is_sqlite(connection):
        _executemany(connection, f"{_insert_sql(table, list(rows.columns))} {conflict}", rows)
        return len(rows)
    columns = _names(list(rows.columns))
    stage = f"stage_{table.name}"
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE {stage} ON COMMIT DROP AS SELECT {columns} FROM {table.name} LIMIT 0"
    )
    _copy(connection, stage, rows)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {stage} {conflict}"
    )
    connection.exec_driver_sql(f"DROP TABLE {stage}")
    return len(rows)


def _names(columns: list[str]) -> str:
    return ", ".join(columns)


def _insert_sql(table: sa.Table, columns: list[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table.name} ({_names(columns)}) VALUES ({marks})"


def _on_conflict(table: sa.Table, columns: list[str]) -> str:
    key = [column.name for column in table.primary_key.columns]
    others = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    action = f"UPDATE SET {others}" if others else "NOTHING"
    return f"ON CONFLICT ({_names(key)}) DO {action}"


def _executemany(connection: sa.Connection, sql: str, rows: pd.DataFrame) -> None:
    cursor = connection.connection.cursor()
    try:
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows.iloc[start : start + CHUNK_ROWS]
            values = map(_python_values, chunk.items())
            cursor.executemany(sql, list(zip(*values, strict=True)))
    finally:
        cursor.close()


def _python_values(column: tuple[Any, "pd.Series[Any]"]) -> list[Any]:
    values = column[1]
    return [None if value is pd.NA else value for value in values.tolist()]


def _copy(connection: sa.Connection, target: str, rows: pd.DataFrame) -> None:
    columns = _names(list(rows.columns))
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {target} ({columns}) FROM STDIN (FORMAT csv)".encode()) as copy,
    ):
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows.iloc[start : start + CHUNK_ROWS]
            buffer = io.BytesIO()
            pa_csv.write_csv(pa.Table.from_pandas(chunk, preserve_index=False), buffer, _CSV)
            copy.write(buffer.getbuffer())
