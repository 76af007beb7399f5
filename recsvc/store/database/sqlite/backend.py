"""SQLite, as :class:`recsvc.store.database.backend.Backend` asks for it."""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from recsvc.errors import RecsvcError, UsageError
from recsvc.store.database.backend import Backend, BatchReader, ReaderGrant, Renew
from recsvc.store.database.sqlite import connection as connections
from recsvc.store.database.sqlite import failures
from recsvc.store.database.transactions import writing

if TYPE_CHECKING:
    import pandas as pd

BUSY_POLL_S = 0.1  # how often SQLite looks whether a lock is free

# pandas and Arrow take long to import, and most commands read few rows: methods that need them
# import what does the work.


class Sqlite(Backend):
    """A file, written by one process at a time."""

    def open_engine(self, url: sa.URL, *, create: bool) -> sa.Engine:
        """Make an engine for a file."""
        return connections.open_engine(url, create=create)

    def is_full_disk(self, error: BaseException) -> bool:
        """Whether there is no room left."""
        return failures.is_full_disk(error)

    def asks_for_another_url(self, error: BaseException) -> bool:
        """Whether SQLite may not open or write the file."""
        return failures.asks_for_another_url(error)

    def is_transient(self, error: BaseException) -> bool:
        """Whether somebody else had the lock for too long."""
        return failures.is_transient(error)

    def is_handled_elsewhere(self, error: BaseException | None) -> bool:  # noqa: ARG002
        """Never: whoever writes is alone."""
        return False

    def what_is_refused(self, error: BaseException) -> RecsvcError | None:
        """Return what to say of a damaged file."""
        return failures.what_is_refused(error)

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        """Return what ``sqlite3`` raises to ``bulk`` and ``snapshot``."""
        return (sqlite3.OperationalError,)

    def now(self, connection: sa.Connection) -> datetime:
        """Return the time of the machine, to the millisecond."""
        query = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
        text = connection.exec_driver_sql(query).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    def lock(self, connection: sa.Connection, table: sa.Table) -> None:
        """Do nothing: a transaction that writes is alone."""

    def lock_migrations(self, connection: sa.Connection, lock_timeout: float) -> None:
        """Do nothing: a transaction that writes is alone."""

    def let_heartbeats_through(self, engine: sa.Engine) -> None:
        """Wait for the write lock, and then as long as others need to see that it is free."""
        start = time.monotonic()
        with writing(engine):
            waited = time.monotonic() - start
        if waited > BUSY_POLL_S:
            time.sleep(10 * BUSY_POLL_S)

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        chunks: "Iterator[pd.DataFrame]",
    ) -> int:
        """Insert by statements of many rows."""
        from recsvc.store.database.sqlite import bulk  # noqa: PLC0415

        return bulk.insert(connection, table, chunks)

    def fill(self, connection: sa.Connection, table: sa.Table, rows: "pd.DataFrame") -> int:
        """Insert as ever: see :func:`recsvc.store.database.transactions.loading`."""
        return self.insert(connection, table, _chunks(rows))

    def upsert(self, connection: sa.Connection, table: sa.Table, rows: "pd.DataFrame") -> int:
        """Insert by statements of many rows."""
        from recsvc.store.database.sqlite import bulk  # noqa: PLC0415

        return bulk.upsert(connection, table, _chunks(rows))

    def snapshot(self, engine: sa.Engine) -> AbstractContextManager[BatchReader]:
        """Begin a transaction for each core."""
        from recsvc.store.database.sqlite.reader import SqliteBatchReader  # noqa: PLC0415

        return SqliteBatchReader.open(engine)

    def vacuum(self, engine: sa.Engine, inserted: dict[str, tuple[int, int]]) -> None:
        """Do nothing: a page is settled when it is written."""

    def write_run(
        self,
        engine: sa.Engine,
        table: sa.Table,
        run_id: int,
        frames: "Iterator[pd.DataFrame]",
        *,
        renew: Renew,
        lock_timeout: float,  # noqa: ARG002
    ) -> int:
        """Commit the rows in batches."""
        from recsvc.store.database.sqlite import output  # noqa: PLC0415

        return output.write_run(engine, table, run_id, frames, renew)

    def delete_run(
        self,
        engine: sa.Engine,
        table: sa.Table,
        run_id: int,
        *,
        lock_timeout: float,  # noqa: ARG002
    ) -> None:
        """Delete the rows in batches."""
        from recsvc.store.database.sqlite import output  # noqa: PLC0415

        output.delete_run(engine, table, run_id)

    def runs_left(self, connection: sa.Connection, tables: Iterable[sa.Table]) -> set[int]:  # noqa: ARG002
        """Return none: there is nothing beside the rows."""
        return set()

    def has_view(self, connection: sa.Connection, name: str, select: Mapping[str, str]) -> bool:
        """Compare texts: SQLite keeps what was said."""
        query = sa.text("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = :name")
        stored = connection.scalar(query, {"name": name})
        return bool(stored == f"CREATE VIEW {name} AS\n{select['sqlite']}")

    def log_bytes(self, connection: sa.Connection) -> int | None:
        """Size of the write-ahead log."""
        try:
            return Path(f"{connection.engine.url.database}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def grant_reader(self, engine: sa.Engine, role: str, *, statement_timeout: int) -> ReaderGrant:  # noqa: ARG002
        """Refuse."""
        raise UsageError(
            "SQLite knows no roles: whoever may read the file may read all of it. "
            "`recsvc grant-reader` is for PostgreSQL."
        )

    def grants_kept(self, connection: sa.Connection) -> AbstractContextManager[None]:  # noqa: ARG002
        """Do nothing: there are no grants."""
        return nullcontext()


def _chunks(rows: "pd.DataFrame") -> "Iterator[pd.DataFrame]":
    from recsvc.store.database.statements import chunks  # noqa: PLC0415

    return chunks([rows])
