"""Source tables as ingest sees them: what is there, and how to bring in what differs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from recsvc.store import schema
from recsvc.store.bulk import fill, insert, upsert
from recsvc.store.snapshot import Snapshot

Int64 = npt.NDArray[np.int64]
Codes = tuple[Int64, Int64]  # of existing and of incoming rows
Write = Callable[[sa.Connection, pd.DataFrame, pd.DataFrame], None]

_MOST_CODES = 2**62


@dataclass(frozen=True)
class Changes:
    """How rows from a file relate to those in the database."""

    inserted: pd.DataFrame  #: rows whose key is new
    updated: pd.DataFrame  #: rows whose key is there with other values
    unchanged: int  #: rows that are there already


def compare(existing: pd.DataFrame, incoming: pd.DataFrame, key: list[str]) -> Changes:
    """Sort incoming rows into new, changed and unchanged.

    Both frames have the same columns and each key once.
    """
    if existing.empty:
        return Changes(incoming, incoming.iloc[:0], 0)
    old, new = _key_codes(existing, incoming, key)
    places, found = _places(old, new)
    candidates = incoming if found.all() else incoming.loc[found]
    same = np.ones(len(candidates), dtype=bool)
    for column in incoming.columns.difference(key):
        same &= _equal(existing[column].take(places), candidates[column])
    return Changes(incoming.loc[~found], candidates.loc[~same], int(same.sum()))


def _places(old: Int64, new: Int64) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Find codes among others: whether each is there, and for those that are, where."""
    order = None if np.all(old[1:] > old[:-1]) else np.argsort(old, kind="stable")
    places = np.searchsorted(old, new, sorter=order).clip(max=len(old) - 1)
    if order is not None:
        places = order[places]
    found = old[places] == new
    return places[found], found


