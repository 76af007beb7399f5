"""Rows into tables as fast as the driver can: no parsing, no checking but the database's own."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pandas as pd
import psycopg
import pyarrow as pa
import sqlalchemy as sa
from databases import MakeEngine, drop, rest
from measure import seconds

from recsvc.store.contract.tables import recommendations
from recsvc.store.database.snapshot import snapshot
from recsvc.store.database.transactions import loading, reading, writing
from tests.databases import is_sqlite

CHUNK_ROWS = 100_000
_CREATED = "SELECT sql FROM sqlite_master WHERE name = :name"

#: Tables that PostgreSQL fills before their key and constraints are made: the faster way.
_LATE = frozenset({"ratings", "tags"})


def raw_load(
    source: sa.Engine, make: MakeEngine, tables: Sequence[sa.Table]
) -> Callable[[], float]:
    """Return what loads the rows of these tables into an empty database: its seconds."""
    if is_sqlite(source):
        with snapshot(source) as database:
            frames = {table.name: database.frame(sa.select(table)) for table in tables}
        return lambda: _timed_once(make(), lambda connection: _executemany_late(connection, frames))
    with reading(source) as connection:
        files = {table: copied_out(connection, table.name) for table in tables}
        return lambda: _timed_once(make(), lambda connection: _copy(connection, files))


def _timed_once(engine: sa.Engine, load: Callable[[sa.Connection], None]) -> float:
    rest(engine)
    took = _timed(engine, load, loading)
    drop(engine)
    return took


def _timed(
    engine: sa.Engine,
    load: Callable[[sa.Connection], None],
    begin: Callable[[sa.Engine], AbstractContextManager[sa.Connection]] = writing,
) -> float:
    def work() -> None:
        with begin(engine) as connection:
            load(connection)

    return seconds(work)


def raw_lists(source: sa.Engine, run_id: int) -> float:
    """Load a run's recommendations into a table of the same columns and keys: its seconds."""
    rows = sa.select(recommendations).where(recommendations.c.run_id == run_id)
    if is_sqlite(source):
        with reading(source) as connection:
            create = connection.scalar(sa.text(_CREATED), {"name": recommendations.name})
        with snapshot(source) as database:
            frames = {"raw_lists": database.frame(rows)}
        with writing(source) as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS raw_lists")
            connection.exec_driver_sql(create.replace("recommendations", "raw_lists"))
        return _timed(source, lambda connection: _executemany(connection, frames))
    with reading(source) as connection:
        blocks = copied_out(connection, f"recommendations WHERE run_id = {run_id}")
    with writing(source) as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS raw_lists")
        like = "LIKE recommendations INCLUDING CONSTRAINTS INCLUDING DEFAULTS"
        connection.exec_driver_sql(f"CREATE TABLE raw_lists ({like})")

    def load(connection: sa.Connection) -> None:
        copy_in(connection, "raw_lists", blocks)
        for key in ("PRIMARY KEY (run_id, user_id, rank)", "UNIQUE (run_id, user_id, movie_id)"):
            connection.exec_driver_sql(f"ALTER TABLE raw_lists ADD {key}")

    return _timed(source, load)


def _executemany_late(connection: sa.Connection, frames: dict[str, pd.DataFrame]) -> None:
    """Insert first and check references then: the faster way, as on PostgreSQL."""
    _executemany(connection, frames)
    for name in frames:
        if connection.exec_driver_sql(f"PRAGMA foreign_key_check({name})").first():
            raise ValueError(name)


def _executemany(connection: sa.Connection, frames: dict[str, pd.DataFrame]) -> None:
    cursor = connection.connection.cursor()
    for name, frame in frames.items():
        sql = f"INSERT INTO {name} VALUES ({', '.join('?' * frame.shape[1])})"
        for start in range(0, len(frame), CHUNK_ROWS):
            chunk = frame.iloc[start : start + CHUNK_ROWS]
            columns = [_values(chunk[column]) for column in chunk.columns]
            cursor.executemany(sql, zip(*columns, strict=True))
    cursor.close()


def _values(column: pd.Series) -> list[object]:
    return pa.array(column, from_pandas=True).to_pylist() if column.hasnans else column.tolist()


def copied_out(connection: sa.Connection, table: str) -> list[bytes]:
    """Return a table in PostgreSQL's text format."""
    sql = f"COPY (SELECT * FROM {table}) TO STDOUT".encode()
    with _driver(connection).cursor() as cursor, cursor.copy(sql) as copy:
        return [bytes(block) for block in copy]


def copy_in(connection: sa.Connection, table: str, blocks: list[bytes]) -> None:
    """COPY what was copied out."""
    sql = f"COPY {table} FROM STDIN".encode()
    with _driver(connection).cursor() as cursor, cursor.copy(sql) as copy:
        for start in range(0, len(blocks), 1_000):
            copy.write(b"".join(blocks[start : start + 1_000]))


def _copy(connection: sa.Connection, files: dict[sa.Table, list[bytes]]) -> None:
    for table, blocks in files.items():
        late = table.name in _LATE
        checks = [table.primary_key, *table.foreign_key_constraints] if late else []
        for check in reversed(checks):
            connection.execute(sa.schema.DropConstraint(check))
        copy_in(connection, table.name, blocks)
        for check in checks:
            connection.execute(sa.schema.AddConstraint(check, isolate_from_table=False))


def _driver(connection: sa.Connection) -> psycopg.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(driver)
    return driver
