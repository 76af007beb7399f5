"""The scheduler: one run for each night, whatever happens to clocks, children and hosts."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.base import BaseScheduler

from recsvc.errors import NightDoneError
from recsvc.pipeline import scheduler
from recsvc.pipeline.calendar import JOB, Nights
from recsvc.pipeline.scheduler import NIGHTLY, RETRY, RETRY_MINUTES, NightTrigger, Scheduler
from recsvc.runtime import logs
from recsvc.store.contract.tables import runs
from recsvc.store.database.transactions import reading
from recsvc.store.runs.ledger import claim_run, finish_run, last_scheduled
from tests.conftest import MakeSettings

NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)
AT_TWO = Nights(time(2), ZoneInfo("UTC"))
TIMEOUT_S = 30.0


class FakeChild:
    """A child process that ends when the test or a signal says so."""

    pid = 4711

    def __init__(self, code: int | None = None, *, heeds_sigterm: bool = True) -> None:
        self.signals: list[str] = []
        self._heeds_sigterm = heeds_sigterm
        self._code = code
        self._ended = threading.Event()
        if code is not None:
            self._ended.set()

    def end(self, code: int) -> None:
        self._code = code
        self._ended.set()

    def wait(self) -> int:
        assert self._ended.wait(TIMEOUT_S)
        assert self._code is not None
        return self._code

    def terminate(self) -> None:
        self.signals.append("SIGTERM")
        if self._heeds_sigterm:
            self.end(143)

    def kill(self) -> None:
        self.signals.append("SIGKILL")
        self.end(-9)


class Bench:
    """A scheduler whose clock and children belong to the test; nothing fires by itself."""

    def __init__(self, *children: FakeChild | Exception, grace_seconds: float = 0.0) -> None:
        self.now = NIGHT
        self.nights: list[datetime] = []
        self.started = threading.Event()
        self._children = iter(children)
        self.scheduler = Scheduler(
            AT_TWO,
            start_child=self._start,
            grace_seconds=grace_seconds,
            kill_after_seconds=0,
            clock=lambda: self.now,
        )

    def _start(self, night: datetime) -> FakeChild:
        self.nights.append(night)
        child = next(self._children)
        if isinstance(child, Exception):
            raise child
        self.started.set()
        return child

    def in_background(self) -> threading.Thread:
        """Tick in a thread and return once the child is under way."""
        thread = threading.Thread(target=self.scheduler.tick)
        thread.start()
        assert self.started.wait(TIMEOUT_S)
        return thread

    def retry(self) -> Any:
        return self.scheduler.triggers.get_job(RETRY)

    def run_retry(self) -> None:
        """Do what APScheduler does when the retry is due."""
        job = self.retry()
        self.now = job.trigger.run_date
        job.remove()
        job.func(*job.args)


def nightly_job(of: Scheduler) -> Any:
    """Return the nightly job as APScheduler runs it, without running it."""
    BaseScheduler.start(of.triggers, paused=True)
    job = of.triggers.get_job(NIGHTLY)
    BaseScheduler.shutdown(of.triggers)
    return job


def test_apscheduler_only_triggers_in_memory_once_and_with_an_explicit_grace() -> None:
    job = nightly_job(Bench().scheduler)
    assert job.coalesce is True
    assert job.max_instances == 1
    assert job.misfire_grace_time == 26 * 3600
    assert isinstance(job._scheduler._jobstores["default"], MemoryJobStore)


@pytest.mark.parametrize(
    ("zone", "at", "year"), [("Europe/Berlin", "02:30", 2027), ("America/New_York", "01:30", 2027)]
)
def test_the_trigger_fires_once_for_each_day_of_a_year_with_both_changes(
    zone: str, at: str, year: int
) -> None:
    trigger = NightTrigger(Nights(time.fromisoformat(at), ZoneInfo(zone)))
    now, previous, fired = datetime(year, 1, 1, tzinfo=ZoneInfo(zone)), None, []
    while now.year == year:
        previous = trigger.get_next_fire_time(previous, now)
        now = previous.astimezone(ZoneInfo(zone)) + timedelta(seconds=1)
        fired.append(now.date())
    assert len(set(fired)) == len(fired) == 365 + 1


def test_a_clock_set_back_does_not_fire_the_same_night_again() -> None:
    before = NIGHT - timedelta(hours=3)
    assert NightTrigger(AT_TWO).get_next_fire_time(NIGHT, before) == NIGHT + timedelta(days=1)


def test_ticks_piled_up_over_three_days_are_one_run_of_the_newest_night() -> None:
    bench = Bench(FakeChild(0))
    job = nightly_job(bench.scheduler)
    bench.now = NIGHT + timedelta(days=3, hours=7)
    job.next_run_time = NIGHT
    due = job._get_run_times(bench.now)
    assert len(due) == 4
    assert (bench.now - due[-1]).total_seconds() < job.misfire_grace_time
    bench.scheduler.tick()
    assert bench.nights == [due[-1]] == [NIGHT + timedelta(days=3)]


def test_the_exit_code_of_a_night_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "recsvc")
    Bench(FakeChild(4)).scheduler.tick()
    ended = [record for record in caplog.records if record.message == "night ended"]
    assert [vars(record)["exit_code"] for record in ended] == [4]
    assert vars(ended[0])["night"] == NIGHT


@pytest.mark.parametrize("failure", [69, 75, -9, BlockingIOError("no more processes")])
def test_what_passes_by_itself_is_retried_later_and_later_and_then_given_up(
    failure: int | Exception,
) -> None:
    tries = len(RETRY_MINUTES) + 1
    bench = Bench(*[FakeChild(failure) if isinstance(failure, int) else failure] * tries)
    bench.scheduler.tick()
    waits = []
    while bench.retry():
        waits.append(bench.retry().trigger.run_date - bench.now)
        bench.run_retry()
    assert waits == [timedelta(minutes=minutes) for minutes in RETRY_MINUTES]
    assert bench.nights == [NIGHT] * tries


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 78])
def test_whatever_else_waits_for_the_next_night(code: int) -> None:
    bench = Bench(FakeChild(code))
    bench.scheduler.tick()
    assert bench.retry() is None


def test_a_retry_that_succeeds_is_the_last() -> None:
    bench = Bench(FakeChild(69), FakeChild(0))
    bench.scheduler.tick()
    bench.run_retry()
    assert bench.retry() is None


def test_a_new_night_drops_the_retry_of_the_one_before() -> None:
    bench = Bench(FakeChild(69), FakeChild(0))
    bench.scheduler.tick()
    bench.now += timedelta(days=1)
    bench.scheduler.tick()
    assert bench.retry() is None
    assert bench.nights == [NIGHT, NIGHT + timedelta(days=1)]


def test_stopping_while_nothing_runs_is_0_and_starts_nothing_more() -> None:
    bench = Bench()
    assert bench.scheduler.stop() == 0
    bench.scheduler.tick()
    assert bench.nights == []


def test_stopping_lets_the_run_finish_and_is_0() -> None:
    child = FakeChild()
    bench = Bench(child, grace_seconds=TIMEOUT_S)
    run = bench.in_background()
    releasing = threading.Thread(target=child.end, args=(4,))
    releasing.start()
    assert bench.scheduler.stop() == 0
    run.join()
    releasing.join()
    assert child.signals == []


def test_a_run_that_outlasts_the_grace_is_told_to_stop_and_is_75() -> None:
    child = FakeChild()
    bench = Bench(child)
    bench.scheduler._kill_after_seconds = TIMEOUT_S
    run = bench.in_background()
    assert bench.scheduler.stop() == 75
    run.join()
    assert child.signals == ["SIGTERM"]
    assert bench.retry() is None


def test_a_run_that_does_not_heed_sigterm_is_killed_and_is_75() -> None:
    child = FakeChild(heeds_sigterm=False)
    bench = Bench(child)
    run = bench.in_background()
    assert bench.scheduler.stop() == 75
    run.join()
    assert child.signals == ["SIGTERM", "SIGKILL"]
    assert bench.retry() is None


SERVE = """
import subprocess, sys
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo
from recsvc.runtime import logs
from recsvc.pipeline.calendar import Nights
from recsvc.pipeline.scheduler import Scheduler

