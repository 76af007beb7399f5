"""Scores of all items for blocks of users, every core busy.

Each worker thread owns one scorer, fills its buffer (for factors by a single-threaded BLAS call)
and consumes it at once with a compiled kernel, so that both halves of the work run on all cores and
memory stays at ``threads * block_rows * n_items`` floats for each buffer of a scorer.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recsvc.model.scores.factors import STRIP, whole_strips
from recsvc.model.scores.scores import Scorer, Scores
from recsvc.runtime.arrays import Float32, Int32
from recsvc.runtime.parallel import map_ahead

Result = TypeVar("Result")

#: Called on a worker with the positions ``[start, stop)`` among the asked-for users and their
#: scores ``(stop - start, n_items)``, which it may overwrite.
Consumer = Callable[[int, int, Float32], Result]

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
    scores: Scores,
    users: Int32,
    consume: Consumer[Result],
    *,
    threads: int,
    block_rows: int | None = None,
) -> Generator[Result]:
    """Score every item for each of ``users`` and yield what ``consume`` makes of each block.

    Args:
        scores: of a recommender.
        users: user indices, shape ``(rows,)``.
        consume: runs on the worker that scored the block.
        threads: number of workers.
        block_rows: users scored at once, rounded up to a multiple of 48; by default what fits a
            buffer of 64 MiB.

    Yields:
        The results, in the order of ``users``.

    Raises:
        TrainingDivergedError: a score could be NaN or infinite.
        ValueError: ``threads`` or ``block_rows`` is not positive.
    """
    if threads < 1 or (block_rows is not None and block_rows < 1):
        raise ValueError(f"threads and block_rows must be positive: {threads}, {block_rows}")
    scores.require_finite()
    rows = block_rows or _default_block_rows(users.size, scores.n_items, threads)
    return _score_blocks(scores, users, consume, threads, whole_strips(rows))


def _score_blocks(
    scores: Scores, users: Int32, consume: Consumer[Result], threads: int, rows: int
) -> Generator[Result]:
    scorers: queue.SimpleQueue[Scorer] = queue.SimpleQueue()
    starts = range(0, users.size, rows)
    for _ in range(min(threads, len(starts))):
        scorers.put(scores.scorer(rows))

    def work(start: int) -> Result:
        stop = min(start + rows, users.size)
        scorer = scorers.get()
        try:
            return consume(start, stop, scorer.score(users[start:stop]))
        finally:
            scorers.put(scorer)

    with _single_threaded_blas.hold():
        yield from map_ahead(work, starts, threads)


def _default_block_rows(n_users: int, n_items: int, threads: int) -> int:
    """As many rows as fit the buffer, but several blocks for each thread, in whole strips."""
    fitting = _BUFFER_FLOATS // max(n_items, 1)
    sharing = -(-n_users // (_BLOCKS_PER_THREAD * threads))
    return max(STRIP, min(fitting, sharing) // STRIP * STRIP)
