"""Scores as the product of two matrices."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsvc.errors import TrainingDivergedError
from recsvc.model.scores.scores import Scorer
from recsvc.runtime.arrays import Float32, Float64, Int32

# BLAS kernels work on strips of rows, 12 on some processors and up to 16 on others; they round
# what is left over in another way, and on some each place in the strip in its own. With blocks of
# whole strips, of either kind, a score does not depend on how users fall into blocks.
STRIP = 48


@dataclass(frozen=True)
class Factors:
    """The score of item ``i`` for user ``u`` is ``users[u] @ items[i]``.

    Biases and fallbacks are folded in as further columns.
    """

    users: Float32  #: shape ``(n_users, d)``, C-contiguous
    items: Float32  #: shape ``(n_items, d)``, C-contiguous

    def __post_init__(self) -> None:
        if self.users.shape[1] != self.items.shape[1]:
            message = f"users have {self.users.shape[1]} factors, items {self.items.shape[1]}"
            raise ValueError(message)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return int(self.users.shape[0])

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.items.shape[0])

    def require_finite(self) -> None:
        """Prove from the factors alone that no score, nor any partial sum of one, can overflow.

        Raises:
            TrainingDivergedError: a factor is NaN or infinite, or scores could overflow float32.
        """
        users, items = row_norms(self.users, "user"), row_norms(self.items, "item")
        largest = users.max(initial=0.0) * items.max(initial=0.0)
        if largest >= np.finfo(np.float32).max:
            raise TrainingDivergedError(
                f"Scores of this model overflow (up to {largest:.3g}): training diverged; "
                "retrain with a lower learning rate."
            )

    def deviations(self) -> Float64:
        """Return the standard deviation of each user's scores over all items.

        ``sqrt(p' Cov(Q) p)``, from the covariance of the item factors: no score is computed.

        Returns:
            Shape ``(n_users,)``.
        """
        centred = self.items - self.items.mean(axis=0, dtype=np.float64)
        covariance = centred.T @ centred / max(self.n_items, 1)
        users = self.users.astype(np.float64)
        variances = np.einsum("ud,ud->u", users @ covariance, users)
        return np.asarray(np.sqrt(np.maximum(variances, 0.0)))

    def scorer(self, rows: int) -> Scorer:
        """Return one worker's buffers for blocks of at most ``rows`` users."""
        return _FactorScorer(self.users, self._columns, whole_strips(rows))

    @cached_property
    def _columns(self) -> Float32:
        return np.ascontiguousarray(self.items.T)  # BLAS packs this order faster for few rows


class _FactorScorer:
    """A matrix product into a buffer that stays."""

    def __init__(self, users: Float32, columns: Float32, rows: int) -> None:
        self._user_factors = users
        self._columns = columns
        self._users = np.zeros((rows, users.shape[1]), dtype=np.float32)
        self._scores = np.empty((rows, columns.shape[1]), dtype=np.float32)

    def score(self, users: Int32) -> Float32:
        strips = whole_strips(users.size)
        np.take(self._user_factors, users, axis=0, out=self._users[: users.size], mode="clip")
        # BLAS has no faster way for one factor, as popularity is, than for dozens.
        product = np.multiply if self._users.shape[1] == 1 else np.matmul
        product(self._users[:strips], self._columns, out=self._scores[:strips])
        return self._scores[: users.size]


def whole_strips(rows: int) -> int:
    """Return the next multiple of :data:`STRIP`.

    >>> whole_strips(1), whole_strips(48), whole_strips(49)
    (48, 48, 96)
    """
    return -(-rows // STRIP) * STRIP


def row_norms(vectors: Float32, side: str) -> Float64:
    """Return the Euclidean norm of each row, shape ``(rows,)``.

    Args:
        vectors: shape ``(rows, d)``.
        side: what a row is (``user``, ``item``), for the message.

    Raises:
        TrainingDivergedError: a vector holds NaN or infinity.
    """
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    norms: Float64 = np.sqrt(squares)
    bad = np.flatnonzero(~np.isfinite(norms))
    if bad.size:
        raise TrainingDivergedError(
            f"Factors of {bad.size} {side}s are not finite, the first at index {bad[0]}: "
            "training diverged; retrain with a lower learning rate."
        )
    return norms


def cosines(vectors: Float32) -> Factors:
    """Return the cosine of each pair of rows; a zero vector has cosine 0 with everything.

    Rounding may carry the cosine of parallel vectors past 1 by a few units in the last place.

    Args:
        vectors: shape ``(rows, d)``.

    Raises:
        TrainingDivergedError: a vector holds NaN or infinity.
    """
    norms = row_norms(vectors, "item")
    norms[norms == 0.0] = 1.0
    unit = (vectors / norms[:, np.newaxis]).astype(np.float32)
    return Factors(unit, unit)
