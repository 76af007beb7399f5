"""Feature matrices: an identity token for each user or item, and tokens that they share."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from recsvc.model.data.identifiers import Csr, IdMap

BIAS_TOKEN = "bias:item"  # noqa: S105 - a feature token


@dataclass(frozen=True)
class Features:
    """Which tokens describe each row, identity tokens first.

    Column ``i < n`` is the identity of row ``i``; column ``n + t`` is ``tokens[t]``.
    """

    matrix: Csr  #: shape ``(n, n + len(tokens))``, float32 weights
    tokens: tuple[str, ...]  #: shared tokens such as ``genre:Comedy``, ascending by code point

    @property
    def shared(self) -> Csr:
        """The columns of shared tokens, shape ``(n, len(tokens))``."""
        return sparse.csr_array(self.matrix[:, self.matrix.shape[0] :])

    def fingerprint(self) -> str:
        """Return a digest that changes whenever a token or a weight does."""
        digest = hashlib.blake2b("\0".join(self.tokens).encode(), digest_size=16)
        for array in (self.matrix.indptr, self.matrix.indices, self.matrix.data):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def identity_features(n: int) -> Features:
    """Return features that tell nothing but who is who."""
    return Features(sparse.eye_array(n, dtype=np.float32, format="csr"), ())


def token_features(ids: IdMap, pairs: pd.DataFrame, *, normalize: bool) -> Features:
    """Build the feature matrix from pairs of id and token.

    Args:
        ids: the rows.
        pairs: columns ``id`` (int64) and ``token`` (str), each pair once.
        normalize: whether each row's weights are scaled to sum to one, as LightFM does by default.
    """
    n = len(ids)
    vocabulary = np.array(sorted(set(pairs["token"])), dtype=object)
    columns = pd.Index(vocabulary).get_indexer(pd.Index(pairs["token"], dtype=object))
    identity = sparse.eye_array(n, dtype=np.float32, format="csr")
    rows = ids.to_indices(pairs["id"].to_numpy(dtype=np.int64))
    shared = sparse.coo_array(
        (np.ones(len(rows), np.float32), (rows, columns.astype(np.int32))),
        shape=(n, len(vocabulary)),
    )
    matrix = sparse.csr_array(sparse.hstack([identity, shared], format="csr"))
    matrix.sort_indices()
    if normalize:
        matrix.data /= np.repeat(matrix.sum(axis=1), np.diff(matrix.indptr))
    return Features(matrix, tuple(vocabulary.tolist()))


def genre_tokens(genres: pd.DataFrame) -> pd.DataFrame:
    """Return the tokens of genres, columns ``id`` and ``token``.

    Args:
        genres: columns ``movie_id``, ``genre``.
    """
    return token_pairs(genres["movie_id"], "genre:", genres["genre"])


def tag_tokens(tags: pd.DataFrame, *, max_tags: int, order: str) -> pd.DataFrame:
    """Choose the tags that describe each movie; columns ``id`` and ``token``.

    Args:
        tags: columns ``movie_id``, ``tag_key``, ``applications`` (how often the tag was given to
            the movie) and ``first_user_id``; each movie and tag once, rare tags left out already.
        max_tags: tags kept for each movie.
        order: ``most_applied`` or ``first_applied`` tags are kept first; ties by code point.
    """
    chosen = _first_tags(tags, max_tags, order)
    return token_pairs(chosen["movie_id"], "tag:", chosen["tag_key"])


def with_bias_token(ids: IdMap, pairs: pd.DataFrame) -> pd.DataFrame:
    """Give :data:`BIAS_TOKEN` to each movie without any token; columns ``id`` and ``token``."""
    bare = np.setdiff1d(ids.ids, pairs["id"].to_numpy(dtype=np.int64))
    return pd.concat([pairs, pd.DataFrame({"id": bare, "token": BIAS_TOKEN})])


def _first_tags(tags: pd.DataFrame, max_tags: int, order: str) -> pd.DataFrame:
    if tags.empty:
        return tags
    by_use = ["movie_id", "applications", "tag_key"]
    by_user = ["movie_id", "first_user_id", "tag_key"]
    ordered = (
        tags.sort_values(by_use, ascending=[True, False, True])
        if order == "most_applied"
        else tags.sort_values(by_user)
    )
    return ordered[ordered.groupby("movie_id").cumcount() < max_tags]


def token_pairs(ids: "pd.Series[int]", prefix: str, values: "pd.Series[str]") -> pd.DataFrame:
    """Return columns ``id`` and ``token``, each token a prefix and a value."""
    return pd.DataFrame(
        {
            "id": ids.to_numpy(dtype=np.int64),
            "token": [f"{prefix}{value}" for value in values.tolist()],
        },
        index=range(len(ids)),
    ).astype({"token": "str"})
