"""What users get about whom a model has learnt nothing."""

import numpy as np

from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import Csr
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32, Int8, Mask
from recsvc.vocabulary import COLD_USER, HYBRID, POPULAR_ITEMS, SOURCES


def user_sources(train: Csr, users: Features) -> Int8:
    """Return for each user the index in ``vocabulary.SOURCES`` of what their list rests on.

    Users with positives get the model; others what their attributes say, or else what is popular.

    Args:
        train: shape ``(n_users, n_items)``, training positives.
        users: features of users.

    Returns:
        Shape ``(n_users,)``.
    """
    known = np.diff(train.indptr) > 0
    described = np.diff(users.shared.indptr) > 0
    codes = [SOURCES.index(source) for source in (HYBRID, COLD_USER, POPULAR_ITEMS)]
    return np.select([known, described], codes[:2], default=codes[2]).astype(np.int8)


def with_fallback(model: Factors, fallback: Mask, item_popularity: Float32) -> Factors:
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
