"""One run of a job under way: its lease, and the phases it goes through."""

import logging
import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
import tenacity

from recsvc.errors import RecsvcError
from recsvc.runtime import logs
from recsvc.runtime.checkpoints import checkpoint
from recsvc.settings import Settings
from recsvc.store.database.retry import attempts
from recsvc.store.runs.lease import Lease
from recsvc.store.runs.ledger import Claim, PhaseRecord, claim_run, record_phase
from recsvc.vocabulary import PhaseName, phase_of

Item = TypeVar("Item")
What = ParamSpec("What")

COMPUTING = ("recsvc", "lightfm-next", "numpy", "scipy", "numba")

log = logging.getLogger("recsvc")


@dataclass
class Phase:
    """What a phase reports of itself."""

    rows: int | None = None  #: rows handled, where that means something


@dataclass(frozen=True)
class Run:
    """A claimed run."""

    engine: sa.Engine
    settings: Settings
    claim: Claim
    lease: Lease

    @contextmanager
    def phase(self, name: PhaseName, what: str = "", *, leased: bool = True) -> Iterator[Phase]:
        """Time a phase, and record it once it has succeeded.

        Args:
            name: of the phase.
            what: what it is done for, where there are several.
            leased: whether it must not begin without the lease.

        Raises:
            LeaseLostError: the lease was lost before the phase began.
        """
        if leased:
            self.lease.require()
        full_name = phase_of(name, what)
        with logs.phase_context(full_name):
            log.debug("phase begins")
            checkpoint(f"{full_name}:begin")
            phase = Phase()
            started_at, start = datetime.now(UTC), time.perf_counter()
            yield phase
            self.note(full_name, started_at, time.perf_counter() - start, phase.rows)
            checkpoint(f"{full_name}:end")

    def attempts(self) -> Iterator[tenacity.AttemptManager]:
        """Try a whole phase again when the database fails in passing."""
        return attempts(self.settings.attempts)

    def record(
        self,
        store: Callable[Concatenate[sa.Engine, Claim, What], None],
        *values: What.args,
        **named: What.kwargs,
    ) -> None:
        """Store something about this run, trying again when the database fails in passing.

        Args:
            store: one of the ``record_*`` functions of :mod:`recsvc.store.runs`.
            *values: what it takes after the engine and the claim.
            **named: likewise, by name.
        """
        for attempt in self.attempts():
            with attempt:
                store(self.engine, self.claim, *values, **named)

    def timed(self, name: PhaseName, items: Generator[Item], what: str = "") -> Iterator[Item]:
        """Record as a phase what it takes to make ``items``, while another phase consumes them."""
        full_name = phase_of(name, what)
        started_at, seconds = datetime.now(UTC), 0.0
        with closing(items):
            while True:
                start = time.perf_counter()
                with logs.phase_context(full_name):
                    item = next(items, None)
                seconds += time.perf_counter() - start
                if item is None:
                    break
                self.lease.require()
                checkpoint(f"{full_name}:block")
                yield item
        with logs.phase_context(full_name):
            self.note(full_name, started_at, seconds, None)

    def note(self, name: str, started_at: datetime, seconds: float, rows: int | None) -> None:
        """Record and log what a phase took; what was done is done, even if this fails.

        Args:
            name: of the phase, as it is stored.
            started_at: when it began.
            seconds: that it took, by a monotonic clock.
            rows: handled, where that means something.
        """
        record = PhaseRecord(name, started_at, seconds, rows, peak_memory())
        try:
            record_phase(self.engine, self.claim, record)
        except (RecsvcError, sa.exc.SQLAlchemyError) as error:
            log.warning("the time of %s is not recorded: %s", name, error)
        figures = {"seconds": round(seconds, 3), "rows": rows, "peak_memory": record.peak_memory}
        log.info("phase ends", extra=figures)


@contextmanager
def claimed_run(
    engine: sa.Engine,
    settings: Settings,
    job: str,
    *,
    scheduled_for: datetime | None = None,
) -> Iterator[Run]:
    """Claim a run and keep its lease alive while the block lasts.

    Raises:
        RunInProgressError: another run holds the lease.
        NightDoneError: this night has been run.
    """
    started_at, start = datetime.now(UTC), time.perf_counter()
    claim = claim_run(
        engine,
        job,
        host=f"{socket.gethostname()}:{os.getpid()}",
        settings=settings.recipe(),
        versions=versions(),
        lease_seconds=settings.lease_seconds,
        scheduled_for=scheduled_for,
    )
    lease = Lease(
        engine,
        claim,
        heartbeat_seconds=settings.heartbeat_seconds,
        lease_seconds=settings.lease_seconds,
    )
    with logs.run_context(claim.run_id), lease:
        run = Run(engine, settings, claim, lease)
        with logs.phase_context(phase_of("claim")):
            run.note(phase_of("claim"), started_at, time.perf_counter() - start, None)
        yield run


def versions() -> dict[str, str]:
    """Return the versions of Python, recsvc and the libraries that compute."""
    found = {name: version(name) for name in COMPUTING}
    return {"python": platform.python_version(), **found}


def peak_memory() -> int:
    """Return the peak resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
