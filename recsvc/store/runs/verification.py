"""Assertions in SQL about rows that are about to be published.

They stand in for foreign keys, which on the output tables would cost more than the writing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from recsvc.errors import VerificationError
from recsvc.store.contract.tables import movies, ratings, recommendations, similar_movies
from recsvc.store.database.snapshot import Snapshot, snapshot
from recsvc.store.sources.training_rows import read_catalogue, read_last_ingest, read_user_ids

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Expectation:
    """What a run must have written."""

    user_ids: Int64  #: every user, ascending
    user_rows: Int64  #: rows for each of them
    movie_ids: Int64  #: every movie, ascending
    movie_rows: Int64  #: similar movies for each of them
    seen_rating: float | None  #: ratings from here up count as seen; None if all do
    last_ingest: int  #: newest ingest when the data were read


def verify_output(engine: sa.Engine, run_id: int, expected: Expectation) -> int:
    """Check everything that readers are promised; return how many rows were checked.

    Raises:
        VerificationError: naming the first promise that does not hold.
    """
    with snapshot(engine) as database:
        checked = _verify_recommendations(database, run_id, expected)
        return checked + _verify_similar_movies(database, run_id, expected)


def _verify_recommendations(database: Snapshot, run_id: int, expected: Expectation) -> int:
    table, user_ids = recommendations, read_user_ids(database)
    lists = _lists(database, table, user_ids, run_id)
    _require_ranks(run_id, table, lists, expected.user_ids, expected.user_rows)
    strangers = lists.loc[~lists["subject"].isin(user_ids), "rows"]
    _require_none(run_id, strangers, "the user does not exist")
    shown = _shown(database, table, table.c.movie_id, user_ids, run_id)
    _require_none(run_id, shown["unknown"], "the movie does not exist")
    _require_none(
        run_id,
        shown["unavailable"],
        "the movie is not available (it may have been withdrawn meanwhile)",
    )
    if read_last_ingest(database) == expected.last_ingest:
        # Otherwise a rating may have arrived after the data were read, which is no mistake.
        seen = _seen(database, user_ids, run_id, expected.seen_rating)
        _require_none(run_id, seen, "the user has seen the movie")
    return int(lists["rows"].sum())


def _verify_similar_movies(database: Snapshot, run_id: int, expected: Expectation) -> int:
    table, (movie_ids, _) = similar_movies, read_catalogue(database)
    lists = _lists(database, table, movie_ids, run_id)
    _require_ranks(run_id, table, lists, expected.movie_ids, expected.movie_rows)
    shown = _shown(database, table, table.c.similar_movie_id, movie_ids, run_id)
    _require_none(run_id, shown["unknown"], "a similar movie does not exist")
    _require_none(run_id, shown["subject"], "a movie is similar to itself")
    _require_none(
        run_id,
        shown["unavailable"],
        "a similar movie is not available (it may have been withdrawn meanwhile)",
    )
    return int(lists["rows"].sum())


def _subject(table: sa.Table) -> sa.Column[Any]:
    """Return the column that says whose list a row is in."""
    return list(table.primary_key.columns)[1]


def _lists(database: Snapshot, table: sa.Table, subjects: Int64, run_id: int) -> pd.DataFrame:
    """Return a row for each list: whose it is, how many rows it has, its ends."""
    subject = _subject(table)
    query = (
        sa.select(
            subject.label("subject"),
            sa.func.count().label("rows"),
            sa.func.min(table.c.rank).label("lowest"),
            sa.func.max(table.c.rank).label("highest"),
        )
        .where(table.c.run_id == run_id)
        .group_by(subject)
    )
    lists = database.frame_in_ranges(query, [subject], subjects)
    return lists.astype(np.int64).sort_values("subject")


def _shown(
    database: Snapshot,
    table: sa.Table,
    movie: sa.Column[int],
    subjects: Int64,
    run_id: int,
) -> pd.DataFrame:
    """Count rows whose movie is unknown, is unavailable, or has the id of the subject.

    Only columns of the table's unique constraint take part: PostgreSQL reads its index alone.
    """
    subject = _subject(table)
    rows = sa.func.count()
    counts: list[sa.ColumnElement[Any]] = [
        rows.filter(movies.c.movie_id.is_(None)).label("unknown"),
        rows.filter(movies.c.available == sa.false()).label("unavailable"),
        rows.filter(movie == subject).label("subject"),
    ]
    query = (
        sa.select(*counts)
        .select_from(table.outerjoin(movies, movies.c.movie_id == movie))
        .where(table.c.run_id == run_id)
    )
    return database.frame_in_ranges(query, [subject], subjects)


def _seen(
    database: Snapshot, user_ids: Int64, run_id: int, seen_rating: float | None
) -> "pd.Series[int]":
    """Count rows of what their user has rated so well that it counts as seen."""
    shown = recommendations.c
    same = sa.and_(ratings.c.user_id == shown.user_id, ratings.c.movie_id == shown.movie_id)
    query = (
        sa.select(sa.func.count().label("rows"))
        .select_from(recommendations.join(ratings, same))
        .where(shown.run_id == run_id)
    )
    if seen_rating is not None:
        query = query.where(ratings.c.rating >= seen_rating)
    both = [shown.user_id, ratings.c.user_id]
    return database.frame_in_ranges(query, both, user_ids)["rows"]


def _require_ranks(
    run_id: int, table: sa.Table, lists: pd.DataFrame, subjects: Int64, rows: Int64
) -> None:
    """Make sure that each subject has its number of rows, ranked from 1 without gaps."""
    with_rows = rows > 0
    complete = np.array_equal(lists["subject"], subjects[with_rows]) and np.array_equal(
        lists["rows"], rows[with_rows]
    )
    # Ranks are distinct by the primary key, so 1..n is what the ends say.
    ranked = (lists["lowest"] == 1).all() and (lists["highest"] == lists["rows"]).all()
    if not (complete and ranked):
        raise VerificationError(
            f"Run {run_id} is not published: {table.name} does not hold the ranks 1..n of every "
            f"{_subject(table).name}. Readers keep what they had; run `recsvc retrain` again."
        )


def _require_none(run_id: int, counts: "pd.Series[int]", promise: str) -> None:
    """Make sure that no row breaks a promise."""
    found = int(counts.sum())
    if found:
        raise VerificationError(
            f"Run {run_id} is not published: {found:,} rows where {promise}. "
            "Readers keep what they had; run `recsvc retrain` again."
        )
