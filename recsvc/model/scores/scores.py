"""What ranking and evaluation ask of a recommender: scores of every item, block by block of users.

Two matrices (:mod:`recsvc.model.scores.factors`) are one kind of scores; anything that can fill a
block of users is another. No kind ever holds a matrix of all users and all items.
"""

from typing import Protocol

from recsvc.runtime.arrays import Float32, Int32


class Scorer(Protocol):
    """One worker's buffers, made once and used for block after block."""

    def score(self, users: Int32) -> Float32:
        """Return the scores of all items for some users.

        Args:
            users: shape ``(rows,)``, user indices; no more than the scorer was made for.

        Returns:
            Shape ``(rows, n_items)``, C-contiguous; valid until the next call, and the caller may
            overwrite it. Higher is better; comparable within a row only.
        """


class Scores(Protocol):
    """The scores of every item for every user."""

    @property
    def n_users(self) -> int:
        """Number of users."""

    @property
    def n_items(self) -> int:
        """Number of items."""

    def require_finite(self) -> None:
        """Make sure, before anything is scored, that no score can be NaN or infinite.

        Raises:
            TrainingDivergedError: one could be.
        """

    def scorer(self, rows: int) -> Scorer:
        """Return what scores blocks of at most ``rows`` users, for the use of one thread.

        A score must not depend on how users fall into blocks, as long as ``rows`` is a multiple of
        48 (:data:`recsvc.model.scores.factors.STRIP`).
        """
