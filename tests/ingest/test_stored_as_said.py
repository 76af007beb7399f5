"""Whatever the files hold, ingest stores what was said or rejects it with its line."""

import csv
import io
import unicodedata
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsvc.ingest.files import source_file
from recsvc.ingest.folder import ingest_folder
from recsvc.store.contract import tables
from recsvc.store.database import statements
from recsvc.store.database.postgresql import bulk
from recsvc.store.database.transactions import writing

Contents = dict[str, Collection[tuple[Any, ...]]]


class Cell(NamedTuple):
    """A value as it stands in a file, and what it says; ``BAD`` if it must be rejected."""

    text: str
    value: Any


class Line(NamedTuple):
    """A line of a file, and the row it says; None if it must be rejected."""

    text: str
    row: tuple[Any, ...] | None


BAD = object()


def cells(good: dict[str, Any], bad: list[str]) -> st.SearchStrategy[Cell]:
    """Four good cells for each bad one, so that whole rows are often good."""
    wanted = st.sampled_from([Cell(text, value) for text, value in good.items()])
    return st.one_of(*[wanted] * 9, st.sampled_from([Cell(text, BAD) for text in bad]))


TOP = 2**63 - 1
NO_IDS = [
    "",
    " 1",
    "1 ",
    "+1",
    "-1",
    "1.0",
    "1e3",
    "0x1",
    "\u0661",
    "nan",
    str(TOP + 1),
    "\0",
    "1_0",
]
user_ids = cells({"1": 1, "2": 2, "03": 3, str(TOP): TOP}, NO_IDS)
movie_ids = cells({"1": 1, "2": 2, "0002": 2, str(TOP): TOP}, [*NO_IDS, "4", "77"])
new_movie_ids = cells({"1": 1, "2": 2, "3": 3, str(TOP): TOP}, NO_IDS)
optional_ids = cells({"": None, "7": 7, str(TOP): TOP}, [" ", "x", str(TOP + 1)])
stars = cells(
    {"0.5": 0.5, "4": 4.0, "3.70": 3.7, "5.0": 5.0}, ["0", "5.1", "nan", "inf", "1e0", ""]
)
times = cells({"0": 0, "1537799250": 1537799250}, ["-1", "1.5", "", "253402300800"])
texts = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
    ),
    st.sampled_from(
        ["a,b", 'q"q', "l\nm", "l\r\nm", "\\N", "\\.", "<i>", "=1", "é", "e\u0301", "É"]
    ),
).map(lambda text: Cell(text, text if text.strip() else BAD))
tag_cells = texts | st.sampled_from([Cell("x" * 501, BAD), Cell("a\0", BAD), Cell("\udcff", BAD)])
titles = texts | st.sampled_from([Cell("x" * 1001, BAD), Cell("a\0", BAD), Cell("\udcff", BAD)])
genre_cells = cells(
    {"": "", "(no genres listed)": "", "B|A|B": "A|B", 'A,\n"': 'A,\n"', "A": "A"},
    ["A|", "\0", " "],
)  # fmt: skip
attributes = st.one_of(
    st.sampled_from([Cell("", ""), Cell(" F ", "F"), Cell("é:x", "é:x"), Cell("a,b", "a,b")]),
    st.sampled_from([Cell("a\nb", BAD), Cell("\0", BAD), Cell("x" * 201, BAD)]),
)
spoilt = st.sampled_from(["1", "1,2,3,4,5,6", '1,"2"3,4', "1,2\r3,4", ",,,,,"])


def lines(*columns: st.SearchStrategy[Cell]) -> st.SearchStrategy[list[Line]]:
    """Lines of cells, and among them some that are no rows at all."""
    rows = st.tuples(st.tuples(*columns), st.sampled_from(["\n", "\r\n"]), st.booleans()).map(
        lambda parts: as_line(*parts)
    )
    broken = spoilt.map(lambda text: Line(text + "\n", None))
    return st.lists(st.one_of(rows, rows, rows, rows, broken), max_size=8)


def as_line(row: tuple[Cell, ...], end: str, quoted: bool) -> Line:
    text = io.StringIO()
    broken = any(character in cell.text for cell in row for character in "\r\n")
    quoting = csv.QUOTE_ALL if quoted or broken else csv.QUOTE_MINIMAL
    csv.writer(text, quoting=quoting, lineterminator=end).writerow([cell.text for cell in row])
    values = tuple(cell.value for cell in row)
    return Line(text.getvalue(), None if BAD in values else values)


folders = st.fixed_dictionaries(
    {
        "movies": lines(new_movie_ids, titles, genre_cells),
        "users": lines(user_ids, attributes, attributes),
        "links": lines(new_movie_ids, optional_ids, optional_ids),
        "ratings": lines(user_ids, movie_ids, stars, times),
        "tags": lines(user_ids, movie_ids, tag_cells, times),
    }
)
HEADERS = {
    "movies": "movieId,title,genres\n",
    "users": "userId,a,b\n",
    "links": "movieId,imdbId,tmdbId\n",
    "ratings": "userId,movieId,rating,timestamp\n",
    "tags": "userId,movieId,tag,timestamp\n",
}


