"""Rows that readers will see, written under a run that no view shows yet."""

from collections.abc import Iterable

import pandas as pd
import sqlalchemy as sa

from recsvc.store.contract.tables import OUTPUT_TABLES
from recsvc.store.database.backends import backend_of
from recsvc.store.runs.ledger import Claim, renew


def write_output(
    engine: sa.Engine,
    claim: Claim,
    table: sa.Table,
    frames: Iterable[pd.DataFrame],
    *,
    lock_timeout: float,
) -> int:
    """Write the rows of a run and return how many; what an earlier try left is deleted first.

    Args:
        engine: the database.
        claim: of the run.
        table: one of :data:`OUTPUT_TABLES`.
        frames: the table's columns without ``run_id``, in key order.
        lock_timeout: seconds to wait for a lock on PostgreSQL.

    Raises:
        LeaseLostError: the run is not the running one any more.
    """
    return backend_of(engine).write_run(
        engine,
        table,
        claim.run_id,
        (frame.assign(run_id=claim.run_id) for frame in frames),
        renew=lambda connection: renew(connection, claim),
        lock_timeout=lock_timeout,
    )


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
        backend_of(engine).delete_run(engine, table, run_id, lock_timeout=lock_timeout)


def runs_left(connection: sa.Connection) -> set[int]:
    """Return the runs of which something is left beside the rows of the output tables."""
    return backend_of(connection).runs_left(connection, OUTPUT_TABLES)
