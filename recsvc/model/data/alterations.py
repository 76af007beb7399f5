"""Features with one kind of them taken away, or dealt out anew: what would the model do without?"""

from dataclasses import replace

import numpy as np
from scipy import sparse

from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import Csr
from recsvc.runtime.arrays import Int64


def has_kind(features: Features, prefix: str) -> bool:
    """Whether any row has a token of a kind.

    Args:
        features: of all rows.
        prefix: what tokens of the kind begin with.
    """
    return bool(np.isin(features.matrix.indices, _columns(features, prefix)).any())


def without_kind(features: Features, prefix: str, *, normalize: bool) -> Features:
    """Take the tokens of a kind away from all rows; the tokens themselves stay, unused.

    Args:
        features: of all rows.
        prefix: what tokens of the kind begin with.
        normalize: whether each row's weights are scaled to sum to one again.
    """
    kept = ~np.isin(features.matrix.indices, _columns(features, prefix))
    rows = np.repeat(np.arange(features.matrix.shape[0]), np.diff(features.matrix.indptr))
    matrix = sparse.csr_array(
        (features.matrix.data[kept], (rows[kept], features.matrix.indices[kept])),
        shape=features.matrix.shape,
    )
    return replace(features, matrix=_scaled(matrix, normalize=normalize))


def with_shuffled_kind(features: Features, prefix: str, seed: int, *, normalize: bool) -> Features:
    """Deal the tokens of a kind out to rows at random: each row gets those of some other.

    As many rows have as many tokens as before, and each token is as frequent; only what they say
    about a row is gone.

    Args:
        features: of all rows.
        prefix: what tokens of the kind begin with.
        seed: of the shuffling.
        normalize: whether each row's weights are scaled to sum to one again.
    """
    others = without_kind(features, prefix, normalize=False).matrix
    theirs = sparse.csr_array(features.matrix - others)
    theirs.eliminate_zeros()
    theirs.data[:] = 1
    order = np.random.default_rng(seed).permutation(features.matrix.shape[0])
    if normalize:  # what is dealt out was scaled by the row that it was in
        others = others.copy()
        others.data[:] = 1
    matrix = sparse.csr_array(others + theirs[order])
    return replace(features, matrix=_scaled(matrix, normalize=normalize))


def _columns(features: Features, prefix: str) -> Int64:
    n = features.matrix.shape[0]
    places = [n + place for place, token in enumerate(features.tokens) if token.startswith(prefix)]
    return np.array(places, dtype=np.int64)


def _scaled(matrix: Csr, *, normalize: bool) -> Csr:
    matrix = matrix.astype(np.float32)
    matrix.sort_indices()
    if normalize:
        matrix.data /= np.repeat(matrix.sum(axis=1), np.diff(matrix.indptr))
    return matrix