class Said:
    """What the files of all ingests so far have said, gathered row by row."""

    def __init__(self) -> None:
        self.users: set[int] = set()
        self.features: dict[int, set[str]] = {}
        self.movies: dict[int, tuple[str, str]] = {}
        self.links: dict[int, tuple[int | None, int | None]] = {}
        self.ratings: dict[tuple[int, int], tuple[float, int]] = {}
        self.tags: dict[tuple[int, int, str], int] = {}

    def take(self, files: dict[str, list[Line]]) -> dict[str, list[int]]:
        """Take a folder; return the lines that must be rejected, file by file."""
        rejected = {}
        for name in HEADERS:  # movies come first
            content = files[name]
            rows, rejected[f"{name}.csv"] = self._rows(name, content)
            latest: dict[Any, Any] = {}
            for key, value in rows:
                latest[key] = max([value, latest.get(key, value)], key=_none_first)
            self._keep(name, latest)
        return rejected

    def _rows(self, name: str, content: list[Line]) -> tuple[list[tuple[Any, Any]], list[int]]:
        rows, bad, number = [], [], 2
        for line in content:
            if line.row is None or not self._known(name, line.row):
                bad.append(number)
            else:
                rows.append(_keyed(name, line.row))
            number += line.text.count("\n")
        if name == "movies":
            self.movies |= dict.fromkeys((key for key, _ in rows), ("", ""))
        return rows, bad

    def _known(self, name: str, row: tuple[Any, ...]) -> bool:
        place = {"links": 0, "ratings": 1, "tags": 1}.get(name)
        return place is None or row[place] in self.movies

    def _keep(self, name: str, latest: dict[Any, Any]) -> None:
        if name == "users":
            self.features |= latest
            self.users |= latest.keys()
        else:
            getattr(self, name).update(latest)
        if name in {"ratings", "tags"}:
            self.users |= {key[0] for key in latest}

    def tables(self) -> Contents:
        """The source tables that this makes."""
        features = {
            (user, token) for user, text in self.features.items() for token in text.split("\n")
        }
        genres = {
            (movie, genre) for movie, (_, text) in self.movies.items() for genre in text.split("|")
        }
        return {
            "users": {(user,) for user in self.users},
            "user_features": {row for row in features if row[1]},
            "movies": {(movie, title) for movie, (title, _) in self.movies.items()},
            "movie_genres": {row for row in genres if row[1]},
            "links": {(movie, *ids) for movie, ids in self.links.items()},
            "ratings": {(*key, *rating) for key, rating in self.ratings.items()},
            "tags": {(*key, _key(key[2]), time) for key, time in self.tags.items()},
        }


def _keyed(name: str, row: tuple[Any, ...]) -> tuple[Any, Any]:
    """The key of a row, and the rest in the order that decides between duplicates."""
    match name:
        case "users":
            tokens = {
                f"{column}:{value}" for column, value in zip("ab", row[1:], strict=True) if value
            }
            return row[0], "\n".join(sorted(tokens))
        case "ratings":
            return row[:2], row[2:]
        case "tags":
            return row[:3], row[3]
        case _:
            return row[0], row[1:]
    raise AssertionError(name)


def _key(tag: str) -> str:
    folded = unicodedata.normalize("NFD", tag.strip()).casefold()
    return unicodedata.normalize("NFC", folded)


def _none_first(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple((part is not None, part) for part in reversed(value))
    return value


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    ingests=st.lists(folders, min_size=1, max_size=3),
    block_bytes=st.sampled_from([1, 7, 64, 1 << 20]),
    large_load=st.sampled_from([1, statements.LARGE_LOAD]),
)
def test_every_row_is_stored_as_it_was_said_or_rejected_with_its_line(
    ingests: list[dict[str, list[Line]]],
    block_bytes: int,
    large_load: int,
    engine: sa.Engine,
    tmp_path: Path,
    contents: Callable[..., Contents],
) -> None:
    empty(engine)
    said = Said()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_file, "BLOCK_BYTES", block_bytes)
        patch.setattr(bulk, "LARGE_LOAD", large_load)
        for files in ingests:
            for name, content in files.items():
                text = HEADERS[name] + "".join(line.text for line in content)
                (tmp_path / f"{name}.csv").write_bytes(text.encode(errors="surrogateescape"))
            rejected = said.take(files)
            dry = ingest_folder(engine, tmp_path, max_rejects=100, dry_run=True)
            report = ingest_folder(engine, tmp_path, max_rejects=100)
            assert (dry.files, dry.rejects) == (report.files, report.rejects)
            assert {
                file.file: [reject.line for reject in report.rejects if reject.file == file.file]
                for file in report.files
            } == rejected
            for file in report.files:
                accepted = file.inserted + file.updated + file.unchanged + file.duplicates
                lines_of_file = files[file.file.removesuffix(".csv")]
                assert accepted + file.rejected == len(lines_of_file)
            assert stored(contents) == said.tables()
        assert ingest_folder(engine, tmp_path, max_rejects=100).changed == 0


def empty(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))


def stored(contents: Callable[..., Contents]) -> Contents:
    """The source tables without what is not in the files."""
    found = {name: set(rows) for name, rows in contents().items()}
    found["movies"] = {row[:2] for row in found["movies"]}
    return found
