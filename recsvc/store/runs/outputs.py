"""The output tables: what of each a run must have written, and what no row of it may break.

One declaration for each table, beside its columns in :mod:`recsvc.store.contract.tables`.
Verification goes through all of them; writing, publication and pruning need nothing but the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from recsvc.runtime.arrays import Int64
from recsvc.store.contract.tables import movies, recommendations, similar_movies
from recsvc.store.database.snapshot import Snapshot
from recsvc.store.sources.training_rows import read_catalogue, read_user_ids


@dataclass(frozen=True)
class Assertion:
    """What makes a row unfit to be shown."""

    broken_where: str  #: completes the sentence "rows where ..."
    #: of a row of the table, joined with the movie that it shows where there is one
    broken: sa.ColumnElement[bool]


@dataclass(frozen=True)
class OutputTable:
    """A table of ranked lists, written by a run and shown once it is published.

    Its key is the run, the subject whose list a row is in, and the rank from 1 without gaps.
    """

    table: sa.Table
    subject: str  #: what the lists are for, as sentences name it
    subjects: Callable[[Snapshot], Int64]  #: the id of each subject that there is, ascending
    shows: sa.Column[Any]  #: the movie in a row
    assertions: tuple[Assertion, ...]
    user: sa.Column[Any] | None = None  #: who must not have seen the movie

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def subject_column(self) -> sa.Column[Any]:
        """The column that says whose list a row is in."""
        return list(self.table.primary_key.columns)[1]


def _movie_ids(database: Snapshot) -> Int64:
    return read_catalogue(database)[0]


RECOMMENDATIONS = OutputTable(
    table=recommendations,
    subject="user",
    subjects=read_user_ids,
    shows=recommendations.c.movie_id,
    assertions=(
        Assertion("the movie does not exist", movies.c.movie_id.is_(None)),
        Assertion(
            "the movie is not available (it may have been withdrawn meanwhile)",
            movies.c.available == sa.false(),
        ),
    ),
    user=recommendations.c.user_id,
)

SIMILAR_MOVIES = OutputTable(
    table=similar_movies,
    subject="movie",
    subjects=_movie_ids,
    shows=similar_movies.c.similar_movie_id,
    assertions=(
        Assertion("a similar movie does not exist", movies.c.movie_id.is_(None)),
        Assertion(
            "a movie is similar to itself",
            similar_movies.c.similar_movie_id == similar_movies.c.movie_id,
        ),
        Assertion(
            "a similar movie is not available (it may have been withdrawn meanwhile)",
            movies.c.available == sa.false(),
        ),
    ),
)

#: In the order in which they are written.
OUTPUTS = (RECOMMENDATIONS, SIMILAR_MOVIES)
