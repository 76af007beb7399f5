"""How ratings from a file relate to those in the database, without holding all of the latter."""

from collections.abc import Iterable
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from recsvc.runtime.arrays import Float64, Int64, Mask
from recsvc.runtime.compiled import jit
from recsvc.store.sources.changes import Changes

#: Users, movies, ratings and times of some rows, shape ``(rows,)`` each.
Rows = tuple[Int64, Int64, Float64, Int64]


def compare_ratings(existing: Iterable[pa.RecordBatch], incoming: pd.DataFrame) -> Changes:
    """Sort incoming ratings into new, changed and unchanged.

    Args:
        existing: batches of user_id, movie_id, rating and rated_at; fast if they, too, come by user
            and movie.
        incoming: the same columns, by user and movie, each pair once.
    """
    new = _rows(incoming[name].to_numpy() for name in ("user_id", "movie_id", "rating", "rated_at"))
    there, same = np.zeros((2, len(incoming)), dtype=np.bool_)
    place = 0
    for batch in existing:
        place = _mark(new, _rows(c.to_numpy() for c in batch.columns), there, same, place)
    inserted = incoming.loc[~there] if there.any() else incoming
    return Changes(inserted, incoming.loc[there & ~same], int(np.count_nonzero(same)))


def _rows(columns: "Iterable[Int64 | Float64]") -> Rows:
    users, movies, ratings, times = columns
    return cast("Rows", (users, movies, ratings, times))


@jit(error_model="numpy")
def _mark(new: Rows, old: Rows, there: Mask, same: Mask, place: int) -> int:
    """Mark the rows whose key is among the old ones, and those that are the same throughout.

    Args:
        new: rows by user and movie.
        old: rows in any order, fast if they come by user and movie.
        there: shape ``(new rows,)``, out: whether the key is among the old ones.
        same: same shape, out: whether rating and time are the same as well.
        place: where the first old row is expected among the new ones.

    Returns:
        The place of the row after the last one that was found.
    """
    users, movies, ratings, times = new
    old_users, old_movies, old_ratings, old_times = old
    for row in range(len(old_users)):
        place = _found_from(users, movies, place, old_users[row], old_movies[row])
        if (
            place < len(users)
            and users[place] == old_users[row]
            and movies[place] == old_movies[row]
        ):
            there[place] = True
            same[place] = ratings[place] == old_ratings[row] and times[place] == old_times[row]
            place += 1
    return place


@jit(error_model="numpy")
def _found_from(users: Int64, movies: Int64, place: int, user: np.int64, movie: np.int64) -> int:
    """Return the first place whose pair is not before a pair, looking close to ``place`` first."""
    low, high, step = 0, len(users), 1
    if place > 0 and not _before(users, movies, place - 1, user, movie):
        high = place - 1
    else:
        low = place
        while low + step <= high and _before(users, movies, low + step - 1, user, movie):
            low += step
            step *= 2
        high = min(high, low + step - 1)
    while low < high:
        middle = (low + high) // 2
        if _before(users, movies, middle, user, movie):
            low = middle + 1
        else:
            high = middle
    return low


@jit(error_model="numpy")
def _before(users: Int64, movies: Int64, place: int, user: np.int64, movie: np.int64) -> bool:
    """Whether the pair at a place is before another, by user and then movie."""
    before: bool = users[place] < user or (users[place] == user and movies[place] < movie)
    return before
