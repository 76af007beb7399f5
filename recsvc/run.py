"""One run of a job under way: its claim, and the phases it goes through."""

import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TypeVar

import sqlalchemy as sa

from recsvc.settings import Settings
from recsvc.store.ledger import Claim, PhaseRecord, claim_run, record_phase

Item = TypeVar("Item")

OnPhase = Callable[[str], None]

COMPUTING = ("recsvc", "lightfm-next", "numpy", "scipy", "numba")


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
    on_phase: OnPhase  #: called with the name of each phase as it begins

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Announce a phase, time it, and record it once it has succeeded."""
        self.on_phase(name)
        phase = Phase()
        started_at, start = datetime.now(UTC), time.perf_counter()
        yield phase
        self._record(name, started_at, time.perf_counter() - start, phase.rows)

    def timed(self, name: str, items: Iterator[Item]) -> Iterator[Item]:
        """Record as a phase what it takes to make ``items``, while another phase consumes them."""
        self.on_phase(name)
        started_at, seconds = datetime.now(UTC), 0.0
        while True:
            start = time.perf_counter()
            item = next(items, None)
            seconds += time.perf_counter() - start
            if item is None:
                break
            yield item
        self._record(name, started_at, seconds, None)

    def _record(self, name: str, started_at: datetime, seconds: float, rows: int | None) -> None:
        record = PhaseRecord(name, started_at, seconds, rows, peak_memory())
        record_phase(self.engine, self.claim, record)


def start_run(
    engine: sa.Engine,
    settings: Settings,
    job: str,
    *,
    scheduled_for: datetime | None = None,
    on_phase: OnPhase | None = None,
) -> Run:
    """Claim a run.

    Raises:
        RunInProgressError: another run holds the lease.
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
    seconds = time.perf_counter() - start
    record_phase(engine, claim, PhaseRecord("claim", started_at, seconds, None, peak_memory()))
    return Run(engine, settings, claim, on_phase or (lambda _: None))


def versions() -> dict[str, str]:
    """Return the versions of Python, recsvc and the libraries that compute."""
    found = {name: version(name) for name in COMPUTING}
    return {"python": platform.python_version(), **found}


def peak_memory() -> int:
    """Return the peak resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
