"""One side of the model while it trains: its tokens, and the dense rows that the kernel reads."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsvc.model.fast.barrier import (
    TokenColumns,
    add_tokens,
    scale_rows,
    step_tokens,
    sum_changes,
    sum_rates,
)
from recsvc.model.fast.columns import ROW_RANGES, Columns
from recsvc.model.fast.kernel import SideState
from recsvc.model.fast.state import Embeddings
from recsvc.model.fast.workers import Workers
from recsvc.runtime.arrays import Float32, Int32


def has_identity(features: Any) -> bool:
    """Whether column ``i`` is the token of row ``i`` alone, for every row of a CSR matrix."""
    n_rows, n_tokens = features.shape
    if n_tokens < n_rows:
        return False
    block = features[:, :n_rows]
    return block.nnz == n_rows and bool(np.all(block.diagonal() != 0.0))


def shares_tokens(features: Any) -> bool:
    """Whether rows of a CSR matrix have tokens that may belong to other rows too."""
    n_rows, n_tokens = features.shape
    return n_tokens != n_rows or not has_identity(features)


class Side:
    """Embeddings and features of one side.

    Tokens that belong to one row alone, the identity block at the front of the feature matrix,
    are stepped sample by sample in the kernel; shared tokens are stepped once a block. A side
    without identity block has shared tokens only; in the kernel its rows still move within a
    block, as if they had identity tokens of value one, and are built anew from tokens after it.
    """

    def __init__(
        self, embeddings: Embeddings, features: Any, workers: Workers, *, of_items: bool
    ) -> None:
        features = sp.csr_matrix(features)
        if features.shape[1] != embeddings.n_tokens:
            message = f"{features.shape[1]} feature columns, {embeddings.n_tokens} embeddings"
            raise ValueError(message)
        if not np.isfinite(features.data).all():
            raise ValueError("feature values must be finite")
        self._workers = workers
        self.n_rows = n = int(features.shape[0])
        self._keeps = has_identity(features)
        first_shared = n if self._keeps else 0
        self._shared = features[:, first_shared:]
        self._weights = (
            features.diagonal().astype(np.float32)[:n] if first_shared else np.ones(n, np.float32)
        )
        self._steps_tokens = self._shared.shape[1] > 0
        # users keep their order, and of value one their identity embeddings are their rows
        in_place = not (of_items or self._steps_tokens or np.any(self._weights != 1.0))
        #: embeddings, and biases if the side trains them
        self._parts = [
            Columns(values, squares, n, self._weights, first_shared, in_place=in_place)
            for values, squares in _matrices(embeddings)[: 1 + of_items]
        ]
        self._token_rates = np.zeros(n, np.float32)
        self._row_cuts = workers.cut_rows(n)
        self._token_cuts = workers.cut_rows(self._shared.shape[1])

    def arrange(self, order: Int32, learning_rate: np.float32) -> SideState:
        """The side's rows in an order, ``(n,)`` of row numbers, for the blocks of an epoch."""
        shared = self._shared[order]
        self._order = order
        self._tokens_of_row = TokenColumns(
            shared.indptr.astype(np.int32),
            shared.indices.astype(np.int32),
            shared.data.astype(np.float32),
        )
        self._arranged_weights = self._weights[order]
        for part in self._parts:
            self._workers.over_rows(part.gather, self._row_cuts, order)
        self._rates = np.zeros(shared.shape[1], np.float32)
        for part in self._parts:
            self._rates += learning_rate * (1 / np.sqrt(part.token_squares)).sum(axis=1)
        self._move_rows([part.tokens for part in self._parts], np.float32(self._keeps))
        embeddings = self._parts[0]
        no_biases = np.empty((0, 1), np.float32)
        biases = self._parts[1] if len(self._parts) > 1 else None
        return SideState(
            rows=embeddings.rows,
            squares=embeddings.squares,
            gradients=embeddings.gradients,
            biases=biases.rows if biases else no_biases,
            bias_squares=biases.squares if biases else no_biases,
            bias_gradients=biases.gradients if biases else no_biases,
            weights=self._arranged_weights,
            token_rates=self._token_rates,
            row_tokens=np.diff(shared.indptr) + np.float32(1.0),
        )

    def finish_block(self, learning_rate: np.float32, shrink: np.float32) -> None:
        """Step the shared tokens, move the rows along, and regularise both."""
        if not self._steps_tokens:
            for part in self._parts:
                self._workers.over_rows(scale_rows, self._row_cuts, part.rows, shrink)
            return

        self._workers.map(self._sum_changes, range(ROW_RANGES))
        self._workers.over_rows(self._step, self._token_cuts, learning_rate, shrink)
        if self._keeps:
            self._move_rows([part.token_steps for part in self._parts], shrink)
        else:
            self._move_rows([part.tokens for part in self._parts], np.float32(0.0))

    def _sum_changes(self, number: int) -> None:
        """Sum the changes of one range of rows for each token."""
        low, high = (self.n_rows * n // ROW_RANGES for n in (number, number + 1))
        for part in self._parts:
            sum_changes(
                low,
                high,
                self._tokens_of_row,
                self._arranged_weights,
                part.gradients,
                part.squares,
                part.earlier_squares,
                part.token_gradients[number],
                part.token_growth[number],
            )

    def _step(self, low: int, high: int, learning_rate: np.float32, shrink: np.float32) -> None:
        """Step tokens ``low .. high - 1`` by the changes of all ranges."""
        self._rates[low:high] = 0.0
        for part in self._parts:
            step_tokens(
                low,
                high,
                part.token_gradients,
                part.token_growth,
                part.tokens,
                part.token_squares,
                part.token_steps,
                self._rates,
                learning_rate,
                shrink,
            )

    def _move_rows(self, tokens: list[Float32], keep: np.float32) -> None:
        """Multiply all rows and add tokens to them; bring the rows' learning rates up to date."""

        def move(low: int, high: int) -> None:
            for part, added in zip(self._parts, tokens, strict=True):
                add_tokens(low, high, self._tokens_of_row, added, part.rows, keep)
            sum_rates(low, high, self._tokens_of_row, self._rates, self._token_rates)

        self._workers.over_rows(move, self._row_cuts)

    def scatter(self) -> None:
        """Write the state back into the arrays that training was given."""
        if self._keeps:
            self._move_rows([-part.tokens for part in self._parts], np.float32(1.0))
        for part in self._parts:
            self._workers.over_rows(part.scatter, self._row_cuts, self._order)


def _matrices(embeddings: Embeddings) -> list[tuple[Float32, Float32]]:
    """Values and AdaGrad sums, of the embeddings and of the biases as one column."""
    values, biases, squares, bias_squares = embeddings.arrays()
    return [(values, squares), (biases.reshape(-1, 1), bias_squares.reshape(-1, 1))]
