"""Work done by threads ahead of whoever takes its results."""

import threading
from collections.abc import Iterator

import pytest

from recsvc.runtime.parallel import map_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_arguments(threads: int) -> None:
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0 and threads > 1:
            assert first_may_end.wait(60)
        if number == 1:
            first_may_end.set()
        return number * number

    assert list(map_ahead(work, range(20), threads)) == [number**2 for number in range(20)]


def test_few_arguments_are_taken_before_their_results() -> None:
    taken = []

    def arguments() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(lambda number: number, arguments(), 2)
    assert next(results) == 0
    assert len(taken) <= 5
    results.close()


def test_an_error_is_raised_where_results_are_taken() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    results = map_ahead(work, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="3"):
        next(results)
