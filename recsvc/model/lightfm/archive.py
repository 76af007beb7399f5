"""A trained model as bytes and back: what it takes to explain a score or to go on training."""

import io
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsvc.model.data.features import Features
from recsvc.model.data.interactions import Csr, IdMap
from recsvc.model.fast.state import Embeddings
from recsvc.model.lightfm.fitting import TrainedModel
from recsvc.model.scores.factors import Float32


@dataclass(frozen=True)
class ArchivedModel:
    """A trained model with the ids that its rows stand for."""

    model: TrainedModel
    users: IdMap
    items: IdMap
    sources: npt.NDArray[np.int8]  #: shape ``(n_users,)``, index in ``lineup.SOURCES``
    popularity: Float32  #: shape ``(n_items,)``, positives of each item


def to_bytes(archived: ArchivedModel) -> bytes:
    """Pack into a NumPy ``.npz``, free of pickles."""
    model = archived.model
    arrays = {
        "user_ids": archived.users.ids,
        "item_ids": archived.items.ids,
        "epochs": np.array(model.epochs),
        "sources": archived.sources,
        "popularity": archived.popularity,
    }
    sides = (("item", model.items, model.item_features), ("user", model.users, model.user_features))
    for side, embeddings, features in sides:
        arrays |= {
            f"{side}_{name}": array
            for name, array in zip(_EMBEDDINGS, embeddings.arrays(), strict=True)
        }
        arrays[f"{side}_tokens"] = np.frombuffer(json.dumps(features.tokens).encode(), np.uint8)
        arrays |= {
            f"{side}_{part}": getattr(features.matrix, part)
            for part in ("indptr", "indices", "data")
        }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


_EMBEDDINGS = ("embeddings", "biases", "embedding_gradients", "bias_gradients")


def from_bytes(packed: bytes) -> ArchivedModel:
    """Unpack what :func:`to_bytes` packed."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        users, items = IdMap(arrays["user_ids"]), IdMap(arrays["item_ids"])
        model = TrainedModel(
            items=Embeddings(*(arrays[f"item_{name}"] for name in _EMBEDDINGS)),
            users=Embeddings(*(arrays[f"user_{name}"] for name in _EMBEDDINGS)),
            item_features=_features(arrays, "item", len(items)),
            user_features=_features(arrays, "user", len(users)),
            epochs=int(arrays["epochs"]),
        )
        return ArchivedModel(model, users, items, arrays["sources"], arrays["popularity"])


def _features(arrays: "np.lib.npyio.NpzFile", side: str, n: int) -> Features:
    tokens = tuple(json.loads(arrays[f"{side}_tokens"].tobytes()))
    parts = (arrays[f"{side}_data"], arrays[f"{side}_indices"], arrays[f"{side}_indptr"])
    matrix: Csr = sparse.csr_array(parts, shape=(n, n + len(tokens)))
    return Features(matrix, tokens)
