"""What a database has to do for recsvc: all in which SQLite and PostgreSQL differ.

Each has a folder beside this module, and a class there that does it. Nothing else asks which
database it is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from recsvc.errors import RecsvcError

if TYPE_CHECKING:  # they take long to import, and most commands read few rows
    import pandas as pd
    import pyarrow as pa

    from recsvc.runtime.arrays import Int64

Renew = Callable[[sa.Connection], None]  #: shows a sign of life, or raises if the run is lost


@dataclass(frozen=True)
class ReaderGrant:
    """What a reader's role may do now."""

    role: str  #: its name
    created: bool  #: whether it did not exist before
    readable: tuple[str, ...]  #: what it may select from
    statement_timeout: int  #: seconds, after which a statement is cancelled


class BatchReader(Protocol):
    """Runs queries, all at one moment, and yields their rows as Arrow batches."""

    def batches(self, query: sa.Select[Any]) -> "Iterator[pa.RecordBatch]":
        """Yield the rows of a query; no batch at all where there are none."""

    def packed_batches(
        self, query: sa.Select[Any], by: sa.Column[Any]
    ) -> "Iterator[pa.RecordBatch]":
        """Yield the rows of a query of integers, fast; ``by`` is the first column, a reference."""

    def batches_in_ranges(
        self, query: sa.Select[Any], columns: Sequence[sa.Column[Any]], keys: "Int64"
    ) -> "Iterator[pa.RecordBatch]":
        """Yield the rows of a query that is run for each range of keys, those of a range together.

        Args:
            query: what to select.
            columns: which of its columns must be in the range.
            keys: what the ranges are cut from, ascending; they leave nothing between them.
        """


class Backend(Protocol):
    """A database that recsvc works on."""

    # --- connections and failures ---------------------------------------------------------------

    def open_engine(self, url: sa.URL, *, create: bool) -> sa.Engine:
        """Make an engine; ``create`` makes a database that is a missing file.

        Raises:
            ConfigurationError: there is no such file, or whether there is cannot be seen.
        """

    def is_full_disk(self, error: BaseException) -> bool:
        """Whether the driver says that the database has no room left."""

    def asks_for_another_url(self, error: BaseException) -> bool:
        """Whether a database cannot be opened, and time alone does not mend that."""

    def is_transient(self, error: BaseException) -> bool:
        """Whether a driver's error is one after which the same work may succeed."""

    def is_handled_elsewhere(self, error: BaseException | None) -> bool:
        """Whether the rows of a run could not be deleted because somebody else deletes some."""

    def what_is_refused(self, error: BaseException) -> RecsvcError | None:
        """Return what to say of missing rights or a damaged file; ``None`` for anything else."""

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        """Return what drivers raise that SQLAlchemy does not see."""

    # --- time and locks -------------------------------------------------------------------------

    def now(self, connection: sa.Connection) -> datetime:
        """Return the current time in UTC, by the clock that all hosts share."""

    def lock(self, connection: sa.Connection, table: sa.Table) -> None:
        """Let this transaction alone change a table, to its end; readers are not held up."""

    def lock_migrations(self, connection: sa.Connection, lock_timeout: float) -> None:
        """Wait for another migration to end, and for no lock longer than ``lock_timeout`` seconds.

        Both hold for the transaction.
        """

    def let_heartbeats_through(self, engine: sa.Engine) -> None:
        """Wait for whoever writes, and then for the heartbeat that waited as well."""

    # --- whole columns in and out ---------------------------------------------------------------

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        chunks: "Iterator[pd.DataFrame]",
    ) -> int:
        """Insert chunks of the same columns; see :func:`recsvc.store.database.bulk.insert`."""

    def fill(self, connection: sa.Connection, table: sa.Table, rows: "pd.DataFrame") -> int:
        """Insert rows into a table that no other refers to; return how many."""

    def upsert(self, connection: sa.Connection, table: sa.Table, rows: "pd.DataFrame") -> int:
        """Insert rows, of which there are some, replacing those of the same primary key."""

    def snapshot(self, engine: sa.Engine) -> AbstractContextManager[BatchReader]:
        """Open read-only transactions that see one moment."""

    def vacuum(self, engine: sa.Engine, inserted: dict[str, tuple[int, int]]) -> None:
        """Settle tables of which a committed load has brought at least half.

        Args:
            engine: the database.
            inserted: of each table, how many rows the load brought and how many it met.
        """

    # --- the rows of a run ----------------------------------------------------------------------

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
        """Write the rows of a run that no view shows yet; return how many."""

    def delete_run(
        self, engine: sa.Engine, table: sa.Table, run_id: int, *, lock_timeout: float
    ) -> None:
        """Delete the rows of a run, in steps that hold up no reader."""

    def runs_left(self, connection: sa.Connection, tables: Iterable[sa.Table]) -> set[int]:
        """Return the runs of which something is left beside the rows of the tables."""

    # --- administration -------------------------------------------------------------------------

    def has_view(self, connection: sa.Connection, name: str, select: Mapping[str, str]) -> bool:
        """Whether a view is there as it is declared: its query, by name of the database."""

    def log_bytes(self, connection: sa.Connection) -> int | None:
        """Size of a log that grows while a reader stays; ``None`` where there is none."""

    def grant_reader(self, engine: sa.Engine, role: str, *, statement_timeout: int) -> ReaderGrant:
        """Let a role select the views and the data dictionary, and nothing else."""

    def grants_kept(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """Give readers back what they lose where the block drops a view and creates it again."""
