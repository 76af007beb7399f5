"""What SQLite's errors mean: https://sqlite.org/rescode.html."""

import sqlite3

from recsvc.errors import ConfigurationError, RecsvcError
from recsvc.store.database.failures import first_line

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NOT_TO_BE_OPENED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


def _primary_code(error: BaseException) -> int:
    """Return an error's code; extended ones keep it in their low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_full_disk(error: BaseException) -> bool:
    """Whether there is no room left."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def asks_for_another_url(error: BaseException) -> bool:
    """Whether SQLite may not open or write the file: time alone does not mend that."""
    return _primary_code(error) in _NOT_TO_BE_OPENED


def is_transient(error: BaseException) -> bool:
    """Whether somebody else had the lock for too long."""
    return isinstance(error, sqlite3.OperationalError) and _primary_code(error) in _BUSY


def what_is_refused(error: BaseException) -> RecsvcError | None:
    """Return what to say of a damaged file; ``None`` for anything else."""
    corrupt = _primary_code(error) == sqlite3.SQLITE_CORRUPT
    return damaged(first_line(error)) if corrupt else None


def damaged(said: str) -> ConfigurationError:
    """Say what to do about a damaged file."""
    return ConfigurationError(
        f"The SQLite file in DATABASE_URL is damaged: {said}. Put a backup in its place, or ingest "
        "and retrain into a new file."
    )
