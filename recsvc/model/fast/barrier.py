"""What happens between blocks: shared tokens stepped, rows moved along, both regularised.

Functions take ranges of rows or tokens, and no number depends on how the ranges are cut. The one
sum over items is kept apart for a fixed number of ranges, which are then added in their order.
"""

from typing import NamedTuple

import numpy as np

from recsvc.model.fast.compiling import compiled, inlined
from recsvc.model.fast.prefetch import prefetch
from recsvc.runtime.arrays import Float32, Int32

#: How many tokens before its use a token's row is asked for.
TOKENS_AHEAD = 16


class TokenColumns(NamedTuple):
    """The shared tokens of each row, as the three arrays of a compressed matrix."""

    indptr: Int32  #: ``(n + 1,)``
    indices: Int32
    values: Float32


@inlined
def _add_scaled(target: Float32, t: int, source: Float32, s: int, factor: np.float32) -> None:
    """Add ``factor * source[s]`` to ``target[t]``; both are ``(n, k)`` of the same ``k``."""
    for c in range(target.shape[1]):
        target[t, c] += factor * source[s, c]


@compiled
def sum_changes(
    low: int,
    high: int,
    tokens_of_row: TokenColumns,
    weights: Float32,
    gradients: Float32,
    squares: Float32,
    earlier_squares: Float32,
    token_gradients: Float32,
    token_growth: Float32,
) -> None:
    """Sum what a block did to rows ``low .. high - 1`` for each of their tokens.

    Args:
        low: the first row.
        high: that after the last.
        tokens_of_row: the features.
        weights: ``(n,)`` feature values of the identity tokens.
        gradients: ``(n, k)`` the rows' gradients summed over the block; zeroed.
        squares: ``(n, k)`` AdaGrad sums of the rows' identity tokens.
        earlier_squares: ``(n, k)`` those from before the block; brought up to date.
        token_gradients: ``(n_tokens, k)`` overwritten.
        token_growth: ``(n_tokens, k)`` overwritten with the growth of the tokens' AdaGrad sums.
    """
    indptr, indices, feature_values = tokens_of_row
    last = indptr[high] - 1
    token_gradients[:] = np.float32(0.0)
    token_growth[:] = np.float32(0.0)
    width = squares.shape[1]
    for i in range(low, high):
        inverse = np.float32(1.0) / (weights[i] * weights[i])
        for c in range(width):
            earlier_squares[i, c] = (squares[i, c] - earlier_squares[i, c]) * inverse
        for k in range(indptr[i], indptr[i + 1]):
            later = indices[min(k + TOKENS_AHEAD, last)]
            prefetch(token_gradients, later)
            prefetch(token_growth, later)
            t = indices[k]
            f = feature_values[k]
            _add_scaled(token_gradients, t, gradients, i, f)
            _add_scaled(token_growth, t, earlier_squares, i, f * f)
        for c in range(width):
            earlier_squares[i, c] = squares[i, c]
        for c in range(width):
            gradients[i, c] = 0.0


@compiled
def step_tokens(
    low: int,
    high: int,
    gradients: Float32,
    growth: Float32,
    tokens: Float32,
    squares: Float32,
    steps: Float32,
    rates: Float32,
    learning_rate: np.float32,
    shrink: np.float32,
) -> None:
    """One AdaGrad step of tokens ``low .. high - 1`` with the changes of a whole block.

    Args:
        low: the first token.
        high: that after the last.
        gradients: ``(n_ranges, n_tokens, k)``, by range of rows.
        growth: ``(n_ranges, n_tokens, k)``, likewise.
        tokens: ``(n_tokens, k)`` stepped, then regularised.
        squares: ``(n_tokens, k)`` their AdaGrad sums.
        steps: ``(n_tokens, k)`` overwritten with what was added to the tokens, regularised.
        rates: ``(n_tokens,)`` the new learning rates are added, summed over the columns.
        learning_rate: AdaGrad's.
        shrink: the factor by which the block regularises.
    """
    width = tokens.shape[1]
    for t in range(low, high):
        for c in range(width):
            steps[t, c] = 0.0
        for part in range(gradients.shape[0]):
            for c in range(width):
                steps[t, c] += gradients[part, t, c]
            for c in range(width):
                squares[t, c] += growth[part, t, c]
        total = np.float32(0.0)
        for c in range(width):
            rate = learning_rate / np.sqrt(squares[t, c])
            step = rate * steps[t, c]
            tokens[t, c] = (tokens[t, c] - step) * shrink
            steps[t, c] = -step * shrink
            total += rate
        rates[t] += total


@compiled
def add_tokens(
    low: int,
    high: int,
    tokens_of_row: TokenColumns,
    tokens: Float32,
    rows: Float32,
    keep: np.float32,
) -> None:
    """Multiply rows ``low .. high - 1`` by ``keep`` and add their tokens."""
    indptr, indices, feature_values = tokens_of_row
    last = indptr[high] - 1
    for i in range(low, high):
        for c in range(rows.shape[1]):
            rows[i, c] *= keep
        for k in range(indptr[i], indptr[i + 1]):
            prefetch(tokens, indices[min(k + TOKENS_AHEAD, last)])
            _add_scaled(rows, i, tokens, indices[k], feature_values[k])


@compiled
def sum_rates(
    low: int, high: int, tokens_of_row: TokenColumns, rates: Float32, token_rates: Float32
) -> None:
    """Sum the rates of the tokens of rows ``low .. high - 1``, whatever their feature values."""
    indptr, indices, _ = tokens_of_row
    for i in range(low, high):
        total = np.float32(0.0)
        for k in range(indptr[i], indptr[i + 1]):
            total += rates[indices[k]]
        token_rates[i] = total


@compiled
def scale_rows(low: int, high: int, rows: Float32, factor: np.float32) -> None:
    """Multiply rows ``low .. high - 1``."""
    for i in range(low, high):
        for c in range(rows.shape[1]):
            rows[i, c] *= factor
