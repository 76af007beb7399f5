"""What the commands show: the same views that anybody can read, and a few tables behind them."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from recsvc.errors import UsageError
from recsvc.store.contract.tables import metadata, models, movies, run_phases, runs, users
from recsvc.store.contract.types import UtcTimestamp
from recsvc.store.contract.views import VIEWS
from recsvc.store.database.backends import backend_of
from recsvc.store.database.clock import database_now
from recsvc.store.runs.current import Publication, current_publication
from recsvc.store.runs.ledger import is_silent
from recsvc.vocabulary import ALL

#: A row of a view, or of a query, by column name: what ``--json`` prints as it is.
Row = dict[str, Any]

_TIMES = {
    *("scheduled_for", "started_at", "finished_at", "published_at"),
    *("newest_rating_at", "newest_ingest_at", "rated_at", "audited_at"),
}


def _column(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name, UtcTimestamp) if name in _TIMES else sa.column(name)


_views = {
    view.name: sa.table(view.name, *(_column(name) for name in view.columns)) for view in VIEWS
}


def view(name: str) -> sa.TableClause:
    """Return a view of the contract, to select from."""
    return _views[name]


def columns_of(name: str) -> tuple[str, ...]:
    """Return the names of a view's columns, in order."""
    return tuple(view(name).c.keys())


def recommendations_for(connection: sa.Connection, user_id: int, limit: int) -> list[Row]:
    """Return a user's list as readers see it.

    Raises:
        UsageError: nobody has this id, or nothing is published.
    """
    _require(connection, users.c.user_id, user_id, "user", "MovieLens userId")
    return _published(connection, "current_recommendations", "user_id", user_id, limit)


def similar_to(connection: sa.Connection, movie_id: int, limit: int) -> list[Row]:
    """Return the movies that resemble a movie, as readers see them.

    Raises:
        UsageError: no movie has this id, or nothing is published.
    """
    _require(connection, movies.c.movie_id, movie_id, "movie", "MovieLens movieId")
    return _published(connection, "current_similar_movies", "movie_id", movie_id, limit)


def title_of(connection: sa.Connection, movie_id: int) -> str:
    """Return a movie's title.

    Raises:
        UsageError: no movie has this id.
    """
    _require(connection, movies.c.movie_id, movie_id, "movie", "MovieLens movieId")
    title = sa.select(movies.c.title).where(movies.c.movie_id == movie_id)
    return str(connection.scalar(title))


def run_history(connection: sa.Connection, limit: int) -> list[Row]:
    """Return the newest runs, the newest first."""
    history = view("run_history")
    return rows_of(connection, sa.select(history).order_by(history.c.run_id.desc()).limit(limit))


def metrics_of(
    connection: sa.Connection, run_id: int | None = None, segment: str = ALL
) -> list[Row]:
    """Return the metrics of a run, by default of the newest that has any.

    Raises:
        UsageError: there are none.
    """
    metrics = view("model_metrics")
    if run_id is None:
        run_id = connection.scalar(sa.select(sa.func.max(metrics.c.run_id)))
    query = sa.select(metrics).where(metrics.c.run_id == run_id)
    if segment != "*":
        query = query.where(metrics.c.segment == segment)
    rows = rows_of(
        connection,
        query.order_by(metrics.c.segment, metrics.c.metric, metrics.c.k, metrics.c.model),
    )
    if not rows:
        raise UsageError(_why_no_metrics(connection, run_id, segment))
    return rows


def _why_no_metrics(connection: sa.Connection, run_id: int | None, segment: str) -> str:
    if run_id is None:
        return "No run has metrics: run `recsvc retrain`."
    metrics = view("model_metrics")
    segments = connection.scalars(
        sa.select(metrics.c.segment).where(metrics.c.run_id == run_id).distinct()
    ).all()
    if segments:
        names = ", ".join(sorted(segments))
        return f"Run {run_id} has no segment {segment}: name one of {names}."
    return f"Run {run_id} has no metrics: see `recsvc runs`."


@dataclass(frozen=True)
class Status:
    """What an operator looks at first."""

    published: Row  #: the one row of the view ``freshness``
    publication: Publication | None  #: the switch that is in force
    last_run: Row | None  #: the newest row of ``runs``
    last_run_silent: bool  #: whether it is said to be running and shows no sign of life
    phases: list[Row]  #: of the last run, in the order in which they began
    rows: dict[str, int]  #: how many there are, by table
    wal_bytes: int | None  #: size of SQLite's write-ahead log; ``None`` on PostgreSQL


def status(connection: sa.Connection) -> Status:
    """Return what an operator looks at first."""
    (freshness,) = rows_of(connection, sa.select(view("freshness")))
    newest = sa.select(runs).order_by(runs.c.run_id.desc()).limit(1)
    last_run = next(iter(rows_of(connection, newest)), None)
    return Status(
        published=freshness,
        publication=current_publication(connection),
        last_run=last_run,
        last_run_silent=last_run is not None and is_silent(last_run, database_now(connection)),
        phases=phases_of(connection, last_run["run_id"]) if last_run else [],
        rows=row_counts(connection),
        wal_bytes=backend_of(connection).log_bytes(connection),
    )


def archived_model(connection: sa.Connection, run_id: int | None = None) -> bytes:
    """Return the packed hybrid of a run, by default of the published one.

    Raises:
        UsageError: nothing is published, or the arrays were pruned.
    """
    publication = run_id or _require_publication(connection)
    query = sa.select(models.c.arrays).where(
        models.c.run_id == publication, models.c.arrays.is_not(None)
    )
    packed = connection.scalar(query)
    if packed is None:
        raise UsageError(f"The arrays of run {publication} were pruned.")
    return bytes(packed)


def _published(connection: sa.Connection, name: str, key: str, value: int, limit: int) -> list[Row]:
    _require_publication(connection)
    found = view(name)
    query = sa.select(found).where(found.c[key] == value).order_by(found.c.rank).limit(limit)
    return rows_of(connection, query)


def _require_publication(connection: sa.Connection) -> int:
    publication = current_publication(connection)
    if publication is None:
        raise UsageError("Nothing is published yet: run `recsvc retrain`.")
    return publication.run_id


def _require(
    connection: sa.Connection, column: sa.Column[int], value: int, noun: str, meaning: str
) -> None:
    if connection.scalar(sa.select(column).where(column == value)) is None:
        raise UsageError(f"There is no {noun} {value} in the database; give a {meaning}.")


def rows_of(connection: sa.Connection, query: sa.Select[Any]) -> list[Row]:
    """Return the rows of a query by column name."""
    return [dict(row) for row in connection.execute(query).mappings()]


def phases_of(connection: sa.Connection, run_id: int) -> list[Row]:
    """Return the phases of a run in the order in which they began."""
    columns = run_phases.c
    query = (
        sa.select(columns.phase, columns.seconds, columns.rows, columns.peak_memory)
        .where(columns.run_id == run_id)
        .order_by(columns.started_at, columns.phase)
    )
    return rows_of(connection, query)


def row_counts(connection: sa.Connection) -> dict[str, int]:
    """Return how many users, movies, ratings and tags there are."""
    return {name: _count(connection, name) for name in ("users", "movies", "ratings", "tags")}


def _count(connection: sa.Connection, table: str) -> int:
    return int(
        connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables[table])) or 0
    )
