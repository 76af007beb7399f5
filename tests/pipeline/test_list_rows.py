"""Rankings become rows: ids for indices, no padding, in key order."""

import numpy as np

from recsvc.model.data.identifiers import IdMap
from recsvc.model.ranking.rank import RankedBlock
from recsvc.pipeline.list_rows import recommendation_rows, similarity_rows

USERS, MOVIES = IdMap(np.array([10, 20, 30])), IdMap(np.array([7, 8, 9]))
SOURCES = np.array([0, 2, 1], np.int8)


def block(users: list[int], items: list[list[int]], scores: list[list[float]]) -> RankedBlock:
    chosen = np.array(items, np.int32)
    return RankedBlock(
        users=np.array(users, np.int32),
        items=chosen,
        scores=np.array(scores, np.float32),
        counts=(chosen >= 0).sum(axis=1).astype(np.int32),
    )


BLOCKS = [
    block([0, 1], [[2, 0], [1, -1]], [[0.5, 0.25], [3.0, np.nan]]),
    block([2], [[-1, -1]], [[np.nan, np.nan]]),
]


def test_recommendations_carry_ids_ranks_scores_and_sources() -> None:
    frames = list(recommendation_rows(iter(BLOCKS), USERS, MOVIES, SOURCES))
    assert [frame.to_dict("records") for frame in frames] == [
        [
            {"user_id": 10, "rank": 1, "movie_id": 9, "score": 0.5, "source": "hybrid"},
            {"user_id": 10, "rank": 2, "movie_id": 7, "score": 0.25, "source": "hybrid"},
            {"user_id": 20, "rank": 1, "movie_id": 8, "score": 3.0, "source": "popular"},
        ],
        [],
    ]


def test_columns_come_in_the_order_of_the_table() -> None:
    (frame, _) = recommendation_rows(BLOCKS, USERS, MOVIES, SOURCES)
    assert list(frame.columns) == ["user_id", "rank", "movie_id", "score", "source"]


def test_rows_are_made_block_by_block() -> None:
    def blocks() -> object:
        yield BLOCKS[0]
        raise AssertionError("the second block was asked for before its turn")

    rows = recommendation_rows(blocks(), USERS, MOVIES, SOURCES)  # type: ignore[arg-type]
    assert len(next(rows)) == 3


def test_similar_movies_are_movies_on_both_sides() -> None:
    (frame, _) = similarity_rows(BLOCKS, MOVIES)
    assert list(frame.columns) == ["movie_id", "rank", "similar_movie_id", "similarity"]
    assert frame["movie_id"].tolist() == [7, 7, 8]
    assert frame["similar_movie_id"].tolist() == [9, 7, 8]


def test_a_cosine_that_rounding_carried_past_one_is_one() -> None:
    rounded = [block([0], [[1, 2]], [[1.0000002, -1.0000001]])]
    (frame,) = similarity_rows(rounded, MOVIES)
    assert frame["similarity"].tolist() == [1.0, -1.0]
