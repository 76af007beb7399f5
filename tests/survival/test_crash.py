"""Whatever a run falls over, readers see the old recommendations or the new ones, whole.

At every checkpoint that an undisturbed job passes, the job falls once by an exception and once by
SIGKILL, while somebody reads. Then it runs again, and must end as if nothing had happened.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
import sqlalchemy as sa

from recsvc.datasets.synthetic.dataset import write_synthetic
from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from recsvc.runtime import checkpoints
from recsvc.settings import Settings
from recsvc.store.contract.tables import runs
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import reading, writing
from recsvc.vocabulary import MODELS
from tests.databases import PostgresDatabase, is_sqlite
from tests.forkserver import is_killed
from tests.outputs import LEFTOVERS
from tests.survival.falling import fall_by_exception, fall_by_kill, passed_checkpoints

TOP_N, SIMILAR_N = 5, 3
QUICK = {
    "components": 8,
    "epochs": 3,
    "top_n": TOP_N,
    "similar_n": SIMILAR_N,
    "threads": 1,
    "keep_runs": 1,
    "lease_seconds": 60,
}

LISTS = "SELECT user_id, rank, movie_id, score, source FROM current_recommendations"
SIMILAR = "SELECT movie_id, rank, similar_movie_id, similarity FROM current_similar_movies"
SOURCES = ("users", "movies", "movie_genres", "links", "ratings", "tags")

Rows = list[tuple[object, ...]]


def settings_for(url: sa.URL) -> Settings:
    return Settings.read({"DATABASE_URL": url.render_as_string(hide_password=False), **QUICK})


def rows(url: sa.URL, *queries: str) -> Rows:
    engine = open_engine(url)
    with reading(engine) as connection:
        found = [tuple(row) for query in queries for row in connection.execute(sa.text(query))]
    engine.dispose()
    return sorted(found, key=repr)


def seen_by_readers(url: sa.URL) -> Rows:
    return rows(url, LISTS, SIMILAR)


SOURCE_ROWS = [f"SELECT '{table}', t.* FROM {table} t" for table in SOURCES]


def sources_in(url: sa.URL) -> Rows:
    return rows(url, *SOURCE_ROWS)


def sources_seen(connection: sa.Connection) -> object:
    """Every row of every source table."""
    return {tuple(row) for query in SOURCE_ROWS for row in connection.execute(sa.text(query))}


@dataclass
class Database:
    """A published run and the files of the next night, in a database that can be copied."""

    url: sa.URL
    folder: Path  #: files that the next ingest reads
    tmp_path: Path
    server: sa.URL | None  #: PostgreSQL's, if it is one
    copies: int = field(default=0)

    @contextmanager
    def copy(self) -> Iterator[sa.URL]:
        if self.server is not None:
            with PostgresDatabase(self.server, str(self.url.database)) as url:
                yield url
            return
        self.copies += 1
        path = self.tmp_path / f"copy-{self.copies}.db"
        shutil.copy(str(self.url.database), path)
        yield sa.URL.create("sqlite", database=str(path))
        path.unlink()


class Watcher:
    """Reads all the time, and keeps whatever is neither old nor new, whole."""

    def __init__(
        self, url: sa.URL, look: Callable[[sa.Connection], object], whole: Callable[[object], bool]
    ) -> None:
        self._engine = open_engine(url)
        self._look = look
        self._whole = whole
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.reads = 0
        self.torn: list[object] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._engine.dispose()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.read()
            self._stop.wait(0.01)

    def read(self, _: str = "") -> None:
        """Look once; also a hook for checkpoints, so that no moment is left to chance."""
        with reading(self._engine) as connection:
            if not is_sqlite(connection):  # all queries of a look see one moment
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            found = self._look(connection)
        self.reads += 1
        if not self._whole(found):
            self.torn.append(found)


def lists_seen(connection: sa.Connection) -> object:
    query = sa.text("SELECT run_id, count(*) FROM current_recommendations GROUP BY run_id")
    return [count for _, count in connection.execute(query)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def prepared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """Ingest, publish two runs (so that the next one has one to prune), ingest what is new."""
    tmp_path = tmp_path_factory.mktemp("crash")
    folder = tmp_path / "data"
    write_synthetic(folder, ratings=1_500, seed=3)
    if request.param == "sqlite":
        path = tmp_path / "base.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        url, server = sa.URL.create("sqlite", database=str(path)), None
        _publish_twice(url, folder)
        yield Database(url, folder, tmp_path, server)
        return
    server = request.getfixturevalue("postgres_url")
    template = request.getfixturevalue("postgres_template")
    with PostgresDatabase(server, template) as url:
        _publish_twice(url, folder)
        yield Database(url, folder, tmp_path, server)


def _publish_twice(url: sa.URL, folder: Path) -> None:
    engine = open_engine(url)
    ingest_folder(engine, folder)
    settings = settings_for(url)
    retrain(engine, settings.model_copy(update={"seed": 1}), force=True)
    retrain(engine, settings.model_copy(update={"seed": 2}), force=True)
    engine.dispose()
    _change(folder)


def _change(folder: Path) -> None:
    """Every seventh rating is another one the next night."""
    header, *lines = (folder / "ratings.csv").read_text().splitlines()
    for number in range(0, len(lines), 7):
        user, movie, _, moment = lines[number].split(",")
        lines[number] = f"{user},{movie},{1 + number % 5}.0,{moment}"
    (folder / "ratings.csv").write_text("\n".join([header, *lines, ""]))


def _let_the_lease_run_out(url: sa.URL) -> None:
    engine = open_engine(url)
    long_ago = sa.text(
        "UPDATE runs SET heartbeat_at = '2020-01-01 00:00:00' WHERE status = 'running'"
    )
    with writing(engine) as connection:
        connection.execute(long_ago)
    engine.dispose()


def _killed(job: str, settings: Settings, folder: Path, name: str) -> None:
    assert is_killed(fall_by_kill, job, settings, folder, name), f"{name} was not passed"


def _telling(names: list[str]) -> list[str]:
    """Leave out models between the first and the last, which are treated as these are."""
    between = [f":{model}:" for model in MODELS[1:-1]]
    return [name for name in names if not any(model in name for model in between)]


FALLS = {"exception": fall_by_exception, "SIGKILL": _killed}


@pytest.mark.parametrize("fall", FALLS)
def test_a_retrain_that_falls_at_any_checkpoint_leaves_old_or_new_and_can_be_repeated(
    prepared: Database, fall: str
) -> None:
    with prepared.copy() as url:
        before = seen_by_readers(url)
        names = _telling(passed_checkpoints("retrain", settings_for(url), prepared.folder))
        after = seen_by_readers(url)
    complete = sum(len(row) == 5 for row in before)
    assert before != after
    for name in names:
        with prepared.copy() as url, Watcher(url, lists_seen, [complete].__eq__) as watcher:
            settings = settings_for(url)
            FALLS[fall]("retrain", settings, prepared.folder, name)
            assert seen_by_readers(url) in (before, after), name
            _let_the_lease_run_out(url)
            engine = open_engine(url)
            retrain(engine, settings, force=True)
            engine.dispose()
            assert seen_by_readers(url) == after, name
            assert _statuses(url)["running"] == 0, name
            assert _leftovers(url) == 0, name
        assert watcher.reads > 0
        assert watcher.torn == [], name


@pytest.mark.parametrize("fall", FALLS)
def test_an_ingest_that_falls_at_any_checkpoint_changes_nothing_and_can_be_repeated(
    prepared: Database, fall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with prepared.copy() as url:
        before = sources_in(url)
        names = passed_checkpoints("ingest", settings_for(url), prepared.folder)
        after = sources_in(url)
    assert before != after
    old_or_new = [set(before), set(after)].__contains__
    for name in names:
        with prepared.copy() as url, Watcher(url, sources_seen, old_or_new) as watcher:
            FALLS[fall]("ingest", settings_for(url), prepared.folder, name)
            assert sources_in(url) == before, name
            engine = open_engine(url)
            monkeypatch.setattr(checkpoints, "hook", watcher.read)
            ingest_folder(engine, prepared.folder)
            monkeypatch.setattr(checkpoints, "hook", None)
            engine.dispose()
            watcher.read()
            assert sources_in(url) == after, name
        assert watcher.reads > len(names)
        assert watcher.torn == [], name


def _statuses(url: sa.URL) -> dict[str, int]:
    engine = open_engine(url)
    with reading(engine) as connection:
        found = list(connection.scalars(sa.select(runs.c.status)))
    engine.dispose()
    return {status: found.count(status) for status in ("running", "lost", "failed", "published")}


def _leftovers(url: sa.URL) -> int:
    """Count rows of runs that readers can neither see nor roll back to."""
    return int(str(rows(url, LEFTOVERS)[0][0]))
