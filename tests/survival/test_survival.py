"""What goes wrong in the night, one thing at a time: what becomes of the run, and what readers see.

Falls at checkpoints are in ``test_crash.py``; docs/reliability.md lists all that is survived.
"""

import multiprocessing
import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
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
    DiskFullError,
    LeaseLostError,
    PublicationRefusedError,
    RunInProgressError,
    TrainingDivergedError,
)
from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline import compare
from recsvc.pipeline.calendar import JOB
from recsvc.pipeline.load import load_training_data
from recsvc.pipeline.retrain import RetrainReport, retrain
from recsvc.runtime import checkpoints
from recsvc.store.contract.tables import metadata, recommendations, runs
from recsvc.store.database import retry, statements
from recsvc.store.database.engine import open_engine
from recsvc.store.database.postgresql import partitions
from recsvc.store.database.retry import attempts
from recsvc.store.database.transactions import LONGEST_WAIT_S, reading, writing
from recsvc.store.reading import queries
from recsvc.store.runs import lease as lease_module
from recsvc.store.runs import ledger, results
from recsvc.store.runs.current import Publication
from recsvc.store.runs.lease import Lease
from recsvc.store.runs.ledger import Claim, claim_run
from recsvc.store.runs.output import runs_left, write_output
from recsvc.store.runs.publication import prune, publish, retained_runs, roll_back
from tests import taste
from tests.databases import is_sqlite
from tests.outputs import ROWS_OF_RUN
from tests.prepared import DATABASES, Prepared, copied

