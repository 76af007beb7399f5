"""Whole columns out of SQLite, through Python's own ``sqlite3``.

Numbers by the million are packed by SQLite itself (:mod:`recsvc.store.sqlite_connection`) and read
over several connections that see the same moment, one for each core. ADBC is no way to read them:
it brings a second copy of the SQLite library, and two copies in one process release each other's
locks (https://sqlite.org/howtocorrupt.html, section 2.2.1).
"""

import os
import queue
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from typing import Any, cast

import pyarrow as pa
import sqlalchemy as sa

from recsvc.ahead import map_ahead
from recsvc.store.engine import reading
from recsvc.store.packing import schema_of, unlabelled, unpacked
from recsvc.store.sqlite_connection import PackingConnection

BATCH_ROWS = 65_536
BATCH_KEYS = 512
MOST_CONNECTIONS = 4

#: The lowest and the highest value of a range.
Bounds = tuple[int, int]
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class SqliteSource:
    """Runs queries that all see one moment; see :class:`recsvc.store.snapshot.Source`."""

    def __init__(self, connections: Sequence[sa.Connection], readings: ExitStack) -> None:
        self._connections = connections
        self._readings = readings  # ends threads before their connections are given back

    @classmethod
    @contextmanager
    def open(cls, engine: sa.Engine) -> Iterator["SqliteSource"]:
        """Begin a transaction for each core."""
        number = min(os.cpu_count() or 1, MOST_CONNECTIONS)
        with _at_one_moment(engine, number) as connections, ExitStack() as readings:
            yield cls(connections, readings)

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""
        schema = schema_of(query)
        for rows in _fetch(self._connections[0], query, BATCH_ROWS):
            arrays = map(_array, zip(*rows, strict=True), schema.types)
            yield pa.RecordBatch.from_arrays(list(arrays), schema=schema)

    def packed_batches(self, query: sa.Select[Any], by: sa.Column[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query of numbers and texts, in ranges of the column ``by``.

        They follow the values of the column that it refers to, and leave nothing between them.
        """
        batches = self._packed_batches(query, by)
        self._readings.callback(batches.close)
        return batches

    def _packed_batches(
        self, query: sa.Select[Any], by: sa.Column[Any]
    ) -> Generator[pa.RecordBatch]:
        schema = schema_of(query)
        packed = sa.func.packed(*map(unlabelled, query.selected_columns)).label("packed")
        part = query.with_only_columns(packed).where(_between(by))
        free: queue.SimpleQueue[sa.Connection] = queue.SimpleQueue()
        for connection in self._connections:
            cast("PackingConnection", connection.connection.driver_connection).add_packed()
            free.put(connection)

        def batches_of(connection: sa.Connection, bounds: Bounds) -> list[pa.RecordBatch]:
            (((blob,),),) = _fetch(connection, part, 1, low=bounds[0], high=bounds[1])
            if blob is None:
                return []
            columns = unpacked([blob], schema.types, "=")
            return [pa.RecordBatch.from_arrays(columns, schema=schema)]

        def read(bounds: Bounds) -> list[pa.RecordBatch]:
            connection = free.get()
            try:
                return batches_of(connection, bounds)
            except sqlite3.DataError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_TOOBIG:
                    raise
                keys = _ranges(connection, by, bounds, 1)
                return [batch for key in keys for batch in batches_of(connection, key)]
            finally:
                free.put(connection)

        ranges = _ranges(self._connections[0], by, (_LOWEST, _HIGHEST), BATCH_KEYS)
        with closing(map_ahead(read, ranges, len(self._connections))) as batches:
            yield from chain.from_iterable(batches)


@contextmanager
def _at_one_moment(engine: sa.Engine, number: int) -> Iterator[list[sa.Connection]]:
    """Begin transactions that see the same: nothing was committed from the first to the last."""
    with ExitStack() as stack:
        watch = stack.enter_context(engine.connect())
        while True:
            attempt = stack.enter_context(ExitStack())
            before = _data_version(watch)
            connections = [attempt.enter_context(reading(engine)) for _ in range(number)]
            for connection in connections:  # a transaction sees what is there when it first reads
                connection.exec_driver_sql("SELECT 1 FROM sqlite_schema LIMIT 1")
            if _data_version(watch) == before:
                break
            attempt.close()
        yield connections


def _data_version(connection: sa.Connection) -> int:
    """Return a number that is another one after each commit of any other connection.

    Outside of a transaction, in which it would stay the same.
    """
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA data_version")
    (version,) = cursor.fetchone() or (0,)
    cursor.close()
    return int(version)


def _ranges(
    connection: sa.Connection, by: sa.Column[Any], bounds: Bounds, n_keys: int
) -> list[Bounds]:
    """Cut a range of values into those of ``n_keys`` rows that the column refers to."""
    (reference,) = by.foreign_keys
    key = reference.column
    query = sa.select(key).where(_between(key)).order_by(key)
    rows = _fetch(connection, query, n_keys, low=bounds[0], high=bounds[1])
    ends = [keys[-1][0] for keys in rows][:-1]
    starts = [bounds[0], *(end + 1 for end in ends)]
    return list(zip(starts, [*ends, bounds[1]], strict=True))


def _between(column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    return column.between(sa.bindparam("low"), sa.bindparam("high"))


def _fetch(
    connection: sa.Connection, query: sa.Select[Any], size: int, **values: int
) -> Iterator[Sequence[Any]]:
    compiled = query.compile(dialect=connection.dialect)
    parameters = compiled.construct_params(values)
    cursor = connection.connection.cursor()
    try:
        cursor.execute(
            str(compiled), tuple(parameters[name] for name in compiled.positiontup or [])
        )
        while rows := cursor.fetchmany(size):
            yield rows
    finally:
        cursor.close()


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pa.array(values, pa.int8()).cast(kind)
    return pa.array(values, kind)
