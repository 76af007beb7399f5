"""What is left for PostgreSQL to do after a first load is done at once, and is never waited for."""

import logging
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from recsvc.datasets.synthetic.dataset import write_synthetic
from recsvc.ingest.folder import ingest_folder, settle_tables
from recsvc.store.contract import tables
from recsvc.store.database.bulk import insert
from recsvc.store.database.statements import LARGE_LOAD
from recsvc.store.database.transactions import reading, writing
from recsvc.store.sources import settling
from recsvc.store.sources.ingest_log import FileChanges
from recsvc.store.sources.settling import settle
from recsvc.store.sources.source_tables import MOVIES, RATINGS, TAGS, SourceTable
from tests.databases import is_sqlite


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of more ratings than a small load has."""
    folder = tmp_path_factory.mktemp("large") / "data"
    write_synthetic(folder, ratings=LARGE_LOAD + 2_000, seed=3)
    return folder


@pytest.fixture
def vacuumed(engine: sa.Engine) -> list[str]:
    """The statements of the kind that the test has executed by now."""
    found: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _note(*arguments: object) -> None:
        statement = str(arguments[2])
        if statement.startswith("VACUUM"):
            found.append(statement)

    return found


def load(source: SourceTable, inserted: int, unchanged: int = 0) -> tuple[SourceTable, FileChanges]:
    return source, FileChanges("a.csv", "0" * 64, 1, inserted, 0, unchanged, 0, 0)


def ingest(engine: sa.Engine, folder: Path) -> None:
    settle_tables(engine, ingest_folder(engine, folder))


def test_whoever_reads_first_after_a_first_load_finds_every_page_settled(
    engine: sa.Engine, large_folder: Path
) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite has no pages to settle")
    ingest(engine, large_folder)
    with reading(engine) as connection:
        settled = connection.scalar(
            sa.text("SELECT relallvisible FROM pg_class WHERE relname = 'ratings'")
        )
        # A table may have grown by more pages than its rows took.
        with_rows = connection.scalar(
            sa.text("SELECT count(DISTINCT (ctid::text::point)[0]) FROM ratings")
        )
    assert settled >= with_rows > 0


def test_files_that_are_there_already_are_not_vacuumed_again(
    engine: sa.Engine, large_folder: Path, vacuumed: list[str]
) -> None:
    for _ in range(2):
        ingest(engine, large_folder)
        assert vacuumed == ([] if is_sqlite(engine) else ["VACUUM (SKIP_LOCKED) ratings"])


@pytest.fixture
def ten_ratings(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A database that knows that it holds ten ratings, where three are a large load."""
    monkeypatch.setattr(settling, "LARGE_LOAD", 3)
    ids = range(1, 11)
    with writing(engine) as connection:
        insert(connection, tables.users, pd.DataFrame({"user_id": ids}))
        insert(connection, tables.movies, pd.DataFrame({"movie_id": [1], "title": ["A"]}))
        rows = pd.DataFrame({"user_id": ids, "movie_id": 1, "rating": 4.0, "rated_at": 5})
        insert(connection, tables.ratings, rows)
        connection.exec_driver_sql("ANALYZE ratings")
    return engine


@pytest.mark.parametrize(
    ("loads", "tables"),
    [
        ([load(RATINGS, 10)], ["ratings"]),
        ([load(RATINGS, 5, unchanged=5), load(TAGS, 3)], ["ratings", "tags"]),
        ([load(RATINGS, 4, unchanged=6), load(TAGS, 3)], ["tags"]),
        ([load(RATINGS, 4), load(TAGS, 2)], []),
        ([load(MOVIES, 10)], []),
    ],
)
def test_tables_are_vacuumed_of_which_a_load_brought_at_least_half(
    ten_ratings: sa.Engine,
    vacuumed: list[str],
    loads: list[tuple[SourceTable, FileChanges]],
    tables: list[str],
) -> None:
    settle(ten_ratings, loads)
    expected = [] if is_sqlite(ten_ratings) else tables
    assert vacuumed == [f"VACUUM (SKIP_LOCKED) {table}" for table in expected]


def test_a_table_that_somebody_else_looks_after_is_left_to_them(
    engine: sa.Engine, vacuumed: list[str]
) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite has no such locks")
    with writing(engine) as other:
        # Whoever waited for the lock would do so until this ends.
        other.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '20s'")
        other.exec_driver_sql("LOCK TABLE ratings IN SHARE UPDATE EXCLUSIVE MODE")
        settle(engine, [load(RATINGS, LARGE_LOAD)])
    assert len(vacuumed) == 1


def test_what_is_ingested_stays_where_vacuuming_fails(
    engine: sa.Engine, large_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite is not asked")

    @sa.event.listens_for(engine, "before_cursor_execute", retval=True)
    def _refuse(*arguments: object) -> tuple[object, object]:
        statement, parameters = str(arguments[2]), arguments[3]
        if statement.startswith("VACUUM"):
            return "VACUUM nothing_of_this_name", parameters
        return statement, parameters

    with caplog.at_level(logging.WARNING, logger="recsvc"):
        ingest(engine, large_folder)
    (message,) = caplog.messages
    assert message.startswith("everything is ingested, but the first reading will be slow")
    assert "nothing_of_this_name" in message
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ratings")) == LARGE_LOAD + 2_000
