"""What users get about whom a model has learnt nothing."""

import numpy as np

from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import Csr
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32, Int8, Mask
from recsvc.vocabulary import COLD_USER, HYBRID, RECENT_POPULAR, SOURCES


def user_sources(train: Csr, users: Features, known_as: str = HYBRID) -> Int8:
    """Return for each user the index in ``vocabulary.SOURCES`` of what their list rests on.

    Users with positives get the model; others what their attributes say, or else what is popular
    now.

    Args:
        train: shape ``(n_users, n_items)``, training positives.
        users: features of users.
        known_as: source of users with positives.

    Returns:
        Shape ``(n_users,)``.
    """
    known = np.diff(train.indptr) > 0
    described = np.diff(users.shared.indptr) > 0
    codes = [SOURCES.index(source) for source in (known_as, COLD_USER, RECENT_POPULAR)]
    return np.select([known, described], codes[:2], default=codes[2]).astype(np.int8)


def having_source(sources: Int8, source: str) -> Mask:
    """Return who has a source, shape ``(n_users,)``."""
    return np.asarray(sources == SOURCES.index(source))


def with_popularity(model: Factors, weights: Float32, popularity: Float32) -> Factors:
    """Add what is popular to the scores of some users.

    Args:
        model: shapes ``(n_users, d)`` and ``(n_items, d)``.
        weights: shape ``(n_users,)``, how much popularity counts for whom.
        popularity: shape ``(n_items,)``.

    Returns:
        Factors with one further column; the model itself where popularity counts for nobody.
    """
    if not weights.any():
        return model
    return Factors(
        np.hstack([model.users, weights[:, None].astype(np.float32)]),
        np.hstack([model.items, popularity[:, None].astype(np.float32)]),
    )
