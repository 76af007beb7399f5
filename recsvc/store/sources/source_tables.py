"""The source tables: what each kind of file is kept as, and how what differs is brought in.

One declaration for each. Ingest reads files and gives each of them one of these; training reads the
tables themselves (:mod:`recsvc.store.sources.training_rows`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from recsvc.runtime.arrays import Int64
from recsvc.store.contract import tables
from recsvc.store.database.bulk import fill, insert, upsert
from recsvc.store.database.snapshot import Snapshot
from recsvc.store.sources.changes import Changes, compare

INT, FLOAT, TEXT, OPTIONAL_INT = "int64", "float64", "str", "Int64"

#: Takes rows that are new and rows that replace others.
Write = Callable[[sa.Connection, pd.DataFrame, pd.DataFrame], None]


@dataclass(frozen=True)
class SourceTable:
    """How the rows of one kind of file are kept."""

    columns: dict[str, str]  #: of the rows, with their pandas dtypes
    key: tuple[str, ...]  #: the columns that identify a row
    existing: Callable[[Snapshot], pd.DataFrame]  #: the rows that are there, in these columns
    write: Write
    large: sa.Table | None = None  #: what to settle after a first load
    #: sorts rows in key order, where ``existing`` would hold more than there is memory for
    changes: Callable[[Snapshot, pd.DataFrame], Changes] | None = None

    def find_changes(self, database: Snapshot, incoming: pd.DataFrame) -> Changes:
        """Sort rows, in key order and each key once, into new, changed and unchanged."""
        if self.changes is not None:
            return self.changes(database, incoming)
        return compare(self.existing(database), incoming, list(self.key))

    def write_changes(self, connection: sa.Connection, changes: Changes) -> None:
        """Apply changes; unchanged rows are not touched."""
        self.write(connection, changes.inserted, changes.updated)


# --- movies -------------------------------------------------------------------------------------


def known_movie_ids(connection: sa.Connection) -> Int64:
    """Return the ids of the catalogue, ascending."""
    ids = connection.scalars(sa.select(tables.movies.c.movie_id).order_by(tables.movies.c.movie_id))
    return np.fromiter(ids, dtype=np.int64)


def _movies(database: Snapshot) -> pd.DataFrame:
    table = tables.movies.c
    movies = database.frame(sa.select(table.movie_id, table.title, table.release_year))
    genres = database.frame(sa.select(tables.movie_genres))
    rows = _with_joined(movies, genres, "movie_id", "|")
    return rows.rename(columns={"genre": "genres"}).astype({"release_year": OPTIONAL_INT})


def _write_movies(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    columns = ["movie_id", "title", "release_year"]
    insert(connection, tables.movies, inserted[columns])
    upsert(connection, tables.movies, updated[columns])
    _delete(connection, tables.movie_genres.c.movie_id, updated["movie_id"])
    both = pd.concat([inserted, updated], ignore_index=True)
    fill(connection, tables.movie_genres, _exploded(both, "movie_id", "genres", "|", "genre"))


# --- users --------------------------------------------------------------------------------------


def _users(database: Snapshot) -> pd.DataFrame:
    users = database.frame(sa.select(tables.users))
    features = database.frame(sa.select(tables.user_features))
    return _with_joined(users, features, "user_id", "\n").rename(columns={"feature": "features"})


def _write_users(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    both = pd.concat([inserted, updated], ignore_index=True)
    _add_users(connection, both["user_id"].to_numpy())
    _delete(connection, tables.user_features.c.user_id, updated["user_id"])
    tokens = _exploded(both, "user_id", "features", "\n", "feature")
    fill(connection, tables.user_features, tokens)


def _add_users(connection: sa.Connection, user_ids: Int64) -> None:
    """Make sure that these users exist."""
    rows = pd.DataFrame({"user_id": np.unique(user_ids)})
    upsert(connection, tables.users, rows)


# --- ratings ------------------------------------------------------------------------------------

_BITS = 53


def _rating_changes(database: Snapshot, incoming: pd.DataFrame) -> Changes:
    # Numba takes long to import, and most commands compare nothing.
    from recsvc.store.sources.rating_changes import compare_ratings  # noqa: PLC0415

    return compare_ratings(_rating_batches(database), incoming)


def _rating_batches(database: Snapshot) -> Iterator[pa.RecordBatch]:
    """Yield the rows of ``ratings``, which leave the database as integers.

    A double from 0.5 to 5 is a multiple of 2**-53: scaled by that, none loses anything.
    """
    rating = tables.ratings.c.rating
    scaled = sa.cast(rating * 2.0**_BITS, sa.BigInteger).label(rating.name)
    columns = [scaled if column is rating else column for column in tables.ratings.c]
    place = columns.index(scaled)
    for batch in database.batches(sa.select(*columns), packed_by=tables.ratings.c.user_id):
        ratings = np.ldexp(batch.column(place).to_numpy().astype(np.float64), -_BITS)
        yield batch.set_column(place, rating.name, pa.array(ratings))


# --- what several of them need ------------------------------------------------------------------


def _rows_of(table: sa.Table, dtypes: dict[str, str]) -> Callable[[Snapshot], pd.DataFrame]:
    """Return what reads a table whose columns are those of the file."""
    optional = {name: dtype for name, dtype in dtypes.items() if dtype == OPTIONAL_INT}
    return lambda database: database.frame(sa.select(table)).astype(optional)


def _written_to(table: sa.Table) -> Write:
    """Return what writes a table whose columns are those of the file; its users come to be."""

    def write(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
        if "user_id" in table.c:
            _add_users(connection, inserted["user_id"].to_numpy())
        fill(connection, table, inserted)
        upsert(connection, table, updated)

    return write


def _with_joined(rows: pd.DataFrame, parts: pd.DataFrame, by: str, separator: str) -> pd.DataFrame:
    """Add the texts in the last column of ``parts``, sorted by code point and joined."""
    column = parts.columns[-1]
    if rows.empty or parts.empty:
        return rows.assign(**{column: ""})
    ordered = pa.Table.from_pandas(parts.sort_values([by, column]), preserve_index=False)
    # One thread gathers the texts of a list in their order.
    lists = ordered.group_by(by, use_threads=False).aggregate([(column, "list")])
    texts = pc.binary_join(lists[f"{column}_list"].cast(pa.list_(pa.string())), separator)
    joined = pa.table({by: lists[by], column: texts}).to_pandas()
    return rows.merge(joined, on=by, how="left").fillna({column: ""})


def _delete(connection: sa.Connection, column: sa.Column[int], ids: "pd.Series[int]") -> None:
    if len(ids):
        delete = sa.delete(column.table).where(column == sa.bindparam("id"))
        connection.execute(delete, [{"id": value} for value in ids.tolist()])


def _exploded(rows: pd.DataFrame, by: str, column: str, separator: str, name: str) -> pd.DataFrame:
    lists = rows.loc[rows[column] != "", [by, column]]
    split = lists.assign(**{name: lists[column].str.split(separator)})
    return split.explode(name)[[by, name]].reset_index(drop=True).astype({name: "str"})


# --- the declarations ---------------------------------------------------------------------------

_RATING_COLUMNS = {"user_id": INT, "movie_id": INT, "rating": FLOAT, "rated_at": INT}
_TAG_COLUMNS = {"user_id": INT, "movie_id": INT, "tag": TEXT, "tag_key": TEXT, "tagged_at": INT}
_LINK_COLUMNS = {"movie_id": INT, "imdb_id": OPTIONAL_INT, "tmdb_id": OPTIONAL_INT}

MOVIES = SourceTable(
    columns={"movie_id": INT, "title": TEXT, "release_year": OPTIONAL_INT, "genres": TEXT},
    key=("movie_id",),
    existing=_movies,
    write=_write_movies,
)
USERS = SourceTable(
    columns={"user_id": INT, "features": TEXT},
    key=("user_id",),
    existing=_users,
    write=_write_users,
)
LINKS = SourceTable(
    columns=_LINK_COLUMNS,
    key=("movie_id",),
    existing=_rows_of(tables.links, _LINK_COLUMNS),
    write=_written_to(tables.links),
)
RATINGS = SourceTable(
    columns=_RATING_COLUMNS,
    key=("user_id", "movie_id"),
    existing=_rows_of(tables.ratings, _RATING_COLUMNS),
    write=_written_to(tables.ratings),
    large=tables.ratings,
    changes=_rating_changes,
)
TAGS = SourceTable(
    columns=_TAG_COLUMNS,
    key=("user_id", "movie_id", "tag"),
    existing=_rows_of(tables.tags, _TAG_COLUMNS),
    write=_written_to(tables.tags),
    large=tables.tags,
)
