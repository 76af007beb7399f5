"""Connections to a SQLite file, which has one writer at a time."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recsvc.errors import ConfigurationError
from recsvc.store.database.sqlite.failures import damaged
from recsvc.store.database.transactions import LONGEST_WAIT_S, WITHOUT_REFERENCES, WRITES

# An ingest of 25 million ratings writes for minutes.
BUSY_TIMEOUT_MS = int(1000 * LONGEST_WAIT_S)


def open_engine(url: sa.URL, *, create: bool) -> sa.Engine:
    """Make an engine for a file, which ``create`` makes if it is missing (for its owner only)."""
    _require_file(Path(url.database or ""), create=create)
    engine = sa.create_engine(url)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
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


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # pysqlite would otherwise begin transactions by itself, and not before DDL.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
            raise damaged(str(error)) from None
        raise ConfigurationError(
            f"DATABASE_URL names a file that is no SQLite database ({error}): correct it."
        ) from None
    connection.execute("PRAGMA cache_size = -65536")


def _begin(connection: sa.Connection) -> None:
    """Begin a transaction; all of its queries see one moment anyway."""
    options = connection.get_execution_options()
    # Of no effect within a transaction, and it stays as it is from one to the next.
    checked = "OFF" if options.get(WITHOUT_REFERENCES) else "ON"
    connection.exec_driver_sql(f"PRAGMA foreign_keys = {checked}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITES) else "BEGIN")
