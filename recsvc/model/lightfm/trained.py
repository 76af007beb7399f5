"""A trained LightFM model: embeddings of all tokens, and what comes of them for users and items.

A LightFM model is a sum of embeddings: a user (an item) is the sum of the embeddings of its
feature tokens, and a score is their dot product plus both biases (Kula 2015,
https://arxiv.org/abs/1507.08439).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import Csr
from recsvc.model.fast.state import Embeddings
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32, Mask


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

    def without_identities(self, items: Mask) -> "TrainedModel":
        """Return the model with nothing left of the identities of some items.

        Args:
            items: shape ``(n_items,)``, those whose identity was never trained: its embedding is
                as random as in the beginning. What remains is what their tokens say.
        """
        gone = np.flatnonzero(items)
        embeddings, biases = self.items.embeddings.copy(), self.items.biases.copy()
        embeddings[gone], biases[gone] = 0, 0
        return replace(self, items=replace(self.items, embeddings=embeddings, biases=biases))

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


def _product(matrix: Csr, dense: Float32) -> Float32:
    product: Float32 = np.ascontiguousarray(matrix @ dense, dtype=np.float32)
    return product


def _without_identity(features: Csr, rows: Mask) -> Csr:
    weights = features.data.copy()
    weights[features.indptr[:-1][rows]] = 0  # the identity token is the first of its row
    return sparse.csr_array((weights, features.indices, features.indptr), shape=features.shape)
