"""Ranges of keys, read over several connections at a time."""

import os
import queue
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from recsvc.runtime.arrays import Int64
from recsvc.runtime.parallel import map_ahead

Connection = TypeVar("Connection")

_MOST_CONNECTIONS = 4

#: What a key is above, and what it is at most; None where there is no bound.
Bounds = tuple[int | None, int | None]
ALL: Bounds = (None, None)


def useful_connections() -> int:
    """Return how many to read over at a time: one for each core, four at most."""
    return min(os.cpu_count() or 1, _MOST_CONNECTIONS)


def cut(keys: Int64, most: int, bounds: Bounds = ALL) -> list[Bounds]:
    """Cut a range into as few as there must be, of like size, which leave nothing between them.

    >>> cut(np.array([2, 3, 5, 8, 9]), 2)
    [(None, 2), (2, 5), (5, None)]

    Args:
        keys: those in the range, ascending.
        most: how many a part may have.
        bounds: of the range.
    """
    number = max(1, -(-len(keys) // most))
    ends = keys[np.arange(1, number) * len(keys) // number - 1].tolist()
    return list(zip([bounds[0], *ends], [*ends, bounds[1]], strict=True))


def within(
    query: sa.Select[Any], bounds: Bounds, *columns: sa.ColumnElement[int]
) -> sa.Select[Any]:
    """Select rows only whose ``columns``, all of them, are in a range."""
    above, most = bounds
    for column in columns:
        if above is not None:
            query = query.where(column > above)
        if most is not None:
            query = query.where(column <= most)
    return query


def read_ranges(
    read: Callable[[Connection, Bounds], list[pa.RecordBatch]],
    connections: Sequence[Connection],
    ranges: Sequence[Bounds],
) -> Generator[pa.RecordBatch]:
    """Yield what is read of each range, in their order, over as many connections as there are."""
    free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    for connection in connections:
        free.put(connection)

    def work(bounds: Bounds) -> list[pa.RecordBatch]:
        connection = free.get()
        try:
            return read(connection, bounds)
        finally:
            free.put(connection)

    with closing(map_ahead(work, ranges, len(connections))) as batches:
        yield from chain.from_iterable(batches)
