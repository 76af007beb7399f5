"""PostgreSQL, as :class:`recsvc.store.database.backend.Backend` asks for it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import adbc_driver_manager as adbc
import psycopg
import sqlalchemy as sa

from recsvc.errors import RecsvcError
from recsvc.store.database.backend import Backend, BatchReader, ReaderGrant, Renew
from recsvc.store.database.postgresql import connection as connections
from recsvc.store.database.postgresql import failures, grants, settling

if TYPE_CHECKING:
    import pandas as pd

MIGRATION_LOCK = int.from_bytes(b"recsvc")  # advisory locks are numbers, of one database

# pandas and Arrow take long to import, and most commands read few rows: methods that need them
# import what does the work.


class Postgresql(Backend):
    """A server, which many processes on many hosts write to."""

    def open_engine(self, url: sa.URL, *, create: bool) -> sa.Engine:  # noqa: ARG002
        """Make an engine; a database is made by whoever runs the server."""
        return connections.open_engine(url)

    def is_full_disk(self, error: BaseException) -> bool:
        """Whether the server has no room left."""
        return failures.is_full_disk(error)

    def asks_for_another_url(self, error: BaseException) -> bool:  # noqa: ARG002
        """Never: a server may come up."""
        return False

    def is_transient(self, error: BaseException) -> bool:
        """Whether the connection broke, or the server had no time for this one."""
        return failures.is_transient(error)

    def is_handled_elsewhere(self, error: BaseException | None) -> bool:
        """Whether a partition is being detached, or was dropped just now."""
        return failures.is_handled_elsewhere(error)

    def what_is_refused(self, error: BaseException) -> RecsvcError | None:
        """Return what to say of missing rights."""
        return failures.what_is_refused(error)

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        """Return what psycopg and ADBC raise to ``bulk`` and ``snapshot``."""
        return (psycopg.OperationalError, adbc.OperationalError)

    def now(self, connection: sa.Connection) -> datetime:
        """Return the server's time."""
        moment: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return moment.astimezone(UTC)

    def lock(self, connection: sa.Connection, table: sa.Table) -> None:
        """Lock the table against all but readers."""
        connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")

    def lock_migrations(self, connection: sa.Connection, lock_timeout: float) -> None:
        """Take an advisory lock."""
        milliseconds = str(round(lock_timeout * 1000))
        connection.execute(sa.select(sa.func.set_config("lock_timeout", milliseconds, True)))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))

    def let_heartbeats_through(self, engine: sa.Engine) -> None:
        """Do nothing: they need not wait."""

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        chunks: "Iterator[pd.DataFrame]",
    ) -> int:
        """Copy."""
        from recsvc.store.database.postgresql import bulk  # noqa: PLC0415

        return bulk.copy(connection, table, table.name, chunks)

    def fill(self, connection: sa.Connection, table: sa.Table, rows: "pd.DataFrame") -> int:
        """Copy; key and references are checked all at once."""
        from recsvc.store.database.postgresql import bulk  # noqa: PLC0415

        return bulk.fill(connection, table, rows)

    def upsert(self, connection: sa.Connection, table: sa.Table, rows: "pd.DataFrame") -> int:
        """Copy into a table of its own first."""
        from recsvc.store.database.postgresql import bulk  # noqa: PLC0415

        return bulk.upsert(connection, table, rows)

    def snapshot(self, engine: sa.Engine) -> AbstractContextManager[BatchReader]:
        """Begin a transaction that others can join."""
        from recsvc.store.database.postgresql.reader import PostgresqlBatchReader  # noqa: PLC0415

        return PostgresqlBatchReader.open(engine)

    def vacuum(self, engine: sa.Engine, inserted: dict[str, tuple[int, int]]) -> None:
        """Do at once what the first reader would pay for."""
        settling.vacuum(engine, inserted)

    def write_run(
        self,
        engine: sa.Engine,
        table: sa.Table,
        run_id: int,
        frames: "Iterator[pd.DataFrame]",
        *,
        renew: Renew,
        lock_timeout: float,
    ) -> int:
        """Fill a partition and attach it."""
        from recsvc.store.database.postgresql import partitions  # noqa: PLC0415

        return partitions.write_run(engine, table, run_id, frames, renew, lock_timeout)

    def delete_run(
        self, engine: sa.Engine, table: sa.Table, run_id: int, *, lock_timeout: float
    ) -> None:
        """Detach the partition and drop it."""
        from recsvc.store.database.postgresql import partitions  # noqa: PLC0415

        partitions.drop_partition(engine, table, run_id, lock_timeout)

    def runs_left(self, connection: sa.Connection, tables: Iterable[sa.Table]) -> set[int]:
        """Return the runs of which a partition is there."""
        from recsvc.store.database.postgresql import partitions  # noqa: PLC0415

        return partitions.runs_left(connection, tables)

    def has_view(self, connection: sa.Connection, name: str, select: Mapping[str, str]) -> bool:
        """Compare what is printed back: PostgreSQL stores a view parsed."""
        definition = sa.text("SELECT pg_get_viewdef(to_regclass(:name))")
        stored = connection.scalar(definition, {"name": name})
        connection.exec_driver_sql(f"CREATE TEMP VIEW expected_view AS {select['postgresql']}")
        expected = connection.scalar(definition, {"name": "pg_temp.expected_view"})
        connection.exec_driver_sql("DROP VIEW pg_temp.expected_view")
        return bool(stored == expected)

    def log_bytes(self, connection: sa.Connection) -> int | None:  # noqa: ARG002
        """Return none: the server looks after its own."""
        return None

    def grant_reader(self, engine: sa.Engine, role: str, *, statement_timeout: int) -> ReaderGrant:
        """Grant, and make sure that nothing else was granted."""
        return grants.grant_reader(engine, role, statement_timeout=statement_timeout)

    def grants_kept(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """Grant again what is lost with a view."""
        return grants.grants_kept(connection)
