"""Transactions that mean the same on each database."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

#: How long a writer waits for another one before that is an error, in seconds (SQLite).
LONGEST_WAIT_S = 600.0

# Execution options; what the database needs for them is done when a transaction begins, in the
# ``connection`` module of its folder.
WRITES = "recsvc_writes"  #: whether the transaction will write
WITHOUT_REFERENCES = "recsvc_without_references"  #: whether ``bulk`` checks references instead
AT_ONE_MOMENT = "recsvc_at_one_moment"  #: whether all its queries see what the first one saw


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction for reading."""
    with _transaction(engine) as connection:
        yield connection


@contextmanager
def reading_at_one_moment(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction in which all queries see the database as the first of them did."""
    with _transaction(engine, AT_ONE_MOMENT) as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction for writing.

    On SQLite it takes the write lock at once: a lock taken halfway cannot be waited for.
    """
    with _transaction(engine, WRITES) as connection:
        yield connection


@contextmanager
def loading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction for writing source rows by the million, through ``bulk``.

    SQLite looks up each reference of each row, which takes as long as all else. Here it does not,
    and ``bulk`` checks references by the column; of what is written in other ways nobody does.
    """
    with _transaction(engine, WRITES, WITHOUT_REFERENCES) as connection:
        yield connection


@contextmanager
def _transaction(engine: sa.Engine, *options: str) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        connection.execution_options(**dict.fromkeys(options, True))
        with connection.begin():
            yield connection
