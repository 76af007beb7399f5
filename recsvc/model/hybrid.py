"""LightFM models, and the only file that imports ``lightfm``.

A LightFM model is a sum of embeddings: a user (an item) is the sum of the embeddings of its
feature tokens, and a score is their dot product plus both biases (Kula 2015,
https://arxiv.org/abs/1507.08439). ``lightfm_cf`` has identity tokens only; ``lightfm_hybrid`` has
those of genres, tags and user attributes as well.
"""

from dataclasses import dataclass

import lightfm
import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsvc.errors import TrainingDivergedError
from recsvc.model.dataset import Csr
from recsvc.model.factors import Factors, Float32
from recsvc.model.fast.state import Embeddings
from recsvc.model.features import Features
from recsvc.model.hyperparameters import Hyperparameters
from recsvc.model.split import Positives

Mask = npt.NDArray[np.bool_]

NOT_FINITE = "not all estimated parameters are finite"  # how LightFM says that it diverged


@dataclass(frozen=True)
class TrainedModel:
    """Embeddings of all tokens, with the features that say which token belongs to what."""

    items: Embeddings  #: row ``t`` is column ``t`` of ``item_features.matrix``
    users: Embeddings  #: row ``t`` is column ``t`` of ``user_features.matrix``
    item_features: Features  #: of all items
    user_features: Features  #: of all users
    epochs: int  #: epochs that were trained

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


def fit(
    train: Positives,
    item_features: Features,
    user_features: Features,
    hyperparameters: Hyperparameters,
    *,
    seed: int,
    threads: int,
) -> TrainedModel:
    """Train with LightFM's own kernel. With one thread the result depends on nothing but the input.

    Raises:
        TrainingDivergedError: parameters stopped being finite.
    """
    model = lightfm.LightFM(
        no_components=hyperparameters.components,
        loss=hyperparameters.loss,
        learning_schedule="adagrad",
        learning_rate=hyperparameters.learning_rate,
        item_alpha=hyperparameters.item_alpha,
        user_alpha=hyperparameters.user_alpha,
        max_sampled=hyperparameters.max_sampled,
        random_state=seed,
    )
    try:
        model.fit(
            train.coo(),
            item_features=_as_lightfm_takes_it(item_features.matrix),
            user_features=_as_lightfm_takes_it(user_features.matrix),
            epochs=hyperparameters.epochs,
            num_threads=threads,
        )
    except ValueError as error:
        if NOT_FINITE not in str(error).lower():
            raise
        message = (
            f"Training diverged within {hyperparameters.epochs} epochs ({hyperparameters}): "
            "lower RECSVC_LEARNING_RATE."
        )
        raise TrainingDivergedError(message) from None
    return TrainedModel(
        items=_side(model, "item"),
        users=_side(model, "user"),
        item_features=item_features,
        user_features=user_features,
        epochs=hyperparameters.epochs,
    )


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
