"""One side of the model while it trains: its tokens, and the dense rows that the kernel reads."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsvc.model.factors import Float32
from recsvc.model.fast.barrier import (
    MergedChanges,
    TokenColumns,
    apply_changes,
    rebuild_rows,
    step_tokens,
)
from recsvc.model.fast.kernel import SideSnapshot, UserChanges
from recsvc.model.fast.state import Embeddings
from recsvc.model.fast.workers import Workers


def _columns(matrix: Any) -> TokenColumns:
    return TokenColumns(
        matrix.indptr.astype(np.int32),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float32),
    )


def has_identity(features: Any) -> bool:
    """Whether column ``i`` is the token of row ``i`` alone, for every row of a CSR matrix."""
    n_rows, n_tokens = features.shape
    if n_tokens < n_rows:
        return False
    block = features[:, :n_rows]
    return block.nnz == n_rows and bool(np.all(block.diagonal() != 0.0))


class Side:
    """Embeddings and features of one side.

    Tokens that belong to one row alone, the identity block at the front of the feature matrix,
    are stepped sample by sample in the kernel; shared tokens are stepped once a block. A side
    without identity block has shared tokens only; in the kernel its rows still move within a
    block, as if they had identity tokens of value one, and are built anew from tokens after it.
    """

    def __init__(
        self, embeddings: Embeddings, features: Any, workers: Workers, *, with_bias: bool
    ) -> None:
        features = sp.csr_matrix(features)
        if features.shape[1] != embeddings.n_tokens:
            message = f"{features.shape[1]} feature columns, {embeddings.n_tokens} embeddings"
            raise ValueError(message)
        if not np.isfinite(features.data).all():
            raise ValueError("feature values must be finite")
        self._embeddings = embeddings
        self._workers = workers
        self._with_bias = with_bias
        self.n_rows = int(features.shape[0])
        identity = has_identity(features)
        first_shared = self.n_rows if identity else 0
        shared = features[:, first_shared:]
        values, squares = self._gather()
        width = values.shape[1]
        self._values = values
        self._identity, self._tokens = values[:first_shared], values[first_shared:]
        self._token_squares = squares[first_shared:]
        self._token_gradients = np.empty_like(self._tokens)
        self._all_squares = squares
        # without an identity block, rows need sums of their own for the kernel's rates
        self._row_squares = (
            squares[:first_shared] if identity else np.ones((self.n_rows, width), np.float32)
        )
        self._weights = (
            features.diagonal().astype(np.float32)[: self.n_rows]
            if identity
            else np.ones(self.n_rows, np.float32)
        )
        self._tokens_of_row = _columns(shared)
        self._rows_of_token = _columns(shared.tocsc())
        self._row_tokens = (np.diff(shared.indptr) + 1).astype(np.float32)
        self._token_rates = np.zeros(self.n_rows, np.float32)
        self._row_cuts = workers.cut_rows(self.n_rows)
        self._work_cuts = workers.cut_by_work(self._rows_of_token.indptr)
        self.has_tokens = not identity or shared.nnz > 0 or bool(np.any(self._weights != 1.0))
        self.steps_tokens = len(self._tokens) > 0
        #: identity embeddings of value one are their rows: no copy is needed
        self._rows = np.empty((self.n_rows, width), np.float32) if self.has_tokens else values

    def _gather(self) -> tuple[Float32, Float32]:
        """Values and AdaGrad sums, with the bias as last column if this side trains one."""
        values, biases, squares, bias_squares = self._embeddings.arrays()
        if not self._with_bias:
            return values, squares
        return np.column_stack([values, biases]), np.column_stack([squares, bias_squares])

    def scatter(self) -> None:
        """Write the state back into the arrays that training was given."""
        if self._with_bias:
            values, biases, squares, bias_squares = self._embeddings.arrays()
            values[:], biases[:] = self._values[:, :-1], self._values[:, -1]
            squares[:], bias_squares[:] = self._all_squares[:, :-1], self._all_squares[:, -1]

    def snapshot(self, learning_rate: np.float32) -> SideSnapshot:
        """Dense rows and rates as of now; the rows are shared, not copied."""
        if self.has_tokens:
            rates = learning_rate / np.sqrt(self._token_squares)
            self._workers.over_rows(
                rebuild_rows,
                self._row_cuts,
                self._weights,
                self._identity,
                self._tokens_of_row,
                self._tokens,
                rates.sum(axis=1, dtype=np.float32),
                self._rows,
                self._token_rates,
            )
        return SideSnapshot(
            rows=self._rows,
            squares=self._row_squares,
            weights=self._weights,
            token_rates=self._token_rates,
            row_tokens=self._row_tokens,
        )

    def move_rows(self, low: int, high: int, merged: MergedChanges, shrink: np.float32) -> None:
        """Move identity embeddings ``low .. high - 1`` by the changes of a block, and regularise.

        Rows of other ranges are neither read nor written, so that threads may share them out.
        """
        apply_changes(low, high, self._weights, self._identity, self._row_squares, merged, shrink)

    def step_tokens(
        self, merged: MergedChanges, learning_rate: np.float32, shrink: np.float32
    ) -> None:
        """Step the shared tokens by the changes of a block, after all rows have moved."""
        self._step_tokens(merged.touched, merged.gradients, merged.squares, learning_rate, shrink)

    def _step_tokens(
        self,
        touched: Any,
        gradients: Float32,
        squares: Float32,
        learning_rate: np.float32,
        shrink: np.float32,
    ) -> None:
        if self.steps_tokens:
            self._workers.over_rows(
                step_tokens,
                self._work_cuts,
                self._rows_of_token,
                self._tokens,
                self._token_squares,
                self._token_gradients,
                touched,
                gradients,
                squares,
                learning_rate,
                shrink,
            )

    def empty_user_changes(self) -> UserChanges:
        """Zeroed buffers for the rows' gradients, empty if no token needs them."""
        shape = (self.n_rows if self.has_tokens else 0, self._tokens.shape[1])
        own = self._identity if self.has_tokens else self._identity[:0]
        return UserChanges(own, np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def apply_user_changes(
        self, changes: UserChanges, learning_rate: np.float32, shrink: np.float32
    ) -> None:
        """Step the shared tokens; shards have moved the identity embeddings already."""
        everyone = np.ones(self.n_rows, np.bool_)
        self._identity *= shrink
        self._step_tokens(everyone, changes.gradients, changes.squares, learning_rate, shrink)
