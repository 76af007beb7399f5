"""Readers that stay in the middle of a query."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recsvc.store.database.transactions import reading
from recsvc.store.reading import queries
from recsvc.store.runs.output import runs_left
from recsvc.store.runs.publication import prune, roll_back
from tests.databases import is_sqlite
from tests.outputs import ROWS_OF_RUN
from tests.prepared import Prepared
from tests.survival.surviving import LISTS, VISIBLE, kind_of, on_postgresql, on_sqlite, run

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
            wal_bytes = queries.status(connection).wal_bytes
        path = Path(f"{own.url.database}-wal")
        assert wal_bytes == path.stat().st_size > 100_000
    with own.engine() as engine, engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0
        assert queries.status(connection).wal_bytes == 0