on_sqlite = pytest.mark.parametrize("published", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("published", ["postgresql"], indirect=True)

on_one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ROOT = Path(__file__).parents[2]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LEASE_S = 60.0

LISTS = "SELECT user_id, rank, movie_id, score FROM current_recommendations ORDER BY user_id, rank"
LAST_RUN = "SELECT * FROM runs ORDER BY run_id DESC LIMIT 1"
STATUSES = "SELECT status FROM runs ORDER BY run_id"
VISIBLE = "SELECT run_id FROM freshness"


def run(database: Prepared, *, force: bool = False, **settings: object) -> RetrainReport:
    with database.engine() as engine:
        return retrain(engine, database.settings(**settings), force=force)


def ingest(database: Prepared, folder: Path) -> None:
    with database.engine() as engine:
        ingest_folder(engine, folder)


def more_files(folder: Path) -> Path:
    """The plain tastes, a movie that is new, and somebody new who loves it."""
    movies = [*taste.movie_rows(), (62, "Newest Film (2020)", "Drama")]
    ratings = [*taste.rating_rows(), (105, 62, 5.0, taste.START), (105, 2, 5.0, taste.START)]
    return taste.write_files(folder, movies=movies, ratings=ratings)


@contextmanager
def at(name: str, act: Callable[[], object], *, once: bool = True) -> Iterator[list[str]]:
    """Do something in the middle of a run; the list tells how often."""
    passed: list[str] = []

    def hook(checkpoint: str) -> None:
        if checkpoint == name:
            passed.append(name)
            if not once or len(passed) == 1:
                act()

    checkpoints.hook = hook
    try:
        yield passed
    finally:
        checkpoints.hook = None
    assert passed, f"{name} was not passed"


@pytest.fixture(scope="module", params=DATABASES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """A first run, published; to be copied."""
    folder = tmp_path_factory.mktemp("published")
    with copied(request.param, request, folder) as database:
        ingest(database, taste.write_files(folder / "files"))
        assert run(database).status == "published"
        yield database


@pytest.fixture
def own(request: pytest.FixtureRequest, published: Prepared, tmp_path: Path) -> Iterator[Prepared]:
    """The first run's database, to be changed."""
    with copied(kind_of(published), request, tmp_path, published) as database:
        yield database


def kind_of(database: Prepared) -> str:
    return "sqlite" if database.url.drivername == "sqlite" else "postgresql"


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
    "gate": lambda engine, late: ledger.record_gate(engine, late, {"passed": True}),
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


# --- locks ------------------------------------------------------------------------------------


@on_postgresql
def test_no_lock_outlives_its_transaction_and_none_belongs_to_a_session(own: Prepared) -> None:
    locks = sa.text(
        "SELECT l.locktype, l.mode, a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()"
        " AND a.application_name = 'recsvc'"
    )
    advisory = sa.text(
        "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )
    with own.engine() as engine, own.engine() as other:
        held: list[object] = []

        def look(_: str) -> None:
            with reading(other) as connection:
                held.extend(connection.execute(advisory))

        checkpoints.hook = look
        try:
            retrain(engine, own.settings(keep_runs=1), force=True)
        finally:
            checkpoints.hook = None
        with reading(other) as connection:
            kept_open = sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'recsvc'"
                " AND datname = current_database()"
            )
            assert (connection.scalar(kept_open) or 0) > 1, "the pool keeps connections"
            assert connection.execute(locks).all() == []
        assert held == []


# --- a database that goes away ----------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited between tries."""
    seconds: list[float] = []
    monkeypatch.setattr(retry, "_sleep", seconds.append)
    return seconds


def cut_all_connections(database: Prepared) -> None:
    admin = sa.create_engine(database.url, poolclass=sa.pool.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'recsvc'"
        )


@on_postgresql
@pytest.mark.parametrize("moment", ["rank:block", "write:recommendations:copied"])
def test_a_phase_whose_connection_is_cut_is_tried_again_and_the_run_publishes(
    own: Prepared, waits: list[float], moment: str
) -> None:
    before = own.rows(LISTS)
    with at(moment, lambda: cut_all_connections(own)):
        assert run(own, force=True).status == "published"
    assert len(waits) == 1
    assert own.value(VISIBLE) == 2
    assert own.rows(LISTS) == before, "the same data give the same lists"
    assert own.value("SELECT count(*) FROM run_phases WHERE run_id = 2 AND phase = 'write'") == 1


@on_postgresql
@pytest.mark.parametrize("moment", ["gate:begin", "publish:begin"])
def test_connections_that_are_cut_while_nobody_uses_them_are_not_even_noticed(
    own: Prepared, waits: list[float], moment: str
) -> None:
    with at(moment, lambda: cut_all_connections(own)):
        assert run(own, force=True).status == "published"
    assert waits == []


@on_postgresql
def test_a_connection_cut_among_the_rows_of_a_copy_costs_one_more_try(
    own: Prepared, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own.rows(LISTS)
    chunks = statements.chunks
    cut: list[int] = []

    def falling(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for number, chunk in enumerate(chunks(frames)):
            if number == 10 and "similarity" in chunk and not cut:
                cut.append(number * statements.CHUNK_ROWS)
                cut_all_connections(own)
            yield chunk

    monkeypatch.setattr(statements, "CHUNK_ROWS", 100)
    monkeypatch.setattr(partitions, "chunks", falling)
    assert run(own, force=True).status == "published"
    assert cut == [1_000]
    assert len(waits) == 1
    assert own.rows(LISTS) == before
    assert own.value(ROWS_OF_RUN, run=2) == own.value(ROWS_OF_RUN, run=1)


@on_postgresql
def test_a_database_that_stays_away_is_given_up_after_the_set_number_of_tries(
    own: Prepared, waits: list[float]
) -> None:
    before = own.rows(LISTS)
    moment = "write:recommendations:copied"
    with at(moment, lambda: cut_all_connections(own), once=False) as passed:  # noqa: SIM117
        with pytest.raises(DatabaseUnreachableError):
            run(own, force=True, attempts=3)
    assert len(passed) == 3
    assert len(waits) == 2
    assert own.value("SELECT status FROM runs WHERE run_id = 2") == "failed"
    assert own.rows(LISTS) == before


def busy() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (busy(), 4),
        (DatabaseUnreachableError("away"), 4),
        (sqlite3.OperationalError("no such table"), 1),
        (sqlite3.IntegrityError("CHECK constraint failed"), 1),
        (DiskFullError("full"), 1),
        (TrainingDivergedError("not finite"), 1),
        (LeaseLostError("taken over"), 1),
        (ValueError("a defect"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_passes_is_tried_a_bounded_number_of_times_and_what_does_not_once(
    waits: list[float], error: Exception, tries: int
) -> None:
    tried = []

    def work() -> None:
        for attempt in attempts(4):
            with attempt:
                tried.append(attempt)
                raise error

    with pytest.raises(type(error)) as raised:
        work()
    assert raised.value is error
    assert len(tried) == tries
    assert len(waits) == tries - 1
    assert all(0 < wait <= retry.LONGEST_WAIT_S for wait in waits)


# --- a disk that is full, a model that diverges, ratings that make no sense -------------------


@on_sqlite
def test_a_disk_that_is_full_fails_the_run_and_the_next_one_publishes(own: Prepared) -> None:
    before = own.rows(LISTS)
    limit = {"pages": 2**31 - 1}

    def enforce(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit['pages']}")

    with own.engine() as engine:
        sa.event.listen(engine, "checkout", enforce)
        with at("write:begin", lambda: limit.update(pages=1)):  # noqa: SIM117
            with pytest.raises(DiskFullError) as full:
                retrain(engine, own.settings(), force=True)
        (row,) = own.rows(LAST_RUN)
        assert (row.status, row.error) == ("failed", str(full.value))
        assert "is full: database or disk is full. Make room, then run" in row.error
        assert own.rows(LISTS) == before
        assert own.value(ROWS_OF_RUN, run=2) == 0
        limit["pages"] = 2**31 - 1
        assert retrain(engine, own.settings(), force=True).status == "published"
    assert own.rows(LISTS) == before, "the same data give the same lists"
    assert own.value(VISIBLE) == 3


def test_a_model_that_diverges_fails_the_run_and_readers_keep_what_they_had(
    own: Prepared,
) -> None:
    before = own.rows(LISTS)
    with pytest.raises(TrainingDivergedError, match="RECSVC_LEARNING_RATE"):
        run(own, force=True, learning_rate=1e6)
    (row,) = own.rows(LAST_RUN)
    assert (row.run_id, row.status) == (2, "failed")
    assert "RECSVC_LEARNING_RATE" in row.error
    assert own.rows(LISTS) == before
    assert own.value(VISIBLE) == 1


def gate_of_last(database: Prepared) -> dict[str, Any]:
    with database.engine() as engine, reading(engine) as connection:
        gate = sa.select(runs.c.gate).order_by(runs.c.run_id.desc()).limit(1)
        document: dict[str, Any] = connection.execute(gate).scalar_one()
    return document


def phases_of_last(database: Prepared) -> set[str]:
    query = "SELECT phase FROM run_phases WHERE run_id = (SELECT max(run_id) FROM runs)"
    return {row.phase for row in database.rows(query)}


def test_the_first_run_is_compared_with_popularity_alone(own: Prepared) -> None:
    gate = gate_of_last(own)
    assert list(gate["comparisons"]) == ["popular"]
    assert gate["passed"] is True
    assert gate["forced"] is False


def test_other_settings_are_compared_with_the_former_ones_on_the_split_of_tonight(
    own: Prepared,
) -> None:
    with pytest.raises(PublicationRefusedError, match="is worse than run 1"):
        run(own, epochs=2, components=2)
    assert {"fit:published", "evaluate:published"} <= phases_of_last(own)
    assert gate_of_last(own)["comparisons"]["run 1"]["ci_high"] < 0
    assert own.value(VISIBLE) == 1


def test_former_settings_are_fitted_for_the_epochs_that_early_stopping_settled_on(
    own: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = {"patience": 1, "epochs": 40, "warm_start": True}
    for _ in range(2):
        run(own, force=True, **patient)
    settled, warm = own.rows("SELECT epochs FROM models WHERE run_id = 3 ORDER BY model")[:2]
    assert 1 < settled.epochs < 40, "it stopped early"
    assert warm.epochs < settled.epochs, "the published model was trained on from another"
    fitted: list[int] = []
    make = compare.lineup

    def record(configuration: Any) -> Any:
        fitted.append(configuration.lightfm.epochs)
        return make(configuration)

    monkeypatch.setattr(compare, "lineup", record)
    run(own, force=True, epochs=7)
    assert "fit:published" in phases_of_last(own)
    assert fitted == [7, settled.epochs], "the line-up, and what it is compared with"


def test_other_data_are_compared_with_the_figures_that_were_stored(
    own: Prepared, tmp_path: Path
) -> None:
    ingest(own, more_files(tmp_path / "more"))
    assert run(own).status == "published"
    assert "fit:published" not in phases_of_last(own)
    assert set(gate_of_last(own)["comparisons"]) == {"popular", "run 1"}


def test_force_is_recorded_with_what_the_gate_said(own: Prepared) -> None:
    report = run(own, force=True, epochs=2, components=2)
    gate = gate_of_last(own)
    assert (gate["passed"], gate["forced"]) == (False, True)
    reason = own.value("SELECT reason FROM publications ORDER BY publication_id DESC LIMIT 1")
    assert reason == report.reason == f"Forced: {gate['reason']}"


# --- readers that stay in the middle of a query ------------------------------------------------


@contextmanager
def reader(database: Prepared) -> Iterator[Callable[[], Sequence[sa.Row[Any]]]]:
    """Somebody whose transaction stays open, and who can look again in it."""
    with database.engine() as engine, engine.connect() as connection, connection.begin():
        if not is_sqlite(engine):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        query = sa.text(LISTS)
        connection.execute(query).all()
        yield lambda: connection.execute(query).all()


def test_a_reader_in_the_middle_holds_up_neither_publishing_nor_pruning(own: Prepared) -> None:
    before = own.rows(LISTS)
    patient = {"lock_timeout_seconds": 0.05, "keep_runs": 1}
    with reader(own) as look_again:
        assert run(own, force=True, top_n=5, **patient).status == "published"
        assert own.value(VISIBLE) == 2
        assert len(own.rows(LISTS)) < len(before)
        left = own.value(ROWS_OF_RUN, run=1)
        if kind_of(own) == "sqlite":
            assert left == 0, "deleted, though the reader's snapshot still shows it"
            assert look_again() == before
    assert own.value("SELECT run_id FROM publications ORDER BY publication_id DESC LIMIT 1") == 2
    with own.engine() as engine:
        prune(engine, 1, lock_timeout=5)
        assert prune(engine, 1, lock_timeout=5) == []
        with reading(engine) as connection:
            assert runs_left(connection) <= {2}
    assert own.value(ROWS_OF_RUN, run=1) == 0
    assert len(own.rows(LISTS)) < len(before)


PENDING = """SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhdetachpending"""


@on_postgresql
def test_a_detachment_that_a_reader_interrupted_is_finished_later(own: Prepared) -> None:
    run(own, force=True, top_n=5)
    with reader(own), own.engine() as engine:
        assert prune(engine, 1, lock_timeout=0.05) == []
        assert own.value(PENDING) == 1
        assert prune(engine, 1, lock_timeout=0.05) == [], "and again"
    with own.engine() as engine:
        assert prune(engine, 1, lock_timeout=5) == [1]
    assert own.value(PENDING) == 0
    assert own.value("SELECT to_regclass('recommendations_run_1')") is None


@on_postgresql
def test_several_runs_that_a_reader_holds_are_all_left_for_another_time(own: Prepared) -> None:
    run(own, force=True, top_n=5)
    run(own, force=True, top_n=6)
    with reader(own), own.engine() as engine:
        assert prune(engine, 1, lock_timeout=0.05) == []
    with own.engine() as engine:
        assert prune(engine, 1, lock_timeout=5) == [1, 2]
    assert own.value(VISIBLE) == 3


@on_postgresql
def test_a_detachment_that_is_not_finished_does_not_keep_earlier_runs_for_ever(
    own: Prepared,
) -> None:
    run(own, force=True, top_n=5)
    with own.engine() as engine:
        roll_back(engine)
    with reader(own), own.engine() as engine:
        assert prune(engine, 1, lock_timeout=0.05) == []
    run(own, force=True, top_n=6)
    with own.engine() as engine:
        pruned = [run_id for _ in range(2) for run_id in prune(engine, 1, lock_timeout=5)]
    assert sorted(pruned) == [1, 2]


@on_postgresql
def test_a_run_can_be_published_while_a_detachment_is_not_finished(own: Prepared) -> None:
    with reader(own):
        run(own, force=True, top_n=5, keep_runs=1, lock_timeout_seconds=0.05)
        assert own.value(PENDING) == 1
        run(own, force=True, top_n=6, keep_runs=1, lock_timeout_seconds=0.05)
        assert own.value(VISIBLE) == 3
    run(own, force=True, top_n=5, keep_runs=1)
    assert own.value(PENDING) == 0
    with own.engine() as engine, reading(engine) as connection:
        assert runs_left(connection) == {4}


@on_sqlite
def test_status_shows_the_log_that_a_stuck_reader_keeps_from_shrinking(own: Prepared) -> None:
    with reader(own), own.engine() as engine:
        run(own, force=True)
        with engine.connect() as connection:
            raw = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
            assert raw[1] > raw[2], "some pages cannot be folded back"
            wal_bytes = queries.status(connection)["wal_bytes"]
        path = Path(f"{own.url.database}-wal")
        assert wal_bytes == path.stat().st_size > 100_000
    with own.engine() as engine, engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0
        assert queries.status(connection)["wal_bytes"] == 0


# --- ingest and retrain at the same time --------------------------------------------------------


@pytest.mark.parametrize("moment", ["split:begin", "verify:begin", "publish:begin"])
def test_an_ingest_during_a_retrain_is_taken_by_the_next_run(
    own: Prepared, tmp_path: Path, moment: str
) -> None:
    before = own.rows(LISTS)
    files = more_files(tmp_path / "more")
    with at(moment, lambda: ingest(own, files)):
        assert run(own, force=True).status == "published"
    assert own.rows(LISTS) == before, "what was read before the ingest"
    assert own.value("SELECT fingerprint FROM runs WHERE run_id = 2") == own.value(
        "SELECT fingerprint FROM runs WHERE run_id = 1"
    )
    assert run(own).status == "published"
    assert own.value("SELECT count(*) FROM current_recommendations WHERE user_id = 105") > 0


def test_a_retrain_during_an_ingest_reads_all_of_it_or_nothing(
    own: Prepared, tmp_path: Path
) -> None:
    files = more_files(tmp_path / "more")
    read: list[tuple[str, int]] = []

    def load() -> None:
        with own.engine() as engine:
            data = load_training_data(engine, own.settings(), None)
            read.append((data.fingerprint(), data.interactions.n_ratings))

    load()
    with at("ingest:ratings.csv:written", load):
        ingest(own, files)
    load()
    before, during, after = read
    assert during == before
    assert after != before
    assert after[1] == before[1] + 2


@on_postgresql
def test_on_postgresql_a_retrain_need_not_wait_for_an_ingest(own: Prepared, tmp_path: Path) -> None:
    reports: list[RetrainReport] = []
    with at("ingest:ratings.csv:written", lambda: reports.append(run(own))):
        ingest(own, more_files(tmp_path / "more"))
    assert [report.status for report in reports] == ["skipped"], "it saw nothing new"
    assert run(own).status == "published"


@on_sqlite
def test_on_sqlite_a_retrain_waits_for_the_ingest_and_reads_all_of_it(
    own: Prepared, tmp_path: Path
) -> None:
    reports: list[RetrainReport] = []
    night = Thread(target=lambda: reports.append(run(own)))
    with at("ingest:ratings.csv:written", night.start):
        ingest(own, more_files(tmp_path / "more"))
        night.join(120)
    assert [report.status for report in reports] == ["published"]
    ratings = own.rows("SELECT ratings FROM runs ORDER BY run_id")
    assert ratings[1].ratings == ratings[0].ratings + 2


# --- rollback and retention ----------------------------------------------------------------------


def test_a_rollback_is_one_row_and_readers_see_the_earlier_run_whole(own: Prepared) -> None:
    before = own.rows(LISTS)
    run(own, force=True, top_n=5)
    with own.engine() as engine:
        switched = roll_back(engine)
    assert (switched.run_id, switched.reason) == (1, "rolled back from run 2")
    assert own.value("SELECT count(*) FROM publications") == 3
    assert own.rows(LISTS) == before


@on_postgresql
def test_a_rollback_waits_for_a_publication_and_names_the_run_that_it_takes_back(
    own: Prepared,
) -> None:
    switched: list[Publication] = []
    waiting = (
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE d.datname = current_database() AND NOT l.granted"
    )

    def take_back() -> None:
        with own.engine() as engine:
            switched.append(roll_back(engine))

    rollback = Thread(target=take_back)

    def meanwhile() -> None:
        rollback.start()
        while rollback.is_alive() and not own.value(waiting):
            rollback.join(0.01)

    with at("publish:switched", meanwhile):
        run(own, force=True, top_n=5)
    rollback.join(60)
    assert [(done.run_id, done.reason) for done in switched] == [(1, "rolled back from run 2")]


def test_after_a_rollback_a_night_without_anything_new_is_skipped(own: Prepared) -> None:
    run(own, force=True, top_n=5)
    with own.engine() as engine:
        roll_back(engine)
    assert run(own, top_n=5).status == "skipped"
    assert run(own).status == "skipped"
    assert own.value(VISIBLE) == 1


def test_the_newest_runs_are_kept_and_the_one_that_readers_see(own: Prepared) -> None:
    for top_n in (5, 6, 7):
        run(own, force=True, top_n=top_n, keep_runs=2)
    with own.engine() as engine:
        with reading(engine) as connection:
            assert retained_runs(connection) == [4, 3]
        roll_back(engine)
        prune(engine, 1, lock_timeout=5)
        with reading(engine) as connection:
            assert retained_runs(connection) == [4, 3], "readers see 3"
    assert own.value("SELECT count(DISTINCT run_id) FROM metrics") == 4


# --- the page ------------------------------------------------------------------------------------


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    named = set(re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)+)`", page))
    assert len(named) > 60
    for file, path in named:
        source = (ROOT / file).read_text("utf-8")
        for name in path.removeprefix("::").split("::"):
            assert re.search(rf"(?:def|class) {name}\b", source), f"{file}{path} does not exist"
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", page))
    assert all((ROOT / file).exists() for file in files)
