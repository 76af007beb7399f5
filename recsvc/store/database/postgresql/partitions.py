"""The rows of a run, in a partition of their own that is attached when it is full."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

import pandas as pd
import sqlalchemy as sa

from recsvc.runtime.checkpoints import checkpoint
from recsvc.store.database.backend import Renew
from recsvc.store.database.postgresql.bulk import copy
from recsvc.store.database.statements import chunks
from recsvc.store.database.transactions import writing


def partition_name(table: sa.Table, run_id: int) -> str:
    """Name the partition that holds a run's rows."""
    return f"{table.name}_run_{run_id}"


def write_run(
    engine: sa.Engine,
    table: sa.Table,
    run_id: int,
    frames: Iterator[pd.DataFrame],
    renew: Renew,
    lock_timeout: float,
) -> int:
    """Fill a new table, give it its keys and attach it as the run's partition.

    What an earlier try left is dropped first.

    Args:
        engine: the database.
        table: partitioned by run.
        run_id: whose rows.
        frames: the table's columns, in key order.
        renew: called in the transaction that attaches.
        lock_timeout: seconds to wait for a lock.
    """
    drop_partition(engine, table, run_id, lock_timeout)
    _create(engine, table, run_id)
    checkpoint(f"write:{table.name}:created")
    written = _fill(engine, table, run_id, frames, lock_timeout)
    _attach(engine, table, run_id, renew, lock_timeout)
    return written


def _create(engine: sa.Engine, table: sa.Table, run_id: int) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {partition_name(table, run_id)} (LIKE {table.name} INCLUDING DEFAULTS "
            f"INCLUDING CONSTRAINTS INCLUDING COMMENTS, CHECK (run_id = {run_id}))"
        )


def _fill(
    engine: sa.Engine,
    table: sa.Table,
    run_id: int,
    frames: Iterator[pd.DataFrame],
    lock_timeout: float,
) -> int:
    # Ranking goes on while rows are copied: no lock on the parent table is held meanwhile. The new
    # one is locked; no view shows its run, so that readers do not ask for it.
    name = partition_name(table, run_id)
    with writing(engine) as connection:
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        _limit_waiting(connection, lock_timeout)
        connection.exec_driver_sql(f"TRUNCATE {name}")  # without it nothing may be frozen
        pieces = chunks(frame for frame in frames if len(frame))
        first = next(pieces, None)
        written = 0
        if first is not None:
            written = copy(connection, table, name, chain([first], pieces), frozen=True)
        checkpoint(f"write:{table.name}:copied")
    return written


def _attach(
    engine: sa.Engine, table: sa.Table, run_id: int, renew: Renew, lock_timeout: float
) -> None:
    name = partition_name(table, run_id)
    key = ", ".join(column.name for column in table.primary_key.columns)
    unique = next(c for c in table.constraints if isinstance(c, sa.UniqueConstraint))
    pair = ", ".join(column.name for column in unique.columns)
    with writing(engine) as connection:
        _limit_waiting(connection, lock_timeout)
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})")
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD UNIQUE ({pair})")
        connection.exec_driver_sql(
            f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES IN ({run_id})"
        )
        connection.exec_driver_sql(f"ANALYZE {name}")
        checkpoint(f"write:{table.name}:attached")
        renew(connection)


def _limit_waiting(connection: sa.Connection, lock_timeout: float) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_milliseconds(lock_timeout)}")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would mean to wait for ever


def runs_left(connection: sa.Connection, tables: Iterable[sa.Table]) -> set[int]:
    """Return the runs of which a partition is there, attached or not."""
    pattern = re.compile(rf"(?:{'|'.join(table.name for table in tables)})_run_(\d+)\Z")
    names = sa.text("SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)")
    found = (pattern.match(name) for name in connection.scalars(names))
    return {int(match[1]) for match in found if match}


def drop_partition(engine: sa.Engine, table: sa.Table, run_id: int, lock_timeout: float) -> None:
    """Detach first, waiting for readers without holding up new ones; then drop.

    Raises:
        DBAPIError: a reader kept a lock for longer; what is left can be dropped another time.
    """
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
