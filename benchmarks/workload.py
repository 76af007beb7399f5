"""Arrays of the shape that a trained model has on MovieLens 25M: long-tailed, any size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lightfm import LightFM
from scipy import sparse

from recsvc.model.scores.factors import Factors

MOVIELENS_25M = {"n_users": 162_000, "n_items": 59_000}
COMPONENTS = 64
N_TOKENS = 10_000


@dataclass(frozen=True)
class Workload:
    """A model and what its users have seen."""

    factors: Factors  #: embeddings, then a column for each bias
    seen: sparse.csr_matrix  #: shape ``(n_users, n_items)``, float32


def make(n_users: int, n_items: int, seen_per_user: float = 150.0, seed: int = 0) -> Workload:
    """Normal factors; activity log-normal from 20 up, popularity falling with a power of rank."""
    rng = np.random.default_rng(seed)
    users = np.ones((n_users, COMPONENTS + 2), dtype=np.float32)
    items = np.ones((n_items, COMPONENTS + 2), dtype=np.float32)
    users[:, :COMPONENTS] = rng.standard_normal((n_users, COMPONENTS), dtype=np.float32) / 8
    items[:, :COMPONENTS] = rng.standard_normal((n_items, COMPONENTS), dtype=np.float32)
    users[:, -2] = rng.standard_normal(n_users)
    items[:, -1] = rng.standard_normal(n_items)
    return Workload(Factors(users, items), _seen(rng, n_users, n_items, seen_per_user))


def _seen(rng: np.random.Generator, n_users: int, n_items: int, mean: float) -> sparse.csr_matrix:
    sigma = 1.15
    activity = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, n_users)
    activity = np.clip(activity, 20, n_items // 10).astype(np.int64)
    weight = rng.permutation(1.0 / np.arange(1, n_items + 1) ** 0.8)
    cumulative = np.cumsum(weight / weight.sum())
    drawn = np.searchsorted(cumulative, rng.random(int(activity.sum())))
    rows = np.repeat(np.arange(n_users, dtype=np.int32), activity)
    pairs = np.unique(rows * np.int64(n_items) + np.minimum(drawn, n_items - 1))
    return _csr(pairs, n_users, n_items)


def as_lightfm(factors: Factors) -> LightFM:
    """Return the same model as LightFM holds it, without features."""
    model = LightFM(no_components=COMPONENTS)
    nothing = sparse.coo_matrix((factors.n_users, factors.n_items), dtype=np.float32)
    model.fit(nothing, epochs=1)  # allocates what LightFM checks for
    model.user_embeddings = factors.users[:, :COMPONENTS].copy()
    model.item_embeddings = factors.items[:, :COMPONENTS].copy()
    model.user_biases = factors.users[:, -2].copy()
    model.item_biases = factors.items[:, -1].copy()
    return model


def as_hybrid(factors: Factors, seed: int = 0) -> tuple[LightFM, sparse.csr_matrix]:
    """Return the same model as a LightFM hybrid, and its item features: identity + 7.5 tokens.

    Token embeddings are drawn, those of the identity make up the rest of each item's vector.
    """
    rng = np.random.default_rng(seed)
    n_items = factors.n_items
    tokens = sparse.random_array(
        (n_items, N_TOKENS), density=7.5 / N_TOKENS, format="csr", dtype=np.float32, rng=rng
    )
    tokens.data[:] = 1.0
    embeddings = rng.standard_normal((N_TOKENS, COMPONENTS), dtype=np.float32) / 10
    model = as_lightfm(factors)
    model.item_embeddings = np.vstack([model.item_embeddings - tokens @ embeddings, embeddings])
    model.item_biases = np.append(model.item_biases, np.zeros(N_TOKENS, dtype=np.float32))
    identity = sparse.identity(n_items, dtype=np.float32, format="csr")
    return model, sparse.hstack([identity, sparse.csr_matrix(tokens)], format="csr")


def split(
    seen: sparse.csr_matrix, protocol: str, seed: int = 0
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Hold out 5 positives of each user (``leave_last``) or 20 % of all (``random``)."""
    n_users, n_items = seen.shape
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(n_users), np.diff(seen.indptr))
    pairs = rows * np.int64(n_items) + seen.indices
    if protocol == "random":
        held_out = rng.random(pairs.size) < 0.2
    else:
        order = np.lexsort((rng.random(pairs.size), rows))
        held_out = np.zeros(pairs.size, dtype=np.bool_)
        held_out[order[np.arange(pairs.size) - seen.indptr[rows] < 5]] = True
    return _csr(pairs[~held_out], n_users, n_items), _csr(pairs[held_out], n_users, n_items)


def _csr(pairs: npt.NDArray[np.int64], n_users: int, n_items: int) -> sparse.csr_matrix:
    """CSR of ascending ``row * n_items + column``."""
    indptr = np.searchsorted(pairs, np.arange(n_users + 1) * np.int64(n_items))
    indices = (pairs % n_items).astype(np.int32)
    data = np.ones(pairs.size, dtype=np.float32)
    return sparse.csr_matrix((data, indices, indptr.astype(np.int32)), shape=(n_users, n_items))
