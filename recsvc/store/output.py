"""Rows that readers will see, written under a run that no view shows yet."""

from collections.abc import Iterable, Iterator
from itertools import chain

import pandas as pd
import sqlalchemy as sa

from recsvc.store.bulk import insert
from recsvc.store.engine import is_sqlite, writing
from recsvc.store.ledger import Claim, renew
from recsvc.store.schema import OUTPUT_TABLES

SQLITE_BATCH_ROWS = 200_000


def write_output(
    engine: sa.Engine, claim: Claim, table: sa.Table, frames: Iterable[pd.DataFrame]
) -> int:
    """Write the rows of a run and return how many.

    On PostgreSQL a new table is filled, given its keys and then attached as the run's partition.
    On SQLite the rows are committed in batches, so that a heartbeat gets its turn in between.

    Args:
        engine: the database.
        claim: of the run.
        table: ``recommendations`` or ``similar_movies``.
        frames: the table's columns without ``run_id``, in key order.

    Raises:
        LeaseLostError: the run is not the running one any more.
    """
    rows = (frame.assign(run_id=claim.run_id) for frame in frames)
    if is_sqlite(engine):
        return _write_batches(engine, claim, table, rows)
    return _write_partition(engine, claim, table, rows)


def _write_batches(
    engine: sa.Engine, claim: Claim, table: sa.Table, frames: Iterator[pd.DataFrame]
) -> int:
    written = 0
    for frame in _gathered(frames, SQLITE_BATCH_ROWS):
        with writing(engine) as connection:
            written += insert(connection, table, frame)
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
    engine: sa.Engine, claim: Claim, table: sa.Table, frames: Iterator[pd.DataFrame]
) -> int:
    name = partition_name(table, claim.run_id)
    key = ", ".join(column.name for column in table.primary_key.columns)
    unique = next(c for c in table.constraints if isinstance(c, sa.UniqueConstraint))
    pair = ", ".join(column.name for column in unique.columns)
    first = next(frames, None)
    with writing(engine) as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {name} (LIKE {table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS "
            f"INCLUDING COMMENTS, CHECK (run_id = {claim.run_id}))"
        )
        rows = chain([first], frames) if first is not None else frames
        written = insert(connection, table, rows, into=name)
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})")
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD UNIQUE ({pair})")
        connection.exec_driver_sql(
            f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES IN ({claim.run_id})"
        )
        connection.exec_driver_sql(f"ANALYZE {name}")
        # Last, because it locks the run's row, which the heartbeat renews meanwhile.
        renew(connection, claim)
    return written


def delete_output(engine: sa.Engine, run_id: int) -> None:
    """Delete what a run wrote, in steps that hold up no reader."""
    for table in OUTPUT_TABLES:
        if is_sqlite(engine):
            _delete_batches(engine, table, run_id)
        else:
            _drop_partition(engine, table, run_id)


def _delete_batches(engine: sa.Engine, table: sa.Table, run_id: int) -> None:
    subject = list(table.primary_key.columns)[1]
    while True:
        with writing(engine) as connection:
            batch = (
                sa.select(subject)
                .where(table.c.run_id == run_id)
                .order_by(subject)
                .limit(1)
                .offset(SQLITE_BATCH_ROWS)
            )
            last = connection.scalar(batch)
            where = table.c.run_id == run_id
            connection.execute(
                sa.delete(table).where(where if last is None else where & (subject <= last))
            )
        if last is None:
            return


def _drop_partition(engine: sa.Engine, table: sa.Table, run_id: int) -> None:
    name = partition_name(table, run_id)
    with writing(engine) as connection:
        if connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": name}) is None:
            return
        attached = connection.scalar(
            sa.text("SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass(:name)"),
            {"name": name},
        )
    if attached:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(
                f"ALTER TABLE {table.name} DETACH PARTITION {name} CONCURRENTLY"
            )
    with writing(engine) as connection:
        connection.exec_driver_sql(f"DROP TABLE {name}")
