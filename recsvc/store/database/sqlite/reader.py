"""Whole columns out of SQLite, through Python's own ``sqlite3``.

Numbers by the million are packed by SQLite itself (``connection.py``) and read
over several connections that see the same moment, one for each core, four at most. ADBC is no way
to read them: it brings a second copy of the SQLite library, and two copies in one process release
each other's locks (https://sqlite.org/howtocorrupt.html, section 2.2.1).
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from recsvc.store.database.engine import reading
from recsvc.store.database.packing import schema_of, unlabelled, unpacked
from recsvc.store.database.ranges import (
    ALL,
    Bounds,
    Int64,
    cut,
    read_ranges,
    useful_connections,
    within,
)
from recsvc.store.database.sqlite.connection import PackingConnection

BATCH_ROWS = 65_536
RANGE_KEYS = 512  # a range is one blob, and its rows take as much again


class SqliteSource:
    """Runs queries that all see one moment; see :class:`recsvc.store.database.snapshot.Source`."""

    def __init__(self, connections: Sequence[sa.Connection], readings: ExitStack) -> None:
        self._connections = connections
        self._readings = readings  # ends threads before their connections are given back

    @classmethod
    @contextmanager
    def open(cls, engine: sa.Engine) -> Iterator["SqliteSource"]:
        """Begin a transaction for each core."""
        with _at_one_moment(engine, useful_connections()) as connections, ExitStack() as readings:
            yield cls(connections, readings)

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""
        return _batches(self._connections[0], query)

    def packed_batches(self, query: sa.Select[Any], by: sa.Column[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query of numbers and texts, in ranges of the column ``by``.

        They follow the values of the column that it refers to, and leave nothing between them.
        """
        schema = schema_of(query)
        packed = sa.func.packed(*map(unlabelled, query.selected_columns)).label("packed")
        part = query.with_only_columns(packed)
        (reference,) = by.foreign_keys
        for connection in self._connections:
            cast("PackingConnection", connection.connection.driver_connection).add_packed()

        def read_at_once(connection: sa.Connection, bounds: Bounds) -> list[pa.RecordBatch]:
            (((blob,),),) = _fetch(connection, within(part, bounds, by), 1)
            if blob is None:
                return []
            columns = unpacked([blob], schema.types, "=")
            return [pa.RecordBatch.from_arrays(columns, schema=schema)]

        def read(connection: sa.Connection, bounds: Bounds) -> list[pa.RecordBatch]:
            try:
                return read_at_once(connection, bounds)
            except sqlite3.DataError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_TOOBIG:
                    raise
                keys = cut(_keys(connection, reference.column, bounds), 1, bounds)
                return [batch for key in keys for batch in read_at_once(connection, key)]

        return self._read_ranges(read, _keys(self._connections[0], reference.column, ALL))

    def batches_in_ranges(
        self, query: sa.Select[Any], columns: Sequence[sa.Column[Any]], keys: Int64
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query that is run for each range of the keys."""

        def read(connection: sa.Connection, bounds: Bounds) -> list[pa.RecordBatch]:
            return list(_batches(connection, within(query, bounds, *columns)))

        return self._read_ranges(read, keys)

    def _read_ranges(
        self, read: Callable[[sa.Connection, Bounds], list[pa.RecordBatch]], keys: Int64
    ) -> Iterator[pa.RecordBatch]:
        batches = read_ranges(read, self._connections, cut(keys, RANGE_KEYS))
        self._readings.callback(batches.close)
        return batches


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


def _keys(connection: sa.Connection, key: sa.Column[Any], bounds: Bounds) -> Int64:
    """Return the keys in a range, ascending."""
    batches = _fetch(connection, within(sa.select(key).order_by(key), bounds, key), BATCH_ROWS)
    return np.fromiter((value for rows in batches for (value,) in rows), np.int64)


def _batches(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
    schema = schema_of(query)
    for rows in _fetch(connection, query, BATCH_ROWS):
        arrays = map(_array, zip(*rows, strict=True), schema.types)
        yield pa.RecordBatch.from_arrays(list(arrays), schema=schema)


def _fetch(connection: sa.Connection, query: sa.Select[Any], size: int) -> Iterator[Sequence[Any]]:
    compiled = query.compile(dialect=connection.dialect)
    parameters = compiled.construct_params()
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
