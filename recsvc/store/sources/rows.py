"""Source tables as ingest sees them: what is there, and how to bring in what differs."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from recsvc.store.contract import tables
from recsvc.store.database.bulk import fill, insert, upsert
from recsvc.store.database.snapshot import Snapshot
from recsvc.store.sources.changes import Changes, compare

_BITS = 53

Write = Callable[[sa.Connection, pd.DataFrame, pd.DataFrame], None]

# --- what is there, in the columns of the parsed files -----------------------------------------


def find_changes(database: Snapshot, file: str, incoming: pd.DataFrame, key: list[str]) -> Changes:
    """Sort the rows of a file, in key order, into new, changed and unchanged."""
    if file == "ratings.csv":
        # Numba takes long to import, and most commands compare nothing.
        from recsvc.store.sources.rating_changes import compare_ratings  # noqa: PLC0415

        return compare_ratings(_ratings(database), incoming)
    return compare(existing_rows(database, file), incoming, key)


def existing_rows(database: Snapshot, file: str) -> pd.DataFrame:
    """Return the rows of the database that correspond to a file."""
    match file:
        case "movies.csv":
            return _movies(database)
        case "users.csv":
            return _users(database)
        case "links.csv":
            links = database.frame(sa.select(tables.links))
            return links.astype({"imdb_id": "Int64", "tmdb_id": "Int64"})
        case "ratings.csv":
            return database.frame(sa.select(tables.ratings))
        case _:
            return database.frame(sa.select(tables.tags))


def _ratings(database: Snapshot) -> Iterator[pa.RecordBatch]:
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


def _movies(database: Snapshot) -> pd.DataFrame:
    table = tables.movies.c
    movies = database.frame(sa.select(table.movie_id, table.title, table.release_year))
    genres = database.frame(sa.select(tables.movie_genres))
    rows = _with_joined(movies, genres, "movie_id", "|")
    return rows.rename(columns={"genre": "genres"}).astype({"release_year": "Int64"})


def _users(database: Snapshot) -> pd.DataFrame:
    users = database.frame(sa.select(tables.users))
    features = database.frame(sa.select(tables.user_features))
    return _with_joined(users, features, "user_id", "\n").rename(columns={"feature": "features"})


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


# --- bringing in what differs ------------------------------------------------------------------


def write_changes(connection: sa.Connection, file: str, changes: Changes) -> None:
    """Apply the changes of one file; unchanged rows are not touched."""
    _WRITERS[file](connection, changes.inserted, changes.updated)


def _write_movies(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    columns = ["movie_id", "title", "release_year"]
    insert(connection, tables.movies, inserted[columns])
    upsert(connection, tables.movies, updated[columns])
    _delete(connection, tables.movie_genres.c.movie_id, updated["movie_id"])
    both = pd.concat([inserted, updated], ignore_index=True)
    fill(connection, tables.movie_genres, _exploded(both, "movie_id", "genres", "|", "genre"))


def _write_users(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    both = pd.concat([inserted, updated], ignore_index=True)
    add_users(connection, both["user_id"].to_numpy())
    _delete(connection, tables.user_features.c.user_id, updated["user_id"])
    tokens = _exploded(both, "user_id", "features", "\n", "feature")
    fill(connection, tables.user_features, tokens)


def _write_links(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    fill(connection, tables.links, inserted)
    upsert(connection, tables.links, updated)


def _write_ratings(
    connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame
) -> None:
    add_users(connection, inserted["user_id"].to_numpy())
    fill(connection, tables.ratings, inserted)
    upsert(connection, tables.ratings, updated)


def _write_tags(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    add_users(connection, inserted["user_id"].to_numpy())
    fill(connection, tables.tags, inserted)
    upsert(connection, tables.tags, updated)


_WRITERS: dict[str, Write] = {
    "movies.csv": _write_movies,
    "users.csv": _write_users,
    "links.csv": _write_links,
    "ratings.csv": _write_ratings,
    "tags.csv": _write_tags,
}


def add_users(connection: sa.Connection, user_ids: npt.NDArray[np.int64]) -> None:
    """Make sure that these users exist."""
    rows = pd.DataFrame({"user_id": np.unique(user_ids)})
    upsert(connection, tables.users, rows)


def known_movie_ids(connection: sa.Connection) -> npt.NDArray[np.int64]:
    """Return the ids of the catalogue, ascending."""
    ids = connection.scalars(sa.select(tables.movies.c.movie_id).order_by(tables.movies.c.movie_id))
    return np.fromiter(ids, dtype=np.int64)


def _delete(connection: sa.Connection, column: sa.Column[int], ids: "pd.Series[int]") -> None:
    if len(ids):
        delete = sa.delete(column.table).where(column == sa.bindparam("id"))
        connection.execute(delete, [{"id": value} for value in ids.tolist()])


def _exploded(rows: pd.DataFrame, by: str, column: str, separator: str, name: str) -> pd.DataFrame:
    lists = rows.loc[rows[column] != "", [by, column]]
    split = lists.assign(**{name: lists[column].str.split(separator)})
    return split.explode(name)[[by, name]].reset_index(drop=True).astype({name: "str"})
