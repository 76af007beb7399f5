"""Rows that readers will see, written under a run that no view shows yet."""

import re
from collections.abc import Iterable, Iterator

import pandas as pd
import sqlalchemy as sa

from recsvc.runtime.checkpoints import checkpoint
from recsvc.store.contract.tables import OUTPUT_TABLES
from recsvc.store.database.bulk import insert
from recsvc.store.database.engine import is_sqlite, writing
from recsvc.store.runs.ledger import Claim, renew

SQLITE_BATCH_ROWS = 200_000


def write_output(
    engine: sa.Engine,
    claim: Claim,
    table: sa.Table,
    frames: Iterable[pd.DataFrame],
    *,
    lock_timeout: float,
) -> int:
    """Write the rows of a run and return how many.

    On PostgreSQL a new table is filled, given its keys and then attached as the run's partition; on
    SQLite the rows are committed in batches, so that a heartbeat gets its turn in between.
    What an earlier try left is deleted first.

    Args:
        engine: the database.
        claim: of the run.
        table: ``recommendations`` or ``similar_movies``.
        frames: the table's columns without ``run_id``, in key order.
        lock_timeout: seconds to wait for a lock on PostgreSQL.

    Raises:
        LeaseLostError: the run is not the running one any more.
    """
    rows = (frame.assign(run_id=claim.run_id) for frame in frames)
    if is_sqlite(engine):
        return _write_batches(engine, claim, table, rows)
    return _write_partition(engine, claim, table, rows, lock_timeout)


def _write_batches(
    engine: sa.Engine, claim: Claim, table: sa.Table, frames: Iterator[pd.DataFrame]
) -> int:
    _delete_batches(engine, table, claim.run_id)
    written = 0
    for frame in _gathered(frames, SQLITE_BATCH_ROWS):
        with writing(engine) as connection:
            written += insert(connection, table, frame)
            checkpoint(f"write:{table.name}:batch")
            renew(connection, claim)
    return written


def _gathered(frames: Iterator[pd.DataFrame], size: int) -> Iterator[pd.DataFrame]:
    """Join small frames into larger ones."""
    pending: list[pd.DataFrame] = []
    rows = 0
    for frame in frames:
        pending.append(frame)
        rows += len(frame)
        if rows >= size:
            yield pd.concat(pending, ignore_index=True)
            pending, rows = [], 0
    if pending:
        yield pd.concat(pending, ignore_index=True)


def partition_name(table: sa.Table, run_id: int) -> str:
    """Name the partition that holds a run's rows."""
    return f"{table.name}_run_{run_id}"


def _write_partition(
    engine: sa.Engine,
    claim: Claim,
    table: sa.Table,
    frames: Iterator[pd.DataFrame],
    lock_timeout: float,
) -> int:
    name = partition_name(table, claim.run_id)
    key = ", ".join(column.name for column in table.primary_key.columns)
    unique = next(c for c in table.constraints if isinstance(c, sa.UniqueConstraint))
    pair = ", ".join(column.name for column in unique.columns)
    _drop_partition(engine, table, claim.run_id, lock_timeout)
    wait = f"SET LOCAL lock_timeout = {_milliseconds(lock_timeout)}"
    with writing(engine) as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {name} (LIKE {table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS "
            f"INCLUDING COMMENTS, CHECK (run_id = {claim.run_id}))"
        )
    checkpoint(f"write:{table.name}:created")
    # Ranking goes on while rows are copied: no lock on the parent table is held meanwhile. The new
    # one is locked; no view shows its run, so that readers do not ask for it.
    with writing(engine) as connection:
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        connection.exec_driver_sql(wait)
        connection.exec_driver_sql(f"TRUNCATE {name}")  # without it nothing may be frozen
        written = insert(connection, table, frames, into=name, frozen=True)
        checkpoint(f"write:{table.name}:copied")
    with writing(engine) as connection:
        connection.exec_driver_sql(wait)
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})")
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD UNIQUE ({pair})")
        connection.exec_driver_sql(
            f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES IN ({claim.run_id})"
        )
        connection.exec_driver_sql(f"ANALYZE {name}")
        checkpoint(f"write:{table.name}:attached")
        renew(connection, claim)
    return written


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would mean to wait for ever


def delete_output(engine: sa.Engine, run_id: int, *, lock_timeout: float) -> None:
    """Delete what a run wrote, in steps that hold up no reader.

    Args:
        engine: the database.
        run_id: whose rows.
        lock_timeout: seconds to wait for a reader on PostgreSQL.

    Raises:
        DBAPIError: a reader kept a lock for longer; what is left can be deleted another time.
    """
    for table in OUTPUT_TABLES:
        if is_sqlite(engine):
            _delete_batches(engine, table, run_id)
        else:
            _drop_partition(engine, table, run_id, lock_timeout)


def _delete_batches(engine: sa.Engine, table: sa.Table, run_id: int) -> None:
    subject = list(table.primary_key.columns)[1]
    in_run = table.c.run_id == run_id
    last: int | None = 0
    while last is not None:
        with writing(engine) as connection:
            bound = sa.select(subject).where(in_run).order_by(subject, table.c.rank)
            last = connection.scalar(bound.limit(1).offset(SQLITE_BATCH_ROWS))
            batch = in_run if last is None else in_run & (subject <= last)
            connection.execute(sa.delete(table).where(batch))
        checkpoint(f"delete:{table.name}:batch")


def partitions_left(connection: sa.Connection) -> set[int]:
    """Return the runs of which a partition is there, attached or not (PostgreSQL)."""
    if is_sqlite(connection):
        return set()
    names = sa.text("SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)")
    found = (PARTITION.match(name) for name in connection.scalars(names))
    return {int(match[1]) for match in found if match}


PARTITION = re.compile(rf"(?:{'|'.join(table.name for table in OUTPUT_TABLES)})_run_(\d+)\Z")


def _drop_partition(engine: sa.Engine, table: sa.Table, run_id: int, lock_timeout: float) -> None:
    """Detach first, waiting for readers without holding up new ones; then drop."""
    name = partition_name(table, run_id)
    state = sa.text(
        "SELECT i.inhdetachpending FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid"
        " WHERE c.oid = to_regclass(:name)"
    )
    timeout = f"SET lock_timeout = {_milliseconds(lock_timeout)}"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        row = connection.execute(state, {"name": name}).one_or_none()
        if row is None:
            return
        connection.exec_driver_sql(timeout)
        try:
            if row.inhdetachpending is not None:
                # A detachment that was interrupted can only be finished.
                how = "FINALIZE" if row.inhdetachpending else "CONCURRENTLY"
                connection.exec_driver_sql(
                    f"ALTER TABLE {table.name} DETACH PARTITION {name} {how}"
                )
                checkpoint(f"delete:{table.name}:detached")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        finally:
            if not connection.invalidated:
                connection.exec_driver_sql("RESET lock_timeout")
