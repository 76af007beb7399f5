"""The database's clock, the one that all hosts share."""

from datetime import UTC, datetime

import sqlalchemy as sa

from recsvc.store.database.engine import is_sqlite


def database_now(connection: sa.Connection) -> datetime:
    """Return the current time in UTC, by the database's clock."""
    if is_sqlite(connection):
        text = connection.exec_driver_sql(
            "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
        ).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    moment: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return moment.astimezone(UTC)
