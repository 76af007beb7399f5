"""A folder into the database: all of it or nothing, and only what differs."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.errors import DiskFullError, SourceDataError
from recsvc.ingest import folder as ingest
from recsvc.ingest.folder import IngestReport, ingest_folder, present_files
from recsvc.ingest.sources.formats import format_of
from recsvc.store.contract import tables
from recsvc.store.database.snapshot import snapshot
from recsvc.store.database.transactions import writing
from recsvc.store.sources.changes import Changes
from recsvc.store.sources.source_tables import SourceTable
from recsvc.store.sources.training_rows import read_last_ingest
from tests.databases import is_sqlite

MakeFolder = Callable[..., Path]
Contents = dict[str, list[tuple[Any, ...]]]
Read = Callable[..., Contents]

MOVIES = "movieId,title,genres\n"
RATINGS = "userId,movieId,rating,timestamp\n"
TAGS = "userId,movieId,tag,timestamp\n"
LINKS = "movieId,imdbId,tmdbId\n"
USERS = "userId,gender,age\n"


def counts(report: IngestReport) -> dict[str, tuple[int, int, int]]:
    """Rows inserted, updated and unchanged, file by file."""
    return {
        file.file.removesuffix(".csv"): (file.inserted, file.updated, file.unchanged)
        for file in report.files
    }


# --- what is stored ----------------------------------------------------------------------------


def test_the_five_files_become_the_source_tables(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    report = ingest_folder(engine, make_folder())
    assert counts(report) == {
        "movies": (3, 0, 0),
        "users": (2, 0, 0),
        "links": (2, 0, 0),
        "ratings": (3, 0, 0),
        "tags": (2, 0, 0),
    }
    assert contents() == {
        "users": [(1,), (2,), (3,), (9,)],
        "user_features": [(1, "age:25"), (1, "gender:F"), (9, "gender:M")],
        "movies": [
            (1, "Toy Story (1995)", 1995, True),
            (2, "Heat (1995)", 1995, True),
            (3, "Babylon 5", None, True),
        ],
        "movie_genres": [(1, "Animation"), (1, "Children"), (2, "Action"), (2, "Crime")],
        "links": [(1, 114709, 862), (2, 113277, None)],
        "ratings": [(1, 1, 4.0, 100), (1, 2, 3.5, 110), (2, 1, 5.0, 120)],
        "tags": [(1, 1, "pixar", "pixar", 130), (3, 1, "Pixar", "pixar", 140)],
    }


def test_only_movies_and_ratings_are_needed(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder(tags=None, links=None, users=None))
    assert contents("users", "links", "tags") == {"users": [(1,), (2,)], "links": [], "tags": []}


def test_files_without_rows_are_accepted(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    folder = make_folder(movies=MOVIES, ratings=RATINGS, tags=TAGS, links=LINKS, users=USERS)
    for _ in range(2):
        assert not ingest_folder(engine, folder).changed
    assert not any(contents().values())


def test_a_tag_in_nfc_and_in_nfd_is_two_texts_of_one_key(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(
        engine, make_folder(tags=f"{TAGS}1,1,caf\u00e9,5\n1,1,cafe\u0301,6\n1,1,CAF\u00c9,7\n")
    )
    assert [row[2:4] for row in contents("tags")["tags"]] == [
        ("CAF\u00c9", "caf\u00e9"),
        ("cafe\u0301", "caf\u00e9"),
        ("caf\u00e9", "caf\u00e9"),
    ]


def test_ids_reach_to_the_last_of_64_bits(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    top = 2**63 - 1
    folder = make_folder(
        movies=f"{MOVIES}{top},A,X\n0,B,\n",
        ratings=f"{RATINGS}{top},{top},5,1\n{top - 1},0,5,1\n",
        tags=f"{TAGS}{top},{top},t,1\n",
        links=f"{LINKS}{top},{top},{top - 1}\n0,,0\n",
        users=f"userId,a\n{top},b\n",
    )
    ingest_folder(engine, folder)
    found = contents()
    assert found["ratings"] == [(top - 1, 0, 5.0, 1), (top, top, 5.0, 1)]
    assert found["links"] == [(0, None, 0), (top, top, top - 1)]
    assert not ingest_folder(engine, folder).changed


def test_text_is_stored_as_it_is_written(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    odd = [
        'a "quoted" one',
        "back\\slash \\N \\.",
        "line\nbreak\r\n\\.\n",
        "=1+1",
        "<b>",
        "\t",
        "\U0001f3ac",
    ]
    odd[5] = "tab\tinside"
    lines = [f'1,1,"{text.replace(chr(34), chr(34) * 2)}",5\n' for text in odd]
    folder = make_folder(tags=TAGS + "".join(lines))
    ingest_folder(engine, folder)
    assert {row[2] for row in contents("tags")["tags"]} == set(odd)
    assert not ingest_folder(engine, folder).changed


# --- only what differs -------------------------------------------------------------------------


def test_the_same_files_again_change_nothing(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    folder = make_folder()
    first = ingest_folder(engine, folder)
    before = contents()
    second = ingest_folder(engine, folder)
    assert second.changed == 0
    assert counts(second) == {
        name: (0, 0, inserted) for name, (inserted, _, _) in counts(first).items()
    }
    assert contents() == before


def test_a_changed_file_touches_its_changed_rows_and_no_other(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    forbid_changes(engine, "ratings", "user_id = 2")
    changed = make_folder(ratings=f"{RATINGS}1,1,1.0,100\n1,2,3.5,110\n2,1,5.0,120\n2,2,0.5,7\n")
    assert counts(ingest_folder(engine, changed))["ratings"] == (1, 1, 2)
    assert contents("ratings")["ratings"] == [
        (1, 1, 1.0, 100), (1, 2, 3.5, 110), (2, 1, 5.0, 120), (2, 2, 0.5, 7),
    ]  # fmt: skip


def forbid_changes(engine: sa.Engine, table: str, rows: str) -> None:
    """Make the database refuse to update or delete some rows, even to the values they have."""
    with writing(engine) as connection:
        if is_sqlite(engine):
            for change in ("UPDATE", "DELETE"):
                connection.exec_driver_sql(
                    f"CREATE TRIGGER no_{change} BEFORE {change} ON {table} WHEN old.{rows}"
                    " BEGIN SELECT RAISE(ABORT, 'touched'); END"
                )
        else:
            connection.exec_driver_sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE 'touched'; END $$"
            )
            connection.exec_driver_sql(
                f"CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
                f" WHEN (old.{rows}) EXECUTE FUNCTION refuse()"
            )


def test_a_rating_changed_and_changed_back_is_stored_both_times(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    original, other = make_folder(), f"{RATINGS}1,1,0.5,90\n"
    ingest_folder(engine, original)
    before = contents()
    assert counts(ingest_folder(engine, make_folder("other", ratings=other)))["ratings"] == (
        0,
        1,
        0,
    )
    assert contents("ratings")["ratings"][0] == (1, 1, 0.5, 90)
    assert counts(ingest_folder(engine, original))["ratings"] == (0, 1, 2)
    assert contents() == before


def test_rows_that_a_file_does_not_mention_stay(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    before = contents()
    empty = make_folder(
        "empty", movies=MOVIES, ratings=RATINGS, tags=TAGS, links=LINKS, users=USERS
    )
    assert not ingest_folder(engine, empty).changed
    assert contents() == before


def test_changed_genres_replace_the_former_ones(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    movies = (
        f"{MOVIES}1,Toy Story (1995),Children|Comedy\n2,Heat (1995),(no genres listed)\n"
        "3,Babylon 5,Sci-Fi\n"
    )
    assert counts(ingest_folder(engine, make_folder(movies=movies)))["movies"] == (0, 3, 0)
    assert contents("movie_genres")["movie_genres"] == [
        (1, "Children"), (1, "Comedy"), (3, "Sci-Fi"),
    ]  # fmt: skip


def test_genres_in_another_order_or_twice_are_no_change(
    engine: sa.Engine, make_folder: MakeFolder
) -> None:
    ingest_folder(engine, make_folder())
    movies = f"{MOVIES}1,Toy Story (1995),Children|Animation|Children\n2,Heat (1995),Crime|Action\n"
    assert counts(ingest_folder(engine, make_folder(movies=movies)))["movies"] == (0, 0, 2)


def test_a_changed_title_brings_its_year(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    movies = f"{MOVIES}1,Toy Story,Animation|Children\n3,Babylon 5 (1993),\n"
    assert counts(ingest_folder(engine, make_folder(movies=movies)))["movies"] == (0, 2, 0)
    found = contents("movies")["movies"]
    assert [(row[1], row[2]) for row in found] == [
        ("Toy Story", None),
        ("Heat (1995)", 1995),
        ("Babylon 5 (1993)", 1993),
    ]


def test_a_withdrawn_movie_stays_withdrawn(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    with writing(engine) as connection:
        withdraw = sa.update(tables.movies).where(tables.movies.c.movie_id == 1)
        connection.execute(withdraw.values(available=False))
    movies = f"{MOVIES}1,Toy Story! (1995),Drama\n4,New,\n"
    ingest_folder(engine, make_folder(movies=movies))
    available = {row[1]: row[3] for row in contents("movies")["movies"]}
    assert available == {
        "Toy Story! (1995)": False, "Heat (1995)": True, "Babylon 5": True, "New": True,
    }  # fmt: skip


def test_attributes_of_listed_users_are_replaced_and_those_of_others_kept(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    report = ingest_folder(engine, make_folder(users="userId,gender,job\n1,F,poet\n2,,\n7,X,\n"))
    assert counts(report)["users"] == (1, 1, 1)
    assert contents("user_features")["user_features"] == [
        (1, "gender:F"), (1, "job:poet"), (7, "gender:X"), (9, "gender:M"),
    ]  # fmt: skip
    assert counts(ingest_folder(engine, make_folder(users="userId\n1\n")))["users"] == (0, 1, 0)
    assert contents("user_features")["user_features"] == [(7, "gender:X"), (9, "gender:M")]


def test_a_link_gains_and_loses_a_number(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    ingest_folder(engine, make_folder())
    report = ingest_folder(engine, make_folder(links=f"{LINKS}1,,862\n2,0113277,949\n3,,\n"))
    assert counts(report)["links"] == (1, 2, 0)
    assert contents("links")["links"] == [(1, None, 862), (2, 113277, 949), (3, None, None)]


def test_a_movie_may_be_in_the_database_from_an_earlier_ingest(
    engine: sa.Engine, make_folder: MakeFolder
) -> None:
    ingest_folder(engine, make_folder())
    report = ingest_folder(engine, make_folder(movies=f"{MOVIES}4,New,\n"))
    assert (report.rejects, counts(report)["ratings"]) == ([], (0, 0, 3))


def test_the_order_of_the_rows_makes_no_difference(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    rows = ["1,1,4.0,100", "1,1,2.0,100", "1,2,3.0,90", "1,2,3.5,110", "2,1,5.0,120", "2,1,5.0,120"]
    ingest_folder(engine, make_folder(ratings=RATINGS + "\n".join(rows)))
    first = contents()
    assert first["ratings"] == [(1, 1, 4.0, 100), (1, 2, 3.5, 110), (2, 1, 5.0, 120)]
    for order in (rows[::-1], rows[3:] + rows[:3]):
        report = ingest_folder(engine, make_folder(ratings=RATINGS + "\n".join(order)))
        assert report.changed == 0
        assert report.files[3].duplicates == 3
    assert contents() == first


# --- what is refused and what is rejected ------------------------------------------------------


def assert_refused(engine: sa.Engine, folder: Path, message: str, everything: Read) -> None:
    before = everything()
    with pytest.raises(SourceDataError, match=message) as refused:
        ingest_folder(engine, folder)
    assert "\n" not in str(refused.value)
    assert everything() == before


def test_bad_rows_are_recorded_with_file_line_reason_and_raw_text(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    folder = make_folder(
        ratings=f"{RATINGS}1,1,4.0,100\n1,99,4.0,100\n1,1,9.0,100\n",
        tags=TAGS.encode() + b"1,1,caf\xe9\0,5\n1,1,ok,5\n",
    )
    report = ingest_folder(engine, folder, max_rejects=70)
    assert contents("rejected_rows")["rejected_rows"] == [
        (
            report.ingest_id,
            "ratings.csv",
            3,
            "movie 99 is in neither movies.csv nor the database",
            "1,99,4.0,100",
        ),
        (
            report.ingest_id,
            "ratings.csv",
            4,
            "rating '9.0' is not between 0.5 and 5.0",
            "1,1,9.0,100",
        ),
        (report.ingest_id, "tags.csv", 2, "tag is not UTF-8", "1,1,caf\\xe9\\x00,5"),
    ]
    assert [file.rejected for file in report.files] == [0, 0, 0, 2, 1]
    assert len(contents("ratings")["ratings"]) == 1


def test_each_ingest_keeps_its_own_record(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    folder = make_folder(ratings=f"{RATINGS}1,1,4.0,100\nbad\n")
    first = ingest_folder(engine, folder, max_rejects=50)
    second = ingest_folder(engine, folder, max_rejects=50)
    found = contents("ingests", "ingest_files", "rejected_rows")
    assert [row[0] for row in found["rejected_rows"]] == [first.ingest_id, second.ingest_id]
    assert [row[1] for row in found["ingests"]] == [str(folder)] * 2
    assert all(row[2] <= row[3] for row in found["ingests"])
    recorded = {row[1]: row[2:] for row in found["ingest_files"] if row[0] == second.ingest_id}
    assert recorded["ratings.csv"][1:] == (
        folder.joinpath("ratings.csv").stat().st_size,
        0,
        0,
        1,
        0,
        1,
    )
    assert {name: row[0] for name, row in recorded.items()} == {
        file.file: file.sha256 for file in second.files
    }


@pytest.mark.parametrize(("bad", "accepted"), [(0, True), (1, True), (2, False)])
def test_one_percent_of_bad_rows_is_tolerated(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read, bad: int, accepted: bool
) -> None:
    rows = [f"{user},1,4.0,100" for user in range(100 - bad)] + ["x,1,4.0,100"] * bad
    folder = make_folder(ratings=RATINGS + "\n".join(rows))
    if accepted:
        assert len(ingest_folder(engine, folder).rejects) == bad
    else:
        message = r"ratings\.csv: 2 of 100 rows \(2\.0 %\) are bad.*First: ratings\.csv line 100: "
        assert_refused(engine, folder, message, everything)


def test_without_tolerance_one_bad_row_of_any_file_refuses_all(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read
) -> None:
    folder = make_folder(tags=f"{TAGS}1,1,\0,5\n" + "1,1,a,5\n" * 10_000)
    before = everything()
    with pytest.raises(SourceDataError, match="--max-rejects 0 allows"):
        ingest_folder(engine, folder, max_rejects=0)
    assert everything() == before


@pytest.mark.parametrize("missing", ["movies", "ratings"])
def test_a_missing_file_refuses_the_folder(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read, missing: str
) -> None:
    folder = make_folder(**{missing: None})
    assert_refused(engine, folder, rf"has no {missing}\.csv", everything)


@pytest.mark.parametrize("stem", ["movies", "ratings", "tags", "links", "users"])
def test_another_header_in_any_file_refuses_the_folder(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read, stem: str
) -> None:
    ingest_folder(engine, make_folder())
    folder = make_folder(**{stem: "id,name\n1,x\n"})
    assert_refused(engine, folder, rf"^{stem}\.csv line 1: the header must be", everything)


@pytest.mark.parametrize("stem", ["ratings", "tags"])
@pytest.mark.parametrize("kind", ["folder", "dangling link", "pipe"])
def test_what_is_not_a_file_is_not_read(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read, stem: str, kind: str
) -> None:
    folder = make_folder(**{stem: None})
    path = folder / f"{stem}.csv"
    make = {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}
    make.get(kind, lambda: path.symlink_to("nowhere"))()
    assert_refused(engine, folder, rf"{stem}\.csv is not a file", everything)


def test_a_link_to_a_file_is_read(engine: sa.Engine, make_folder: MakeFolder) -> None:
    folder = make_folder()
    (folder / "ratings.csv").rename(folder / "ratings-2026.csv")
    (folder / "ratings.csv").symlink_to("ratings-2026.csv")
    assert counts(ingest_folder(engine, folder))["ratings"] == (3, 0, 0)


@pytest.mark.parametrize("name", ["nowhere", "movies.csv", "x" * 300, "a\0b"])
def test_what_is_not_a_folder_is_refused(make_folder: MakeFolder, name: str) -> None:
    with pytest.raises(
        SourceDataError, match=r"There is no folder|cannot be read|is a file: name the folder"
    ):
        present_files(make_folder() / name)


def test_a_folder_that_may_not_be_listed_is_refused(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder()

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceDataError, match="data cannot be read: Permission denied"):
        present_files(folder)


def test_a_folder_whose_name_is_no_text_is_recorded_all_the_same(
    engine: sa.Engine, make_folder: MakeFolder, contents: Read
) -> None:
    folder = make_folder().rename(make_folder().parent / os.fsdecode(b"d'\xff\"\n"))
    ingest_folder(engine, folder)
    assert contents("ingests")["ingests"][0][1].endswith("d'\\xff\"\n")


def test_a_file_that_changes_while_another_is_read_refuses_the_folder(
    engine: sa.Engine, make_folder: MakeFolder, everything: Read
) -> None:
    folder = make_folder()

    def replace_movies(file: str, _: int) -> None:
        if file == "tags.csv":
            (folder / "movies.csv").write_text(MOVIES)

    before = everything()
    with pytest.raises(SourceDataError, match=r"movies\.csv changed while it was read"):
        ingest_folder(engine, folder, on_bytes=replace_movies)
    assert everything() == before


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
