"""Whole columns out of SQLite, through Python's own ``sqlite3``.

A row that passes through Python costs more than to read it, so integers by the million leave as
text, a group of rows in one value, and are read over several connections that see the same moment,
one for each core, four at most. ADBC is no way to read them: it brings a second copy of the SQLite
library, and two copies in one process release each other's locks
(https://sqlite.org/howtocorrupt.html, section 2.2.1).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from recsvc.runtime.arrays import Int64
from recsvc.store.database.columns import schema_of, unlabelled
from recsvc.store.database.ranges import ALL, Bounds, cut, read_ranges, useful_connections, within
from recsvc.store.database.transactions import reading

BATCH_ROWS = 65_536
RANGE_KEYS = 512  # users of MovieLens 25M with as many ratings take some 3 MB of text
_SEPARATOR = " "


class SqliteBatchReader:
    """See :class:`recsvc.store.database.backend.BatchReader`."""

    def __init__(self, connections: Sequence[sa.Connection], readings: ExitStack) -> None:
        self._connections = connections
        self._readings = readings  # ends threads before their connections are given back

    @classmethod
    @contextmanager
    def open(cls, engine: sa.Engine) -> Iterator["SqliteBatchReader"]:
        """Begin a transaction for each core."""
        with _at_one_moment(engine, useful_connections()) as connections, ExitStack() as readings:
            yield cls(connections, readings)

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""
        return _batches(self._connections[0], query)

    def packed_batches(self, query: sa.Select[Any], by: sa.Column[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query of integers, in ranges of the column ``by``.

        They follow the values of the column that it refers to, and leave nothing between them.
        """
        schema = schema_of(query)
        _, *others = query.selected_columns
        texts = (sa.func.group_concat(unlabelled(column), _SEPARATOR) for column in others)
        groups = query.with_only_columns(by, sa.func.count(), *texts).group_by(by)

        def read(connection: sa.Connection, bounds: Bounds) -> list[pa.RecordBatch]:
            fetched = _fetch(connection, within(groups, bounds, by), BATCH_ROWS)
            return [_rows_of_groups(some, schema) for some in fetched]

        (reference,) = by.foreign_keys
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


def _rows_of_groups(groups: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    """Make rows of groups: the value that they share, their number, and a text for each column."""
    shared, counts, *texts = zip(*groups, strict=True)
    columns = [
        np.repeat(shared, counts),
        *(np.fromstring(_SEPARATOR.join(column), np.int64, sep=_SEPARATOR) for column in texts),
    ]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


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
