"""Who rated what, as arrays.

What is read is arranged by user and then movie; :mod:`recsvc.model.data.identifiers` maps ids.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from recsvc.model.data.identifiers import Csr, IdMap, Ids, Indices
from recsvc.runtime.arrays import Int64, Mask


class RatingColumns(NamedTuple):
    """Ratings as columns, with ids."""

    user_ids: Ids
    movie_ids: Ids
    rated_at: Int64  #: Unix seconds
    positive: Mask  #: whether the rating counts as a positive


@dataclass(frozen=True)
class Interactions:
    """Who rated what, sorted by user and then item."""

    users: IdMap
    items: IdMap
    available: Mask  #: shape ``(n_items,)``: whether it may be recommended
    rated: Csr  #: shape ``(n_users, n_items)``, bool: anything rated
    rated_times: Int64  #: Unix seconds, aligned with ``rated.data``
    positives: Csr  #: same shape, float32 ones: what models learn from
    positive_times: Int64  #: Unix seconds, aligned with ``positives.data``

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
            self.rated_times,
            self.positives.indptr,
            self.positives.indices,
        ):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def build_interactions(
    user_ids: Ids,
    movie_ids: Ids,
    available: Mask,
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
        rated_times=times,
        positives=_csr(rows[positive], columns[positive], shape, np.dtype(np.float32)),
        positive_times=times[positive],
    )


def _indexed(
    users: IdMap, items: IdMap, ratings: Iterable[RatingColumns]
) -> tuple[Indices, Indices, Int64, Mask]:
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


def _row_major_order(rows: Indices, columns: Indices, n_items: int) -> Int64 | None:
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
