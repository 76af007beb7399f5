"""Runs that died, and runs that did not know that they were given up."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from threading import enumerate as enumerate_threads
from time import monotonic
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from recsvc.errors import (
    DatabaseUnreachableError,
    LeaseLostError,
    RunInProgressError,
)
from recsvc.pipeline.calendar import JOB
from recsvc.runtime import checkpoints
from recsvc.store.contract.tables import metadata, recommendations, runs
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import LONGEST_WAIT_S, reading, writing
from recsvc.store.runs import lease as lease_module
from recsvc.store.runs import ledger, results
from recsvc.store.runs.lease import Lease
from recsvc.store.runs.ledger import Claim, claim_run
from recsvc.store.runs.output import runs_left, write_output
from recsvc.store.runs.publication import prune, publish
from tests.outputs import ROWS_OF_RUN
from tests.prepared import Prepared
from tests.survival.surviving import LEASE_S, LISTS, STATUSES, at, run

on_one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def claim(engine: sa.Engine, host: str = "here:1") -> Claim:
    return claim_run(engine, JOB, host=host, settings={}, versions={}, lease_seconds=LEASE_S)


def backdate(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        connection.execute(
            sa.update(runs).where(runs.c.status == "running").values(heartbeat_at=LONG_AGO)
        )


def statuses(engine: sa.Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(sa.text(STATUSES)))


# --- runs that died, and runs that did not know that they were given up ----------------------


def test_a_run_whose_heartbeat_is_too_old_is_marked_lost_by_the_next_claim(
    engine: sa.Engine,
) -> None:
    first = claim(engine)
    backdate(engine)
    second = claim(engine)
    assert statuses(engine) == ["lost", "running"]
    assert second.fence > first.fence
    with reading(engine) as connection:
        row = connection.execute(sa.select(runs).where(runs.c.run_id == first.run_id)).one()
    assert "No sign of life for 60 seconds" in row.error
    assert row.finished_at is not None


def test_a_run_with_a_fresh_heartbeat_is_not_taken_over(engine: sa.Engine) -> None:
    claim(engine, host="there:17")
    with pytest.raises(RunInProgressError, match="there:17"):
        claim(engine)
    assert statuses(engine) == ["running"]


def one_list(rows: int = 3) -> pd.DataFrame:
    ranks = np.arange(1, rows + 1)
    columns = {"user_id": 1, "rank": ranks, "movie_id": ranks, "score": -1.0 * ranks}
    return pd.DataFrame(columns).assign(source="model")


MODEL = results.ModelRecord("m", {}, seed=1, epochs=1, arrays=b"")
READ = ledger.DataRecord("f", ratings=1, users=1, movies=1)
METRIC = results.MetricRecord("m", "random", "all", "ndcg", 10, 0.5, 0.4, 0.6, users=1)
USER_METRIC = pd.DataFrame(
    {"model": ["m"], "metric": ["ndcg"], "k": [10], "user_id": [1], "value": [0.5]}
)
WRITES: dict[str, Callable[[sa.Engine, Claim], object]] = {
    "publish": lambda engine, late: publish(engine, late, "late"),
    "finish": lambda engine, late: ledger.finish_run(engine, late, "failed", "late"),
    "data": lambda engine, late: ledger.record_data(engine, late, READ),
    "gate": lambda engine, late: ledger.record_gate(engine, late, "blend", {"passed": True}),
    "models": lambda engine, late: results.record_models(engine, late, [MODEL]),
    "metrics": lambda engine, late: results.record_metrics(engine, late, [METRIC]),
    "user metrics": lambda engine, late: results.record_user_metrics(engine, late, USER_METRIC),
    "lists": lambda engine, late: write_output(
        engine, late, recommendations, [one_list()], lock_timeout=5
    ),
}


def everything(engine: sa.Engine) -> str:
    """Every row of every table."""
    with reading(engine) as connection:
        rows = {
            table.name: sorted(map(repr, connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
        }
    return repr(rows)


@pytest.mark.parametrize("write", WRITES)
def test_a_run_that_was_taken_over_can_change_nothing(engine: sa.Engine, write: str) -> None:
    late = claim(engine)
    backdate(engine)
    claim(engine)
    before = everything(engine)
    with pytest.raises(LeaseLostError, match=f"Run {late.run_id}"):
        WRITES[write](engine, late)
    assert everything(engine) == before


@pytest.mark.parametrize("write", WRITES)
def test_the_same_run_may_do_all_of_it_while_it_holds_its_lease(
    engine: sa.Engine, write: str
) -> None:
    holder = claim(engine)
    before = everything(engine)
    WRITES[write](engine, holder)
    assert everything(engine) != before


def test_lists_that_a_late_run_had_begun_are_cleared_away(engine: sa.Engine) -> None:
    late = claim(engine)
    backdate(engine)
    claim(engine)
    with pytest.raises(LeaseLostError):
        write_output(engine, late, recommendations, [one_list()], lock_timeout=5)
    prune(engine, 7, lock_timeout=5)
    with reading(engine) as connection:
        assert runs_left(connection) == set()
        assert connection.scalar(sa.select(sa.func.count()).select_from(recommendations)) == 0


@pytest.fixture
def holder(engine: sa.Engine) -> Lease:
    """A lease without a heartbeat of its own."""
    return Lease(engine, claim(engine), heartbeat_seconds=10, lease_seconds=LEASE_S)


def test_a_heartbeat_finds_out_that_the_lease_was_taken(engine: sa.Engine, holder: Lease) -> None:
    holder.renew()
    holder.require()
    backdate(engine)
    claim(engine)
    holder.renew()
    with pytest.raises(LeaseLostError):
        holder.require()
    assert statuses(engine) == ["lost", "running"]


def test_a_run_that_cannot_renew_its_lease_stops_itself(
    holder: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: sa.Engine) -> None:
        raise DatabaseUnreachableError("The database does not answer.")

    later = monotonic() + LEASE_S + 1
    monkeypatch.setattr(lease_module, "time", SimpleNamespace(monotonic=lambda: later))
    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "writing", away)
        with pytest.raises(LeaseLostError, match="could not renew"):
            holder.require()
    holder.require()  # it answers again, and nobody took over


def publish_after_a_sleep(settings: dict[str, Any], pipe: Connection) -> None:
    """Retrain in a process of its own, which stops just before it publishes."""
    own = Prepared(sa.make_url(settings.pop("DATABASE_URL")))

    def hook(name: str) -> None:
        if name == "publish:begin":
            pipe.send(name)
            os.kill(os.getpid(), signal.SIGSTOP)

    checkpoints.hook = hook
    try:
        run(own, force=True, **settings)
    except LeaseLostError as error:
        pipe.send(str(error))
        raise SystemExit(error.exit_code) from None


def test_a_process_that_slept_through_its_lease_wakes_up_and_publishes_nothing(
    own: Prepared,
) -> None:
    spawn = multiprocessing.get_context("spawn")  # a child of this process, which can be waited for
    ours, theirs = spawn.Pipe(duplex=False)
    # No heartbeat comes in between.
    settings = {"heartbeat_seconds": 1_000, "lease_seconds": 4_000, "top_n": 5}
    url = own.url.render_as_string(hide_password=False)
    before = own.rows(LISTS)
    child = spawn.Process(
        target=publish_after_a_sleep, args=({"DATABASE_URL": url, **settings}, theirs)
    )
    child.start()
    try:
        theirs.close()
        assert ours.recv() == "publish:begin"
        assert child.pid is not None
        _, state = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(state)
        with own.engine() as engine:
            backdate(engine)
            claim(engine)
        os.kill(child.pid, signal.SIGCONT)
        assert "lost its lease" in ours.recv()
        child.join(60)
        assert child.exitcode == LeaseLostError.exit_code
    finally:
        child.kill()
        child.join()
        ours.close()
    assert [row.status for row in own.rows(STATUSES)] == ["published", "lost", "running"]
    assert own.rows(LISTS) == before
    assert own.value("SELECT count(*) FROM publications") == 1
    assert own.value(ROWS_OF_RUN, run=2) == 0, "it cleared its lists away"


def hang_under_a_lease(url: sa.URL, pipe: Connection) -> None:
    """Claim a run in a process of its own, and never come back from a read."""
    engine = open_engine(url)
    late = claim(engine)
    pipe.send(late.run_id)
    pipe.recv()
    times = {"heartbeat_seconds": 0.01, "lease_seconds": 0.02, "stuck_after_seconds": 0.02}
    with Lease(engine, late, **times):
        pipe.recv()  # nobody sends anything


@contextmanager
def held_by_another(engine: sa.Engine, run_id: int) -> Iterator[None]:
    """Keep heartbeats waiting for a lock."""
    with writing(engine) as connection:
        connection.execute(sa.update(runs).where(runs.c.run_id == run_id).values(host="there"))
        yield


@contextmanager
def taken_by_another(engine: sa.Engine, _: int) -> Iterator[None]:
    backdate(engine)
    claim(engine)
    yield


@pytest.mark.parametrize("trouble", [held_by_another, taken_by_another])
def test_a_process_that_hangs_without_its_lease_ends_so_that_the_scheduler_goes_on(
    engine: sa.Engine, trouble: Callable[[sa.Engine, int], AbstractContextManager[None]]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=hang_under_a_lease, args=(engine.url, theirs))
    child.start()
    try:
        theirs.close()
        with trouble(engine, ours.recv()):
            ours.send("go on")
            child.join(60)
            assert child.exitcode == LeaseLostError.exit_code
    finally:
        child.kill()
        child.join()
        ours.close()


class Beats:
    """Stands for the event that the watchdog waits for: no time passes between beats."""

    def __init__(self, beats: int, on_beat: Callable[[int], object]) -> None:
        self._numbers = iter(range(1, beats + 1))
        self._on_beat = on_beat

    def wait(self, _: float) -> bool:
        number = next(self._numbers, None)
        if number is not None:
            self._on_beat(number)
        return number is None


class Exited(Exception):  # noqa: N818 - it is no error
    """Instead of the end of the process."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(lease_module.os, "_exit", leave)


