"""Failures that pass by themselves, and trying again."""

import logging
import time
from collections.abc import Iterator

import tenacity
from sqlalchemy.exc import DBAPIError, OperationalError

from recsvc.errors import DatabaseUnreachableError
from recsvc.store.database.backends import backends_in_use

log = logging.getLogger("recsvc")

FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 30.0


def database_errors() -> tuple[type[BaseException], ...]:
    """Return what a database's failures are raised as, by SQLAlchemy and by the drivers."""
    return (
        OperationalError,
        *(e for backend in backends_in_use() for e in backend.driver_errors()),
    )


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed if it is done again."""
    if isinstance(error, DatabaseUnreachableError):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause is not None and any(b.is_transient(cause) for b in backends_in_use())


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
