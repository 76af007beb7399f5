"""Whole columns out of PostgreSQL, through ADBC and straight into Arrow."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from recsvc.errors import DatabaseUnreachableError
from recsvc.store.engine import LIVELINESS
from recsvc.store.packing import schema_of, unlabelled, unpacked

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection


class PostgresqlSource:
    """Runs queries in one read-only transaction; see :class:`recsvc.store.snapshot.Source`."""

    _dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

    def __init__(self, connection: "Connection", url: sa.URL) -> None:
        self._connection = connection
        self._url = url

    @classmethod
    @contextmanager
    def open(cls, engine: sa.Engine) -> Iterator["PostgresqlSource"]:
        """Begin the transaction.

        Raises:
            DatabaseUnreachableError: the database does not answer.
        """
        with _adbc_connection(engine.url) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield cls(connection, engine.url)

    def batches(self, query: sa.Select[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; no batch at all where there are none."""
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

    def packed_batches(self, query: sa.Select[Any], by: sa.Column[Any]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, those of numbers that share the first one as one value.

        In order, PostgreSQL reads the groups with several processes.
        """
        schema = schema_of(query)
        if pa.string() in schema.types:
            yield from self.batches(query)
            return
        row = functools.reduce(sa.ColumnElement.concat, map(_sent, query.selected_columns[1:]))
        packed = sa.func.string_agg(row, sa.literal_column("''::bytea")).label("packed")
        for batch in self.batches(query.with_only_columns(by, packed).group_by(by).order_by(by)):
            groups, blobs = (column.to_pylist() for column in batch.columns)
            columns = unpacked(blobs, schema.types[1:], ">")
            counts = np.array([len(blob) for blob in blobs]) // (8 * len(columns))
            first = pa.array(np.repeat(groups, counts), schema.types[0])
            yield pa.RecordBatch.from_arrays([first, *columns], schema=schema)


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