logs.configure()
nights = Nights(time(2), ZoneInfo("UTC"))
child = [sys.executable, "-c", "print('working', flush=True); input()"]
serving = Scheduler(
    nights, start_child=lambda night: subprocess.Popen(child), grace_seconds=float(sys.argv[1])
)
sys.exit(serving.serve(nights.newest(datetime.now(UTC))))
"""


@pytest.fixture
def serve() -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(grace_seconds: float) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(grace_seconds)], text=True, **pipes
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def await_line(stream: Any, text: str) -> None:
    while text not in (line := stream.readline()):
        assert line, f"ended before it said {text!r}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_real_scheduler_waits_for_its_child_and_exits_0(
    serve: Callable[[float], subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = serve(TIMEOUT_S)
    assert process.stdin is not None
    await_line(process.stdout, "working")
    process.send_signal(number)
    await_line(process.stderr, f"{number.name}: no new night starts")
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(TIMEOUT_S) == 0


def test_a_real_scheduler_without_grace_stops_its_child_and_exits_75(
    serve: Callable[[float], subprocess.Popen[str]],
) -> None:
    process = serve(0)
    await_line(process.stdout, "working")
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 75


CLAIM = """
import multiprocessing, sys
from datetime import datetime
import sqlalchemy as sa
from recsvc.errors import NightDoneError, RunInProgressError
from recsvc.store.database.engine import open_engine
from recsvc.store.runs.ledger import claim_run

