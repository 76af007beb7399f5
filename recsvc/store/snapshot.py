"""Whole columns out of the database, all seeing it at one moment.

PostgreSQL is read through ADBC, straight into Arrow. SQLite is read through Python's own
``sqlite3``: ADBC brings a second copy of the SQLite library, and two copies in one process release
each other's locks (https://sqlite.org/howtocorrupt.html, section 2.2.1).
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from recsvc.errors import DatabaseUnreachableError
from recsvc.store.engine import LIVELINESS, is_sqlite, reading

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

    from recsvc.store.sqlite_connection import PackingConnection

BATCH_ROWS = 65_536
BATCH_GROUPS = 512

_ARROW_TYPES = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    bytes: pa.large_binary(),
}


class Source(Protocol):
    """Runs a query and yields its rows as Arrow batches."""

    def batches(
        self, query: sa.Select[Any], packed_by: sa.Column[Any] | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""


class Snapshot:
    """Reads that all see the database at one moment."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def batches(
        self, query: sa.Select[Any], *, packed_by: sa.Column[Any] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Run a query and yield its rows as Arrow batches of bounded size.

        Args:
            query: what to select.
            packed_by: the first column, if many rows share each of its values and all columns are
                numbers, none of them missing. Rows then come several times as fast, a group at a
                time, groups in ascending order.
        """
        return self._source.batches(query, packed_by)

    def frame(
        self, query: sa.Select[Any], *, packed_by: sa.Column[Any] | None = None
    ) -> pd.DataFrame:
        """Run a query, as :meth:`batches` does, and return all its rows.

        Integers stay integers: where some are missing the column is pandas' ``Int64``.
        """
        batches = list(self.batches(query, packed_by=packed_by))
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
    if is_sqlite(engine):
        with reading(engine) as connection:
            yield Snapshot(_SqliteSource(connection))
    else:
        with _adbc_connection(engine.url) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Snapshot(_AdbcSource(connection, engine.url))


class _SqliteSource:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def batches(
        self, query: sa.Select[Any], packed_by: sa.Column[Any] | None
    ) -> Iterator[pa.RecordBatch]:
        columns = list(query.selected_columns)
        schema = pa.schema([(column.name, _arrow_type(column)) for column in columns])
        if packed_by is None:
            for rows in self._fetch(query, BATCH_ROWS):
                values = zip(*rows, strict=True)
                arrays = map(_array, values, schema.types)
                yield pa.RecordBatch.from_arrays(list(arrays), schema=schema)
            return
        cast("PackingConnection", self._connection.connection.driver_connection).add_packed()
        packed = sa.func.packed(*map(_unlabelled, columns[1:]))
        for rows in self._fetch(_grouped(query, packed_by, packed), BATCH_GROUPS):
            groups, blobs = zip(*rows, strict=True)
            yield _unpacked(groups, blobs, schema, "=")

    def _fetch(self, query: sa.Select[Any], size: int) -> Iterator[Sequence[Any]]:
        compiled = query.compile(dialect=self._connection.dialect)
        names = compiled.positiontup or []
        cursor = self._connection.connection.cursor()
        try:
            cursor.execute(str(compiled), tuple(compiled.params[name] for name in names))
            while rows := cursor.fetchmany(size):
                yield rows
        finally:
            cursor.close()


def _grouped(
    query: sa.Select[Any], by: sa.Column[Any], packed: sa.ColumnElement[bytes]
) -> sa.Select[Any]:
    return query.with_only_columns(by, packed.label("packed")).group_by(by).order_by(by)


def _unlabelled(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return column.element if isinstance(column, sa.Label) else column


def _unpacked(
    groups: Sequence[int], blobs: Sequence[bytes], schema: pa.Schema, order: str
) -> pa.RecordBatch:
    """Make rows of groups.

    Args:
        groups: the first column, a value for each group.
        blobs: for each group the other columns, row by row, each number in eight bytes.
        schema: of the rows.
        order: of the bytes, as in ``struct``.
    """
    kinds = schema.types[1:]
    words = np.frombuffer(b"".join(blobs), f"{order}i8").reshape(-1, len(kinds))
    counts = np.array([len(blob) for blob in blobs]) // (8 * len(kinds))
    arrays = [pa.array(np.repeat(groups, counts), schema.types[0])]
    for column, kind in zip(words.T, kinds, strict=True):
        real = pa.types.is_floating(kind)
        numbers = column.view(f"{order}f8") if real else column
        arrays.append(pa.array(numbers.astype(kind.to_pandas_dtype())))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _arrow_type(column: sa.ColumnElement[Any]) -> pa.DataType:
    return _ARROW_TYPES[column.type.python_type]


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pa.array(values, pa.int8()).cast(kind)
    return pa.array(values, kind)


class _AdbcSource:
    _dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

    def __init__(self, connection: "Connection", url: sa.URL) -> None:
        self._connection = connection
        self._url = url

    def batches(
        self, query: sa.Select[Any], packed_by: sa.Column[Any] | None
    ) -> Iterator[pa.RecordBatch]:
        if packed_by is None:
            yield from self._fetch(query)
            return
        columns = list(query.selected_columns)
        schema = pa.schema([(column.name, _arrow_type(column)) for column in columns])
        row = functools.reduce(sa.ColumnElement.concat, map(_sent, columns[1:]))
        packed = sa.func.string_agg(row, sa.literal_column("''::bytea"))
        for batch in self._fetch(_grouped(query, packed_by, packed)):
            groups, blobs = batch.columns
            yield _unpacked(groups.to_numpy(), blobs.to_pylist(), schema, ">")

    def _fetch(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        compiled = query.compile(dialect=self._dialect)
        names = getattr(compiled, "positiontup", None) or []
        parameters = tuple(compiled.params[name] for name in names)
        if all(type(value) in {int, float} for value in parameters):
            # The driver streams (by COPY) what has no parameters, and else holds the whole answer.
            literal = {"literal_binds": True}
            compiled = query.compile(dialect=self._dialect, compile_kwargs=literal)
            parameters = ()
        with self._connection.cursor() as cursor:
            cursor.execute(str(compiled), parameters or None)
            try:
                with cursor.fetch_record_batch() as reader:
                    yield from (batch for batch in reader if batch.num_rows)
            except OSError as error:  # what Arrow makes of a connection lost among the rows
                raise _unreachable(self._url) from error


def _sent(column: sa.ColumnElement[Any]) -> sa.ColumnElement[bytes]:
    """Eight bytes of a number, as PostgreSQL sends them: the highest first."""
    plain = _unlabelled(column)
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
