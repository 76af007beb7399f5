"""Threads that share work out without changing its result."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

Argument = TypeVar("Argument")
Result = TypeVar("Result")
#: Ascending bounds of consecutive ranges of rows.
RowCuts = list[int]


class Workers:
    """Threads for compiled functions that release the interpreter's lock.

    The calling thread works too, so that a phase wakes one thread less than it uses.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"threads must be 1 or more, not {threads}")
        self.threads = threads
        self._pool = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="trainer")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(
        self, function: Callable[[Argument], Result], arguments: Sequence[Argument]
    ) -> list[Result]:
        """Results in the order of the arguments; each thread takes the next one when it is free."""
        results: dict[int, Result] = {}
        turns = count()

        def work() -> None:
            while (turn := next(turns)) < len(arguments):
                results[turn] = function(arguments[turn])

        helpers = min(self.threads, len(arguments)) - 1
        futures = [self._pool.submit(work) for _ in range(helpers)]
        try:
            work()
        finally:
            for future in futures:
                future.result()
        return [results[turn] for turn in range(len(arguments))]

    def over_rows(self, function: Callable[..., None], cuts: RowCuts, *arguments: Any) -> None:
        """Call ``function(low, high, *arguments)`` for every range between two cuts."""
        ranges = list(pairwise(cuts))
        self.map(lambda bounds: function(bounds[0], bounds[1], *arguments), ranges)

    def cut_rows(self, n_rows: int) -> RowCuts:
        """Ranges of equal length, one for each thread."""
        return [int(cut) for cut in np.linspace(0, n_rows, self.threads + 1)]