@on_one_database
@pytest.mark.usefixtures("exits")
def test_the_watchdog_waits_as_long_as_sqlite_may_keep_a_heartbeat_waiting(holder: Lease) -> None:
    beats: list[int] = []
    holder._ended = Beats(1_000, beats.append)  # type: ignore[assignment]
    with pytest.raises(Exited, match="75"):
        holder._watch()
    assert (len(beats) - 1) * 10 == LEASE_S + LONGEST_WAIT_S


@on_one_database
@pytest.mark.usefixtures("exits")
def test_the_watchdog_leaves_a_run_alone_whose_lease_is_renewed_now_and_then(
    holder: Lease,
) -> None:
    beats: list[int] = []

    def on_beat(number: int) -> None:
        beats.append(number)
        if number % 60 == 0:
            holder.renew()

    holder._ended = Beats(1_000, on_beat)  # type: ignore[assignment]
    holder._watch()
    assert len(beats) == 1_000


def test_pruning_after_the_end_of_a_run_is_watched_by_nobody(own: Prepared) -> None:
    alive: list[str] = []

    def look() -> None:
        alive.extend(thread.name for thread in enumerate_threads())

    with at("rank:block", look):
        run(own, force=True)
    assert {"heartbeat", "watchdog"} <= set(alive)
    alive.clear()
    with at("prune:begin", look):
        run(own, force=True)
    assert not {"heartbeat", "watchdog"} & set(alive)