def claim(night, barrier, said):
    engine = open_engine(sa.make_url(sys.argv[1]))
    engine.connect().close()
    barrier.wait()
    try:
        claim_run(engine, "retrain", host="here", settings={}, versions={}, lease_seconds=60,
                  scheduled_for=datetime.fromisoformat(night))
        said.put("claimed")
    except (NightDoneError, RunInProgressError) as error:
        said.put(f"refused {error.exit_code}")
    engine.dispose()

hosts = multiprocessing.get_context("fork")
nights = sys.argv[2:]
barrier, said = hosts.Barrier(len(nights)), hosts.SimpleQueue()
started = [hosts.Process(target=claim, args=(night, barrier, said)) for night in nights]
for process in started:
    process.start()
print(*sorted(said.get() for _ in started), sep=", ")
for process in started:
    process.join()
"""


def test_of_schedulers_that_start_a_night_at_the_same_moment_one_runs_it(
    engine: sa.Engine, database_url: sa.URL
) -> None:
    url = database_url.render_as_string(hide_password=False)
    # The same night, as hosts in different time zones say it.
    zones = [timezone(timedelta(hours=hours)) for hours in (0, 1, -5, 9, 0, 2)]
    nights = [NIGHT.astimezone(zone).isoformat() for zone in zones]
    said = subprocess.run(
        [sys.executable, "-c", CLAIM, url, *nights],
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert said.stdout.strip() == "claimed" + ", refused 75" * (len(nights) - 1)
    with reading(engine) as connection:
        assert connection.execute(sa.select(runs.c.scheduled_for)).scalars().all() == [NIGHT]


def claim(engine: sa.Engine, night: datetime) -> None:
    """Run a night, without the work."""
    given = {"host": "here", "settings": {}, "versions": {}, "lease_seconds": 60.0}
    finish_run(engine, claim_run(engine, JOB, scheduled_for=night, **given), "refused")


def test_a_night_that_another_host_has_run_is_done(engine: sa.Engine) -> None:
    claim(engine, NIGHT)
    with pytest.raises(NightDoneError) as done:
        claim(engine, NIGHT.astimezone(ZoneInfo("America/New_York")))
    assert done.value.exit_code == 0


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[datetime | None]:
    """What schedulers are told to catch up on, instead of serving."""
    missed: list[datetime | None] = []

    def serve(_: Scheduler, night: datetime | None = None) -> int:
        missed.append(night)
        return 0

    monkeypatch.setattr(Scheduler, "serve", serve)
    return missed


def test_at_the_start_the_newest_night_that_the_ledger_lacks_is_caught_up_once(
    engine: sa.Engine, settings: MakeSettings, served: list[datetime | None]
) -> None:
    def start() -> int:
        with reading(engine) as connection:
            last = last_scheduled(connection, JOB)
        return scheduler.schedule(settings(), last)

    newest = Nights.of(settings()).newest(datetime.now(UTC))
    assert start() == 0
    claim(engine, newest - timedelta(days=3))
    start()
    claim(engine, newest)
    start()
    assert served == [None, newest, None]


def test_a_missed_night_is_run_at_once_by_the_same_single_worker() -> None:
    bench = Bench(FakeChild(0))
    serving = threading.Thread(target=bench.scheduler.serve, args=(NIGHT,))
    serving.start()
    assert bench.started.wait(TIMEOUT_S)
    assert bench.scheduler.stop() == 0
    bench.scheduler.triggers.shutdown()
    serving.join()
    assert bench.nights == [NIGHT]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_child_is_a_retrain_for_that_night_logging_as_its_parent_does(
    monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(
        scheduler.subprocess, "Popen", lambda command, **_: commands.append(command)
    )
    monkeypatch.setattr(logs, "is_json", lambda: as_json)
    scheduler.start_retrain(NIGHT)
    options = ["--log-json"] if as_json else []
    night = ["--scheduled-for", "2026-11-23T02:00:00+00:00"]
    assert commands == [[sys.executable, "-m", "recsvc", *options, "retrain", *night]]


def test_a_night_that_its_host_left_running_is_caught_up(engine: sa.Engine) -> None:
    given = {"host": "here", "settings": {}, "versions": {}, "lease_seconds": 60.0}
    claim_run(engine, JOB, scheduled_for=NIGHT, **given)
    with reading(engine) as connection:
        assert last_scheduled(connection, JOB) is None