def _key_codes(existing: pd.DataFrame, incoming: pd.DataFrame, key: list[str]) -> Codes:
    """Pack each key into one integer, the same on both sides."""
    old, new = np.zeros(len(existing), dtype=np.int64), np.zeros(len(incoming), dtype=np.int64)
    size = 1
    for column in key:
        parts, n_values = _column_codes(existing[column], incoming[column], _MOST_CODES // size)
        if size * n_values > _MOST_CODES:
            (old, new), size = _numbered(pd.Series(old), pd.Series(new))
        for codes, part in zip((old, new), parts, strict=True):
            codes *= n_values
            codes += part
        size *= n_values
    return old, new


def _column_codes(old: "pd.Series[Any]", new: "pd.Series[Any]", most: int) -> tuple[Codes, int]:
    """Number the values of a column from zero: integers by their distance, if that suffices."""
    if all(pd.api.types.is_integer_dtype(column.dtype) for column in (old, new)):
        left, right = old.to_numpy(np.int64), new.to_numpy(np.int64)
        filled = [column for column in (left, right) if column.size]
        lowest = min(int(column.min()) for column in filled)
        n_values = max(int(column.max()) for column in filled) - lowest + 1
        if n_values <= most:
            return (left - lowest, right - lowest), n_values
    return _numbered(old, new)


def _numbered(old: "pd.Series[Any]", new: "pd.Series[Any]") -> tuple[Codes, int]:
    """Number the distinct values in the order of appearance."""
    codes, values = pd.factorize(pd.concat([old, new], ignore_index=True))
    numbers = codes.astype(np.int64)
    return (numbers[: len(old)], numbers[len(old) :]), len(values)


def _equal(left: "pd.Series[Any]", right: "pd.Series[Any]") -> npt.NDArray[np.bool_]:
    old, new = left.reset_index(drop=True), right.reset_index(drop=True)
    if not new.hasnans and not old.hasnans:
        return np.asarray(old.to_numpy() == new.to_numpy(), dtype=bool)
    missing = old.isna() & new.isna()
    return np.asarray((old == new).fillna(value=False).astype(bool) | missing, dtype=bool)


# --- what is there, in the columns of the parsed files -----------------------------------------


def existing_rows(database: Snapshot, file: str) -> pd.DataFrame:
    """Return the rows of the database that correspond to a file."""
    match file:
        case "movies.csv":
            return _movies(database)
        case "users.csv":
            return _users(database)
        case "links.csv":
            links = database.frame(sa.select(schema.links))
            return links.astype({"imdb_id": "Int64", "tmdb_id": "Int64"})
        case "ratings.csv":
            return database.frame(sa.select(schema.ratings), packed_by=schema.ratings.c.user_id)
        case _:
            return database.frame(sa.select(schema.tags))


def _movies(database: Snapshot) -> pd.DataFrame:
    table = schema.movies.c
    movies = database.frame(sa.select(table.movie_id, table.title, table.release_year))
    genres = database.frame(sa.select(schema.movie_genres))
    rows = _with_joined(movies, genres, "movie_id", "|")
    return rows.rename(columns={"genre": "genres"}).astype({"release_year": "Int64"})


def _users(database: Snapshot) -> pd.DataFrame:
    users = database.frame(sa.select(schema.users))
    features = database.frame(sa.select(schema.user_features))
    return _with_joined(users, features, "user_id", "\n").rename(columns={"feature": "features"})


def _with_joined(rows: pd.DataFrame, parts: pd.DataFrame, by: str, separator: str) -> pd.DataFrame:
    """Add the texts in the last column of ``parts``, sorted by code point and joined."""
    column = parts.columns[-1]
    if rows.empty or parts.empty:
        return rows.assign(**{column: ""})
    ordered = parts.sort_values([by, column])
    joined = ordered.groupby(by, as_index=False).agg({column: separator.join})
    return rows.merge(joined, on=by, how="left").fillna({column: ""})


# --- bringing in what differs ------------------------------------------------------------------


def write_changes(connection: sa.Connection, file: str, changes: Changes) -> None:
    """Apply the changes of one file; unchanged rows are not touched."""
    _WRITERS[file](connection, changes.inserted, changes.updated)


def _write_movies(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    columns = ["movie_id", "title", "release_year"]
    insert(connection, schema.movies, inserted[columns])
    upsert(connection, schema.movies, updated[columns])
    _delete(connection, schema.movie_genres.c.movie_id, updated["movie_id"])
    both = pd.concat([inserted, updated], ignore_index=True)
    fill(connection, schema.movie_genres, _exploded(both, "movie_id", "genres", "|", "genre"))


def _write_users(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    both = pd.concat([inserted, updated], ignore_index=True)
    add_users(connection, both["user_id"].to_numpy())
    _delete(connection, schema.user_features.c.user_id, updated["user_id"])
    tokens = _exploded(both, "user_id", "features", "\n", "feature")
    fill(connection, schema.user_features, tokens)


def _write_links(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    fill(connection, schema.links, inserted)
    upsert(connection, schema.links, updated)


def _write_ratings(
    connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame
) -> None:
    add_users(connection, inserted["user_id"].to_numpy())
    fill(connection, schema.ratings, inserted)
    upsert(connection, schema.ratings, updated)


def _write_tags(connection: sa.Connection, inserted: pd.DataFrame, updated: pd.DataFrame) -> None:
    add_users(connection, inserted["user_id"].to_numpy())
    fill(connection, schema.tags, inserted)
    upsert(connection, schema.tags, updated)


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
    upsert(connection, schema.users, rows)


def known_movie_ids(connection: sa.Connection) -> npt.NDArray[np.int64]:
    """Return the ids of the catalogue, ascending."""
    ids = connection.scalars(sa.select(schema.movies.c.movie_id).order_by(schema.movies.c.movie_id))
    return np.fromiter(ids, dtype=np.int64)


def _delete(connection: sa.Connection, column: sa.Column[int], ids: "pd.Series[int]") -> None:
    if len(ids):
        delete = sa.delete(column.table).where(column == sa.bindparam("id"))
        connection.execute(delete, [{"id": value} for value in ids.tolist()])


def _exploded(rows: pd.DataFrame, by: str, column: str, separator: str, name: str) -> pd.DataFrame:
    lists = rows.loc[rows[column] != "", [by, column]]
    split = lists.assign(**{name: lists[column].str.split(separator)})
    return split.explode(name)[[by, name]].reset_index(drop=True).astype({name: "str"})
