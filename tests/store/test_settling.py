"""What is left for PostgreSQL to do after a first load is done at once, and is never waited for."""

import logging
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsvc.ingest.folder import ingest_folder
from recsvc.ingest.synthetic import write_synthetic
from recsvc.store.bulk import LARGE_LOAD
from recsvc.store.engine import is_sqlite, reading, writing
from recsvc.store.ingest_log import FileChanges
from recsvc.store.settling import settle


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


def changes(file: str, inserted: int, unchanged: int = 0) -> FileChanges:
    return FileChanges(file, "0" * 64, 1, inserted, 0, unchanged, 0, 0)


def test_whoever_reads_first_after_a_first_load_finds_every_page_settled(
    engine: sa.Engine, large_folder: Path
) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite has no pages to settle")
    ingest_folder(engine, large_folder)
    with reading(engine) as connection:
        pages, settled = connection.execute(
            sa.text("SELECT relpages, relallvisible FROM pg_class WHERE relname = 'ratings'")
        ).one()
    assert pages == settled > 0


def test_neither_a_dry_run_nor_files_that_are_there_already_vacuum(
    engine: sa.Engine, large_folder: Path, vacuumed: list[str]
) -> None:
    ingest_folder(engine, large_folder, dry_run=True)
    assert vacuumed == []
    ingest_folder(engine, large_folder)
    expected = [] if is_sqlite(engine) else ["VACUUM (SKIP_LOCKED) ratings"]
    assert vacuumed == expected
    ingest_folder(engine, large_folder)
    assert vacuumed == expected


@pytest.mark.parametrize(
    ("files", "tables"),
    [
        ([changes("tags.csv", LARGE_LOAD + 1)], "tags"),
        ([changes("ratings.csv", 90_000, 80_000), changes("tags.csv", 90_000)], "ratings, tags"),
        ([changes("ratings.csv", LARGE_LOAD)], None),
        ([changes("ratings.csv", 80_000, 90_000)], None),
        ([changes("movies.csv", 90_000)], None),
    ],
)
def test_tables_are_vacuumed_that_a_load_made_twice_as_large(
    engine: sa.Engine, vacuumed: list[str], files: list[FileChanges], tables: str | None
) -> None:
    settle(engine, files)
    expected = tables is not None and not is_sqlite(engine)
    assert vacuumed == ([f"VACUUM (SKIP_LOCKED) {tables}"] if expected else [])


def test_a_table_that_somebody_else_looks_after_is_left_to_them(engine: sa.Engine) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite has no such locks")
    with writing(engine) as other:
        other.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '20s'")
        other.exec_driver_sql("LOCK TABLE ratings IN SHARE UPDATE EXCLUSIVE MODE")
        settle(engine, [changes("ratings.csv", 90_000)])


def test_what_is_ingested_stays_where_the_server_refuses_to_vacuum(
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
        report = ingest_folder(engine, large_folder)
    assert report.ingest_id is not None
    (message,) = caplog.messages
    assert message.startswith("everything is ingested, but the first reading will be slow")
    assert "nothing_of_this_name" in message
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ratings")) == LARGE_LOAD + 2_000
