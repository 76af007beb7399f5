"""Connections to a PostgreSQL server."""

import sqlalchemy as sa

from recsvc.store.database.transactions import AT_ONE_MOMENT

# libpq's parameters: a connection that died without a word is noticed within a minute.
LIVELINESS = {
    "connect_timeout": "10",
    "application_name": "recsvc",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


def open_engine(url: sa.URL) -> sa.Engine:
    """Make an engine whose times are in UTC."""
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        connect_args={
            **{name: value for name, value in LIVELINESS.items() if name not in url.query},
            "options": f"{url.query.get('options', '')} -c timezone=UTC".strip(),
        },
    )
    sa.event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(AT_ONE_MOMENT):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
