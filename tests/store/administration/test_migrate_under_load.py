"""Migrations run while readers read, wait for nobody for long, and happen whole or not at all.

The newest migration is one that only these tests know: it changes a table that readers read.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from recsvc.errors import DatabaseBusyError
from recsvc.store.administration import migrate
from recsvc.store.administration.revision import HEAD, current_revision
from recsvc.store.contract.views import VIEWS
from recsvc.store.database import retry
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import reading, writing
from tests.forkserver import is_killed
from tests.store.administration.killed import upgrade_until

NEXT = '''
"""Something to migrate to."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = {head!r}


def upgrade() -> None:
    op.add_column("movies", sa.Column("runtime", sa.Integer()))
    op.execute("UPDATE movies SET runtime = movie_id")
    op.create_index("ix_movies_runtime", "movies", ["runtime"])


def downgrade() -> None:
    op.drop_index("ix_movies_runtime")
    op.drop_column("movies", "runtime")
'''


class FallenError(Exception):
    """The process ended here."""


@pytest.fixture
def next_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make it known, and return the revision before it."""
    head = HEAD
    scripts = tmp_path / "scripts"
    shutil.copytree(migrate.scripts_directory(), scripts)
    (scripts / "versions" / "9999_next.py").write_text(NEXT.format(head=head))
    monkeypatch.setattr(migrate, "scripts_directory", lambda: scripts)
    return head


@pytest.fixture
def stocked(engine: sa.Engine) -> sa.Engine:
    """A database with a movie."""
    with writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO movies (movie_id, title) VALUES (7, 'Seven')")
    return engine


@pytest.fixture
def second(engine: sa.Engine) -> Iterator[sa.Engine]:
    """The same database, from another process as it were."""
    second = open_engine(engine.url)
    yield second
    second.dispose()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which are not waited for."""
    found: list[float] = []
    monkeypatch.setattr(retry, "_sleep", found.append)
    return found


def _state(engine: sa.Engine) -> tuple[str | None, set[str], set[str | None]]:
    inspector = sa.inspect(engine)
    columns = {column["name"] for column in inspector.get_columns("movies")}
    indexes = {index["name"] for index in inspector.get_indexes("movies")}
    return current_revision(engine), columns, indexes


def _movies(connection: sa.Connection) -> list[Any]:
    return list(connection.scalars(sa.text("SELECT title FROM movies")))


@contextmanager
def _listening(engine: sa.Engine, event: str, function: Callable[..., None]) -> Iterator[None]:
    sa.event.listen(engine, event, function)
    try:
        yield
    finally:
        sa.event.remove(engine, event, function)


@contextmanager
def _falling(engine: sa.Engine, at: int) -> Iterator[list[str]]:
    """Raise an exception instead of sending the statement of this number; list those sent."""
    sent: list[str] = []

    def fall(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if len(sent) == at:
            raise FallenError
        sent.append(statement)

    with _listening(engine, "before_cursor_execute", fall):
        yield sent


def test_a_migration_that_falls_at_any_statement_changes_nothing(
    stocked: sa.Engine, next_migration: str
) -> None:
    before = _state(stocked)
    assert before[0] == next_migration
    for at in range(1_000):
        try:
            with _falling(stocked, at) as sent:
                migrate.upgrade(stocked)
        except FallenError:
            assert _state(stocked) == before
        else:
            break
    assert len(sent) == at > 5, "the last round sent everything"
    revision, columns, indexes = _state(stocked)
    assert (revision, "runtime" in columns, "ix_movies_runtime" in indexes) == ("9999", True, True)


def test_a_migration_that_falls_at_its_commit_changes_nothing(
    stocked: sa.Engine, next_migration: str
) -> None:
    def fall(_: sa.Connection) -> None:
        raise FallenError

    before = _state(stocked)
    with _listening(stocked, "commit", fall), pytest.raises(FallenError):
        migrate.upgrade(stocked)
    assert _state(stocked) == before
    migrate.upgrade(stocked)
    assert _state(stocked)[0] == "9999" != next_migration


def test_the_first_migration_falls_whole_too(empty_url: sa.URL) -> None:
    engine = open_engine(empty_url, create=True)
    for at in range(0, 10_000, 9):
        try:
            with _falling(engine, at) as sent:
                migrate.upgrade(engine, "0001")
        except FallenError:
            assert sa.inspect(engine).get_table_names() == []
        else:
            break
    assert len(sent) > 30
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []
    engine.dispose()


def test_a_migration_that_is_killed_at_any_statement_changes_nothing(
    stocked: sa.Engine, next_migration: str
) -> None:
    before = _state(stocked)
    kills = 0
    while is_killed(upgrade_until, stocked.url, migrate.scripts_directory(), kills):
        revision = current_revision(stocked)
        assert revision == "9999" or _state(stocked) == before
        kills += 1
    assert kills > 5
    revision, columns, indexes = _state(stocked)
    assert (revision, "runtime" in columns, "ix_movies_runtime" in indexes) == ("9999", True, True)
    assert before[0] == next_migration


def test_the_first_migration_killed_at_any_statement_leaves_nothing_and_is_run_again(
    empty_url: sa.URL,
) -> None:
    engine = open_engine(empty_url, create=True)
    kills = 0
    # Each upgrade finds what the one before left, and gets one statement further.
    while is_killed(upgrade_until, empty_url, migrate.scripts_directory(), kills):
        revision = current_revision(engine)
        if revision is None:
            assert sa.inspect(engine).get_table_names() == []
        elif revision == HEAD:
            assert migrate.differences(engine) == []
        kills += 1
    assert kills > 30
    assert migrate.differences(engine) == []
    engine.dispose()


def test_each_migration_is_a_transaction_of_its_own(empty_url: sa.URL, next_migration: str) -> None:
    engine = open_engine(empty_url, create=True)

    def fall(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "ix_movies_runtime" in statement:
            raise FallenError

    with _listening(engine, "before_cursor_execute", fall), pytest.raises(FallenError):
        migrate.upgrade(engine)
    assert current_revision(engine) == next_migration
    engine.dispose()


def test_readers_between_their_queries_do_not_hold_up_a_migration(
    stocked: sa.Engine, second: sa.Engine, next_migration: str
) -> None:
    with second.connect() as reader:
        assert _movies(reader) == ["Seven"]
        reader.rollback()
        migrate.upgrade(stocked)
        assert _movies(reader) == ["Seven"]
        for view in VIEWS:
            reader.exec_driver_sql(f"SELECT * FROM {view.name}")
    assert current_revision(stocked) == "9999" != next_migration


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_a_reader_in_the_middle_keeps_its_snapshot_and_holds_up_nothing(
    stocked: sa.Engine, second: sa.Engine, next_migration: str, waits: list[float]
) -> None:
    with reading(second) as reader:
        assert _movies(reader) == ["Seven"]
        migrate.upgrade(stocked)
        assert len(reader.exec_driver_sql("SELECT * FROM movies").keys()) == 4
        assert waits == []
    with reading(second) as reader:
        assert len(reader.exec_driver_sql("SELECT * FROM movies").keys()) == 5
    assert next_migration


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_reader_in_the_middle_of_a_long_query_is_waited_for_a_bounded_time(
    stocked: sa.Engine, second: sa.Engine, next_migration: str, waits: list[float]
) -> None:
    before = _state(stocked)
    with reading(second) as reader:
        assert _movies(reader) == ["Seven"]
        with pytest.raises(DatabaseBusyError, match="recsvc db upgrade") as refusal:
            migrate.upgrade(stocked, lock_timeout=0.01, attempts=3)
        assert refusal.value.exit_code == 75
        assert len(waits) == 2
        assert _movies(reader) == ["Seven"]
    assert _state(stocked) == before
    migrate.upgrade(stocked)
    assert current_revision(stocked) == "9999" != next_migration


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_migration_succeeds_as_soon_as_the_reader_is_done(
    stocked: sa.Engine,
    second: sa.Engine,
    next_migration: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = second.connect()
    assert _movies(reader) == ["Seven"]
    # The reader ends while the migration waits for its second attempt.
    monkeypatch.setattr(retry, "_sleep", lambda _: reader.close())
    migrate.upgrade(stocked, lock_timeout=0.01, attempts=2)
    assert current_revision(stocked) == "9999" != next_migration


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_lock_timeout_and_the_lock_end_with_the_migration(
    stocked: sa.Engine, next_migration: str
) -> None:
    with reading(stocked) as connection:
        usual = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
    migrate.upgrade(stocked, lock_timeout=1.5)
    with reading(stocked) as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == usual
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert connection.exec_driver_sql(held).scalar_one() == 0
    assert next_migration


UPGRADE = """
import sys
import sqlalchemy as sa
from recsvc.store.administration import migrate
from recsvc.store.database.engine import open_engine

engine = open_engine(sa.make_url(sys.argv[1]))
sent = []
sa.event.listen(engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
print("ready", flush=True)
sys.stdin.readline()
migrate.upgrade(engine, lock_timeout=60)
print(sum("CREATE TABLE users" in statement for statement in sent))
engine.dispose()
"""


def test_of_several_upgrades_at_once_one_migrates_and_all_succeed(empty_url: sa.URL) -> None:
    open_engine(empty_url, create=True).dispose()
    url = empty_url.render_as_string(hide_password=False)
    with ExitStack() as processes:
        upgrades = [
            processes.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "error", "-c", UPGRADE, url],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for upgrade in upgrades:
            assert upgrade.stdout is not None
            assert upgrade.stdout.readline() == "ready\n"
        for upgrade in upgrades:
            assert upgrade.stdin is not None
            upgrade.stdin.write("go\n")
            upgrade.stdin.flush()
        said = [upgrade.communicate(timeout=120) for upgrade in upgrades]
    # Two at the same moment may find SQLite locked, which passes.
    complaints = [line for _, errors in said for line in errors.splitlines()]
    assert [line for line in complaints if "trying again" not in line] == []
    assert sorted(made for made, _ in said) == ["0\n", "1\n"]
    engine = open_engine(empty_url)
    assert migrate.differences(engine) == []
    engine.dispose()


def test_a_migration_leaves_foreign_keys_enforced(engine: sa.Engine, next_migration: str) -> None:
    migrate.upgrade(engine)
    with pytest.raises(sa.exc.IntegrityError), writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO movie_genres VALUES (404, 'Drama')")
    assert next_migration


def test_downgrading_under_the_same_rules_brings_the_schema_back(
    stocked: sa.Engine, next_migration: str
) -> None:
    before = _state(stocked)
    migrate.upgrade(stocked)
    migrate.downgrade(stocked, next_migration)
    assert _state(stocked) == before
    assert ScriptDirectory.from_config(migrate.alembic_config()).get_current_head() == "9999"
