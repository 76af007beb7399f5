"""The order in which users did things, where times are equal too."""

import numpy as np

from recsvc.runtime.arrays import Int64, Ints, UInt64
from recsvc.runtime.compiled import jit


def oldest_first(indptr: Ints, times: Int64, users: Ints, items: Ints, seed: int) -> Int64:
    """Sort the entries of each user by time; equal times are in no order but a repeatable one.

    Ids come into being in an order of their own: a tie that goes by them prefers what was added to
    the catalogue first, which is known to nobody at that time and tells models apart by accident.

    Args:
        indptr: shape ``(n_users + 1,)``, delimits the entries of each user.
        times: shape ``(n,)``, Unix seconds.
        users: shape ``(n,)``, id or index of the user of each entry.
        items: shape ``(n,)``, likewise of the item.
        seed: of the order of equal times.

    Returns:
        Shape ``(n,)``, positions of entries; those of a user fill the same range as before.
    """
    ties = scrambled(users, items, seed)
    order = np.empty(len(times), dtype=np.int64)
    _sort_within(np.asarray(indptr, dtype=np.int64), times, ties, order)
    return order


def scrambled(users: Ints, items: Ints, seed: int) -> UInt64:
    """Return a number for each pair of user and item, as good as random, shape ``(n,)``.

    The finaliser of SplitMix64 (Steele, Lea, Flood, Fast splittable pseudorandom number generators,
    OOPSLA 2014), applied to seed, user and item in turn.
    """
    mixed = np.full(1, seed, dtype=np.uint64)
    for part in (users, items):
        mixed = _finalised(mixed + part.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return mixed


def _finalised(values: UInt64) -> UInt64:
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@jit()
def _sort_within(indptr: Int64, times: Int64, ties: UInt64, order: Int64) -> None:
    for row in range(indptr.size - 1):
        start, stop = indptr[row], indptr[row + 1]
        by_tie = np.argsort(ties[start:stop], kind="mergesort")
        by_time = np.argsort(times[start:stop][by_tie], kind="mergesort")
        for place in range(stop - start):
            order[start + place] = start + by_tie[by_time[place]]
