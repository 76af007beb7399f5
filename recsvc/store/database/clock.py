"""The database's clock, the one that all hosts share."""

from datetime import datetime

import sqlalchemy as sa

from recsvc.store.database.backends import backend_of


def database_now(connection: sa.Connection) -> datetime:
    """Return the current time in UTC, by the database's clock."""
    return backend_of(connection).now(connection)
