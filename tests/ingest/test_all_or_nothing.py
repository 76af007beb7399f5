"""An ingest changes everything or nothing."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.errors import DiskFullError
from recsvc.ingest import folder as ingest
from recsvc.ingest.folder import ingest_folder
from recsvc.ingest.sources.formats import format_of
from recsvc.store.contract import tables
from recsvc.store.database.snapshot import snapshot
from recsvc.store.database.transactions import writing
from recsvc.store.sources.changes import Changes
from recsvc.store.sources.source_tables import SourceTable
from recsvc.store.sources.training_rows import read_last_ingest
from tests.databases import is_sqlite
from tests.ingest.folders import MOVIES, RATINGS, MakeFolder, Read, counts

# --- all or nothing ----------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_counts_the_same(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read
) -> None:
    ingest_folder(engine, make_folder())
    folder = make_folder(
        movies=f"{MOVIES}1,Toy Story,\n4,New,Drama\n",
        ratings=f"{RATINGS}1,1,1.0,100\n5,4,4.0,1\n5,4,4.0,2\n6,7,4.0,1\n",
        users="userId,a\n5,b\n",
    )
    before = everything()
    dry = ingest_folder(engine, folder, max_rejects=30, dry_run=True)
    assert everything() == before
    wet = ingest_folder(engine, folder, max_rejects=30)
    assert dry.ingest_id is None
    assert (dry.files, dry.rejects) == (wet.files, wet.rejects)
    assert everything() != before


@pytest.mark.parametrize("step", ["movies.csv", "ratings.csv", "tags.csv", "record"])
def test_an_ingest_that_fails_midway_leaves_nothing(
    engine: sa.Engine,
    make_folder: MakeFolder,
    everything: Read,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def write_then_fail(self: SourceTable, connection: sa.Connection, changes: Changes) -> None:
        write_changes(self, connection, changes)
        if self is failing:
            raise RuntimeError(step)

    def fail(*_: object) -> None:
        raise RuntimeError("record")

    write_changes = SourceTable.write_changes
    failing = None if step == "record" else format_of(step).into
    monkeypatch.setattr(SourceTable, "write_changes", write_then_fail)
    if step == "record":
        monkeypatch.setattr(ingest, "record_ingest", fail)
    before = everything()
    with pytest.raises(RuntimeError, match=step):
        ingest_folder(engine, make_folder())
    assert everything() == before
    monkeypatch.undo()
    assert ingest_folder(engine, make_folder()).changed == 12


def test_of_two_ingests_at_once_the_second_sees_what_the_first_did(
    engine: sa.Engine, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, everything: Read
) -> None:
    folder = make_folder()
    second_reads, reports = threading.Event(), {}

    def record_when_the_second_reads(*arguments: Any) -> int:
        if threading.current_thread().name == "first":
            assert second_reads.wait(60)
        return record(*arguments)

    def ingest_as_second() -> None:
        reports["second"] = ingest_folder(engine, folder, on_bytes=lambda *_: second_reads.set())

    def ingest_as_first() -> None:
        reports["first"] = ingest_folder(engine, folder)

    def lock_then_start_the_second(connection: sa.Connection) -> None:
        lock(connection)
        if threading.current_thread().name == "first":
            second.start()

    record, lock = ingest.record_ingest, ingest.lock_sources
    monkeypatch.setattr(ingest, "record_ingest", record_when_the_second_reads)
    monkeypatch.setattr(ingest, "lock_sources", lock_then_start_the_second)
    first = threading.Thread(target=ingest_as_first, name="first")
    second = threading.Thread(target=ingest_as_second, name="second")
    first.start()
    first.join(60)
    second.join(60)
    assert reports["first"].changed == 12
    assert reports["second"].changed == 0
    assert len(everything()["ingests"]) == 2


def test_a_reader_sees_the_old_data_until_the_ingest_is_whole(
    engine: sa.Engine, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look_then_record(*arguments: Any) -> int:
        with snapshot(engine) as database:
            seen.append(read_last_ingest(database))
            seen.append(len(database.frame(sa.select(tables.ratings))))
        return record(*arguments)

    record = ingest.record_ingest
    monkeypatch.setattr(ingest, "record_ingest", look_then_record)
    ingest_folder(engine, make_folder())
    ingest_folder(engine, make_folder(ratings=f"{RATINGS}7,1,4.0,100\n"))
    assert seen == [0, 0, 1, 3]


def test_a_full_disk_is_reported_as_such_and_leaves_nothing(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read
) -> None:
    rows = "".join(f"{user},1,4.0,100\n" for user in range(20_000))
    folder = make_folder(ratings=RATINGS + rows)
    before = everything()
    lift = fill_disk(engine)
    with pytest.raises(DiskFullError, match=r"full: .*Make room"):
        ingest_folder(engine, folder)
    lift()
    assert everything() == before
    assert ingest_folder(engine, folder).changed == 20_009


def fill_disk(engine: sa.Engine) -> Callable[[], None]:
    """Let the database run out of space among the ratings; return what makes room again."""
    if is_sqlite(engine):

        def limit(connection: Any, *_: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 20}")

        def lift() -> None:
            sa.event.remove(engine, "connect", limit)
            engine.dispose()

        engine.dispose()
        sa.event.listen(engine, "connect", limit)
        return lift
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'the disk is full' USING ERRCODE = '53100'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER full_disk BEFORE INSERT ON ratings FOR EACH ROW"
            " WHEN (new.user_id = 10000) EXECUTE FUNCTION full_disk()"
        )

    def drop() -> None:
        with writing(engine) as connection:
            connection.exec_driver_sql("DROP TRIGGER full_disk ON ratings")

    return drop


# --- the real data -----------------------------------------------------------------------------


def test_movielens_is_read_whole_and_once(
    engine: sa.Engine, real_data: Path, tmp_path: Path, contents: Read
) -> None:
    report = ingest_folder(engine, real_data)
    assert counts(report) == {
        "movies": (9_742, 0, 0),
        "links": (9_742, 0, 0),
        "ratings": (100_836, 0, 0),
        "tags": (3_683, 0, 0),
    }
    assert report.rejects == []
    found = contents()
    assert {name: len(rows) for name, rows in found.items()} == {
        "users": 610, "user_features": 0, "movies": 9_742, "movie_genres": 22_050,
        "links": 9_742, "ratings": 100_836, "tags": 3_683,
    }  # fmt: skip
    assert sum(row[2] is None for row in found["movies"]) == 13
    assert sum(row[2] is None for row in found["links"]) == 8
    again = ingest_folder(engine, permuted(real_data, tmp_path / "permuted"))
    assert again.changed == 0


def permuted(folder: Path, target: Path) -> Path:
    """Copy a folder, the rows of each file in opposite order."""
    target.mkdir()
    for path in folder.glob("*.csv"):
        header, *rows = path.read_bytes().splitlines(keepends=True)
        (target / path.name).write_bytes(header + b"".join(reversed(rows)))
    return target
