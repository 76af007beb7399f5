"""Scores of all items for blocks of users: one matrix product a block, every core busy.

Each worker thread owns one buffer, fills it by a single-threaded BLAS call and consumes it at
once with a compiled kernel, so that both halves of the work run on all cores and memory stays at
``threads * block_rows * n_items`` floats.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recsvc.errors import TrainingDivergedError
from recsvc.model.scores.factors import Factors, Float32
from recsvc.runtime.parallel import map_ahead

Indices = npt.NDArray[np.integer]
Result = TypeVar("Result")

#: Called on a worker with the positions ``[start, stop)`` among the asked-for users and their
#: scores ``(stop - start, n_items)``, which it may overwrite.
Consumer = Callable[[int, int, Float32], Result]

# BLAS kernels work on strips of rows, 12 on some processors and up to 16 on others; they round
# what is left over in another way, and on some each place in the strip in its own. With blocks of
# whole strips, of either kind, a score does not depend on how users fall into blocks.
_STRIP = 48
_BUFFER_FLOATS = 16 * 1024 * 1024
_BLOCKS_PER_THREAD = 4


class _SingleThreadedBlas:
    """Limits BLAS to one thread while anybody holds it; the limit is global to the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._limits: threadpool_limits | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._lock:
            if self._holders == 0:
                self._limits = threadpool_limits(limits=1, user_api="blas")
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0 and self._limits is not None:
                    self._limits.restore_original_limits()


_single_threaded_blas = _SingleThreadedBlas()


def score_blocks(
    factors: Factors,
    users: Indices,
    consume: Consumer[Result],
    *,
    threads: int,
    block_rows: int | None = None,
) -> Generator[Result]:
    """Score every item for each of ``users`` and yield what ``consume`` makes of each block.

    Args:
        factors: The model.
        users: User indices, shape ``(rows,)``.
        consume: Runs on the worker that scored the block.
        threads: Number of workers.
        block_rows: Users scored at once, rounded up to a multiple of 48; by default what fits a
            buffer of 64 MiB.

    Yields:
        The results, in the order of ``users``.

    Raises:
        TrainingDivergedError: A factor is NaN or infinite, or scores could overflow float32.
        ValueError: ``threads`` or ``block_rows`` is not positive.
    """
    if threads < 1 or (block_rows is not None and block_rows < 1):
        raise ValueError(f"threads and block_rows must be positive: {threads}, {block_rows}")
    _require_finite_scores(factors)
    rows = block_rows or _default_block_rows(users.size, factors.n_items, threads)
    return _score_blocks(factors, users, consume, threads, _whole_strips(rows))


def _score_blocks(
    factors: Factors, users: Indices, consume: Consumer[Result], threads: int, rows: int
) -> Generator[Result]:
    scorers: queue.SimpleQueue[_Scorer] = queue.SimpleQueue()
    starts = range(0, users.size, rows)
    items = np.ascontiguousarray(factors.items.T)  # BLAS packs this order faster for few rows
    for _ in range(min(threads, len(starts))):
        scorers.put(_Scorer(factors, items, rows))

    def work(start: int) -> Result:
        stop = min(start + rows, users.size)
        scorer = scorers.get()
        try:
            return consume(start, stop, scorer.score(users[start:stop]))
        finally:
            scorers.put(scorer)

    with _single_threaded_blas.hold():
        yield from map_ahead(work, starts, threads)


class _Scorer:
    """One worker's buffers, allocated once."""

    def __init__(self, factors: Factors, items: Float32, rows: int) -> None:
        self._user_factors = factors.users
        self._item_factors = items
        self._users = np.zeros((rows, factors.users.shape[1]), dtype=np.float32)
        self._scores = np.empty((rows, factors.n_items), dtype=np.float32)

    def score(self, users: Indices) -> Float32:
        """Scores of all items, shape ``(users.size, n_items)``, valid until the next call."""
        strips = _whole_strips(users.size)
        np.take(self._user_factors, users, axis=0, out=self._users[: users.size], mode="clip")
        # BLAS has no faster way for one factor, as popularity is, than for dozens.
        product = np.multiply if self._users.shape[1] == 1 else np.matmul
        product(self._users[:strips], self._item_factors, out=self._scores[:strips])
        return self._scores[: users.size]


def _default_block_rows(n_users: int, n_items: int, threads: int) -> int:
    """As many rows as fit the buffer, but several blocks for each thread, in whole strips."""
    fitting = _BUFFER_FLOATS // max(n_items, 1)
    sharing = -(-n_users // (_BLOCKS_PER_THREAD * threads))
    return max(_STRIP, min(fitting, sharing) // _STRIP * _STRIP)


def _whole_strips(rows: int) -> int:
    return -(-rows // _STRIP) * _STRIP


def _require_finite_scores(factors: Factors) -> None:
    """Prove from the factors alone that no score, nor any partial sum of one, can overflow."""
    users, items = row_norms(factors.users, "user"), row_norms(factors.items, "item")
    largest = users.max(initial=0.0) * items.max(initial=0.0)
    if largest >= np.finfo(np.float32).max:
        raise TrainingDivergedError(
            f"Scores of this model overflow (up to {largest:.3g}): training diverged; "
            "retrain with a lower learning rate."
        )


def row_norms(vectors: Float32, side: str) -> npt.NDArray[np.float64]:
    """Euclidean norm of each row of ``vectors``, the factors of each ``side`` ("user", "item").

    Raises:
        TrainingDivergedError: A vector holds NaN or infinity.
    """
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    norms: npt.NDArray[np.float64] = np.sqrt(squares)
    bad = np.flatnonzero(~np.isfinite(norms))
    if bad.size:
        raise TrainingDivergedError(
            f"Factors of {bad.size} {side}s are not finite, the first at index {bad[0]}: "
            "training diverged; retrain with a lower learning rate."
        )
    return norms
