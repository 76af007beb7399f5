"""Connections: one engine for both databases, transactions that mean the same on each."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from recsvc.errors import (
    ConfigurationError,
    DatabaseUnreachableError,
    DiskFullError,
    RecsvcError,
)
from recsvc.store.database.sqlite.connection import PackingConnection

# SQLite has one writer, and an ingest of 25 million ratings writes for minutes.
BUSY_TIMEOUT_MS = 600_000
# libpq's parameters: a connection that died without a word is noticed within a minute.
LIVELINESS = {
    "connect_timeout": "10",
    "application_name": "recsvc",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

_DISK_FULL = "53100"  # https://www.postgresql.org/docs/current/errcodes-appendix.html

_NO_RIGHT, _READ_ONLY = "42501", "25006"

_IMMEDIATE = {"recsvc_begin": "BEGIN IMMEDIATE"}
#: Execution options of a transaction in which SQLite does not enforce foreign keys.
WITHOUT_REFERENCES = {"recsvc_foreign_keys": "OFF"}


def open_engine(url: sa.URL, *, create: bool = False) -> sa.Engine:
    """Make an engine for ``url``.

    Args:
        url: with the driver names of :data:`recsvc.settings.DRIVERS`.
        create: whether a missing SQLite file is made (readable by its owner only).

    Raises:
        ConfigurationError: the SQLite file does not exist and ``create`` is false, or whether it
            does cannot be seen.
    """
    if url.drivername == "sqlite":
        _require_file(Path(url.database or ""), create=create)
        engine = sa.create_engine(url, connect_args={"factory": PackingConnection})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    else:
        engine = sa.create_engine(
            url,
            pool_pre_ping=True,
            connect_args={
                **{name: value for name, value in LIVELINESS.items() if name not in url.query},
                "options": f"{url.query.get('options', '')} -c timezone=UTC".strip(),
            },
        )
    sa.event.listen(engine, "handle_error", _name_what_operators_mend)
    return engine


def _require_file(path: Path, *, create: bool) -> None:
    try:
        if path.exists():
            return
    except OSError as error:  # its folder may not be looked into
        raise ConfigurationError(
            f"The database {path} cannot be opened: {error.strerror}. Correct DATABASE_URL, or who "
            "may use the folder."
        ) from None
    if not create:
        raise ConfigurationError(f"There is no database at {path}: run `recsvc db upgrade`.")
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"There is no folder {path.parent} for the database: make it, or correct DATABASE_URL."
        )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"The database {path} cannot be created: {error.strerror}. Correct DATABASE_URL."
        ) from None


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # pysqlite would otherwise begin transactions by itself, and not before DDL.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
            raise _damaged(str(error)) from None
        raise ConfigurationError(
            f"DATABASE_URL names a file that is no SQLite database ({error}): correct it."
        ) from None
    connection.execute("PRAGMA cache_size = -65536")


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    # Of no effect within a transaction, and it stays as it is from one to the next.
    connection.exec_driver_sql(f"PRAGMA foreign_keys = {options.get('recsvc_foreign_keys', 'ON')}")
    connection.exec_driver_sql(options.get("recsvc_begin", "BEGIN"))


def _name_what_operators_mend(context: ExceptionContext) -> None:
    if context.is_pre_ping:
        return  # the pool opens another connection by itself
    url = context.engine.url if context.engine else None
    cause = context.original_exception
    if is_full_disk(cause):
        raise full_disk(url, cause) from cause
    error = context.sqlalchemy_exception
    connecting = context.connection is None
    if connecting and _asks_for_another_url(cause):
        raise ConfigurationError(
            f"The database {_shown(url)} cannot be opened: {_first_line(cause)}. Correct "
            "DATABASE_URL, or who may read and write the file and its folder."
        ) from cause
    if connecting and isinstance(error, ProgrammingError):  # a parameter that libpq does not know
        raise ConfigurationError(
            f"DATABASE_URL {_shown(url)} does not hold: {_first_line(cause)}."
        ) from cause
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or (connecting and isinstance(error, OperationalError)):
        raise unreachable(url, cause) from cause


def _asks_for_another_url(error: BaseException) -> bool:
    """Whether SQLite may not open or write a file: time alone does not mend that."""
    # Extended codes keep the primary one in their low byte.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def what_is_refused(error: DBAPIError) -> RecsvcError | None:
    """Return what to say of missing rights or a damaged file; ``None`` for anything else."""
    state = getattr(error.orig, "sqlstate", None)
    said = _first_line(error.orig) if error.orig else ""
    if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
        return _damaged(said)
    if state == _NO_RIGHT:
        return ConfigurationError(
            f"PostgreSQL refused: {said}. Connect as the role that owns the tables; a reader's "
            "role is for the views."
        )
    if state == _READ_ONLY:
        return DatabaseUnreachableError(
            f"PostgreSQL takes no changes now: {said}. Name the primary server in DATABASE_URL, "
            "and a role whose transactions are not read-only."
        )
    return None


def _damaged(said: str) -> ConfigurationError:
    return ConfigurationError(
        f"The SQLite file in DATABASE_URL is damaged: {said}. Put a backup in its place, or ingest "
        "and retrain into a new file."
    )


def is_full_disk(error: BaseException) -> bool:
    """Whether a driver says that the database has no room left."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == _DISK_FULL


def full_disk(url: sa.URL | None, cause: BaseException) -> DiskFullError:
    """Say which database has no room left."""
    return DiskFullError(
        f"The disk of the database {_shown(url)} is full: {_first_line(cause)}. Make room, then "
        "run the command again; nothing has to be cleaned up."
    )


def unreachable(url: sa.URL | None, cause: BaseException) -> DatabaseUnreachableError:
    """Say which database does not answer."""
    return DatabaseUnreachableError(
        f"The database {_shown(url)} does not answer: {_first_line(cause)}. "
        "Check DATABASE_URL and the server."
    )


def _shown(url: sa.URL | None) -> str:
    return url.render_as_string(hide_password=True) if url else "?"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].removesuffix(".")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction for reading."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def reading_at_one_moment(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction in which all queries see the database as the first of them did."""
    with engine.connect() as connection:
        if not is_sqlite(connection):  # there every transaction is like that
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction for writing.

    On SQLite it takes the write lock at once: a lock taken halfway cannot be waited for.
    """
    with engine.connect() as connection:
        connection.execution_options(**_IMMEDIATE)
        with connection.begin():
            yield connection


@contextmanager
def loading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction for writing source rows by the million, through ``bulk``.

    SQLite looks up each reference of each row, which takes as long as all else. Here it does not,
    and ``bulk`` checks references by the column; of what is written in other ways nobody does.
    """
    with engine.connect() as connection:
        connection.execution_options(**_IMMEDIATE, **WITHOUT_REFERENCES)
        with connection.begin():
            yield connection


def is_sqlite(connection: sa.Connection | sa.Engine) -> bool:
    """Whether the database is SQLite."""
    return connection.dialect.name == "sqlite"
