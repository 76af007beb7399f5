"""Users split into fixed shards, and the buffers that a shard writes."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsvc.model.fast.kernel import ItemChanges, ShardRows

#: Memory that buffers of shards may take before shards run in waves of one per thread.
WAVE_BYTES = 64 * 2**20
#: Most entries of the list that BPR draws negatives from; it stands for all positives.
MAX_POPULAR = 2**20


def assign_shards(positives_per_user: Any, n_shards: int) -> npt.NDArray[np.int64]:
    """Shard of each user: back and forth through the users by falling number of positives.

    >>> assign_shards([5, 9, 1, 7], 2)
    array([1, 0, 0, 1])
    """
    by_activity = np.argsort(-np.asarray(positives_per_user), kind="stable")
    turn = np.arange(len(by_activity)) % (2 * n_shards)
    shards = np.empty(len(by_activity), np.int64)
    shards[by_activity] = np.minimum(turn, 2 * n_shards - 1 - turn)
    return shards


def split_positives(positives: Any, sample_weight: Any, n_shards: int) -> list[ShardRows]:
    """Group the positive interactions by shard.

    Args:
        positives: sparse ``(n_users, n_items)``; values at or below zero are left out.
        sample_weight: None, or a COO matrix with the rows and columns of ``positives``.
        n_shards: number of shards.
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
    every = max(1, -(-grouped.nnz // MAX_POPULAR))
    popular = np.ascontiguousarray(indices[::every])
    shards = []
    for first, last in pairwise(bounds):
        entries_of_shard = slice(indptr[first], indptr[last])
        shards.append(
            ShardRows(
                users=users[first:last],
                indptr=indptr[first : last + 1] - indptr[first],
                indices=indices[entries_of_shard],
                sample_weights=sample_weights[entries_of_shard] if weighted else sample_weights,
                popular=popular,
                visits=np.empty((last - first, 3), np.int32),
                order=order[entries_of_shard],
            )
        )
    return shards


def _aligned_weights(entries: Any, sample_weight: Any) -> npt.NDArray[np.float32]:
    if sample_weight is None:
        return np.ones(entries.nnz, np.float32)
    weights = sp.coo_matrix(sample_weight)
    if not (np.array_equal(weights.row, entries.row) and np.array_equal(weights.col, entries.col)):
        raise ValueError("sample_weight must list the same entries as positives, in their order")
    return weights.data.astype(np.float32)


class ChangeBuffers:
    """Buffers for the shards that run at the same time.

    Memory stays bounded at any number of shards: when all would take more than ``WAVE_BYTES``,
    they run in waves, whose changes are added before the next wave starts. The order of additions
    is that of the shards either way.
    """

    def __init__(
        self,
        shards: list[ShardRows],
        shape: tuple[int, int],
        threads: int,
        *,
        gradients: bool,
    ) -> None:
        n_items, width = shape
        capacity = min(n_items, 2 * max(len(shard.indices) for shard in shards))
        parts = 3 if gradients else 2
        row_bytes = parts * 4 * width * capacity
        size = min(len(shards), max(threads, WAVE_BYTES // max(row_bytes, 1)))
        self._stacked = ItemChanges(
            slots=np.full((size, n_items), -1, np.int32),
            touched=np.empty((size, capacity), np.int32),
            states=np.empty((size, capacity, parts, width), np.float32),
        )
        self._size = size
        self._n_shards = len(shards)

    def waves(self) -> Iterator[range]:
        """Ranges of shards that run together, in order."""
        for first in range(0, self._n_shards, self._size):
            yield range(first, min(first + self._size, self._n_shards))

    def at(self, place: int) -> ItemChanges:
        """The buffers of the shard at one place of a wave."""
        return self._part(place)

    def first(self, n_shards: int) -> ItemChanges:
        """The stacked buffers of the first places of a wave."""
        return self._part(slice(n_shards))

    def _part(self, index: Any) -> ItemChanges:
        slots, touched, states = (array[index] for array in self._stacked)
        return ItemChanges(slots, touched, states)

    def clear(self, place: int, n_touched: int) -> None:
        """Forget what a shard wrote."""
        self._stacked.slots[place, self._stacked.touched[place, :n_touched]] = -1
