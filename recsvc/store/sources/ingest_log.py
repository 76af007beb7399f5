"""The record of what was ingested, file by file."""

from dataclasses import asdict, dataclass
from datetime import datetime

import pandas as pd
import sqlalchemy as sa

from recsvc.store.contract import tables
from recsvc.store.database.backends import backend_of
from recsvc.store.database.bulk import insert
from recsvc.store.database.clock import database_now


@dataclass(frozen=True)
class FileChanges:
    """What one file brought."""

    file: str  #: file name
    sha256: str  #: of the bytes that were read
    bytes: int  #: size of the file
    inserted: int  #: rows that were new
    updated: int  #: rows that replaced an older version
    unchanged: int  #: rows that were already there
    duplicates: int  #: rows that another row of the same file superseded
    rejected: int  #: rows that are in rejected_rows


def lock_sources(connection: sa.Connection) -> None:
    """Let one ingest at a time change the source tables; readers are not held up."""
    backend_of(connection).lock(connection, tables.ingests)


def record_ingest(
    connection: sa.Connection,
    source: str,
    started_at: datetime,
    files: list[FileChanges],
    rejects: pd.DataFrame,
    newest_rated_at: int | None,
) -> int:
    """Record an ingest and return its id.

    Args:
        connection: the transaction that changes the source tables.
        source: the folder.
        started_at: when reading began.
        files: one entry for each file.
        rejects: columns file, line, reason, raw.
        newest_rated_at: time of the newest rating read, in Unix seconds.
    """
    ingest_id: int = connection.execute(
        sa.insert(tables.ingests)
        .values(
            source=source,
            started_at=started_at,
            finished_at=database_now(connection),
            newest_rated_at=newest_rated_at,
        )
        .returning(tables.ingests.c.ingest_id)
    ).scalar_one()
    connection.execute(
        sa.insert(tables.ingest_files),
        [{"ingest_id": ingest_id, **asdict(changes)} for changes in files],
    )
    insert(connection, tables.rejected_rows, rejects.assign(ingest_id=ingest_id))
    return ingest_id
