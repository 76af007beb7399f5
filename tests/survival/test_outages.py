"""A PostgreSQL server that stops in the middle of the night, or has no room left.

Each test has a server to itself, or shares one with its neighbours that it leaves running.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.cli import main as cli
from recsvc.errors import DatabaseUnreachableError, DiskFullError
from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from recsvc.runtime import checkpoints
from recsvc.store.administration import migrate
from recsvc.store.database import retry
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import reading
from recsvc.store.runs.output import runs_left
from tests import taste
from tests.databases import PostgresDatabase
from tests.outputs import MOMENTS_OF_WRITING
from tests.prepared import QUICK, Prepared
from tests.servers import Server, new_server

LISTS = "SELECT user_id, rank, movie_id, score FROM current_recommendations ORDER BY user_id, rank"
RATINGS = "SELECT * FROM ratings ORDER BY user_id, movie_id"
STATUSES = "SELECT status FROM runs ORDER BY run_id"
LAST_ERROR = "SELECT error FROM runs ORDER BY run_id DESC LIMIT 1"

SMALL_DISK = "8m"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def publish_first(url: sa.URL, folder: Path) -> None:
    """Make the schema, ingest, and publish a run."""
    database = Prepared(url)
    with database.engine() as engine:
        migrate.upgrade(engine)
        ingest_folder(engine, taste.write_files(folder / "files"))
        assert retrain(engine, database.settings()).status == "published"


def run(database: Prepared, **settings: object) -> str:
    with database.engine() as engine:
        return retrain(engine, database.settings(**settings), force=True).status


def statuses(database: Prepared) -> list[str]:
    return [row.status for row in database.rows(STATUSES)]


@contextmanager
def once_at(name: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something the first time that a checkpoint is passed."""
    passed: list[str] = []

    def hook(checkpoint: str) -> None:
        if checkpoint == name and not passed:
            passed.append(name)
            act()

    checkpoints.hook = hook
    try:
        yield
    finally:
        checkpoints.hook = None
    assert passed, f"{name} was not passed"


# --- a server that stops ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with new_server() as server:
        server.start()
        server.trade_durability_for_speed(survives_cut=True)
        yield server


@pytest.fixture(scope="module")
def published(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.URL]:
    """A first run, published; to be copied."""
    with PostgresDatabase(server.url) as url:
        publish_first(url, tmp_path_factory.mktemp("outages"))
        yield url


@pytest.fixture
def own(server: Server, published: sa.URL) -> Iterator[Prepared]:
    """The first run's database, to be changed; the server runs afterwards, come what may."""
    with PostgresDatabase(server.url, str(published.database)) as url:
        try:
            yield Prepared(url)
        finally:
            server.start()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited between tries."""
    seconds: list[float] = []
    monkeypatch.setattr(retry, "_sleep", seconds.append)
    return seconds


@pytest.mark.parametrize(
    "moment",
    [
        "load:begin",
        "rank:block",
        *MOMENTS_OF_WRITING,
        "verify:begin",
        "publish:switched",
    ],
)
def test_a_run_survives_a_server_that_is_cut_off_and_comes_back_before_the_next_try(
    server: Server, own: Prepared, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = own.rows(LISTS)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        server.start()

    monkeypatch.setattr(retry, "_sleep", wait)
    with once_at(moment, server.cut_off):
        assert run(own) == "published"
    assert len(waits) == 1
    assert statuses(own) == ["published", "published"]
    assert own.value("SELECT run_id FROM freshness") == own.value("SELECT max(run_id) FROM runs")
    assert own.rows(LISTS) == before, "the same data give the same lists"


def test_a_server_that_is_restarted_while_nobody_asks_it_is_not_even_noticed(
    server: Server, own: Prepared, waits: list[float]
) -> None:
    def restart() -> None:
        server.cut_off()
        server.start()

    with once_at("split:begin", restart):
        assert run(own) == "published"
    assert waits == []


def test_a_server_that_stays_away_ends_the_run_with_69_and_the_next_one_reclaims_it(
    server: Server,
    own: Prepared,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = own.rows(LISTS)
    url = own.url.render_as_string(hide_password=False).replace("+psycopg", "")
    monkeypatch.setenv("DATABASE_URL", url)
    for name, value in {**QUICK, "attempts": 3}.items():
        monkeypatch.setenv(f"RECSVC_{name.upper()}", str(value))
    with once_at("write:recommendations:copied", server.cut_off):  # noqa: SIM117
        with pytest.raises(SystemExit) as ended:
            cli.main(["retrain", "--force"])
    assert ended.value.code == DatabaseUnreachableError.exit_code == 69
    assert "does not answer" in capsys.readouterr().err
    assert len(waits) == 2
    server.start()
    assert statuses(own) == ["published", "running"], "nobody could write down how it ended"
    assert own.rows(LISTS) == before
    own.change(f"UPDATE runs SET heartbeat_at = '{LONG_AGO}' WHERE status = 'running'")
    assert run(own) == "published"
    assert statuses(own) == ["published", "lost", "published"]
    assert own.rows(LISTS) == before
    first, _, last = own.rows("SELECT run_id FROM runs ORDER BY run_id")
    with own.engine() as engine, reading(engine) as connection:
        kept = runs_left(connection)
    assert kept == {first.run_id, last.run_id}, "what the lost run had begun to write is gone"


def test_an_ingest_that_a_server_cuts_off_changes_nothing_and_can_be_repeated(
    server: Server, own: Prepared, tmp_path: Path
) -> None:
    before = own.rows(RATINGS)
    files = taste.write_files(
        tmp_path / "more", ratings=[*taste.rating_rows(), (105, 2, 5.0, taste.START)]
    )
    with own.engine() as engine:
        with once_at("ingest:ratings.csv:written", server.cut_off):  # noqa: SIM117
            with pytest.raises(DatabaseUnreachableError):
                ingest_folder(engine, files)
        server.start()
        assert own.rows(RATINGS) == before
        assert ingest_folder(engine, files).changed == 1
    assert len(own.rows(RATINGS)) == len(before) + 1


# --- a disk that is full ------------------------------------------------------------------------


class SmallDisk:
    """A database whose new tables are on a file system of 8 MB."""

    def __init__(self, url: sa.URL) -> None:
        self.database = Prepared(url)
        self._engine = sa.create_engine(
            url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
        )

    def fill(self) -> None:
        """Leave no room for another page."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE filler (page text STORAGE PLAIN)")
            for rows in (64, 1):
                self._insert_until_full(connection, rows)

    def _insert_until_full(self, connection: sa.Connection, rows: int) -> None:
        pages = f"INSERT INTO filler SELECT repeat('x', 8000) FROM generate_series(1, {rows})"
        for _ in range(10_000):
            try:
                connection.exec_driver_sql(pages)
            except sa.exc.OperationalError as error:
                assert "No space left on device" in str(error)  # noqa: PT017 - it ends the loop
                return
        pytest.fail("it never gets full")

    def make_room(self) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("DROP TABLE filler")


