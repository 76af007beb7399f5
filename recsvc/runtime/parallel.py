"""Work done by threads ahead of whoever takes its results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Argument], Result], arguments: Iterable[Argument], threads: int
) -> Generator[Result]:
    """Yield a function's results in the order of its arguments, computed on several threads.

    Not more than ``2 * threads + 1`` results wait to be taken, so that memory stays bounded;
    arguments are taken, by the thread that takes the results, no earlier than that needs. What a
    call raises is raised here. Closing the generator gives up calls that have not begun and waits
    for the others.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for argument in arguments:
                pending.append(pool.submit(function, argument))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
