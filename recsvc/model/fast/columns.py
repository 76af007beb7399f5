"""Parameters of one side and the rows in use, in arrays that suit the processor."""

import numpy as np

from recsvc.model.fast.compiling import compiled
from recsvc.model.fast.prefetch import CACHE_LINE
from recsvc.runtime.arrays import Float32, Int32

#: Ranges of rows whose changes are summed apart; as many threads can take part in it.
ROW_RANGES = 4


def aligned(shape: tuple[int, int]) -> Float32:
    """Zeros that begin where a cache line does."""
    numbers = CACHE_LINE // 4
    memory = np.zeros(shape[0] * shape[1] + numbers, np.float32)
    first = -memory.ctypes.data // 4 % numbers
    return memory[first : first + shape[0] * shape[1]].reshape(shape)


class Columns:
    """The embeddings of a side, or its biases as one column: parameters, and rows in use.

    Identity tokens come first among the parameters. Shared tokens are stepped where they are;
    identity tokens are copied into the rows for an epoch, in an order of its own, and back.
    """

    def __init__(
        self,
        values: Float32,
        squares: Float32,
        n_rows: int,
        weights: Float32,
        first_shared: int,
        *,
        in_place: bool,
    ) -> None:
        """Take the parameters of a side.

        Args:
            values: ``(n_tokens, k)`` embeddings, or biases.
            squares: ``(n_tokens, k)`` their AdaGrad sums.
            n_rows: users or items.
            weights: ``(n_rows,)`` feature values of the identity tokens.
            first_shared: number of identity tokens, ``n_rows`` or none.
            in_place: use identity embeddings as rows; they must be the rows, in the same order.
        """
        self.tokens, self.token_squares = values[first_shared:], squares[first_shared:]
        self.token_steps = np.empty_like(self.tokens)
        #: changes by range of rows
        self.token_gradients, self.token_growth = (
            np.empty((ROW_RANGES, *self.tokens.shape), np.float32) for _ in range(2)
        )
        shape = (n_rows, values.shape[1])
        # without an identity block, rows need sums of their own for the kernel's rates
        self._own = values[:first_shared] if first_shared else None
        self._own_squares = squares[:first_shared] if first_shared else np.ones(shape, np.float32)
        self._weights, self._ones = weights, np.ones(n_rows, np.float32)
        gradients_shape = shape if len(self.tokens) else (0, shape[1])
        self._in_place = in_place
        self.rows, self.squares = (
            (values, squares) if in_place else (aligned(shape), aligned(shape))
        )
        self.gradients, self.earlier_squares = aligned(gradients_shape), aligned(gradients_shape)

    def gather(self, low: int, high: int, order: Int32) -> None:
        """Copy the identity embeddings of ``order[low:high]``, and their sums, to the rows."""
        if self._in_place:
            return
        if self._own is not None:
            gather_rows(low, high, order, self._own, self._weights, self.rows)
        gather_rows(low, high, order, self._own_squares, self._ones, self.squares)
        if len(self.tokens):
            gather_rows(low, high, order, self._own_squares, self._ones, self.earlier_squares)

    def scatter(self, low: int, high: int, order: Int32) -> None:
        """Copy rows, from which their tokens have been taken, back to the identity embeddings."""
        if self._in_place:
            return
        if self._own is not None:
            scatter_rows(low, high, order, self.rows, self._weights, self._own)
        scatter_rows(low, high, order, self.squares, self._ones, self._own_squares)


@compiled
def gather_rows(
    low: int, high: int, order: Int32, source: Float32, factors: Float32, target: Float32
) -> None:
    """Copy rows ``order[low:high]`` of ``source``, times their factors, to ``low .. high - 1``."""
    for i in range(low, high):
        row = order[i]
        for c in range(target.shape[1]):
            target[i, c] = source[row, c] * factors[row]


@compiled
def scatter_rows(
    low: int, high: int, order: Int32, source: Float32, factors: Float32, target: Float32
) -> None:
    """Copy rows ``low .. high - 1`` of ``source``, over their factors, to ``order[low:high]``."""
    for i in range(low, high):
        row = order[i]
        for c in range(source.shape[1]):
            target[row, c] = source[i, c] / factors[row]
