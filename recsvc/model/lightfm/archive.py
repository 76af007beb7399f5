"""A trained LightFM model as plain arrays and back."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import Csr
from recsvc.model.fast.state import Embeddings
from recsvc.model.lightfm.trained import TrainedModel

_EMBEDDINGS = ("embeddings", "biases", "embedding_gradients", "bias_gradients")
_MATRIX = ("indptr", "indices", "data")


def arrays_of(model: TrainedModel) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that make up a model, by name."""
    return {
        "epochs": np.array(model.epochs),
        **_side("item", model.items, model.item_features),
        **_side("user", model.users, model.user_features),
    }


def _side(side: str, embeddings: Embeddings, features: Features) -> dict[str, npt.NDArray[Any]]:
    parameters = zip(_EMBEDDINGS, embeddings.arrays(), strict=True)
    return {
        **{f"{side}_{name}": array for name, array in parameters},
        f"{side}_tokens": np.frombuffer(json.dumps(features.tokens).encode(), np.uint8),
        **{f"{side}_{part}": getattr(features.matrix, part) for part in _MATRIX},
    }


def model_of(arrays: Mapping[str, npt.NDArray[Any]]) -> TrainedModel:
    """Return the model that some arrays make up."""
    return TrainedModel(
        items=Embeddings(*(arrays[f"item_{name}"] for name in _EMBEDDINGS)),
        users=Embeddings(*(arrays[f"user_{name}"] for name in _EMBEDDINGS)),
        item_features=_features(arrays, "item"),
        user_features=_features(arrays, "user"),
        epochs=int(arrays["epochs"]),
    )


def _features(arrays: Mapping[str, npt.NDArray[Any]], side: str) -> Features:
    tokens = tuple(json.loads(arrays[f"{side}_tokens"].tobytes()))
    indptr = arrays[f"{side}_indptr"]
    n = len(indptr) - 1
    parts = (arrays[f"{side}_data"], arrays[f"{side}_indices"], indptr)
    matrix: Csr = sparse.csr_array(parts, shape=(n, n + len(tokens)))
    return Features(matrix, tokens)
