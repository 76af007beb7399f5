"""What trainers are given in these tests."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsvc.model.fast import Embeddings
from recsvc.model.lightfm.configuration import LightfmConfiguration

TINY = LightfmConfiguration(
    loss="warp",
    components=5,
    learning_rate=0.1,
    max_sampled=4,
    item_alpha=0.01,
    user_alpha=0.02,
    epochs=2,
)


def varied(configuration: LightfmConfiguration, **changes: Any) -> LightfmConfiguration:
    return configuration.model_copy(update=changes)


def identity(n: int, value: float = 1.0) -> Any:
    return sp.identity(n, dtype=np.float32, format="csr") * np.float32(value)


def with_tokens(
    n_rows: int,
    n_tokens: int,
    seed: int,
    *,
    identity_value: float = 1.0,
    identity_block: bool = True,
) -> Any:
    rng = np.random.default_rng(seed)
    tokens = sp.random(n_rows, n_tokens, 0.4, rng=rng, dtype=np.float32, format="csr")
    blocks = [identity(n_rows, identity_value), tokens] if identity_block else [tokens]
    features = sp.hstack(blocks).tocsr().astype(np.float32)
    features.sort_indices()
    return features


def random_positives(n_users: int, n_items: int, seed: int, density: float = 0.3) -> Any:
    positives = sp.random(
        n_users, n_items, density, rng=np.random.default_rng(seed), dtype=np.float32, format="coo"
    )
    positives.data[:] = 1.0
    return positives


def sides(item_features: Any, user_features: Any, components: int, seed: int = 0) -> Any:
    rng = np.random.RandomState(seed)
    # wider than LightFM's start, so that violations are neither all nor none
    made = []
    for features in (item_features, user_features):
        side = Embeddings.initial(features.shape[1], components, rng)
        side.embeddings[:] *= 4
        made.append(side)
    return made
