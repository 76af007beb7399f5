"""Arrays of the size of MovieLens 25M, with as many tokens a movie as its genres and tags give.

``recsvc synth`` gives tags to few movies, so that its hybrid has half the tokens.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import Indices
from recsvc.model.data.splits import Positives
from training.data import Data

N_USERS, N_ITEMS, N_POSITIVES = 162_000, 59_000, 11_900_000
N_GENRES, N_TAGS, MAX_TAGS = 20, 15_000, 20
#: Groups of users who find other movies popular.
N_GROUPS = 64
Int64 = npt.NDArray[np.int64]


def movielens_25m(seed: int = 0) -> Data:
    """Log-normal activity, Zipf popularity that differs between groups, 8 tokens an item."""
    rng = np.random.default_rng(seed)
    rows, columns = _positives(rng)
    return Data(Positives(rows, columns, np.arange(len(rows)), (N_USERS, N_ITEMS)), _features(rng))


def _positives(rng: np.random.Generator) -> tuple[Indices, Indices]:
    activity = rng.lognormal(3.4, 1.25, N_USERS)
    draws = 1.1 * N_POSITIVES  # some pairs are drawn twice
    counts = np.maximum(1, activity / activity.sum() * draws).astype(np.int64)
    log_rank = 1.05 * np.log(np.arange(N_ITEMS) + 20)
    cumulative = np.cumsum(np.exp(-log_rank))
    by_group = np.stack(
        [np.argsort(log_rank + 0.8 * rng.standard_normal(N_ITEMS)) for _ in range(N_GROUPS)]
    )
    user = np.repeat(np.arange(N_USERS), counts)
    rank = np.searchsorted(cumulative, rng.random(len(user)) * cumulative[-1])
    group = rng.integers(0, N_GROUPS, N_USERS)[user]
    item = by_group[group, rank.clip(max=N_ITEMS - 1)]
    pairs = np.unique(user * N_ITEMS + item)
    return (pairs // N_ITEMS).astype(np.int32), (pairs % N_ITEMS).astype(np.int32)


def _features(rng: np.random.Generator) -> Features:
    genres = _tokens(rng, rng.integers(1, 4, N_ITEMS), N_GENRES, head=3)
    tags = _tokens(rng, np.minimum(MAX_TAGS, rng.geometric(0.16, N_ITEMS)), N_TAGS, head=10)
    identity = sparse.eye_array(N_ITEMS, dtype=np.float32, format="csr")
    matrix = sparse.csr_array(sparse.hstack([identity, genres, tags], format="csr"))
    return Features(matrix, tuple(f"token:{token}" for token in range(N_GENRES + N_TAGS)))


def _tokens(
    rng: np.random.Generator, per_item: Int64, n_tokens: int, *, head: int
) -> sparse.csr_array:
    """Draw tokens by Zipf's law; ``head`` ranks are about equally frequent."""
    weight = 1 / (np.arange(n_tokens) + head)
    rows = np.repeat(np.arange(N_ITEMS), per_item)
    columns = rng.choice(n_tokens, len(rows), p=weight / weight.sum())
    pairs = np.unique(rows * n_tokens + columns)
    ones = np.ones(len(pairs), np.float32)
    entries = (pairs // n_tokens, pairs % n_tokens)
    return sparse.csr_array(sparse.coo_array((ones, entries), shape=(N_ITEMS, n_tokens)))
