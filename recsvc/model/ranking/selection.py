"""Compiled kernels that find the best of a row of scores without sorting the rest.

A bound comes first: the ``n``-th largest of the maxima of groups of items. ``n`` groups reach it,
so at least ``n`` items do, and few more: of 59,000 random scores about 107 reach the bound for
``n = 100``. Only groups that reach it are looked at again. What remains is packed into 64-bit
keys, score above item, whose order is the order of the ranking: descending score, then
ascending item. The loops over scores have no branch that depends on them, because a mispredicted
branch costs more than a comparison of sixteen scores.
"""

import numpy as np
from numba import njit

from recsvc.runtime.arrays import Float32, Int32, Int64
from recsvc.runtime.compiled import jit

_GROUP = 64
_LANES = 16
_LOWEST = np.float32(np.finfo(np.float32).min)
_LOW_BITS = 0x7FFFFFFF


@njit(inline="always")
def pack(score: np.float32, item: int) -> np.int64:
    """Return a number whose order is that of rankings: the higher score, then the smaller item."""
    # Adding zero makes -0.0 and 0.0 tie; flipping the magnitude bits of negative floats makes
    # their bit patterns ascend with their values.
    bits = np.float32(score + np.float32(0.0)).view(np.int32)
    return (np.int64(bits ^ ((bits >> 31) & _LOW_BITS)) << 32) | np.int64(_LOW_BITS - item)


@njit(inline="always")
def packed_score(key: np.int64) -> np.float32:
    """Return the score in a packed number."""
    bits = np.int32(key >> 32)
    return np.int32(bits ^ ((bits >> 31) & _LOW_BITS)).view(np.float32)


@njit(inline="always")
def packed_item(key: np.int64) -> np.int64:
    """Return the item in a packed number."""
    return _LOW_BITS - (key & _LOW_BITS)


@jit(fastmath={"nnan", "nsz"})
def _group_maxima(row: Float32, maxima: Float32) -> None:
    """Write the maximum of each group of ``_GROUP`` items, the last one possibly shorter."""
    whole = row.size // _GROUP
    for group in range(whole):
        start = group * _GROUP
        best = row[start]
        for j in range(start, start + _LANES):
            first = max(row[j], row[j + _LANES])
            second = max(row[j + 2 * _LANES], row[j + 3 * _LANES])
            either = max(first, second)
            best = max(best, either)
        maxima[group] = best
    if whole < maxima.size:
        best = row[whole * _GROUP]
        for j in range(whole * _GROUP, row.size):
            best = max(best, row[j])
        maxima[whole] = best


@jit()
def _nth_largest(values: Float32, n: int, source: Float32, target: Float32) -> np.float32:
    """Quickselect out of place, between two scratch arrays of the size of ``values``."""
    size = values.size
    source[:] = values
    while True:
        first, middle, last = source[0], source[size >> 1], source[size - 1]
        pivot: np.float32 = max(min(first, middle), min(max(first, middle), last))
        above, equal = 0, 0
        for i in range(size):
            target[above] = source[i]
            above += source[i] > pivot
            equal += source[i] == pivot
        if above < n <= above + equal:
            return pivot
        if n > above + equal:
            n -= above + equal
            above = 0
            for i in range(size):
                target[above] = source[i]
                above += source[i] < pivot
        size = above
        source, target = target, source


@jit()
def _reaching(row: Float32, maxima: Float32, bound: np.float32, groups: Int32, out: Int32) -> int:
    """Write the items that reach ``bound``, ascending, and return their number."""
    n_groups = 0
    for group in range(maxima.size):
        groups[n_groups] = group
        n_groups += maxima[group] >= bound
    size = 0
    for g in range(n_groups):
        start = groups[g] * _GROUP
        for item in range(start, min(start + _GROUP, row.size)):
            out[size] = item
            size += row[item] >= bound
    return size


@jit()
def keep_largest(keys: Int64, n: int) -> None:
    """Move the ``n`` largest keys to the front (Hoare's quickselect)."""
    low, high = 0, keys.size - 1
    while low < high:
        first, middle, last = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(first, middle), min(max(first, middle), last))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if n - 1 <= j:
            high = j
        elif n - 1 >= i:
            low = i
        else:
            return


@jit()
def mask(scores: Float32, users: Int32, indptr: Int64, indices: Int32) -> None:
    """Set ``scores[r, i]`` to minus infinity for each ``i`` in CSR row ``users[r]``."""
    for r in range(users.size):
        for p in range(indptr[users[r]], indptr[users[r] + 1]):
            scores[r, indices[p]] = -np.inf


@jit()
def select(scores: Float32, items: Int32, best: Float32, counts: Int32) -> None:
    """Write the best items of each row in order: the same as a full stable sort, cut at ``n``.

    Args:
        scores: Shape ``(rows, n_items)``; minus infinity marks what is left out, no NaN.
        items: Out, shape ``(rows, n)``, padded with -1.
        best: Out, their scores, padded with NaN.
        counts: Out, shape ``(rows,)``, number of items before the padding.
    """
    n_items, n = scores.shape[1], items.shape[1]
    maxima = np.empty(-(-n_items // _GROUP), dtype=np.float32)
    scratch = np.empty((2, maxima.size), dtype=np.float32)
    # One place more than can be filled: loops without branches write before they know.
    groups = np.empty(maxima.size + 1, dtype=np.int32)
    reaching = np.empty(n_items + 1, dtype=np.int32)
    keys = np.empty(n_items, dtype=np.int64)
    for r in range(scores.shape[0]):
        row = scores[r]
        _group_maxima(row, maxima)
        bound = _LOWEST
        if maxima.size >= n:
            bound = max(bound, _nth_largest(maxima, n, scratch[0], scratch[1]))
        size = _reaching(row, maxima, bound, groups, reaching)
        for k in range(size):
            keys[k] = pack(row[reaching[k]], reaching[k])
        kept = min(size, n)
        if size > 2 * n:
            keep_largest(keys[:size], n)
            size = n
        keys[:size].sort()
        for k in range(kept):
            items[r, k] = packed_item(keys[size - 1 - k])
            best[r, k] = packed_score(keys[size - 1 - k])
        items[r, kept:] = -1
        best[r, kept:] = np.nan
        counts[r] = kept
