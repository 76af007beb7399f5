"""Failures that pass by themselves, and trying again."""

import logging
import sqlite3
import time
from collections.abc import Iterator

import adbc_driver_manager as adbc
import psycopg
import tenacity
from sqlalchemy.exc import DBAPIError, OperationalError

from recsvc.errors import DatabaseUnreachableError

log = logging.getLogger("recsvc")

# Bulk transfer uses the drivers themselves, whose errors SQLAlchemy does not see.
DATABASE_ERRORS = (
    OperationalError,
    sqlite3.OperationalError,
    psycopg.OperationalError,
    adbc.OperationalError,
)

FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 30.0

# https://www.postgresql.org/docs/current/errcodes-appendix.html: connection exceptions, rollback
# (deadlock, serialization), too many connections, lock not available, shutdown and restart.
_SQLSTATES = ("08", "40", "53300", "55P03", "57P01", "57P02", "57P03")
_SQLITE_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed if it is done again."""
    if isinstance(error, DatabaseUnreachableError):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.OperationalError):
        # Extended codes keep the primary one in their low byte.
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_CODES
    if isinstance(cause, psycopg.Error | adbc.Error):
        # Without a state the server said nothing: the connection broke.
        lost = isinstance(cause, psycopg.OperationalError | adbc.OperationalError)
        state = cause.sqlstate
        return state.startswith(_SQLSTATES) if state else lost
    return False


def attempts(count: int) -> Iterator[tenacity.AttemptManager]:
    """Try a block up to ``count`` times, waiting longer each time, while failures are transient.

    Use as ``for attempt in attempts(4):`` with ``with attempt:`` inside; the last error is raised.
    """
    return iter(
        tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            stop=tenacity.stop_after_attempt(count),
            wait=tenacity.wait_exponential_jitter(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            sleep=_sleep,
            before_sleep=_announce,
            reraise=True,
        )
    )


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _announce(state: tenacity.RetryCallState) -> None:
    if state.outcome is not None and state.next_action is not None:
        log.warning(
            "trying again in %.1f s after: %s", state.next_action.sleep, state.outcome.exception()
        )
