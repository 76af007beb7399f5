"""The data of a run as arrays, and the only place where ids and indices meet.

Outside, users and movies have ids from the database. Inside, they are dense indices ``0..n-1``
in the order of their ids, so that a tie between indices is a tie between ids.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

Ids = npt.NDArray[np.int64]  # external
Indices = npt.NDArray[np.int32]  # internal
Csr = sparse.csr_array

#: Ids up to here, or up to so many times their number, are looked up in a table.
_TABLE_IDS, _TABLE_SHARE = 2**20, 16


class IdMap:
    """Ids to indices and back.

    >>> users = IdMap(np.array([3, 7, 10]))
    >>> users.to_indices(np.array([10, 3]))
    array([2, 0], dtype=int32)
    >>> users.ids[2]
    np.int64(10)
    """

    def __init__(self, ids: Ids) -> None:
        if np.any(ids[1:] <= ids[:-1]):
            raise ValueError("ids must be ascending and distinct")
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def to_indices(self, ids: Ids) -> Indices:
        """Return the index of each id.

        Raises:
            KeyError: an id is not in the map.
        """
        if not len(self):
            places, found = np.zeros(len(ids), np.int32), np.zeros(len(ids), np.bool_)
        else:
            places = self._places(ids)
            found = self.ids.take(places, mode="clip") == ids
        if not found.all():
            raise KeyError(int(ids[~found][0]))
        return places.astype(np.int32, copy=False)

    def _places(self, ids: Ids) -> npt.NDArray[np.signedinteger]:
        """Find the index of each id, and some index for one that is not in the map."""
        if self._table is None:
            return np.searchsorted(self.ids, ids)
        return self._table.take(ids, mode="clip")

    @cached_property
    def _table(self) -> Indices | None:
        """The index of each id up to the largest, where that takes little memory."""
        smallest, largest = int(self.ids[0]), int(self.ids[-1])
        if smallest < 0 or largest > max(_TABLE_IDS, _TABLE_SHARE * len(self)):
            return None
        table = np.zeros(largest + 1, np.int32)
        table[self.ids] = np.arange(len(self), dtype=np.int32)
        return table


class RatingColumns(NamedTuple):
    """Ratings as columns, with ids."""

    user_ids: Ids
    movie_ids: Ids
    rated_at: npt.NDArray[np.int64]  #: Unix seconds
    positive: npt.NDArray[np.bool_]  #: whether the rating counts as a positive


@dataclass(frozen=True)
class Interactions:
    """Who rated what, sorted by user and then item."""

    users: IdMap
    items: IdMap
    available: npt.NDArray[np.bool_]  #: shape ``(n_items,)``: whether it may be recommended
    rated: Csr  #: shape ``(n_users, n_items)``, bool: anything rated
    positives: Csr  #: same shape, float32 ones: what models learn from
    positive_times: npt.NDArray[np.int64]  #: Unix seconds, aligned with ``positives.data``

    @property
    def n_ratings(self) -> int:
        """Number of ratings, positive or not."""
        return int(self.rated.nnz)

    def fingerprint(self) -> str:
        """Return a digest that changes whenever the data do."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (
            self.users.ids,
            self.items.ids,
            self.available,
            self.rated.indptr,
            self.rated.indices,
            self.positives.indptr,
            self.positives.indices,
            self.positive_times,
        ):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def build_interactions(
    user_ids: Ids,
    movie_ids: Ids,
    available: npt.NDArray[np.bool_],
    ratings: Iterable[RatingColumns],
) -> Interactions:
    """Arrange ratings, in whatever order they come.

    Args:
        user_ids: every user, ascending.
        movie_ids: every movie, ascending.
        available: for each movie, whether it may be recommended.
        ratings: batches; each pair of user and movie once.

    Raises:
        KeyError: a rating names an unknown user or movie.
    """
    users, items = IdMap(user_ids), IdMap(movie_ids)
    rows, columns, times, positive = _indexed(users, items, ratings)
    order = _row_major_order(rows, columns, len(items))
    if order is not None:
        rows, columns, times, positive = rows[order], columns[order], times[order], positive[order]
    shape = (len(users), len(items))
    return Interactions(
        users=users,
        items=items,
        available=available,
        rated=_csr(rows, columns, shape, np.dtype(np.bool_)),
        positives=_csr(rows[positive], columns[positive], shape, np.dtype(np.float32)),
        positive_times=times[positive],
    )


def _indexed(
    users: IdMap, items: IdMap, ratings: Iterable[RatingColumns]
) -> tuple[Indices, Indices, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    batches = [
        (
            users.to_indices(batch.user_ids),
            items.to_indices(batch.movie_ids),
            batch.rated_at,
            batch.positive,
        )
        for batch in ratings
    ]
    if not batches:
        empty = np.empty(0, np.int32)
        return empty, empty, np.empty(0, np.int64), np.empty(0, np.bool_)
    rows, columns, times, positive = zip(*batches, strict=True)
    return (
        np.concatenate(rows),
        np.concatenate(columns),
        np.concatenate(times),
        np.concatenate(positive),
    )


def _row_major_order(rows: Indices, columns: Indices, n_items: int) -> npt.NDArray[np.int64] | None:
    """Return the order that sorts by row and column; ``None`` where it holds already."""
    keys = rows.astype(np.int64) * n_items + columns
    return None if np.all(keys[1:] > keys[:-1]) else np.argsort(keys, kind="stable")


def _csr(
    rows: Indices, columns: Indices, shape: tuple[int, int], dtype: np.dtype[np.generic]
) -> Csr:
    # Of the type of the column indices wherever it suffices: scipy would widen both to the larger.
    kind = np.int32 if len(columns) <= np.iinfo(np.int32).max else np.int64
    indptr = np.zeros(shape[0] + 1, dtype=kind)
    np.cumsum(np.bincount(rows, minlength=shape[0]), out=indptr[1:])
    return sparse.csr_array((np.ones(len(columns), dtype), columns, indptr), shape=shape)
