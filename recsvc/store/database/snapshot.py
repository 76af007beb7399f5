"""Whole columns out of the database, all seeing it at one moment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from recsvc.runtime.arrays import Int64
from recsvc.store.database.backend import BatchReader
from recsvc.store.database.backends import backend_of


class Snapshot:
    """Reads that all see the database at one moment."""

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader

    def batches(
        self, query: sa.Select[Any], *, packed_by: sa.Column[Any] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Run a query and yield its rows as Arrow batches, of so many rows or of so many keys.

        Args:
            query: what to select.
            packed_by: the first column, where there are many rows, it refers to another table, and
                all columns are integers of which none is missing. Rows then come several times as
                fast, and as a rule in the order of this column.

        Raises:
            TypeError: a column to be packed is of another type.
        """
        if packed_by is None:
            return self._reader.batches(query)
        for column in query.selected_columns:
            if column.type.python_type is not int:
                message = f"{column.name} is no integer, which alone can be packed"
                raise TypeError(message)
        return self._reader.packed_batches(query, packed_by)

    def frame(
        self, query: sa.Select[Any], *, packed_by: sa.Column[Any] | None = None
    ) -> pd.DataFrame:
        """Run a query, as :meth:`batches` does, and return all its rows.

        Integers stay integers: where some are missing the column is pandas' ``Int64``.
        """
        return _frame(query, list(self.batches(query, packed_by=packed_by)))

    def frame_in_ranges(
        self, query: sa.Select[Any], columns: Sequence[sa.Column[Any]], keys: Int64
    ) -> pd.DataFrame:
        """Run a query for each range of keys, several at a time, and return the rows of all.

        Args:
            query: what to select; an aggregate is that of a range, unless it is grouped by key.
            columns: which of its columns must be in the range. To have a join take the ranges of
                both its tables, name the columns of both.
            keys: what the ranges are cut from, ascending; they leave nothing between them.
        """
        return _frame(query, list(self._reader.batches_in_ranges(query, columns, keys)))


def _frame(query: sa.Select[Any], batches: list[pa.RecordBatch]) -> pd.DataFrame:
    if not batches:
        return pd.DataFrame({column.name: [] for column in query.selected_columns})
    table = pa.Table.from_batches(batches)
    large = len(batches) > 1
    batches.clear()  # the conversion frees each column when it is done
    missing = any(column.null_count for column in table.columns)
    kinds = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int64Dtype()} if missing else {}
    frame: pd.DataFrame = table.to_pandas(
        types_mapper=kinds.get, split_blocks=large, self_destruct=large
    )
    return frame


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[Snapshot]:
    """Open a read-only transaction.

    Raises:
        DatabaseUnreachableError: the database does not answer.
    """
    with backend_of(engine).snapshot(engine) as opened:
        yield Snapshot(opened)
