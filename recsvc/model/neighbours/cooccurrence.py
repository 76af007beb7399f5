"""Which items are liked near each other: the nearest of each item, by three meanings of near."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from recsvc.model.neighbours.histories import Histories
from recsvc.model.ranking.selection import keep_largest, pack, packed_item, packed_score
from recsvc.runtime.arrays import Float32, Int32, Int64
from recsvc.runtime.compiled import jit
from recsvc.runtime.parallel import map_ahead
from recsvc.vocabulary import COSINE, FORWARD, WINDOW, NeighbourKind

NEAREST = 100  #: neighbours kept of each item
REACH = 30  #: places of a history within which two items count as near
SHRINKAGE = 20.0  #: added to the norm, so that what few people say weighs little
_CHUNKS_PER_THREAD = 16


@dataclass(frozen=True)
class Neighbours:
    """The nearest items of each item, nearest first."""

    items: Int32  #: shape ``(n_items, NEAREST)``, padded with -1
    weights: Float32  #: same shape, padded with 0


def neighbours_of(histories: Histories, kind: NeighbourKind, *, threads: int = 1) -> Neighbours:
    """Find the nearest items of each item ``j``: the largest ``C_ji / (sqrt(n_j n_i) + 20)``.

    ``n`` counts positives; ``C_ji`` adds up over all users

    - ``window``: 1 / distance, for each time that ``i`` is within 30 places of ``j``;
    - ``forward``: the same where ``i`` comes after ``j`` only;
    - ``cosine``: 1, wherever both are in a history.

    The norm is that of the cosine (Sarwar et al., Item-based collaborative filtering, WWW 2001),
    shrunk as in Bell, Koren, Scalable collaborative filtering with jointly derived neighborhood
    interpolation weights, ICDM 2007. Equal weights: the smaller item index first.

    Args:
        histories: of all users.
        kind: what near means.
        threads: number of workers; the result does not depend on it.
    """
    n_items = histories.n_items
    by_item = np.argsort(histories.items, kind="stable")
    counts = histories.counts()
    item_indptr = np.concatenate(([0], np.cumsum(counts)))
    owners = np.repeat(np.arange(histories.n_users, dtype=np.int32), np.diff(histories.indptr))
    before, after = {
        WINDOW: (REACH, REACH),
        FORWARD: (0, REACH),
        COSINE: (len(histories.items), len(histories.items)),
    }[kind]
    norms = np.sqrt(counts.astype(np.float64)).astype(np.float32)
    items = np.full((n_items, NEAREST), -1, dtype=np.int32)
    weights = np.zeros((n_items, NEAREST), dtype=np.float32)

    def work(bounds: tuple[int, int]) -> None:
        _nearest(
            bounds[0],
            bounds[1],
            by_item,
            item_indptr,
            owners,
            histories.indptr,
            histories.items,
            (before, after, kind != COSINE),
            norms,
            items,
            weights,
        )

    cuts = np.searchsorted(
        item_indptr, np.linspace(0, item_indptr[-1], _CHUNKS_PER_THREAD * threads + 1)[1:-1]
    )
    edges = [0, *cuts.tolist(), n_items]
    for _ in map_ahead(work, pairwise(edges), threads):
        pass
    return Neighbours(items, weights)


@jit()
def _nearest(
    first: int,
    last: int,
    by_item: Int64,
    item_indptr: Int64,
    owners: Int32,
    indptr: Int64,
    history: Int32,
    near: tuple[int, int, bool],
    norms: Float32,
    items: Int32,
    weights: Float32,
) -> None:
    """Fill the rows of the items from ``first`` up to ``last``."""
    before, after, by_distance = near
    together = np.zeros(norms.size, dtype=np.float32)
    # One place more than can be filled: the loop writes before it knows.
    met = np.empty(norms.size + 1, dtype=np.int32)
    keys = np.empty(norms.size, dtype=np.int64)
    for item in range(first, last):
        n_met = 0
        for occurrence in range(item_indptr[item], item_indptr[item + 1]):
            place = by_item[occurrence]
            user = owners[place]
            start = max(indptr[user], place - before)
            stop = min(indptr[user + 1], place + after + 1)
            for other in range(start, stop):
                if other == place:
                    continue
                neighbour = history[other]
                met[n_met] = neighbour
                n_met += together[neighbour] == 0
                if by_distance:
                    together[neighbour] += np.float32(1) / np.float32(abs(other - place))
                else:
                    together[neighbour] += np.float32(1)
        for m in range(n_met):
            neighbour = met[m]
            norm = norms[item] * norms[neighbour] + np.float32(SHRINKAGE)
            keys[m] = pack(together[neighbour] / norm, neighbour)
            together[neighbour] = 0
        kept = min(n_met, NEAREST)
        if n_met > NEAREST:
            keep_largest(keys[:n_met], NEAREST)
        keys[:kept].sort()
        for k in range(kept):
            key = keys[kept - 1 - k]
            items[item, k] = packed_item(key)
            weights[item, k] = packed_score(key)
