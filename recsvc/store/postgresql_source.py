"""Whole columns out of PostgreSQL, through ADBC and straight into Arrow.

Numbers by the million are packed by PostgreSQL itself, a group of rows into one value, and read
over several connections that see the same moment, one for each core here. A single query that
PostgreSQL runs with several processes takes longer: they pass all of it through one of them.
"""

import functools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from recsvc.errors import DatabaseUnreachableError
from recsvc.store.engine import LIVELINESS
from recsvc.store.packing import schema_of, unlabelled, unpacked
from recsvc.store.ranges import Bounds, cut, read_ranges, within

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection


RANGE_KEYS = 4096
MOST_CONNECTIONS = 4


class PostgresqlSource:
    """Runs queries that all see one moment; see :class:`recsvc.store.snapshot.Source`."""

    def __init__(self, connection: "Connection", url: sa.URL, readings: ExitStack) -> None:
        self._connection = connection
        self._url = url
        self._readings = readings  # ends threads before their connections are given back

    @classmethod
    @contextmanager
    def open(cls, engine: sa.Engine) -> Iterator["PostgresqlSource"]:
        """Begin the transaction.

        Raises:
            DatabaseUnreachableError: the database does not answer.
        """
        with _adbc_connection(engine.url) as connection, ExitStack() as readings:
            _execute(connection, _READING)
            yield cls(connection, engine.url, readings)

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""
        return _batches(self._connection, query, self._url)

    def packed_batches(self, query: sa.Select[Any], by: sa.Column[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, those of numbers that share the first one as one value."""
        schema = schema_of(query)
        if pa.string() in schema.types:
            return self.batches(query)
        row = functools.reduce(sa.ColumnElement.concat, map(_sent, query.selected_columns[1:]))
        packed = sa.func.string_agg(row, sa.literal_column("''::bytea")).label("packed")
        groups = query.with_only_columns(by, packed).group_by(by).order_by(by)

        def read(connection: "Connection", bounds: Bounds) -> list[pa.RecordBatch]:
            batches = _batches(connection, within(groups, bounds, by), self._url)
            return [_unpacked(batch, schema) for batch in batches]

        (reference,) = by.foreign_keys
        return self._read_ranges(read, reference.column)

    def batches_in_ranges(
        self, query: sa.Select[Any], columns: Sequence[sa.Column[Any]], keys: sa.Column[Any]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query that is run for each range of the keys."""

        def read(connection: "Connection", bounds: Bounds) -> list[pa.RecordBatch]:
            return list(_batches(connection, within(query, bounds, *columns), self._url))

        return self._read_ranges(read, keys)

    def _read_ranges(
        self,
        read: "Callable[[Connection, Bounds], list[pa.RecordBatch]]",
        keys: sa.Column[Any],
    ) -> Iterator[pa.RecordBatch]:
        def batches() -> Generator[pa.RecordBatch]:
            found = list(self.batches(sa.select(keys).order_by(keys)))
            values = pa.Table.from_batches(found)[0].to_numpy() if found else np.empty(0, np.int64)
            ranges = cut(values, RANGE_KEYS)
            with ExitStack() as stack:
                connections = self._at_the_same_moment(stack, len(ranges))
                yield from read_ranges(read, connections, ranges)

        reading = batches()
        self._readings.callback(reading.close)
        return reading

    def _at_the_same_moment(self, stack: ExitStack, n_ranges: int) -> "list[Connection]":
        """Open connections that see what this one sees: as many as there is use for, or as it gets.

        Where that is none, whatever there is to read is read over this one.
        """
        wanted = min(os.cpu_count() or 1, MOST_CONNECTIONS, n_ranges)
        if wanted == 1:
            return [self._connection]
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot()")
            ((moment,),) = cursor.fetchall()
        connections: list[Connection] = []
        for _ in range(wanted):
            try:
                connection = stack.enter_context(_adbc_connection(self._url))
            except DatabaseUnreachableError:  # it may have no more to give
                break
            _execute(connection, _READING)
            _execute(connection, f"SET TRANSACTION SNAPSHOT '{moment}'")
            _execute(connection, "SET LOCAL max_parallel_workers_per_gather = 0")
            connections.append(connection)
        return connections or [self._connection]


_READING = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_DIALECT = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


def _execute(connection: "Connection", sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _batches(
    connection: "Connection", query: sa.Select[Any], url: sa.URL
) -> Iterator[pa.RecordBatch]:
    compiled = query.compile(dialect=_DIALECT)
    names = getattr(compiled, "positiontup", None) or []
    parameters = tuple(compiled.params[name] for name in names)
    if all(type(value) in {int, float} for value in parameters):
        # The driver streams (by COPY) what has no parameters, and else holds the whole answer.
        compiled = query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
        parameters = ()
    with connection.cursor() as cursor:
        cursor.execute(str(compiled), parameters or None)
        try:
            with cursor.fetch_record_batch() as reader:
                yield from (batch for batch in reader if batch.num_rows)
        except OSError as error:  # what Arrow makes of a connection lost among the rows
            raise _unreachable(url) from error


def _unpacked(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Make rows of groups, each with what is packed of its rows."""
    groups, blobs = (column.to_pylist() for column in batch.columns)
    columns = unpacked(blobs, schema.types[1:], ">")
    counts = np.array([len(blob) for blob in blobs]) // (8 * len(columns))
    first = pa.array(np.repeat(groups, counts), schema.types[0])
    return pa.RecordBatch.from_arrays([first, *columns], schema=schema)


def _sent(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bytes]:
    """Eight bytes of a number as PostgreSQL sends it, the highest first."""
    plain = unlabelled(column)
    if column.type.python_type is float:
        return sa.func.float8send(plain, type_=sa.LargeBinary)
    if column.type.python_type is bool:
        plain = sa.cast(plain, sa.Integer)
    return sa.func.int8send(sa.cast(plain, sa.BigInteger), type_=sa.LargeBinary)


@contextmanager
def _adbc_connection(url: sa.URL) -> Iterator["Connection"]:
    # It takes as long to import as most commands take, and SQLite does not need it.
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415

    given = {name: value for name, value in LIVELINESS.items() if name not in url.query}
    complete = url.set(drivername="postgresql").update_query_dict(given)
    plain, mark, options = complete.render_as_string(hide_password=False).partition("?")
    # A plus sign is a space in SQLAlchemy's URLs, and itself in libpq's.
    plain += mark + options.replace("+", "%20")
    try:
        connection = dbapi.connect(plain)
    except dbapi.Error:
        raise _unreachable(url) from None
    with connection:
        yield connection


def _unreachable(url: sa.URL) -> DatabaseUnreachableError:
    where = url.render_as_string(hide_password=True)
    return DatabaseUnreachableError(
        f"The database {where} does not answer. Check DATABASE_URL and the server."
    )
