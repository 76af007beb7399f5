"""What is refused, and what is put aside."""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsvc.errors import SourceDataError
from recsvc.ingest.folder import ingest_folder, present_files
from tests.ingest.folders import MOVIES, RATINGS, TAGS, MakeFolder, Read, counts

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
