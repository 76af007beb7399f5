"""What PostgreSQL's errors mean: https://www.postgresql.org/docs/current/errcodes-appendix.html."""

import adbc_driver_manager as adbc
import psycopg

from recsvc.errors import ConfigurationError, DatabaseUnreachableError, RecsvcError
from recsvc.store.database.failures import first_line

_DISK_FULL = "53100"
# Tables have one partition detached at a time: another one may still wait for its readers, or
# somebody else has just dropped the partition.
_HANDLED_ELSEWHERE = ("55000", "42P01")
_NO_RIGHT, _READ_ONLY = "42501", "25006"
# Connection exceptions, rollback (deadlock, serialization), too many connections, lock not
# available, shutdown and restart.
_TRANSIENT = ("08", "40", "53300", "55P03", "57P01", "57P02", "57P03")


def _state(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)


def is_full_disk(error: BaseException) -> bool:
    """Whether the server has no room left."""
    return _state(error) == _DISK_FULL


def is_transient(error: BaseException) -> bool:
    """Whether the connection broke, or the server had no time for this one."""
    if not isinstance(error, psycopg.Error | adbc.Error):
        return False
    # Without a state the server said nothing: the connection broke.
    lost = isinstance(error, psycopg.OperationalError | adbc.OperationalError)
    return error.sqlstate.startswith(_TRANSIENT) if error.sqlstate else lost


def is_handled_elsewhere(error: BaseException | None) -> bool:
    """Whether a partition is being detached, or was dropped just now."""
    return getattr(error, "sqlstate", None) in _HANDLED_ELSEWHERE


def what_is_refused(error: BaseException) -> RecsvcError | None:
    """Return what to say of missing rights; ``None`` for anything else."""
    said = first_line(error)
    if _state(error) == _NO_RIGHT:
        return ConfigurationError(
            f"PostgreSQL refused: {said}. Connect as the role that owns the tables; a reader's "
            "role is for the views."
        )
    if _state(error) == _READ_ONLY:
        return DatabaseUnreachableError(
            f"PostgreSQL takes no changes now: {said}. Name the primary server in DATABASE_URL, "
            "and a role whose transactions are not read-only."
        )
    return None
