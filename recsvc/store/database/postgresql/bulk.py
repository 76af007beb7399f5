"""Rows into PostgreSQL, by COPY."""

import io
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
import sqlalchemy as sa

from recsvc.store.contract.tables import publications
from recsvc.store.database.postgresql.binary_copy import HEADER, TRAILER, kinds_of, packed_rows
from recsvc.store.database.statements import LARGE_LOAD, chunks, named_errors, names, on_conflict

# Texts are quoted, so that an empty one is not NULL.
_CSV = pa_csv.WriteOptions(include_header=False, quoting_style="needed")


def copy(
    connection: sa.Connection,
    table: sa.Table,
    target: str,
    pieces: Iterator[pd.DataFrame],
    *,
    frozen: bool = False,
) -> int:
    """COPY chunks of the same columns and dtypes; return how many rows.

    Args:
        connection: in whose transaction it happens.
        table: of these columns.
        target: the table itself, a partition of it, or a temporary one.
        pieces: at least one.
        frozen: whether the target was made or truncated in this transaction, and nobody is to find
            anything in it yet. Rows are then written as those that were committed long ago:
            whoever reads them first need not look that up and note it on each page, and indexes
            alone answer for them.
    """
    first = next(pieces)
    kinds = kinds_of(table, first)
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    options = ("FREEZE, " if frozen else "") + f"FORMAT {'csv' if kinds is None else 'binary'}"
    sql = f"COPY {target} ({names(first.columns)}) FROM STDIN ({options})"
    written = 0
    with (
        named_errors(connection, sql),
        driver.cursor() as cursor,
        cursor.copy(sql.encode()) as stream,
    ):
        if kinds is not None:
            stream.write(HEADER)
        for chunk in chain([first], pieces):
            stream.write(_as_csv(chunk) if kinds is None else packed_rows(chunk, kinds))
            written += len(chunk)
        if kinds is not None:
            stream.write(TRAILER)
    return written


def _as_csv(rows: pd.DataFrame) -> memoryview:
    texts = {name: "str" for name, kind in rows.dtypes.items() if kind == "category"}
    buffer = io.BytesIO()
    pa_csv.write_csv(pa.Table.from_pandas(rows.astype(texts), preserve_index=False), buffer, _CSV)
    return buffer.getbuffer()


def fill(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> int:
    """Copy rows; key and references of an empty table are checked afterwards, all at once."""
    checks = _drop_checks(connection, table) if len(rows) >= LARGE_LOAD else []
    written = copy(connection, table, table.name, chunks([rows]))
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
            connection.exec_driver_sql(
                f"LOCK TABLE {names(sorted(tables))} IN ACCESS EXCLUSIVE MODE NOWAIT"
            )
            if not connection.scalar(sa.select(empty)):
                savepoint.rollback()  # and with it the locks
                return []
            for check in (*references, table.primary_key):
                connection.execute(sa.schema.DropConstraint(check))
    except (sa.exc.OperationalError, sa.exc.ProgrammingError):  # in use, or somebody else's
        return []
    return [table.primary_key, *references]


def upsert(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> int:
    """Copy rows into a table of their own, and have the server replace what is there by them."""
    columns = names(rows.columns)
    conflict = on_conflict(table, list(rows.columns))
    stage = f"stage_{table.name}"
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE {stage} ON COMMIT DROP AS SELECT {columns} FROM {table.name} LIMIT 0"
    )
    copy(connection, table, stage, chunks([rows]))
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {stage} {conflict}"
    )
    connection.exec_driver_sql(f"DROP TABLE {stage}")
    return len(rows)
