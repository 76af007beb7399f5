"""Assertions in SQL about rows that are about to be published.

They stand in for foreign keys, which on the output tables would cost more than the writing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from recsvc.errors import VerificationError
from recsvc.store.schema import movies, ratings, recommendations, similar_movies, users
from recsvc.store.snapshot import Snapshot, snapshot
from recsvc.store.source import read_last_ingest

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Expectation:
    """What a run must have written."""

    user_ids: Int64  #: every user, ascending
    user_rows: Int64  #: rows for each of them
    movie_ids: Int64  #: every movie, ascending
    movie_rows: Int64  #: similar movies for each of them
    seen_rating: float  #: ratings from here up count as seen
    last_ingest: int  #: newest ingest when the data were read


def verify_output(engine: sa.Engine, run_id: int, expected: Expectation) -> int:
    """Check everything that readers are promised; return how many rows were checked.

    Raises:
        VerificationError: naming the first promise that does not hold.
    """
    with snapshot(engine) as database:
        checked = _verify_lists(
            database, recommendations, run_id, expected.user_ids, expected.user_rows
        )
        checked += _verify_lists(
            database, similar_movies, run_id, expected.movie_ids, expected.movie_rows
        )
        for promise, query in _violations(database, run_id, expected):
            found = int(database.frame(query)["rows"].iloc[0])
            if found:
                raise VerificationError(
                    f"Run {run_id} is not published: {found:,} rows where {promise}. "
                    "Readers keep what they had; run `recsvc retrain` again."
                )
    return checked


def _verify_lists(
    database: Snapshot, table: sa.Table, run_id: int, subjects: Int64, rows: Int64
) -> int:
    """Check that each subject has its number of rows, ranked from 1 without gaps."""
    subject = list(table.primary_key.columns)[1]
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
    lists = database.frame(query).astype(np.int64).sort_values("subject")
    with_rows = rows > 0
    complete = np.array_equal(lists["subject"], subjects[with_rows]) and np.array_equal(
        lists["rows"], rows[with_rows]
    )
    # Ranks are distinct by the primary key, so 1..n is what the ends say.
    ranked = (lists["lowest"] == 1).all() and (lists["highest"] == lists["rows"]).all()
    if not (complete and ranked):
        raise VerificationError(
            f"Run {run_id} is not published: {table.name} does not hold the ranks 1..n of every "
            f"{subject.name}. Readers keep what they had; run `recsvc retrain` again."
        )
    return int(rows.sum())


def _violations(
    database: Snapshot, run_id: int, expected: Expectation
) -> list[tuple[str, sa.Select[int]]]:
    """Return queries that count the rows that break a promise, each with the promise broken."""
    r, s = recommendations.c, similar_movies.c
    count = sa.select(sa.func.count().label("rows"))
    in_run, in_similar = r.run_id == run_id, s.run_id == run_id

    def missing(column: sa.ColumnElement[int], key: sa.Column[int]) -> sa.ColumnElement[bool]:
        return ~sa.exists().where(key == column)

    def withdrawn(table: sa.Table, column: sa.Column[int]) -> sa.Select[int]:
        joined = table.join(movies, movies.c.movie_id == column)
        unavailable = sa.not_(movies.c.available == sa.true())
        return count.select_from(joined).where(table.c.run_id == run_id, unavailable)

    found = [
        ("the user does not exist", count.where(in_run, missing(r.user_id, users.c.user_id))),
        ("the movie does not exist", count.where(in_run, missing(r.movie_id, movies.c.movie_id))),
        (
            "a similar movie does not exist",
            count.where(in_similar, missing(s.similar_movie_id, movies.c.movie_id)),
        ),
        ("a movie is similar to itself", count.where(in_similar, s.movie_id == s.similar_movie_id)),
        (
            "the movie is not available (it may have been withdrawn meanwhile)",
            withdrawn(recommendations, r.movie_id),
        ),
        (
            "a similar movie is not available (it may have been withdrawn meanwhile)",
            withdrawn(similar_movies, s.similar_movie_id),
        ),
    ]
    if read_last_ingest(database) == expected.last_ingest:
        # Otherwise a rating may have arrived after the data were read, which is no mistake.
        seen = recommendations.join(
            ratings, sa.and_(ratings.c.user_id == r.user_id, ratings.c.movie_id == r.movie_id)
        )
        query = count.select_from(seen).where(in_run, ratings.c.rating >= expected.seen_rating)
        found.append(("the user has seen the movie", query))
    return found
