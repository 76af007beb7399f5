"""What happens between blocks: changes summed in shard order, tokens stepped, rows rebuilt.

Every function works on a range of rows that no other call shares, in an order that does not depend
on how the ranges are cut: threads may take any ranges and the bytes stay the same.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recsvc.model.factors import Float32
from recsvc.model.fast.compiling import compiled
from recsvc.model.fast.kernel import Int32, ItemChanges, SideSnapshot
from recsvc.model.fast.prefetch import prefetch

#: How many items before its use a shard's copy is asked for.
ITEMS_AHEAD = 4

Bool = npt.NDArray[np.bool_]


class TokenColumns(NamedTuple):
    """A compressed matrix by its three arrays: rows by tokens, or tokens by rows."""

    indptr: Int32
    indices: Int32
    values: Float32


class MergedChanges(NamedTuple):
    """The changes of all shards in one block, valid in the rows that are ``touched``."""

    touched: Bool  #: ``(n_items,)``
    moves: Float32  #: ``(n_items, d + 1)`` moves of the rows, times the roots of their sums
    squares: Float32  #: ``(n_items, d + 1)`` growth of the AdaGrad sums
    gradients: Float32  #: ``(n_items, d + 1)``, empty where no token needs them


@compiled
def _ask_for(item: Any, slots: Any, states: Any) -> None:
    if slots[item] >= 0:
        prefetch(states, slots[item])


@compiled
def add_changes(
    low: int, high: int, items: SideSnapshot, changes: ItemChanges, merged: MergedChanges
) -> None:
    """Add the changes of consecutive shards, in their order, for items ``low .. high - 1``.

    The arrays of ``changes`` are stacks, with one shard in each entry of their first axis. A
    shard moved a row with rates that its own gradients alone had lowered, on average
    ``2 / (sqrt(G) + sqrt(G_shard))``. The move is kept with that rate divided out, so that
    ``apply_changes`` can put the rate of all shards together in its place.
    """
    start_rows, start_squares = items.rows, items.squares
    slots, states = changes.slots, changes.states
    touched, moves, growth, sums = merged.touched, merged.moves, merged.squares, merged.gradients
    width = start_rows.shape[1]
    for i in range(low, high):
        for shard in range(slots.shape[0]):
            _ask_for(min(i + ITEMS_AHEAD, high - 1), slots[shard], states[shard])
            slot = slots[shard, i]
            if slot < 0:
                continue
            if not touched[i]:
                touched[i] = True
                for c in range(width):
                    moves[i, c] = 0.0
                    growth[i, c] = 0.0
                for c in range(width if len(sums) else 0):
                    sums[i, c] = 0.0
            for c in range(width):
                roots = np.sqrt(states[shard, slot, 1, c]) + np.sqrt(start_squares[i, c])
                moves[i, c] += (states[shard, slot, 0, c] - start_rows[i, c]) * roots
            for c in range(width):
                growth[i, c] += states[shard, slot, 1, c] - start_squares[i, c]
            for c in range(width if len(sums) else 0):
                sums[i, c] += states[shard, slot, 2, c]


@compiled
def apply_changes(
    low: int,
    high: int,
    weights: Float32,
    values: Float32,
    squares: Float32,
    merged: MergedChanges,
    shrink: np.float32,
) -> None:
    """Move the identity embeddings ``low .. high - 1`` and regularise them.

    ``values`` is empty for a side without identity tokens; then only the sums grow. Turns the
    growth of the sums into that of the row's squared gradients, which the tokens need.
    """
    touched, moves, growth = merged.touched, merged.moves, merged.squares
    width = squares.shape[1]
    for i in range(low, high):
        if touched[i]:
            weight = weights[i]
            if len(values):
                for c in range(width):
                    roots = np.sqrt(squares[i, c]) + np.sqrt(squares[i, c] + growth[i, c])
                    values[i, c] += moves[i, c] / (roots * weight)
            for c in range(width):
                squares[i, c] += growth[i, c]
                growth[i, c] /= weight * weight
        if len(values):
            for c in range(width):
                values[i, c] *= shrink


@compiled
def step_tokens(
    low: int,
    high: int,
    rows_of_token: TokenColumns,
    values: Float32,
    squares: Float32,
    gradients: Float32,
    touched: Bool,
    row_gradients: Float32,
    row_squares: Float32,
    learning_rate: np.float32,
    shrink: np.float32,
) -> None:
    """One AdaGrad step of tokens ``low .. high - 1`` with the gradients of a whole block.

    ``gradients``, of the shape of ``values``, is overwritten.
    """
    indptr, indices, feature_values = rows_of_token
    width = values.shape[1]
    for t in range(low, high):
        for c in range(width):
            gradients[t, c] = 0.0
        for k in range(indptr[t], indptr[t + 1]):
            i = indices[k]
            if not touched[i]:
                continue
            f = feature_values[k]
            for c in range(width):
                gradients[t, c] += f * row_gradients[i, c]
            for c in range(width):
                squares[t, c] += f * f * row_squares[i, c]
        for c in range(width):
            step = learning_rate * gradients[t, c] / np.sqrt(squares[t, c])
            values[t, c] = (values[t, c] - step) * shrink


@compiled
def rebuild_rows(
    low: int,
    high: int,
    weights: Float32,
    identity: Float32,
    tokens_of_row: TokenColumns,
    tokens: Float32,
    rates: Float32,
    rows: Float32,
    token_rates: Float32,
) -> None:
    """Sum identity and tokens into the dense rows ``low .. high - 1``.

    The learning rates of the tokens, summed over the columns in ``rates``, are summed for each row
    into ``token_rates``.
    """
    indptr, indices, feature_values = tokens_of_row
    width = rows.shape[1]
    for i in range(low, high):
        for c in range(width):
            rows[i, c] = 0.0
        if len(identity):
            for c in range(width):
                rows[i, c] = weights[i] * identity[i, c]
        token_rates[i] = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            t = indices[k]
            f = feature_values[k]
            token_rates[i] += rates[t]
            for c in range(width):
                rows[i, c] += f * tokens[t, c]
