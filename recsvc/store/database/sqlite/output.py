"""The rows of a run, committed in batches, so that a heartbeat gets its turn in between."""

from collections.abc import Iterator

import pandas as pd
import sqlalchemy as sa

from recsvc.runtime.checkpoints import checkpoint
from recsvc.store.database.backend import Renew
from recsvc.store.database.sqlite.bulk import insert
from recsvc.store.database.statements import chunks
from recsvc.store.database.transactions import writing

BATCH_ROWS = 200_000


def write_run(
    engine: sa.Engine, table: sa.Table, run_id: int, frames: Iterator[pd.DataFrame], renew: Renew
) -> int:
    """Delete what an earlier try left, then write; return how many rows."""
    delete_run(engine, table, run_id)
    written = 0
    for frame in _gathered(frames, BATCH_ROWS):
        with writing(engine) as connection:
            written += insert(connection, table, chunks([frame]))
            checkpoint(f"write:{table.name}:batch")
            renew(connection)
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
    if rows:
        yield pd.concat(pending, ignore_index=True)


def delete_run(engine: sa.Engine, table: sa.Table, run_id: int) -> None:
    """Delete the rows of a run, a batch in each transaction."""
    subject = list(table.primary_key.columns)[1]
    in_run = table.c.run_id == run_id
    last: int | None = 0
    while last is not None:
        with writing(engine) as connection:
            bound = sa.select(subject).where(in_run).order_by(subject, table.c.rank)
            last = connection.scalar(bound.limit(1).offset(BATCH_ROWS))
            batch = in_run if last is None else in_run & (subject <= last)
            connection.execute(sa.delete(table).where(batch))
        checkpoint(f"delete:{table.name}:batch")
