"""LightFM models, and the only file that imports ``lightfm``.

A LightFM model is a sum of embeddings: a user (an item) is the sum of the embeddings of its
feature tokens, and a score is their dot product plus both biases (Kula 2015,
https://arxiv.org/abs/1507.08439). ``lightfm_cf`` has identity tokens only; ``lightfm_hybrid`` has
those of genres, tags and user attributes as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import lightfm
import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsvc.errors import TrainingDivergedError
from recsvc.model.data.features import Features
from recsvc.model.data.interactions import Csr
from recsvc.model.data.splits import Positives
from recsvc.model.fast.hyperparameters import Hyperparameters
from recsvc.model.fast.state import Embeddings, EpochProgress
from recsvc.model.fast.trainer import train as fast_train
from recsvc.model.scores.factors import Factors, Float32

Mask = npt.NDArray[np.bool_]
Trainer = Literal["fast", "lightfm"]

# Parameters of a model that learns are of order one; AdaGrad with a step that is much too large
# gives numbers that are finite and mean nothing.
LARGEST_PARAMETER = 1e3

NOT_FINITE = "not all estimated parameters are finite"  # how LightFM says that it diverged


@dataclass(frozen=True)
class TrainedModel:
    """Embeddings of all tokens, with the features that say which token belongs to what."""

    items: Embeddings  #: row ``t`` is column ``t`` of ``item_features.matrix``
    users: Embeddings  #: row ``t`` is column ``t`` of ``user_features.matrix``
    item_features: Features  #: of all items
    user_features: Features  #: of all users
    epochs: int  #: epochs that the embeddings have behind them

    def item_vectors(self) -> Float32:
        """Return item representations, shape ``(n_items, components)``."""
        return _product(self.item_features.matrix, self.items.embeddings)

    def item_biases(self) -> Float32:
        """Return item biases, shape ``(n_items,)``."""
        return _product(self.item_features.matrix, self.items.biases)

    def user_vector(self, user: int, *, known: bool) -> tuple[Float32, float]:
        """Return one user's representation, shape ``(components,)``, and bias.

        ``known`` as for :meth:`factors`.
        """
        features = _without_identity(self.user_features.matrix[[user]], np.array([not known]))
        return _product(features, self.users.embeddings)[0], float(
            (features @ self.users.biases)[0]
        )

    def factors(self, known: Mask) -> Factors:
        """Return the model as two matrices, the biases as two further columns.

        Args:
            known: shape ``(n_users,)``, who had positives in training. The identity token of
                anybody else was never trained, so it is left out: what remains is what the
                tokens of their attributes say.
        """
        features = _without_identity(self.user_features.matrix, ~known)
        vectors = _product(features, self.users.embeddings)
        biases = _product(features, self.users.biases)[:, None]
        items, item_biases = self.item_vectors(), self.item_biases()[:, None]
        return Factors(
            np.hstack([vectors, biases, np.ones_like(biases)]),
            np.hstack([items, np.ones_like(item_biases), item_biases]),
        )


@dataclass(frozen=True)
class Training:
    """How a model is trained, whatever on."""

    hyperparameters: Hyperparameters
    seed: int  #: of every random number
    threads: int  #: LightFM's own kernel depends on the input alone only with one
    trainer: Trainer = "fast"  #: ``fast``, or ``lightfm`` for LightFM's own kernel
    shards: int = 8  #: fast: parts of users and of items that train apart
    blocks_per_epoch: int = 0  #: fast: steps of shared tokens an epoch; 0: by what was seen


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
    _require_converging(trained, training.hyperparameters)
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
    hyperparameters = training.hyperparameters
    model = lightfm.LightFM(
        no_components=hyperparameters.components,
        loss=hyperparameters.loss,
        learning_schedule="adagrad",
        learning_rate=hyperparameters.learning_rate,
        item_alpha=hyperparameters.item_alpha,
        user_alpha=hyperparameters.user_alpha,
        max_sampled=hyperparameters.max_sampled,
        random_state=training.seed,
    )
    items = _as_lightfm_takes_it(item_features.matrix)
    users = _as_lightfm_takes_it(user_features.matrix)
    if training.trainer == "lightfm":
        _run_lightfm(model, train, items, users, training)
        return model, hyperparameters.epochs
    model._initialize(hyperparameters.components, items.shape[1], users.shape[1])  # noqa: SLF001
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
        hyperparameters=hyperparameters,
        seed=training.seed,
        threads=training.threads,
        n_shards=training.shards,
        blocks_per_epoch=training.blocks_per_epoch,
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
                epochs=training.hyperparameters.epochs,
                num_threads=training.threads,
            )
    except ValueError as error:
        if NOT_FINITE not in str(error).lower():
            raise
        raise _diverged(training.hyperparameters) from None


def _require_converging(model: TrainedModel, hyperparameters: Hyperparameters) -> None:
    for side in (model.items, model.users):
        for array in (side.embeddings, side.biases):
            if array.size and not np.abs(array).max() <= LARGEST_PARAMETER:
                raise _diverged(hyperparameters)
        if not side.embeddings.any():
            # Regularisation by a step much too large drives everything to zero.
            raise _diverged(hyperparameters)


def _diverged(hyperparameters: Hyperparameters) -> TrainingDivergedError:
    return TrainingDivergedError(
        f"Training diverged within {hyperparameters.epochs} epochs ({hyperparameters}): "
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


def _product(matrix: Csr, dense: Float32) -> Float32:
    product: Float32 = np.ascontiguousarray(matrix @ dense, dtype=np.float32)
    return product


def _without_identity(features: Csr, rows: Mask) -> Csr:
    weights = features.data.copy()
    weights[features.indptr[:-1][rows]] = 0  # the identity token is the first of its row
    return sparse.csr_array((weights, features.indices, features.indptr), shape=features.shape)
