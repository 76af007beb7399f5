"""Assertions in SQL about rows that are about to be published.

They stand in for foreign keys, which on the output tables would cost more than the writing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.errors import VerificationError
from recsvc.runtime.arrays import Int64
from recsvc.store.contract.tables import movies, ratings
from recsvc.store.database.snapshot import Snapshot, snapshot
from recsvc.store.runs.outputs import OUTPUTS, OutputTable
from recsvc.store.sources.training_rows import read_last_ingest


@dataclass(frozen=True)
class Lists:
    """What a run must have written into one output table."""

    subjects: Int64  #: id of each subject, ascending
    rows: Int64  #: rows for each of them


@dataclass(frozen=True)
class Expectation:
    """What a run must have written."""

    lists: Mapping[str, Lists]  #: by name of the output table
    seen_rating: float | None  #: ratings from here up count as seen; None if all do
    last_ingest: int  #: newest ingest when the data were read


def verify_output(engine: sa.Engine, run_id: int, expected: Expectation) -> int:
    """Check everything that readers are promised; return how many rows were checked.

    Raises:
        VerificationError: naming the first promise that does not hold.
    """
    with snapshot(engine) as database:
        return sum(_verify(database, output, run_id, expected) for output in OUTPUTS)


def _verify(database: Snapshot, output: OutputTable, run_id: int, expected: Expectation) -> int:
    subjects = output.subjects(database)
    lists = _lists(database, output, subjects, run_id)
    _require_ranks(run_id, output, lists, expected.lists[output.name])
    strangers = lists.loc[~lists["subject"].isin(subjects), "rows"]
    _require_none(run_id, strangers, f"the {output.subject} does not exist")
    broken = _broken(database, output, subjects, run_id)
    for number, assertion in enumerate(output.assertions):
        _require_none(run_id, broken[str(number)], assertion.broken_where)
    if output.user is not None and read_last_ingest(database) == expected.last_ingest:
        # Otherwise a rating may have arrived after the data were read, which is no mistake.
        seen = _seen(database, output, output.user, subjects, run_id, expected.seen_rating)
        _require_none(run_id, seen, "the user has seen the movie")
    return int(lists["rows"].sum())


def _lists(database: Snapshot, output: OutputTable, subjects: Int64, run_id: int) -> pd.DataFrame:
    """Return a row for each list: whose it is, how many rows it has, its ends."""
    table, subject = output.table, output.subject_column
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


def _broken(database: Snapshot, output: OutputTable, subjects: Int64, run_id: int) -> pd.DataFrame:
    """Count the rows that break each assertion, in columns that are named by its number.

    Where only columns of the table's unique constraint take part, PostgreSQL reads its index alone.
    """
    counts: list[sa.ColumnElement[Any]] = [
        sa.func.count().filter(assertion.broken).label(str(number))
        for number, assertion in enumerate(output.assertions)
    ]
    shown = output.table.outerjoin(movies, movies.c.movie_id == output.shows)
    query = sa.select(*counts).select_from(shown).where(output.table.c.run_id == run_id)
    return database.frame_in_ranges(query, [output.subject_column], subjects)


def _seen(
    database: Snapshot,
    output: OutputTable,
    user: sa.Column[int],
    subjects: Int64,
    run_id: int,
    seen_rating: float | None,
) -> "pd.Series[int]":
    """Count rows of what their user has rated so well that it counts as seen."""
    same = sa.and_(ratings.c.user_id == user, ratings.c.movie_id == output.shows)
    query = (
        sa.select(sa.func.count().label("rows"))
        .select_from(output.table.join(ratings, same))
        .where(output.table.c.run_id == run_id)
    )
    if seen_rating is not None:
        query = query.where(ratings.c.rating >= seen_rating)
    subject = output.subject_column
    ranged = [subject, ratings.c.user_id] if subject is user else [subject]
    return database.frame_in_ranges(query, ranged, subjects)["rows"]


def _require_ranks(run_id: int, output: OutputTable, lists: pd.DataFrame, expected: Lists) -> None:
    """Make sure that each subject has its number of rows, ranked from 1 without gaps."""
    with_rows = expected.rows > 0
    complete = np.array_equal(lists["subject"], expected.subjects[with_rows]) and np.array_equal(
        lists["rows"], expected.rows[with_rows]
    )
    # Ranks are distinct by the primary key, so 1..n is what the ends say.
    ranked = (lists["lowest"] == 1).all() and (lists["highest"] == lists["rows"]).all()
    if not (complete and ranked):
        raise VerificationError(
            f"Run {run_id} is not published: {output.name} does not hold the ranks 1..n of every "
            f"{output.subject_column.name}. Readers keep what they had; run `recsvc retrain` again."
        )


def _require_none(run_id: int, counts: "pd.Series[int]", broken_where: str) -> None:
    """Make sure that no row breaks a promise."""
    found = int(counts.sum())
    if found:
        raise VerificationError(
            f"Run {run_id} is not published: {found:,} rows where {broken_where}. "
            "Readers keep what they had; run `recsvc retrain` again."
        )
