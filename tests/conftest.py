"""Every test that takes ``engine`` runs on SQLite and on PostgreSQL, on a schema made by migrating.

PostgreSQL is the server at ``RECSVC_TEST_POSTGRES_URL``, or one that a wheel brings along and that
each worker starts for itself.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsvc.datasets.synthetic.dataset import write_synthetic
from recsvc.settings import Settings
from recsvc.store.administration import migrate
from recsvc.store.database.engine import open_engine
from tests.databases import PostgresDatabase
from tests.servers import new_server

ROOT = Path(__file__).parent.parent
REAL_DATA = Path(os.environ.get("RECSVC_TEST_DATA", ROOT.parent / "shared" / "ml-latest-small"))

# Small and quick, and yet good enough to beat popularity on synthetic data.
QUICK = {"components": 16, "epochs": 10, "learning_rate": 0.05, "threads": 1, "top_n": 20}

MakeSettings = Callable[..., Settings]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in os.environ:
        if name == "DATABASE_URL" or (
            name.startswith("RECSVC_") and not name.startswith("RECSVC_TEST_")
        ):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The MovieLens ml-latest-small folder."""
    if not (REAL_DATA / "ratings.csv").exists():
        pytest.skip(f"no MovieLens data at {REAL_DATA}; RECSVC_TEST_DATA names another folder")
    return REAL_DATA


@pytest.fixture(scope="session")
def synthetic_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 6,000 synthetic ratings."""
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    write_synthetic(folder, ratings=6_000, seed=7)
    return folder


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[sa.URL]:
    """A PostgreSQL server on which databases can be made."""
    given = os.environ.get("RECSVC_TEST_POSTGRES_URL")
    if given:
        yield sa.make_url(given).set(drivername="postgresql+psycopg")
        return
    with new_server() as server:
        server.start()
        server.trade_durability_for_speed()
        yield server.url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    engine = open_engine(sa.URL.create("sqlite", database=str(path)), create=True)
    migrate.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: sa.URL) -> Iterator[str]:
    """A migrated database on the server, to be copied."""
    with PostgresDatabase(postgres_url) as url:
        engine = open_engine(url)
        migrate.upgrade(engine)
        engine.dispose()
        yield str(url.database)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.URL]:
    """A database without any table, on each of the two."""
    if request.param == "sqlite":
        yield sa.URL.create("sqlite", database=str(tmp_path / "empty.db"))
    else:
        with PostgresDatabase(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.URL]:
    """A database at head, on each of the two."""
    if request.param == "sqlite":
        path = tmp_path / "recsvc.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield sa.URL.create("sqlite", database=str(path))
    else:
        server = request.getfixturevalue("postgres_url")
        with PostgresDatabase(server, request.getfixturevalue("postgres_template")) as url:
            yield url


@pytest.fixture
def engine(database_url: sa.URL) -> Iterator[sa.Engine]:
    """A database at head."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(database_url: sa.URL) -> MakeSettings:
    """Make settings for ``engine``: quick ones, and what the test says."""

    def make(**overrides: object) -> Settings:
        url = database_url.render_as_string(hide_password=False)
        return Settings.read({"DATABASE_URL": url, **QUICK, **overrides})

    return make
