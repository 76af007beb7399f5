"""After a first load: what PostgreSQL would do later, while others read."""

import logging

import sqlalchemy as sa

from recsvc.errors import RecsvcError

log = logging.getLogger("recsvc")


def vacuum(engine: sa.Engine, inserted: dict[str, tuple[int, int]]) -> None:
    """Vacuum tables of which a committed load has brought at least half.

    Until somebody has noted on each page that its rows are committed, whoever reads it looks that
    up and then writes the page, which took the first reading of 25 million ratings some 5 s.

    Nothing but that depends on it. Where it fails, or PostgreSQL passes it over because the table
    is somebody else's or somebody else vacuums it, autovacuum does it some day.

    Args:
        engine: the database.
        inserted: of each table, how many rows the load brought and how many it met.
    """
    try:
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            for name, (new, there) in inserted.items():
                if 2 * new >= max(new + there, _estimated_rows(connection, name)):
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
