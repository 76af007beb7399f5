"""The baseline that every model must beat, and the fallback for users it knows nothing about."""

import numpy as np
import numpy.typing as npt

from recsvc.model.data.interactions import Csr
from recsvc.model.scores.factors import Factors, Float32


def popularity(train: Csr) -> Float32:
    """Return the number of positives of each item, shape ``(n_items,)``."""
    return np.bincount(train.indices, minlength=train.shape[1]).astype(np.float32)


def popular_factors(train: Csr) -> Factors:
    """Score every item, for everyone, by its number of positives."""
    everyone = np.ones((train.shape[0], 1), np.float32)
    return Factors(everyone, np.ascontiguousarray(popularity(train)[:, None]))


def with_fallback(
    model: Factors, fallback: npt.NDArray[np.bool_], item_popularity: Float32
) -> Factors:
    """Let some users see popular items instead of the model's.

    Args:
        model: shapes ``(n_users, d)`` and ``(n_items, d)``.
        fallback: shape ``(n_users,)``, who falls back.
        item_popularity: shape ``(n_items,)``.

    Returns:
        Factors with one further column, which is the only non-zero one of those users.
    """
    if not fallback.any():
        return model
    users = np.hstack([model.users, np.zeros((model.n_users, 1), np.float32)])
    users[fallback, :-1] = 0
    users[fallback, -1] = 1
    return Factors(users, np.hstack([model.items, item_popularity[:, None]]))
