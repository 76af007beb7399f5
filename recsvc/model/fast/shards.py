"""Users split into fixed shards, and items into the parts of an epoch."""

from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsvc.model.fast.kernel import Catalogue, ShardRows
from recsvc.runtime.arrays import Float32, Int32, Int64

#: Most entries of the list that BPR draws negatives from; it stands for all positives.
MAX_POPULAR = 2**20


def assign_shards(positives_per_user: Any, n_shards: int) -> Int64:
    """Shard of each user: back and forth through the users by falling number of positives.

    >>> assign_shards([5, 9, 1, 7], 2)
    array([1, 0, 0, 1])
    """
    by_activity = np.argsort(-np.asarray(positives_per_user), kind="stable")
    turn = np.arange(len(by_activity)) % (2 * n_shards)
    shards = np.empty(len(by_activity), np.int64)
    shards[by_activity] = np.minimum(turn, 2 * n_shards - 1 - turn)
    return shards


def split_positives(
    positives: Any, sample_weight: Any, n_shards: int, positives_per_visit: int
) -> list[ShardRows]:
    """Group the positive interactions by shard.

    Args:
        positives: sparse ``(n_users, n_items)``; values at or below zero are left out.
        sample_weight: None, or a COO matrix with the rows and columns of ``positives``.
        n_shards: number of shards.
        positives_per_visit: taken of a user and a part at a time, at most.
    """
    entries = sp.coo_matrix(positives)
    n_users, n_items = entries.shape
    weights = _aligned_weights(entries, sample_weight)
    rows, columns = entries.row, entries.col
    if not np.all(entries.data > 0):
        positive = entries.data > 0
        rows, columns, weights = rows[positive], columns[positive], weights[positive]
    shard_of_user = assign_shards(np.bincount(rows, minlength=n_users), n_shards)
    users = np.argsort(shard_of_user, kind="stable").astype(np.int32)
    place = np.empty(n_users, np.int32)
    place[users] = np.arange(n_users, dtype=np.int32)
    grouped = sp.csr_matrix((weights, (place[rows], columns)), shape=(n_users, n_items))
    grouped.sort_indices()
    weighted = not np.all(grouped.data == 1.0)
    order = np.empty(grouped.nnz, np.int32)
    bounds = np.searchsorted(shard_of_user[users], np.arange(n_shards + 1))
    indptr, indices = grouped.indptr.astype(np.int64), grouped.indices.astype(np.int32, copy=False)
    sample_weights = grouped.data if weighted else np.empty(0, np.float32)
    shards = []
    for first, last in pairwise(bounds):
        entries_of_shard = slice(indptr[first], indptr[last])
        # each user of a turn makes as many visits as the positives need, rounded up
        most_visits = last - first + (indptr[last] - indptr[first]) // positives_per_visit
        shards.append(
            ShardRows(
                users=users[first:last],
                indptr=indptr[first : last + 1] - indptr[first],
                indices=indices[entries_of_shard],
                sample_weights=sample_weights[entries_of_shard] if weighted else sample_weights,
                visits=np.empty((most_visits, 3), np.int32),
                order=order[entries_of_shard],
                parts=np.empty((last - first, n_shards + 1), np.int32),
            )
        )
    return shards


def _aligned_weights(entries: Any, sample_weight: Any) -> Float32:
    if sample_weight is None:
        return np.ones(entries.nnz, np.float32)
    weights = sp.coo_matrix(sample_weight)
    if not (np.array_equal(weights.row, entries.row) and np.array_equal(weights.col, entries.col)):
        raise ValueError("sample_weight must list the same entries as positives, in their order")
    return weights.data.astype(np.float32)


def popular_items(shards: list[ShardRows]) -> Int32:
    """Items as often as users like them, shard by shard: what BPR draws negatives from."""
    items = np.concatenate([shard.indices for shard in shards])
    every = max(1, -(-len(items) // MAX_POPULAR))
    return np.ascontiguousarray(items[::every])


def arrange_catalogue(order: Any, popular: Any, n_parts: int) -> Catalogue:
    """Places of the items in an epoch.

    Args:
        order: ``(n_items,)`` the items, shuffled; consecutive ranges of it are the parts.
        popular: items that BPR draws negatives from; empty for WARP.
        n_parts: number of parts.
    """
    n_items = len(order)
    place_of = np.empty(n_items, np.int32)
    place_of[order] = np.arange(n_items, dtype=np.int32)
    places = place_of[popular]
    parts = places.astype(np.int64) * n_parts // n_items
    by_part = np.argsort(parts, kind="stable")
    popular_from = np.searchsorted(parts[by_part], np.arange(n_parts + 1))
    return Catalogue(order, place_of, places[by_part], popular_from)
