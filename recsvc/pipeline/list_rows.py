"""Rankings as rows, with ids in the place of indices."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from recsvc.model.data.identifiers import IdMap
from recsvc.model.ranking.rank import RankedBlock
from recsvc.runtime.arrays import Float64, Int8, Int32
from recsvc.vocabulary import SOURCES


def recommendation_rows(
    blocks: Iterable[RankedBlock], users: IdMap, items: IdMap, sources: Int8
) -> Iterator[pd.DataFrame]:
    """Yield columns user_id, rank, movie_id, score, source, in this order of rows.

    Args:
        blocks: rankings in user order.
        users: the users.
        items: the movies.
        sources: shape ``(n_users,)``, index in ``vocabulary.SOURCES``.
    """
    names = pd.Index(SOURCES)
    for block in blocks:
        rows, ranks, chosen, scores = _listed(block)
        yield pd.DataFrame(
            {
                "user_id": users.ids[rows],
                "rank": ranks,
                "movie_id": items.ids[chosen],
                "score": scores,
                "source": pd.Categorical.from_codes(sources[rows], names),
            }
        )


def similarity_rows(blocks: Iterable[RankedBlock], items: IdMap) -> Iterator[pd.DataFrame]:
    """Yield columns movie_id, rank, similar_movie_id, similarity, in this order of rows."""
    for block in blocks:
        rows, ranks, chosen, scores = _listed(block)
        yield pd.DataFrame(
            {
                "movie_id": items.ids[rows],
                "rank": ranks,
                "similar_movie_id": items.ids[chosen],
                "similarity": scores.clip(-1.0, 1.0),
            }
        )


def _listed(
    block: RankedBlock,
) -> tuple[
    Int32,
    Int32,
    Int32,
    Float64,
]:
    """Flatten a block without its padding: row, rank from 1, item, score."""
    n = block.items.shape[1]
    filled = np.arange(n) < block.counts[:, None]
    ranks = np.broadcast_to(np.arange(1, n + 1, dtype=np.int32), filled.shape)[filled]
    rows = np.repeat(block.users, block.counts)
    return rows, ranks, block.items[filled], block.scores[filled].astype(np.float64)
