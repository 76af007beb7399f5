"""Databases that are made for a test and dropped after it."""

import threading
import uuid

import sqlalchemy as sa


def is_sqlite(bind: sa.Connection | sa.Engine) -> bool:
    """Whether a database is SQLite, of which some things cannot be asked."""
    return bind.dialect.name == "sqlite"


class PostgresDatabase:
    """Make a database on the server, and drop it afterwards."""

    def __init__(self, server: sa.URL, template: str = "template1") -> None:
        self._admin = sa.create_engine(
            server, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
        )
        self._template = template
        self._name = f"test_{uuid.uuid4().hex[:12]}"
        self._url = server.set(database=self._name)

    def __enter__(self) -> sa.URL:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
        return self._url

    def __exit__(self, *_: object) -> None:
        with self._admin.connect() as connection:
            leaked = self._left_open(connection)
            connection.exec_driver_sql(f"DROP DATABASE {self._name} WITH (FORCE)")
        assert leaked is None, f"a connection was left open after: {leaked}"

    def _left_open(self, connection: sa.Connection) -> str | None:
        """Return the last query of a connection that stays.

        The server takes a moment to end a session that its client has closed.
        """
        query = sa.text(
            "SELECT string_agg(coalesce(query, '?'), '; ') FROM pg_stat_activity"
            " WHERE datname = :name AND application_name = 'recsvc'"
        )
        moment = threading.Event()
        for _ in range(100):
            leaked: str | None = connection.scalar(query, {"name": self._name})
            if leaked is None:
                return None
            moment.wait(0.05)
        return leaked
