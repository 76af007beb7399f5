"""The best items for every user, exactly as a full sort would order them."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsvc.model.ranking.scoring import score_blocks
from recsvc.model.ranking.selection import mask, select
from recsvc.model.scores.scores import Scores
from recsvc.runtime.arrays import Float32, Int32, Int64, Mask

Csr = sparse.csr_array | sparse.csr_matrix


@dataclass(frozen=True)
class RankedBlock:
    """The best items of some consecutive rows of a ranking."""

    users: Int32  #: shape ``(rows,)``, user (or item, for similar items) index of each row
    items: Int32  #: shape ``(rows, n)``, item indices, best first, padded with -1
    scores: Float32  #: shape ``(rows, n)``, their scores, padded with NaN
    counts: Int32  #: shape ``(rows,)``, number of items before the padding


def rank(
    scores: Scores,
    exclude: Csr,
    n: int,
    *,
    available: Mask | None = None,
    users: slice | Int32 | None = None,
    threads: int = 1,
    block_rows: int | None = None,
) -> Generator[RankedBlock]:
    """Rank the best ``n`` items for each user: descending score, ties by the smaller item index.

    The result does not depend on ``threads`` or ``block_rows``, which bound the memory.

    Args:
        scores: Of a recommender.
        exclude: Shape ``(n_users, n_items)``; stored entries are never ranked.
        n: Items for each user; fewer where the catalogue has no more to give.
        available: Shape ``(n_items,)``; items that are False are never ranked.
        users: Which users, by default all in ascending order.
        threads: Number of workers.
        block_rows: Users ranked at once, rounded up to a multiple of 48; by default what
            fits a buffer of 64 MiB.

    Yields:
        Blocks in the order of ``users``.

    Raises:
        TrainingDivergedError: Scores would not be finite.
        ValueError: Shapes do not fit, or ``n``, ``threads`` or ``block_rows`` is not positive.
    """
    if n < 1:
        raise ValueError(f"n must be positive: {n}")
    if exclude.shape != (scores.n_users, scores.n_items):
        raise ValueError(
            f"exclude is {exclude.shape}, scores are {(scores.n_users, scores.n_items)}"
        )
    chosen = _chosen_users(users, scores.n_users)
    indptr, indices = csr_arrays(exclude)
    unavailable = _unavailable(available, scores.n_items)

    def consume(start: int, stop: int, values: Float32) -> RankedBlock:
        block = _empty_block(chosen[start:stop], n)
        mask(values, block.users, indptr, indices)
        values[:, unavailable] = -np.inf
        select(values, block.items, block.scores, block.counts)
        return block

    return score_blocks(scores, chosen, consume, threads=threads, block_rows=block_rows)


def similar_items(
    similarity: Scores,
    n: int,
    *,
    available: Mask | None = None,
    threads: int = 1,
    block_rows: int | None = None,
) -> Generator[RankedBlock]:
    """Rank the ``n`` items most similar to each item, itself excluded.

    Args:
        similarity: Of items to items, such as :func:`recsvc.model.scores.factors.cosines`.
        n: Items for each item.
        available: Shape ``(n_items,)``; items that are False are similar to none.
        threads: Number of workers.
        block_rows: Items ranked at once.

    Yields:
        Blocks in item order; ``RankedBlock.users`` holds item indices.

    Raises:
        TrainingDivergedError: A similarity would not be finite.
        ValueError: ``n``, ``threads`` or ``block_rows`` is not positive.
    """
    itself = sparse.eye_array(similarity.n_items, dtype=np.float32, format="csr")
    return rank(
        similarity,
        itself,
        n,
        available=available,
        threads=threads,
        block_rows=block_rows,
    )


def csr_arrays(matrix: Csr) -> tuple[Int64, Int32]:
    """Return ``indptr`` as int64 and ``indices`` as int32, the one form the kernels take."""
    return (
        np.ascontiguousarray(matrix.indptr, dtype=np.int64),
        np.ascontiguousarray(matrix.indices, dtype=np.int32),
    )


def _chosen_users(users: slice | Int32 | None, n_users: int) -> Int32:
    everyone = np.arange(n_users, dtype=np.int32)
    if users is None:
        return everyone
    return everyone[users]


def _unavailable(available: Mask | None, n_items: int) -> npt.NDArray[np.intp]:
    if available is None:
        return np.empty(0, dtype=np.intp)
    if available.shape != (n_items,):
        raise ValueError(f"available is {available.shape}, there are {n_items} items")
    return np.flatnonzero(~available)


def _empty_block(users: Int32, n: int) -> RankedBlock:
    return RankedBlock(
        users=users,
        items=np.empty((users.size, n), dtype=np.int32),
        scores=np.empty((users.size, n), dtype=np.float32),
        counts=np.empty(users.size, dtype=np.int32),
    )
