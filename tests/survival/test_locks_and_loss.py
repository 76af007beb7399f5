"""Locks that others hold, and a database that goes away."""

import sqlite3
from collections.abc import Iterator

import pandas as pd
import pytest
import sqlalchemy as sa

from recsvc.errors import (
    DatabaseUnreachableError,
    DiskFullError,
    LeaseLostError,
    TrainingDivergedError,
)
from recsvc.pipeline.retrain import retrain
from recsvc.runtime import checkpoints
from recsvc.store.database import retry, statements
from recsvc.store.database.postgresql import partitions
from recsvc.store.database.retry import attempts
from recsvc.store.database.transactions import reading
from tests.outputs import ROWS_OF_RUN
from tests.prepared import Prepared
from tests.survival.surviving import LISTS, VISIBLE, at, on_postgresql, run

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
