"""The nightly job by the clock: APScheduler says when, a child process does the work.

A child gives its memory back when it ends, and takes nothing along when it crashes. The ledger
decides whether a night is run: a tick too many, on this host or another, ends as "run already".
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from signal import Signals
from typing import Protocol

from apscheduler.events import EVENT_SCHEDULER_STARTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.date import DateTrigger

from recsvc.errors import DatabaseUnreachableError, RunInProgressError
from recsvc.pipeline.calendar import Nights
from recsvc.runtime import logs
from recsvc.runtime.signals import handled_by
from recsvc.settings import Settings

log = logging.getLogger("recsvc")

NIGHTLY, RETRY, CATCH_UP = "nightly", "retry", "catch-up"

# The longest time between two nights is 25 hours: a tick is never too late to stand for its night.
MISFIRE_GRACE_S = 26 * 3600

RETRIED = (DatabaseUnreachableError.exit_code, RunInProgressError.exit_code)
RETRY_MINUTES = (5, 10, 20, 40, 60, 60)

ABANDONED = 75
KILL_AFTER_S = 30.0

Clock = Callable[[], datetime]


class Child(Protocol):
    """What is needed of ``subprocess.Popen``."""

    pid: int

    def wait(self) -> int:
        """Return the exit code once the child has ended; negative if a signal ended it."""

    def terminate(self) -> None:
        """Ask the child to end."""

    def kill(self) -> None:
        """End the child."""


StartChild = Callable[[datetime], Child]


class NightTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler is untyped
    """Fires at every night, once.

    APScheduler's own CronTrigger leaves out nights at a change to summer time and never gets past
    a local time that comes twice: https://github.com/agronholm/apscheduler/issues/1021.
    """

    def __init__(self, nights: Nights) -> None:
        self._nights = nights

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Return the night after the previous one; the first is the next to come."""
        return self._nights.following(previous or now)


class Scheduler:
    """Runs nights one at a time until it is stopped."""

    def __init__(
        self,
        nights: Nights,
        *,
        start_child: StartChild,
        grace_seconds: float,
        kill_after_seconds: float = KILL_AFTER_S,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self._nights = nights
        self._start_child = start_child
        self._grace_seconds = grace_seconds
        self._kill_after_seconds = kill_after_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._stopping = False
        self._child: Child | None = None
        self._code: int | None = None
        self._ended = threading.Event()
        self._exit_code = 0
        self.triggers = BlockingScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": ThreadPoolExecutor(max_workers=1)},
            job_defaults={
                "coalesce": True,
                "max_instances": 1,
                "misfire_grace_time": MISFIRE_GRACE_S,
            },
            timezone=UTC,
        )
        self.triggers.add_job(self.tick, NightTrigger(nights), id=NIGHTLY)

    def serve(self, missed: datetime | None = None) -> int:
        """Run nights, the missed one at once, until SIGTERM or SIGINT; return the exit code."""
        if missed is not None:
            self.triggers.add_job(self.run, args=[missed], id=CATCH_UP)
        # A signal handler may interrupt any line, one that holds a lock included: it only passes
        # the signal on, by the one queue that is made for that.
        signals: SimpleQueue[int] = SimpleQueue()

        def await_signal() -> None:
            log.info("%s: no new night starts", Signals(signals.get()).name)
            self._exit_code = self.stop()
            self.triggers.shutdown()

        waiting = threading.Thread(target=await_signal, name="signals", daemon=True)
        self.triggers.add_listener(lambda _: waiting.start(), EVENT_SCHEDULER_STARTED)
        # Stopped while it starts a job that runs once, APScheduler 3 looks for the job in the wrong
        # place before it leaves its loop.
        with handled_by(signals.put), suppress(JobLookupError):
            self.triggers.start()
        return self._exit_code

    def tick(self) -> None:
        """Run the night that is due; what was left to retry of an earlier one is dropped."""
        with suppress(JobLookupError):
            self.triggers.remove_job(RETRY)
        self.run(self._nights.starting(self._clock()))

    def run(self, night: datetime, failures: int = 0) -> None:
        """Run a night in a child process and wait for its end.

        Args:
            night: what the ledger is to know it by.
            failures: how often it was tried before.
        """
        fields = {"night": night}
        try:
            child = self._begin(night)
        except OSError as error:
            log.error("night could not be started: %s", error, extra=fields)  # noqa: TRY400 - said
            self._retry(night, failures)
            return
        if child is None:
            return
        log.info("night started", extra=fields | {"pid": child.pid})
        code = self._end(child)
        level = logging.ERROR if code else logging.INFO
        log.log(level, "night ended", extra=fields | {"exit_code": code})
        if code in RETRIED or code < 0:
            self._retry(night, failures)

    def stop(self) -> int:
        """Start nothing more and end the run under way: in its own time, by SIGTERM, by SIGKILL.

        Returns 0, or 75 if a run had to be abandoned.
        """
        with self._lock:
            self._stopping = True
            child = self._child
        if child is None or self._ended.wait(self._grace_seconds):
            return 0
        log.warning("the run did not end within %g s: SIGTERM", self._grace_seconds)
        child.terminate()
        if not self._ended.wait(self._kill_after_seconds):
            log.warning("the run did not end within %g s more: SIGKILL", self._kill_after_seconds)
            child.kill()
            self._ended.wait()
        return ABANDONED if self._code else 0

    def _begin(self, night: datetime) -> Child | None:
        with self._lock:
            if self._stopping:
                return None
            self._ended.clear()
            self._child = self._start_child(night)
            return self._child

    def _end(self, child: Child) -> int:
        code = child.wait()
        with self._lock:
            self._child, self._code = None, code
            self._ended.set()
        return code

    def _retry(self, night: datetime, failures: int) -> None:
        if failures >= len(RETRY_MINUTES):
            log.error("night given up; the next one runs as usual", extra={"night": night})
            return
        with self._lock:
            if self._stopping:
                return
        at = self._clock() + timedelta(minutes=RETRY_MINUTES[failures])
        log.warning("night is tried again", extra={"night": night, "at": at})
        self.triggers.add_job(
            self.run, DateTrigger(at), args=[night, failures + 1], id=RETRY, replace_existing=True
        )


def start_retrain(night: datetime) -> Child:
    """Start ``recsvc retrain`` for a night, out of reach of the terminal's Ctrl-C."""
    options = ["--log-json"] if logs.is_json() else []
    command = [sys.executable, "-m", "recsvc", *options, "retrain"]
    return subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--scheduled-for", night.isoformat()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def schedule(settings: Settings, last: datetime | None) -> int:
    """Run the nightly job until stopped; return the exit code, 75 if a run was abandoned.

    Args:
        settings: schedule, time zone and grace.
        last: the newest night in the ledger; ``None`` before the first.
    """
    nights = Nights.of(settings)
    now = datetime.now(UTC)
    missed = nights.missed(last, now)
    log.info("schedule started", extra={"next": nights.following(now), "missed": missed})
    scheduler = Scheduler(nights, start_child=start_retrain, grace_seconds=settings.grace_seconds)
    return scheduler.serve(missed)
