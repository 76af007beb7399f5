"""After a first load: what PostgreSQL would do later, beside whoever reads."""

import logging
from collections.abc import Sequence

import sqlalchemy as sa

from recsvc.errors import RecsvcError
from recsvc.store import schema
from recsvc.store.bulk import LARGE_LOAD
from recsvc.store.engine import is_sqlite
from recsvc.store.ingest_log import FileChanges

log = logging.getLogger("recsvc")

_TABLES = {"ratings.csv": schema.ratings, "tags.csv": schema.tags}


def settle(engine: sa.Engine, files: Sequence[FileChanges]) -> None:
    """Vacuum the tables that a committed ingest has filled, or more than doubled (PostgreSQL).

    Until somebody has noted on each page that its rows are committed, whoever reads it looks that
    up and then writes the page. The first reading of 25 million ratings takes twice as long by it.

    Nothing but that depends on it: where PostgreSQL refuses, autovacuum does it some day.
    """
    tables = [
        _TABLES[file.file].name
        for file in files
        if file.file in _TABLES and file.inserted > max(LARGE_LOAD, file.updated + file.unchanged)
    ]
    if is_sqlite(engine) or not tables:
        return
    try:
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(f"VACUUM (SKIP_LOCKED) {', '.join(tables)}")
    except (sa.exc.DBAPIError, RecsvcError) as error:
        said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        log.warning(
            "everything is ingested, but the first reading will be slow, for PostgreSQL did not "
            "vacuum: %s",
            said,
        )
