"""The heartbeat of a run, and the knowledge whether its lease still holds."""

import logging
import threading
import time
from contextvars import copy_context
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from recsvc.errors import LeaseLostError, RecsvcError
from recsvc.store.engine import writing
from recsvc.store.ledger import Claim, renew

log = logging.getLogger("recsvc")


class Lease:
    """Renews a run's lease from a thread of its own until the ``with`` block ends."""

    def __init__(
        self, engine: sa.Engine, claim: Claim, *, heartbeat_seconds: float, lease_seconds: float
    ) -> None:
        self._engine = engine
        self._claim = claim
        self._heartbeat_seconds = heartbeat_seconds
        self._lease_seconds = lease_seconds
        self._renewed_at = time.monotonic()
        self._taken = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            # What the heartbeat logs carries the run as well.
            target=copy_context().run,
            args=(self._beat,),
            name="heartbeat",
            daemon=True,
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

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
