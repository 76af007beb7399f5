"""The heartbeat of a run, and the knowledge whether its lease still holds."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from recsvc.errors import LeaseLostError, RecsvcError
from recsvc.store.database.transactions import LONGEST_WAIT_S, writing
from recsvc.store.runs.ledger import Claim, renew

log = logging.getLogger("recsvc")

# A heartbeat on SQLite may wait as long for another writer, and the run is none the worse for it.
STUCK_AFTER_S = LONGEST_WAIT_S


class Lease:
    """Renews a run's lease from a thread of its own until the ``with`` block ends.

    A run that has lost its lease stops itself at the next phase. One that hangs gets to none: a
    second thread, which never speaks to the database, ends the process once the lease has been
    overdue for ``stuck_after_seconds``, so that whoever waits for it need not wait for ever.
    """

    def __init__(
        self,
        engine: sa.Engine,
        claim: Claim,
        *,
        heartbeat_seconds: float,
        lease_seconds: float,
        stuck_after_seconds: float = STUCK_AFTER_S,
    ) -> None:
        self._engine = engine
        self._claim = claim
        self._heartbeat_seconds = heartbeat_seconds
        self._lease_seconds = lease_seconds
        self._stuck_after_seconds = stuck_after_seconds
        self._renewed_at = time.monotonic()
        self._taken = False
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._heartbeat: threading.Thread | None = None
        self._watchdog: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._heartbeat = _started("heartbeat", self._beat)
        self._watchdog = _started("watchdog", self._watch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Stop renewing: the run has ended, and what is left to do needs no lease."""
        self._stop.set()
        if self._heartbeat:
            self._heartbeat.join()
        self._ended.set()  # only now: the heartbeat may hang as well
        if self._watchdog:
            self._watchdog.join()

    def require(self) -> None:
        """Stop a run that could not renew its lease.

        A lease that is overdue is renewed first and judged afterwards: another writer may have held
        up the heartbeat.

        Raises:
            LeaseLostError: another run may have taken over.
        """
        if not self._taken and self._overdue():
            self.renew()
        if self._taken or self._overdue():
            raise LeaseLostError(
                f"Run {self._claim.run_id} could not renew its lease for {self._lease_seconds:g} "
                "seconds and stopped; nothing of it is published. Check the database."
            )

    def _overdue(self) -> bool:
        return time.monotonic() - self._renewed_at > self._lease_seconds

    def renew(self) -> None:
        """Renew once; a database that does not answer is tried again at the next beat."""
        try:
            with writing(self._engine) as connection:
                renew(connection, self._claim)
        except LeaseLostError:
            self._taken = True
        except (sa.exc.SQLAlchemyError, RecsvcError) as error:
            log.warning("heartbeat failed, trying again: %s", error)
        else:
            self._renewed_at = time.monotonic()

    def _beat(self) -> None:
        while not self._taken and not self._stop.wait(self._heartbeat_seconds):
            self.renew()

    def _watch(self) -> None:
        # Beats are counted, so that a process that slept is first given the chance to renew.
        silent_seconds, renewed_at = 0.0, self._renewed_at
        while not self._ended.wait(self._heartbeat_seconds):
            if self._renewed_at != renewed_at:
                silent_seconds, renewed_at = 0.0, self._renewed_at
                continue
            silent_seconds += self._heartbeat_seconds
            if silent_seconds > self._lease_seconds + self._stuck_after_seconds:
                log.error(
                    "run %d has been without its lease for %g s and does not stop: the process "
                    "ends here; nothing more of the run is published",
                    self._claim.run_id,
                    silent_seconds,
                )
                os._exit(LeaseLostError.exit_code)


def _started(name: str, work: Callable[[], None]) -> threading.Thread:
    # What it logs carries the run as well.
    thread = threading.Thread(target=copy_context().run, args=(work,), name=name, daemon=True)
    thread.start()
    return thread