@pytest.fixture(scope="module")
def small_disk_server() -> Iterator[Server]:
    with new_server() as server:
        reason = server.why_no_small_disk()
        if reason:
            pytest.skip(f"no small file system can be mounted for a server: {reason}")
        server.start_with_small_disk(SMALL_DISK)
        server.trade_durability_for_speed()
        admin = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE TABLESPACE small LOCATION '{server.small_disk}'")
        admin.dispose()
        yield server


@pytest.fixture
def small_disk(small_disk_server: Server, tmp_path: Path) -> Iterator[SmallDisk]:
    with PostgresDatabase(small_disk_server.url) as url:
        publish_first(url, tmp_path)
        Prepared(url).change(
            f"ALTER DATABASE {url.database} SET default_tablespace = 'small'",
            "ALTER TABLE ratings SET TABLESPACE small",
        )
        yield SmallDisk(url)


def test_a_disk_that_is_full_fails_the_run_and_the_next_one_publishes(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = small_disk.database
    before = database.rows(LISTS)
    monkeypatch.setattr(retry, "_sleep", lambda _: pytest.fail("it would not pass"))
    with once_at("write:begin", small_disk.fill), pytest.raises(DiskFullError) as full:
        run(database)
    assert full.value.exit_code == 69
    assert "No space left on device. Make room, then run" in str(full.value)
    assert statuses(database) == ["published", "failed"]
    assert database.value(LAST_ERROR) == str(full.value)
    assert database.rows(LISTS) == before
    small_disk.make_room()
    assert run(database) == "published"
    assert statuses(database) == ["published", "failed", "published"]
    assert database.rows(LISTS) == before, "the same data give the same lists"


def many_ratings() -> list[tuple[Any, ...]]:
    return [(user, 1, 4.0, taste.START) for user in range(1_000, 21_000)]


def test_an_ingest_onto_a_disk_that_is_full_changes_nothing_and_can_be_repeated(
    small_disk: SmallDisk, tmp_path: Path
) -> None:
    database = small_disk.database
    before = database.rows(RATINGS)
    files = taste.write_files(tmp_path / "more", ratings=[*taste.rating_rows(), *many_ratings()])
    small_disk.fill()
    engine = open_engine(database.url)
    with pytest.raises(DiskFullError, match=r"No space left on device\. Make room, then run"):
        ingest_folder(engine, files)
    assert database.rows(RATINGS) == before
    assert database.value("SELECT count(*) FROM ingests") == 1
    small_disk.make_room()
    assert ingest_folder(engine, files).changed == 20_000
    engine.dispose()
