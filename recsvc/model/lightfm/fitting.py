"""Training LightFM models, and the only file that imports ``lightfm``.

Whichever kernel trains, the model is LightFM's own object until it is a :class:`TrainedModel`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import lightfm
import numpy as np
from scipy import sparse

from recsvc.errors import TrainingDivergedError
from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import Csr
from recsvc.model.data.splits import Positives
from recsvc.model.fast.state import Embeddings, EpochProgress
from recsvc.model.fast.trainer import train as fast_train
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.lightfm.trained import TrainedModel

# Parameters of a model that learns are of order one; AdaGrad with a step that is much too large
# gives numbers that are finite and mean nothing.
LARGEST_PARAMETER = 1e3

NOT_FINITE = "not all estimated parameters are finite"  # how LightFM says that it diverged


@dataclass(frozen=True)
class Training:
    """How a model is trained, whatever on."""

    configuration: LightfmConfiguration
    seed: int  #: of every random number
    threads: int  #: LightFM's own kernel depends on the input alone only with one


@dataclass(frozen=True)
class Start:
    """Where training starts from, if not from random embeddings."""

    items: Embeddings  #: one row for each item token
    users: Embeddings  #: one row for each user token
    epochs_before: int  #: epochs that they have behind them


OnEpoch = Callable[[EpochProgress, TrainedModel], bool | None]


def fit(
    train: Positives,
    item_features: Features,
    user_features: Features,
    training: Training,
    *,
    start: Start | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Train a LightFM model.

    Args:
        train: what to learn from; at least one positive.
        item_features: of all items.
        user_features: of all users.
        training: how.
        start: embeddings to go on from (``fast`` only).
        on_epoch: told of each epoch, with the model as it is then; ends training by returning True
            (``fast`` only).

    Raises:
        TrainingDivergedError: parameters stopped being finite, or of a sensible size.
    """

    def progress(model: lightfm.LightFM, epoch: EpochProgress) -> bool:
        current = _trained(model, item_features, user_features, epoch.epoch)
        return bool(on_epoch and on_epoch(epoch, current))

    model, epochs = fit_lightfm(
        train, item_features, user_features, training, start=start, on_epoch=progress
    )
    trained = _trained(model, item_features, user_features, epochs)
    _require_converging(trained, training.configuration)
    return trained


def _trained(
    model: lightfm.LightFM, item_features: Features, user_features: Features, epochs: int
) -> TrainedModel:
    items, users = _side(model, "item"), _side(model, "user")
    return TrainedModel(items, users, item_features, user_features, epochs)


def fit_lightfm(
    train: Positives,
    item_features: Features,
    user_features: Features,
    training: Training,
    *,
    start: Start | None = None,
    on_epoch: Callable[[lightfm.LightFM, EpochProgress], bool] | None = None,
) -> tuple[lightfm.LightFM, int]:
    """Train, and return LightFM's own object and the epochs it took; see :func:`fit`.

    Whichever kernel trained it, the object predicts, evaluates and pickles like any other.
    """
    configuration = training.configuration
    model = lightfm.LightFM(
        no_components=configuration.components,
        loss=configuration.loss,
        learning_schedule="adagrad",
        learning_rate=configuration.learning_rate,
        item_alpha=configuration.item_alpha,
        user_alpha=configuration.user_alpha,
        max_sampled=configuration.max_sampled,
        random_state=training.seed,
    )
    items = _as_lightfm_takes_it(item_features.matrix)
    users = _as_lightfm_takes_it(user_features.matrix)
    if configuration.trainer == "lightfm":
        _run_lightfm(model, train, items, users, training)
        return model, configuration.epochs
    model._initialize(configuration.components, items.shape[1], users.shape[1])  # noqa: SLF001
    item_side, user_side = _side(model, "item"), _side(model, "user")
    if start:
        _copy_into(item_side, start.items)
        _copy_into(user_side, start.users)
    first_epoch = start.epochs_before + 1 if start else 1
    summary = fast_train(
        item_side,
        user_side,
        items,
        users,
        train.coo(),
        configuration=configuration,
        seed=training.seed,
        threads=training.threads,
        n_shards=configuration.shards,
        blocks_per_epoch=configuration.blocks_per_epoch,
        first_epoch=first_epoch,
        on_epoch=partial(on_epoch, model) if on_epoch else None,
    )
    return model, first_epoch - 1 + summary.epochs


def _run_lightfm(
    model: lightfm.LightFM,
    train: Positives,
    items: sparse.csr_matrix,
    users: sparse.csr_matrix,
    training: Training,
) -> None:
    try:
        with np.errstate(invalid="ignore", over="ignore"):  # it looks for NaN by adding up
            model.fit(
                train.coo(),
                item_features=items,
                user_features=users,
                epochs=training.configuration.epochs,
                num_threads=training.threads,
            )
    except ValueError as error:
        if NOT_FINITE not in str(error).lower():
            raise
        raise _diverged(training.configuration) from None


def _require_converging(model: TrainedModel, configuration: LightfmConfiguration) -> None:
    for side in (model.items, model.users):
        for array in (side.embeddings, side.biases):
            if array.size and not np.abs(array).max() <= LARGEST_PARAMETER:
                raise _diverged(configuration)
        if not side.embeddings.any():
            # Regularisation by a step much too large drives everything to zero.
            raise _diverged(configuration)


def _diverged(configuration: LightfmConfiguration) -> TrainingDivergedError:
    return TrainingDivergedError(
        f"Training diverged within {configuration.epochs} epochs ({configuration}): "
        "lower RECSVC_LEARNING_RATE."
    )


def _copy_into(side: Embeddings, source: Embeddings) -> None:
    for array, values in zip(side.arrays(), source.arrays(), strict=True):
        array[:] = values


def _side(model: lightfm.LightFM, side: str) -> Embeddings:
    return Embeddings(
        embeddings=getattr(model, f"{side}_embeddings"),
        biases=getattr(model, f"{side}_biases"),
        embedding_gradients=getattr(model, f"{side}_embedding_gradients"),
        bias_gradients=getattr(model, f"{side}_bias_gradients"),
    )


def _as_lightfm_takes_it(matrix: Csr) -> sparse.csr_matrix:
    parts = (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))
    return sparse.csr_matrix(parts, shape=matrix.shape)
