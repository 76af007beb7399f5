"""After a first load: what PostgreSQL would do later, beside whoever reads."""

import logging
from collections.abc import Sequence

import sqlalchemy as sa

from recsvc.errors import RecsvcError
from recsvc.store.contract import tables
from recsvc.store.database.bulk import LARGE_LOAD
from recsvc.store.database.engine import is_sqlite
from recsvc.store.sources.ingest_log import FileChanges

log = logging.getLogger("recsvc")

_TABLES = {"ratings.csv": tables.ratings, "tags.csv": tables.tags}


def settle(engine: sa.Engine, files: Sequence[FileChanges]) -> None:
    """Vacuum the tables of which a committed ingest has brought at least half (PostgreSQL).

    Until somebody has noted on each page that its rows are committed, whoever reads it looks that
    up and then writes the page, which took the first reading of 25 million ratings some 5 s.

    Nothing but that depends on it. Where it fails, or PostgreSQL passes it over because the table
    is somebody else's or somebody else vacuums it, autovacuum does it some day.
    """
    loaded = {
        _TABLES[file.file].name: (file.inserted, file.updated + file.unchanged)
        for file in files
        if file.file in _TABLES and file.inserted >= LARGE_LOAD
    }
    if is_sqlite(engine) or not loaded:
        return
    try:
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            for name, (inserted, there) in loaded.items():
                if 2 * inserted >= max(inserted + there, _estimated_rows(connection, name)):
                    connection.exec_driver_sql(f"VACUUM (SKIP_LOCKED) {name}")
    except (sa.exc.DBAPIError, RecsvcError) as error:
        said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        log.warning(
            "everything is ingested, but the first reading will be slow, for PostgreSQL did not "
            "vacuum: %s",
            said,
        )


def _estimated_rows(connection: sa.Connection, name: str) -> float:
    """Return how many rows PostgreSQL thinks a table has; a first load has told it."""
    query = sa.text("SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)")
    return float(connection.scalar(query, {"name": name}) or 0)
