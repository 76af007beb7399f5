"""The five MovieLens files: their headers, and how a record becomes a row."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from recsvc.errors import SourceDataError
from recsvc.ingest.sources.values import (
    LONGEST_TAG,
    LONGEST_TITLE,
    BadValueError,
    parse_attribute,
    parse_genres,
    parse_id,
    parse_optional_id,
    parse_rating,
    parse_text,
    parse_time,
    release_year,
    tag_key,
)
from recsvc.store.sources import source_tables
from recsvc.store.sources.source_tables import SourceTable

Row = tuple[Any, ...]
ParseRow = Callable[[list[str]], Row]


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    file: str  #: file name
    into: SourceTable  #: what its rows are kept as
    required: bool  #: whether a folder without it is refused
    header: tuple[str, ...]  #: column names in the file
    parse: ParseRow  #: fields of a record to a row of ``into``; raises BadValueError

    def check_header(self, fields: list[str]) -> ParseRow:
        """Accept a header and return the parser of its rows.

        Raises:
            SourceDataError: the header is another one.
        """
        if tuple(fields) != self.header:
            raise wrong_header(self.file, ",".join(self.header), fields)
        return self.parse


class UsersFormat(Format):
    """users.csv, whose attribute columns are free."""

    def check_header(self, fields: list[str]) -> ParseRow:
        """Accept ``userId`` followed by distinct attribute names."""
        expected = "userId and then one name for each attribute"
        try:
            names = [parse_attribute(name, "an attribute name") for name in fields[1:]]
        except BadValueError as problem:
            raise wrong_header(self.file, f"{expected} ({problem})", fields) from None
        if fields[:1] != ["userId"] or len(set(names)) < len(names):
            raise wrong_header(self.file, expected, fields)
        return lambda values: _parse_user(names, values)


def wrong_header(file: str, expected: str, found: list[str]) -> SourceDataError:
    """Make the error for a file that starts with another header."""
    text = ",".join(found)
    encoding = "" if text.isprintable() else " (the file must be UTF-8)"
    return SourceDataError(
        f"{file} line 1: the header must be {expected}, but it is {text[:80]!a}{encoding}; "
        "nothing was changed."
    )


def require_movie(movie_id: int, known: Collection[int]) -> None:
    """Refuse a row whose movie is not in the catalogue."""
    if movie_id not in known:
        raise BadValueError(f"movie {movie_id} is in neither movies.csv nor the database")


def _parse_movie(fields: list[str]) -> Row:
    title = parse_text(fields[1], "title", LONGEST_TITLE)
    return parse_id(fields[0], "movieId"), title, release_year(title), parse_genres(fields[2])


def _parse_rating(fields: list[str]) -> Row:
    user_id, movie_id = parse_id(fields[0], "userId"), parse_id(fields[1], "movieId")
    return user_id, movie_id, parse_rating(fields[2]), parse_time(fields[3])


def _parse_tag(fields: list[str]) -> Row:
    user_id, movie_id = parse_id(fields[0], "userId"), parse_id(fields[1], "movieId")
    tag = parse_text(fields[2], "tag", LONGEST_TAG)
    return user_id, movie_id, tag, tag_key(tag), parse_time(fields[3])


def _parse_link(fields: list[str]) -> Row:
    imdb_id = parse_optional_id(fields[1], "imdbId")
    return parse_id(fields[0], "movieId"), imdb_id, parse_optional_id(fields[2], "tmdbId")


def _parse_user(names: list[str], fields: list[str]) -> Row:
    tokens = {
        f"{name}:{parse_attribute(value, name)}"
        for name, value in zip(names, fields[1:], strict=True)
        if value.strip()
    }
    return parse_id(fields[0], "userId"), "\n".join(sorted(tokens))


MOVIES = Format(
    "movies.csv",
    source_tables.MOVIES,
    required=True,
    header=("movieId", "title", "genres"),
    parse=_parse_movie,
)
RATINGS = Format(
    "ratings.csv",
    source_tables.RATINGS,
    required=True,
    header=("userId", "movieId", "rating", "timestamp"),
    parse=_parse_rating,
)
TAGS = Format(
    "tags.csv",
    source_tables.TAGS,
    required=False,
    header=("userId", "movieId", "tag", "timestamp"),
    parse=_parse_tag,
)
LINKS = Format(
    "links.csv",
    source_tables.LINKS,
    required=False,
    header=("movieId", "imdbId", "tmdbId"),
    parse=_parse_link,
)
USERS = UsersFormat(
    "users.csv",
    source_tables.USERS,
    required=False,
    header=("userId",),
    parse=lambda fields: _parse_user([], fields),
)

# Movies come first: every other file is checked against the catalogue.
FORMATS = (MOVIES, USERS, LINKS, RATINGS, TAGS)


def format_of(file: str) -> Format:
    """Return the format of a file by its name."""
    return next(kind for kind in FORMATS if kind.file == file)
