"""Where held-out positives land in each user's ranking: one pass that all metrics start from."""

from dataclasses import dataclass

import numpy as np

from recsvc.model.ranking.rank import Csr, csr_arrays
from recsvc.model.ranking.scoring import score_blocks
from recsvc.model.ranking.selection import mask, select
from recsvc.model.scores.scores import Scores
from recsvc.runtime.arrays import Float32, Float64, Int32, Int64
from recsvc.runtime.compiled import jit

_PIECE = 2048


@dataclass(frozen=True)
class Placement:
    """Ranks of held-out positives in the full catalogue without what was seen.

    Rows are the evaluated users: those with at least one held-out positive.
    """

    n_users: int  #: users of the whole matrix, evaluated or not
    users: Int32  #: shape ``(rows,)``, user indices, ascending
    indptr: Int64  #: shape ``(rows + 1,)``, delimits the positives of each row
    items: Int32  #: shape ``(n_positives,)``, the held-out items
    ranks: Int32  #: shape ``(n_positives,)``, 0-based, ties by the smaller item index
    negatives_above: Float64  #: shape ``(n_positives,)``, negatives above plus half of the tied
    n_negatives: Int64  #: shape ``(rows,)``, items neither seen nor held out
    lists: Int32  #: shape ``(rows, list_length)``, best items, padded with -1


def place(
    scores: Scores,
    seen: Csr,
    test: Csr,
    list_length: int,
    *,
    threads: int = 1,
    block_rows: int | None = None,
) -> Placement:
    """Rank every held-out positive and the first ``list_length`` places, for each user in turn.

    Args:
        scores: Of a recommender.
        seen: Shape ``(n_users, n_items)``; its entries are left out of the ranking.
        test: Same shape; its entries are the held-out positives.
        list_length: Places kept of each list.
        threads: Number of workers.
        block_rows: Users scored at once.

    Raises:
        TrainingDivergedError: Scores would not be finite.
        ValueError: Shapes differ, or an entry is in both ``seen`` and ``test``.
    """
    shape = (scores.n_users, scores.n_items)
    if seen.shape != shape or test.shape != shape:
        raise ValueError(f"scores are {shape}, seen is {seen.shape}, test is {test.shape}")
    seen_indptr, seen_indices = csr_arrays(seen)
    test_indptr, test_indices = csr_arrays(test)
    users = np.flatnonzero(np.diff(test_indptr)).astype(np.int32)
    ranks = np.empty(test_indices.size, dtype=np.int32)
    above = np.empty(test_indices.size, dtype=np.float64)
    lists = np.empty((users.size, list_length), dtype=np.int32)

    def consume(start: int, stop: int, values: Float32) -> None:
        block = users[start:stop]
        mask(values, block, seen_indptr, seen_indices)
        _place(values, block, test_indptr, test_indices, ranks, above)
        best = np.empty((stop - start, list_length), dtype=np.float32)
        counts = np.empty(stop - start, dtype=np.int32)
        select(values, lists[start:stop], best, counts)

    for _ in score_blocks(scores, users, consume, threads=threads, block_rows=block_rows):
        pass
    if np.any(ranks < 0):
        raise ValueError("a held-out positive was seen before: the split overlaps")
    n_seen = np.diff(seen_indptr)[users]
    held_out = np.diff(test_indptr)[users]
    return Placement(
        n_users=scores.n_users,
        users=users,
        indptr=np.concatenate(([0], np.cumsum(held_out))),
        items=test_indices,
        ranks=ranks,
        negatives_above=above,
        n_negatives=scores.n_items - n_seen - held_out,
        lists=lists,
    )


@jit()
def _place(
    scores: Float32, users: Int32, indptr: Int64, indices: Int32, ranks: Int32, above: Float64
) -> None:
    """Fill ``ranks`` and ``above`` for the positives of ``users``; rank -1 if one is masked."""
    for r in range(users.size):
        row = scores[r]
        start, stop = indptr[users[r]], indptr[users[r] + 1]
        own = np.empty(stop - start, dtype=np.float32)
        for p in range(start, stop):
            own[p - start] = row[indices[p]]
        higher, tied = _counts(row, own)
        own_higher, own_tied = _counts(own, own)
        for p in range(start, stop):
            k = p - start
            if own[k] == -np.inf:
                ranks[p] = -1
                continue
            above[p] = (higher[k] - own_higher[k]) + (tied[k] - own_tied[k]) / 2
            ranks[p] = higher[k]
            if tied[k] > 1:
                for j in range(indices[p]):
                    ranks[p] += row[j] == own[k]


@jit()
def _counts(scores: Float32, thresholds: Float32) -> tuple[Int64, Int64]:
    """Count for each threshold the scores higher than it and those equal to it.

    Piece by piece, so that all thresholds meet a piece while it is in the cache next to the
    processor. The sums of a piece have 32 bits, like the scores, so that one vector loop compares
    and adds.
    """
    higher, no_lower = np.zeros((2, thresholds.size), dtype=np.int64)
    for start in range(0, scores.size, _PIECE):
        piece = scores[start : start + _PIECE]
        for k in range(thresholds.size):
            threshold = thresholds[k]
            more, as_many = np.int32(0), np.int32(0)
            for j in range(piece.size):
                more = np.int32(more + np.int32(piece[j] > threshold))
                as_many = np.int32(as_many + np.int32(piece[j] >= threshold))
            higher[k] += more
            no_lower[k] += as_many
    return higher, no_lower - higher
