"""Whole columns out of PostgreSQL, through ADBC and straight into Arrow.

Numbers by the million are packed by PostgreSQL itself, a group of rows into one value, and read
over several connections that see the same moment, one for each core here, four at most. A single
query that PostgreSQL runs with several processes takes longer: they pass all of it through one.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import adbc_driver_manager as adbc
import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from recsvc.errors import DatabaseUnreachableError
from recsvc.runtime.arrays import Int64
from recsvc.store.database.columns import schema_of, unlabelled
from recsvc.store.database.postgresql.connection import LIVELINESS
from recsvc.store.database.ranges import Bounds, cut, read_ranges, useful_connections, within

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

log = logging.getLogger("recsvc")

RANGE_KEYS = 2048  # users of MovieLens 25M with as many ratings take 10 MB

_DIALECT = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
#: The transaction waits, idle, while others read what it sees.
_READING = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
)
#: A wait for somebody who waits for the first connection would have no end.
_READING_ALONG = (
    "SET LOCAL max_parallel_workers_per_gather = 0",
    "SET LOCAL lock_timeout = '5min'",
)


class PostgresqlBatchReader:
    """See :class:`recsvc.store.database.backend.BatchReader`."""

    def __init__(self, connection: "Connection", url: sa.URL, readings: ExitStack) -> None:
        self._connection = connection
        self._url = url
        self._readings = readings  # ends threads before their connections are given back
        self._more: list[Connection] | None = None

    @classmethod
    @contextmanager
    def open(cls, engine: sa.Engine) -> Iterator["PostgresqlBatchReader"]:
        """Begin the transaction.

        Raises:
            DatabaseUnreachableError: the database does not answer.
        """
        with _adbc_connection(engine.url) as connection, ExitStack() as readings:
            _execute(connection, *_READING)
            yield cls(connection, engine.url, readings)

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""
        return _batches(self._connection, query, self._url)

    def packed_batches(self, query: sa.Select[Any], by: sa.Column[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query of integers, those that share the first one as one value."""
        schema = schema_of(query)
        row = functools.reduce(sa.ColumnElement.concat, map(_sent, query.selected_columns[1:]))
        packed = sa.func.string_agg(row, sa.literal_column("''::bytea")).label("packed")
        groups = query.with_only_columns(by, packed).group_by(by).order_by(by)

        def read(connection: "Connection", bounds: Bounds) -> list[pa.RecordBatch]:
            batches = _batches(connection, within(groups, bounds, by), self._url)
            return [_unpacked(batch, schema) for batch in batches]

        (reference,) = by.foreign_keys
        found = list(self.batches(sa.select(reference.column).order_by(reference.column)))
        keys = pa.Table.from_batches(found)[0].to_numpy() if found else np.empty(0, np.int64)
        return self._read_ranges(read, keys)

    def batches_in_ranges(
        self, query: sa.Select[Any], columns: Sequence[sa.Column[Any]], keys: Int64
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query that is run for each range of the keys."""

        def read(connection: "Connection", bounds: Bounds) -> list[pa.RecordBatch]:
            return list(_batches(connection, within(query, bounds, *columns), self._url))

        return self._read_ranges(read, keys)

    def _read_ranges(
        self, read: "Callable[[Connection, Bounds], list[pa.RecordBatch]]", keys: Int64
    ) -> Iterator[pa.RecordBatch]:
        ranges = cut(keys, RANGE_KEYS)
        connections = self._at_this_moment() if len(ranges) > 1 else [self._connection]
        batches = read_ranges(read, connections, ranges)
        self._readings.callback(batches.close)
        return batches

    def _at_this_moment(self) -> "Sequence[Connection]":
        """Return connections that see what this one sees: as many as are of use, or as it gets.

        Where that is none, whatever there is to read is read over this one.
        """
        if self._more is None:
            self._more = []
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_export_snapshot()")
                ((moment,),) = cursor.fetchall()
            see = f"SET TRANSACTION SNAPSHOT '{moment}'"
            for _ in range(useful_connections()):
                with ExitStack() as attempt:
                    try:
                        connection = attempt.enter_context(_adbc_connection(self._url))
                        _execute(connection, _READING[0], see, *_READING[1:], *_READING_ALONG)
                    except (DatabaseUnreachableError, adbc.Error) as error:
                        log.debug("reading over %d connections more: %s", len(self._more), error)
                        break
                    self._readings.push(attempt.pop_all())
                    self._more.append(connection)
        return self._more or [self._connection]


def _execute(connection: "Connection", *statements: str) -> None:
    with connection.cursor() as cursor:
        for sql in statements:
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
    numbers = np.frombuffer(b"".join(blobs), ">i8").reshape(-1, len(schema.types) - 1)
    counts = np.array([len(blob) for blob in blobs]) // numbers[:1].nbytes
    columns = [np.repeat(groups, counts), *numbers.astype(np.int64).T]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _sent(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bytes]:
    """Eight bytes of an integer as PostgreSQL sends it, the highest first."""
    number = sa.cast(unlabelled(column), sa.BigInteger)
    return sa.func.int8send(number, type_=sa.LargeBinary)


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
