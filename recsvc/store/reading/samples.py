"""A few lists out of the published run, chosen so that the same tables give the same ones."""

from dataclasses import dataclass

import sqlalchemy as sa

from recsvc.store.contract.tables import movies, ratings, recommendations, similar_movies
from recsvc.store.reading.queries import Row, rows_of, view

BEST_KNOWN = 5
LIST_LENGTH = 5


@dataclass(frozen=True)
class SourceShare:
    """How many users have lists of a source."""

    source: str  #: hybrid, cold_user or popular
    users: int
    first_user: int  #: the lowest of their ids


@dataclass(frozen=True)
class SampleUser:
    """A user with the head of the list that readers see."""

    user_id: int
    ratings: int  #: how many
    liked: list[str]  #: titles rated highest, the newest first
    recommended: list[Row]  #: of ``current_recommendations``


@dataclass(frozen=True)
class SampleMovie:
    """A movie that many rated, with what resembles it."""

    title: str
    ratings: int  #: how many
    similar: list[Row]  #: of ``current_similar_movies``


def list_sources(connection: sa.Connection, run_id: int) -> list[SourceShare]:
    """Count the users of a run by why their lists are what they are, the most frequent first."""
    columns = recommendations.c
    users = sa.func.count().label("users")
    query = (
        sa.select(columns.source, users, sa.func.min(columns.user_id))
        .where(columns.run_id == run_id, columns.rank == 1)
        .group_by(columns.source)
        .order_by(users.desc(), columns.source)
    )
    return [SourceShare(*row) for row in connection.execute(query)]


def sample_users(connection: sa.Connection, sources: list[SourceShare]) -> list[SampleUser]:
    """Return the first user of each source, and the one with the most ratings."""
    chosen = [share.first_user for share in sources]
    busiest = (
        sa.select(ratings.c.user_id)
        .group_by(ratings.c.user_id)
        .order_by(sa.func.count().desc(), ratings.c.user_id)
        .limit(1)
    )
    chosen += connection.scalars(busiest)
    return [_sample_user(connection, user_id) for user_id in dict.fromkeys(chosen)]


def _sample_user(connection: sa.Connection, user_id: int) -> SampleUser:
    mine = ratings.c.user_id == user_id
    liked = (
        sa.select(movies.c.title)
        .join(ratings, ratings.c.movie_id == movies.c.movie_id)
        .where(mine)
        .order_by(ratings.c.rating.desc(), ratings.c.rated_at.desc(), movies.c.movie_id)
        .limit(LIST_LENGTH)
    )
    current = view("current_recommendations")
    listed = sa.select(current).where(current.c.user_id == user_id).order_by(current.c.rank)
    return SampleUser(
        user_id=user_id,
        ratings=connection.scalar(sa.select(sa.func.count()).where(mine)) or 0,
        liked=list(connection.scalars(liked)),
        recommended=rows_of(connection, listed.limit(LIST_LENGTH)),
    )


def sample_movies(connection: sa.Connection, run_id: int) -> list[SampleMovie]:
    """Return the movies with the most ratings, of those that resemble any."""
    many = sa.func.count().label("many")
    counted = (
        sa.select(ratings.c.movie_id, many)
        .group_by(ratings.c.movie_id)
        .order_by(many.desc(), ratings.c.movie_id)
        .limit(BEST_KNOWN)
        .subquery()
    )
    columns = similar_movies.c
    known = sa.exists().where(columns.run_id == run_id, columns.movie_id == counted.c.movie_id)
    query = (
        sa.select(counted, movies.c.title)
        .join(movies, movies.c.movie_id == counted.c.movie_id)
        .where(known)
        .order_by(counted.c.many.desc(), counted.c.movie_id)
    )
    return [
        SampleMovie(row.title, row.many, _similar(connection, row.movie_id))
        for row in connection.execute(query).all()
    ]


def _similar(connection: sa.Connection, movie_id: int) -> list[Row]:
    current = view("current_similar_movies")
    query = sa.select(current).where(current.c.movie_id == movie_id).order_by(current.c.rank)
    return rows_of(connection, query.limit(LIST_LENGTH))
