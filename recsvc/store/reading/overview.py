"""What the morning report shows, read at one moment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recsvc.store.contract.tables import ingest_files, ingests, rejected_rows, runs
from recsvc.store.reading.queries import Row, phases_of, row_counts, rows_of, view
from recsvc.store.reading.samples import (
    SampleMovie,
    SampleUser,
    SourceShare,
    list_sources,
    sample_movies,
    sample_users,
)
from recsvc.store.runs.current import Publication, current_publication
from recsvc.vocabulary import ALL, GATE_K, GATE_METRIC, PUBLISHED, RUNNING, SKIPPED

HISTORY = 30  #: runs and ingests further back are not read
REJECTS = 10
RAW_CHARACTERS = 120


@dataclass(frozen=True)
class Overview:
    """The state of a database; rows are those of the views or tables they are named after."""

    publication: Publication | None  #: what readers see
    newest_rating_at: datetime | None
    counts: dict[str, int]  #: rows in users, movies, ratings and tags
    #: the newest of ``run_history`` with ``gate`` and what the lease goes by, the newest first
    runs: list[Row]
    measured: list[Row]  #: ``model_metrics`` of the newest run that has any
    nights: list[Row]  #: ``model_metrics``, NDCG@10 of published runs, oldest first
    timed_run: int | None  #: the newest run that ended and was not skipped
    phases: list[Row]  #: its ``run_phases``
    sources: list[SourceShare]  #: why users have the lists that they have
    users: list[SampleUser]
    movies: list[SampleMovie]
    ingests: list[Row]  #: the newest first, with the sums over their files
    rejects: list[Row]  #: the first few of the newest ingest that has any


def read_overview(connection: sa.Connection) -> Overview:
    """Gather all of it; some queries read every rating once."""
    publication = current_publication(connection)
    run_id = publication.run_id if publication else None
    sources = list_sources(connection, run_id) if run_id else []
    newest = _newest_runs(connection)
    timed = next((row["run_id"] for row in newest if _has_phases(row["status"])), None)
    return Overview(
        publication=publication,
        newest_rating_at=connection.scalar(sa.select(view("freshness").c.newest_rating_at)),
        counts=row_counts(connection),
        runs=newest,
        measured=_measured(connection),
        nights=_nights(connection),
        timed_run=timed,
        phases=phases_of(connection, timed) if timed else [],
        sources=sources,
        users=sample_users(connection, sources) if sources else [],
        movies=sample_movies(connection, run_id) if run_id else [],
        ingests=_ingests(connection),
        rejects=_rejects(connection),
    )


def _has_phases(status: str) -> bool:
    return status not in (RUNNING, SKIPPED)


def _newest_runs(connection: sa.Connection) -> list[Row]:
    history = view("run_history")
    query = (
        sa.select(history, runs.c.gate, runs.c.heartbeat_at, runs.c.lease_seconds)
        .join(runs, runs.c.run_id == history.c.run_id)
        .order_by(history.c.run_id.desc())
        .limit(HISTORY)
    )
    return rows_of(connection, query)


def _measured(connection: sa.Connection) -> list[Row]:
    metrics = view("model_metrics")
    newest = sa.select(sa.func.max(metrics.c.run_id)).scalar_subquery()
    query = sa.select(metrics).where(metrics.c.run_id == newest)
    order = (metrics.c.segment, metrics.c.metric, metrics.c.k, metrics.c.model)
    return rows_of(connection, query.order_by(*order))


def _nights(connection: sa.Connection) -> list[Row]:
    metrics, history = view("model_metrics"), view("run_history")
    newest = (
        sa.select(history.c.run_id)
        .where(history.c.status == PUBLISHED)
        .order_by(history.c.run_id.desc())
        .limit(HISTORY)
    )
    query = sa.select(metrics).where(
        metrics.c.run_id.in_(newest),
        metrics.c.segment == ALL,
        metrics.c.metric == GATE_METRIC,
        metrics.c.k == GATE_K,
    )
    return rows_of(connection, query.order_by(metrics.c.run_id, metrics.c.model))


def _ingests(connection: sa.Connection) -> list[Row]:
    names = ("inserted", "updated", "unchanged", "duplicates", "rejected")
    sums: list[Any] = [
        sa.cast(sa.func.sum(ingest_files.c[name]), sa.BigInteger).label(name) for name in names
    ]
    columns = (ingests.c.ingest_id, ingests.c.source, ingests.c.finished_at)
    query = (
        sa.select(*columns, *sums)
        .join(ingest_files, ingest_files.c.ingest_id == ingests.c.ingest_id)
        .group_by(*columns)
        .order_by(ingests.c.ingest_id.desc())
        .limit(HISTORY)
    )
    return rows_of(connection, query)


def _rejects(connection: sa.Connection) -> list[Row]:
    columns = rejected_rows.c
    newest = sa.select(sa.func.max(columns.ingest_id)).scalar_subquery()
    start = sa.func.substr(columns.raw, 1, RAW_CHARACTERS).label("raw")
    query = (
        sa.select(columns.ingest_id, columns.file, columns.line, columns.reason, start)
        .where(columns.ingest_id == newest)
        .order_by(columns.file, columns.line)
        .limit(REJECTS)
    )
    return rows_of(connection, query)
