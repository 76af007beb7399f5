"""The trainers that are compared, and how good their models are."""

import lightfm
import numpy as np

from recsvc.model.data.features import identity_features
from recsvc.model.evaluation.evaluate import evaluate
from recsvc.model.lightfm.configuration import LightfmConfiguration, Trainer
from recsvc.model.lightfm.fitting import Start, Training, fit, fit_lightfm
from recsvc.model.lightfm.trained import TrainedModel
from recsvc.model.scores.factors import Factors
from training.data import Data

TRAINERS: tuple[Trainer, ...] = ("lightfm", "fast")
K = 10

DEFAULT = LightfmConfiguration()
#: For large data: regularisation is weaker, since its shrinkage grows with the positives.
LARGE = LightfmConfiguration(max_sampled=20, item_alpha=1e-6, user_alpha=1e-6)


def train(trainer: Trainer, data: Data, how: LightfmConfiguration, threads: int) -> lightfm.LightFM:
    """Train to LightFM's own object: what a speed is measured of, and nothing else."""
    training = _training(trainer, how, 0, threads)
    users = identity_features(data.positives.shape[0])
    return fit_lightfm(data.positives, data.items, users, training)[0]


def model(
    trainer: Trainer,
    data: Data,
    how: LightfmConfiguration,
    seed: int,
    *,
    threads: int = 1,
    start: Start | None = None,
) -> TrainedModel:
    """Train a model to be evaluated."""
    training = _training(trainer, how, seed, threads)
    users = identity_features(data.positives.shape[0])
    return fit(data.positives, data.items, users, training, start=start)


def _training(trainer: Trainer, how: LightfmConfiguration, seed: int, threads: int) -> Training:
    return Training(how.model_copy(update={"trainer": trainer}), seed, threads)


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
