"""What a retrain reads, by SQL, in one snapshot."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.runtime.arrays import Int64, Mask
from recsvc.store.contract.tables import (
    ingests,
    movie_genres,
    movies,
    ratings,
    tags,
    user_features,
    users,
)
from recsvc.store.database.snapshot import Snapshot


class RatingBatch(NamedTuple):
    """Some ratings, as columns."""

    user_ids: Int64
    movie_ids: Int64
    rated_at: Int64  #: Unix seconds
    positive: Mask  #: whether the rating is at or above the threshold


def read_user_ids(database: Snapshot) -> Int64:
    """Return every user, ascending."""
    return _ints(database.frame(sa.select(users.c.user_id).order_by(users.c.user_id)), "user_id")


def read_catalogue(database: Snapshot) -> tuple[Int64, Mask]:
    """Return every movie, ascending, and whether each is available."""
    query = sa.select(movies.c.movie_id, movies.c.available).order_by(movies.c.movie_id)
    frame = database.frame(query)
    return _ints(frame, "movie_id"), frame["available"].to_numpy().astype(np.bool_)


def read_ratings(database: Snapshot, positive_rating: float) -> Iterator[RatingBatch]:
    """Yield all ratings, in no particular order: whoever needs one sorts integers, not rows."""
    positive = sa.cast(ratings.c.rating >= sa.bindparam("threshold", positive_rating), sa.Integer)
    # One number for both: to pack a number of each row is what takes the time.
    shifted = ratings.c.rated_at.bitwise_lshift(sa.literal_column("1", sa.Integer))
    both = shifted.bitwise_or(positive).label("rated_at_and_positive")
    query = sa.select(ratings.c.user_id, ratings.c.movie_id, both)
    for batch in database.batches(query, packed_by=ratings.c.user_id):
        user_ids, movie_ids, numbers = (column.to_numpy() for column in batch.columns)
        yield RatingBatch(user_ids, movie_ids, numbers >> 1, (numbers & 1).astype(np.bool_))


def read_genres(database: Snapshot) -> pd.DataFrame:
    """Return columns movie_id, genre."""
    return database.frame(sa.select(movie_genres.c.movie_id, movie_genres.c.genre))


def read_tags(database: Snapshot, min_tag_freq: int) -> pd.DataFrame:
    """Return how often each frequent tag was given to each movie.

    Args:
        database: the snapshot.
        min_tag_freq: tags given less often, to all movies together, are left out.

    Returns:
        Columns movie_id, tag_key, applications, first_user_id; each movie and tag once.
    """
    given = sa.func.count()
    counted = (
        sa.select(
            tags.c.movie_id,
            tags.c.tag_key,
            given.label("applications"),
            sa.func.min(tags.c.user_id).label("first_user_id"),
            sa.func.sum(given).over(partition_by=tags.c.tag_key).label("frequency"),
        )
        .group_by(tags.c.tag_key, tags.c.movie_id)  # the order of the window: sorted but once
        .subquery()
    )
    columns = [column for column in counted.c if column.name != "frequency"]
    return database.frame(
        sa.select(*columns).where(counted.c.frequency >= sa.bindparam("min_tag_freq", min_tag_freq))
    )


def read_user_features(database: Snapshot) -> pd.DataFrame:
    """Return columns user_id, feature."""
    return database.frame(sa.select(user_features.c.user_id, user_features.c.feature))


def read_last_ingest(database: Snapshot) -> int:
    """Return the id of the newest ingest; 0 before the first."""
    newest = sa.func.coalesce(sa.func.max(ingests.c.ingest_id), 0).label("ingest_id")
    return int(database.frame(sa.select(newest))["ingest_id"].iloc[0])


def _ints(frame: pd.DataFrame, column: str) -> Int64:
    return frame[column].to_numpy(dtype=np.int64)
