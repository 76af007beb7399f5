"""Ranges of keys, read over several connections at a time."""

import queue
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa

from recsvc.ahead import map_ahead

Connection = TypeVar("Connection")

#: What a key is above, and what it is at most; None where there is no bound.
Bounds = tuple[int | None, int | None]
ALL: Bounds = (None, None)


def cut(keys: npt.NDArray[np.int64], size: int, bounds: Bounds = ALL) -> list[Bounds]:
    """Cut a range into those of ``size`` keys each, which leave nothing between them.

    >>> cut(np.array([2, 3, 5, 8, 9]), 2)
    [(None, 3), (3, 8), (8, None)]

    Args:
        keys: those in the range, ascending.
        size: how many a part has; the last one may have fewer.
        bounds: of the range.
    """
    above, most = bounds
    ends = keys[size - 1 : -1 : size].tolist()
    return list(zip([above, *ends], [*ends, most], strict=True))


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
