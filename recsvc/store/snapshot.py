"""Whole columns out of the database, all seeing it at one moment.

PostgreSQL is read through ADBC, straight into Arrow. SQLite is read through Python's own
``sqlite3``: ADBC brings a second copy of the SQLite library, and two copies in one process release
each other's locks (https://sqlite.org/howtocorrupt.html, section 2.2.1).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import adbc_driver_postgresql.dbapi
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from adbc_driver_manager import dbapi as adbc
from sqlalchemy.dialects import postgresql

from recsvc.errors import DatabaseUnreachableError
from recsvc.store.engine import is_sqlite, reading

BATCH_ROWS = 65_536

_ARROW_TYPES = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    bytes: pa.large_binary(),
}


class Source(Protocol):
    """Runs a query and yields its rows as Arrow batches."""

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""


class Snapshot:
    """Reads that all see the database at one moment."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Run a query and yield its rows as Arrow batches of bounded size."""
        return self._source.batches(query)

    def frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        """Run a query and return all its rows.

        Integers stay integers: where some are missing the column is pandas' ``Int64``.
        """
        batches = list(self.batches(query))
        if not batches:
            return pd.DataFrame({column.name: [] for column in query.selected_columns})
        table = pa.Table.from_batches(batches)
        missing = any(column.null_count for column in table.columns)
        kinds = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int64Dtype()} if missing else {}
        frame: pd.DataFrame = table.to_pandas(types_mapper=kinds.get)
        return frame


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[Snapshot]:
    """Open a read-only transaction.

    Raises:
        DatabaseUnreachableError: the database does not answer.
    """
    if is_sqlite(engine):
        with reading(engine) as connection:
            yield Snapshot(_SqliteSource(connection))
    else:
        with _adbc_connection(engine.url) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Snapshot(_AdbcSource(connection))


class _SqliteSource:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        columns = list(query.selected_columns)
        schema = pa.schema([(column.name, _arrow_type(column)) for column in columns])
        compiled = query.compile(dialect=self._connection.dialect)
        cursor = self._connection.connection.cursor()
        try:
            names = compiled.positiontup or []
            cursor.execute(str(compiled), tuple(compiled.params[name] for name in names))
            while rows := cursor.fetchmany(BATCH_ROWS):
                arrays = [
                    _array(values, kind)
                    for values, kind in zip(zip(*rows, strict=True), schema.types, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        finally:
            cursor.close()


def _arrow_type(column: sa.ColumnElement[Any]) -> pa.DataType:
    return _ARROW_TYPES[column.type.python_type]


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pa.array(values, pa.int8()).cast(kind)
    return pa.array(values, kind)


class _AdbcSource:
    _dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

    def __init__(self, connection: adbc.Connection) -> None:
        self._connection = connection

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        compiled = query.compile(dialect=self._dialect)
        names = getattr(compiled, "positiontup", None) or []
        parameters = tuple(compiled.params[name] for name in names)
        with self._connection.cursor() as cursor:
            cursor.execute(str(compiled), parameters or None)
            with cursor.fetch_record_batch() as reader:
                yield from (batch for batch in reader if batch.num_rows)


@contextmanager
def _adbc_connection(url: sa.URL) -> Iterator[adbc.Connection]:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = adbc_driver_postgresql.dbapi.connect(plain)
    except adbc.Error:
        where = url.render_as_string(hide_password=True)
        message = f"The database {where} does not answer. Check DATABASE_URL and the server."
        raise DatabaseUnreachableError(message) from None
    with connection:
        yield connection
