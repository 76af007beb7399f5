"""The trainers that are compared, and how good their models are."""

from typing import Literal

import lightfm
import numpy as np

from recsvc.model.data.features import identity_features
from recsvc.model.evaluation.evaluate import evaluate
from recsvc.model.fast.hyperparameters import Hyperparameters
from recsvc.model.lightfm.fitting import Start, TrainedModel, Training, fit, fit_lightfm
from recsvc.model.scores.factors import Factors
from training.data import Data

Trainer = Literal["fast", "lightfm"]
TRAINERS: tuple[Trainer, ...] = ("lightfm", "fast")
K = 10

DEFAULT = Hyperparameters()
#: For large data: regularisation is weaker, since its shrinkage grows with the positives.
LARGE = Hyperparameters(max_sampled=20, item_alpha=1e-6, user_alpha=1e-6)


def train(trainer: Trainer, data: Data, how: Hyperparameters, threads: int) -> lightfm.LightFM:
    """Train to LightFM's own object: what a speed is measured of, and nothing else."""
    training = Training(how, seed=0, threads=threads, trainer=trainer)
    users = identity_features(data.positives.shape[0])
    return fit_lightfm(data.positives, data.items, users, training)[0]


def model(
    trainer: Trainer,
    data: Data,
    how: Hyperparameters,
    seed: int,
    *,
    threads: int = 1,
    start: Start | None = None,
) -> TrainedModel:
    """Train a model to be evaluated."""
    training = Training(how, seed, threads, trainer)
    users = identity_features(data.positives.shape[0])
    return fit(data.positives, data.items, users, training, start=start)


def ndcg(trained: TrainedModel, data: Data) -> float:
    """NDCG@10 over users with held-out positives, training positives excluded."""
    known = np.diff(data.positives.csr().indptr) > 0
    return ndcg_of(trained.factors(known), data)


def ndcg_of(factors: Factors, data: Data) -> float:
    """NDCG@10 of any model that ends as two matrices."""
    if data.test is None:
        raise ValueError("nothing is held out")
    evaluation = evaluate(factors, data.positives.csr(), data.test.csr(), ks=(K,), segments=False)
    return float(evaluation.per_user("ndcg", K)[1].mean())
