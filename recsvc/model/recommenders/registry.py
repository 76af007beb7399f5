"""The models that are compared every night, each fitted and scored in the same way."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsvc.model.data.features import Features, identity_features
from recsvc.model.data.interactions import Csr
from recsvc.model.data.splits import Positives
from recsvc.model.lightfm.fitting import OnEpoch, Start, TrainedModel, Training, fit
from recsvc.model.recommenders.popular import popular_factors, popularity, with_fallback
from recsvc.model.scores.factors import Factors

POPULAR, CF, HYBRID = "popular", "lightfm_cf", "lightfm_hybrid"
LINEUP = (POPULAR, CF, HYBRID)

#: Why a user's list is what it is; the index is the code in ``user_sources``.
SOURCES = ("hybrid", "cold_user", "popular")


@dataclass(frozen=True)
class FittedHybrid:
    """A LightFM model, ready to rank."""

    trained: TrainedModel  #: its embeddings
    factors: Factors  #: its scores, fallback for users without history included


def fit_model(
    name: str, train: Positives, items: Features, users: Features, training: Training
) -> Factors:
    """Fit one model of the line-up and return its scores.

    Args:
        name: one of :data:`LINEUP`.
        train: what to learn from; at least one positive.
        items: features of items, which only ``lightfm_hybrid`` looks at.
        users: features of users, likewise.
        training: hyper-parameters, seed and threads.

    Raises:
        TrainingDivergedError: parameters stopped being finite.
    """
    if name == POPULAR:
        return popular_factors(train.csr())
    if name == CF:
        n_users, n_items = train.shape
        items, users = identity_features(n_items), identity_features(n_users)
    return fit_hybrid(train, items, users, training).factors


def fit_hybrid(
    train: Positives,
    items: Features,
    users: Features,
    training: Training,
    *,
    start: Start | None = None,
    on_epoch: OnEpoch | None = None,
) -> FittedHybrid:
    """Fit a LightFM model; the arguments are those of :func:`recsvc.model.lightfm.fitting.fit`."""
    trained = fit(train, items, users, training, start=start, on_epoch=on_epoch)
    matrix = train.csr()
    sources = user_sources(matrix, users)
    factors = with_fallback(
        trained.factors(known=sources == SOURCES.index("hybrid")),
        sources == SOURCES.index("popular"),
        popularity(matrix),
    )
    return FittedHybrid(trained, factors)


def user_sources(train: Csr, users: Features) -> npt.NDArray[np.int8]:
    """Return for each user the index in :data:`SOURCES` of what their list rests on.

    Users with positives get the model; others what their attributes say, or else what is popular.
    """
    known = np.diff(train.indptr) > 0
    described = np.diff(users.shared.indptr) > 0
    return np.select([known, described], [0, 1], default=2).astype(np.int8)
