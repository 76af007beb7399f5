"""A reader of the database sees the views, and can do nothing else."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from recsvc.errors import UsageError
from recsvc.store.administration.grants import grant_reader
from recsvc.store.contract.tables import metadata
from recsvc.store.contract.views import VIEWS
from recsvc.store.database.backend import ReaderGrant
from recsvc.store.database.engine import open_engine
from recsvc.store.database.postgresql.grants import READABLE, grants_kept
from recsvc.store.database.transactions import writing

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

ODD_NAMES = ["reader", 'O"Brien', "it's; DROP TABLE runs", "Élan 100 %s %(x)s :y", "select", " "]

FORBIDDEN = [
    "INSERT INTO users VALUES (1)",
    "UPDATE publications SET run_id = 1",
    "DELETE FROM ratings",
    "TRUNCATE ratings",
    "UPDATE run_history SET error = 'x'",
    "DELETE FROM run_history",
    "UPDATE data_dictionary SET comment = 'x'",
    "CREATE TABLE mine (id int)",
    "CREATE VIEW mine AS SELECT 1 AS one",
    "CREATE SCHEMA mine",
    "DROP VIEW freshness",
    "ALTER TABLE runs ADD COLUMN x int",
    "DO 'BEGIN LOCK TABLE runs; END'",
    "COPY runs TO STDOUT",
    "COPY (SELECT * FROM runs) TO STDOUT",
    "SELECT * FROM elsewhere.secrets",
    "CREATE TABLE elsewhere.mine (id int)",
    "SELECT nextval('runs_run_id_seq')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "CREATE ROLE another",
    "SET ROLE {owner}",
]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture
def role(engine: sa.Engine) -> Iterator[str]:
    """A name that no other test uses at the same time: roles are of the server, not a database."""
    prefix = f"r{uuid.uuid4().hex[:8]}"
    yield prefix
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        query = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)"
        for (name,) in driver.execute(query, [prefix]).fetchall():
            driver.execute(f"DROP OWNED BY {_quoted(name)}")
            driver.execute(f"DROP ROLE {_quoted(name)}")
        driver.commit()


def _grant(engine: sa.Engine, role: str, statement_timeout: int = 60) -> ReaderGrant:
    return grant_reader(engine, role, statement_timeout=statement_timeout)


def _login(engine: sa.Engine, role: str) -> psycopg.Connection:
    """Log in, from the same machine, which the test server trusts."""
    url = engine.url
    host = url.host or url.query.get("host")
    return psycopg.connect(
        dbname=url.database, user=role, host=host, port=url.port, autocommit=True
    )


@on_postgresql
def test_a_reader_may_select_the_views_and_the_dictionary_and_no_other_table(
    engine: sa.Engine, role: str
) -> None:
    _grant(engine, role)
    with _login(engine, role) as reader:
        for name in [*(view.name for view in VIEWS), "data_dictionary"]:
            reader.execute(f"SELECT * FROM {name} LIMIT 1")
        for name in [*(set(metadata.tables) - set(READABLE)), "recsvc_alembic_version"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"SELECT 1 FROM {name}")


@on_postgresql
def test_a_reader_may_do_nothing_else(engine: sa.Engine, role: str) -> None:
    _grant(engine, role)
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE SCHEMA elsewhere")
        connection.exec_driver_sql("CREATE TABLE elsewhere.secrets (id int)")
    with _login(engine, role) as reader:
        # Read-only is only a default, which anybody may leave: rights have to hold by themselves.
        reader.execute("SET default_transaction_read_only = off")
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement.format(owner=_quoted(str(engine.url.username))))


@on_postgresql
def test_a_reader_logs_in_read_only_and_is_cancelled_after_the_timeout(
    engine: sa.Engine, role: str
) -> None:
    _grant(engine, role, statement_timeout=1)
    with _login(engine, role) as reader:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("CREATE TEMP TABLE mine (id int)")
        with pytest.raises(psycopg.errors.QueryCanceled):
            reader.execute("SELECT count(*) FROM generate_series(1, 10000000000)")


@on_postgresql
def test_any_name_that_postgresql_accepts_is_taken_as_it_is(engine: sa.Engine, role: str) -> None:
    for odd in ODD_NAMES:
        name = f"{role}{odd}"
        assert _grant(engine, name) == ReaderGrant(name, True, READABLE, 60)
        with _login(engine, name) as reader:
            assert reader.execute("SELECT current_user").fetchone() == (name,)
            reader.execute("SELECT * FROM freshness")


@on_postgresql
def test_what_cannot_be_a_name_is_refused(engine: sa.Engine) -> None:
    for name in ["", "a\0b", "x" * 64, "é" * 32, "pg_reader", "public", "none"]:
        with pytest.raises(UsageError, match="name"):
            _grant(engine, name)


@on_postgresql
def test_granting_again_mends_what_was_changed(engine: sa.Engine, role: str) -> None:
    assert _grant(engine, role).created
    with writing(engine) as connection:
        connection.exec_driver_sql(f"GRANT ALL ON runs, freshness TO {role}")
        connection.exec_driver_sql(f"REVOKE SELECT ON run_history FROM {role}")
    assert not _grant(engine, role, statement_timeout=30).created
    with _login(engine, role) as reader:
        assert reader.execute("SHOW statement_timeout").fetchone() == ("30s",)
        reader.execute("SELECT * FROM run_history")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT 1 FROM runs")


@on_postgresql
def test_a_role_that_can_do_more_is_refused_and_left_as_it_was(
    engine: sa.Engine, role: str
) -> None:
    surplus = [
        ("GRANT SELECT ON runs TO PUBLIC", "REVOKE SELECT ON runs FROM PUBLIC", "may select runs"),
        (
            "GRANT CREATE ON SCHEMA public TO PUBLIC",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "may create tables in the schema public",
        ),
        ("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} NOSUPERUSER", "is a superuser"),
        ("GRANT pg_write_all_data TO {}", "REVOKE pg_write_all_data FROM {}", "may insert"),
        (
            "ALTER TABLE links OWNER TO {}",
            "ALTER TABLE links OWNER TO CURRENT_USER",
            "owns links",
        ),
    ]
    with writing(engine) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
    for give, take, reason in surplus:
        with writing(engine) as connection:
            connection.exec_driver_sql(give.format(role))
        with pytest.raises(UsageError, match=reason):
            _grant(engine, role)
        with writing(engine) as connection:
            connection.exec_driver_sql(take.format(role))
            query = sa.text("SELECT rolconfig FROM pg_roles WHERE rolname = :role")
            assert connection.scalar(query, {"role": role}) is None
    _grant(engine, role)


@on_postgresql
def test_whoever_may_not_make_roles_is_told_so(engine: sa.Engine, role: str) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
    weak = open_engine(engine.url.set(username=role))
    with pytest.raises(UsageError, match="connect as a role that may create roles"):
        _grant(weak, f"{role}_other")
    weak.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_there_are_no_roles_to_grant_to(engine: sa.Engine) -> None:
    with pytest.raises(UsageError, match="for PostgreSQL"):
        _grant(engine, "reader")


@on_postgresql
def test_a_migration_that_makes_the_views_again_keeps_the_readers(
    engine: sa.Engine, role: str
) -> None:
    odd = f'{role}"%s'
    _grant(engine, odd)
    with writing(engine) as connection:
        connection.exec_driver_sql("GRANT SELECT ON freshness TO PUBLIC")
    dropped, *others = VIEWS
    with writing(engine) as connection, grants_kept(connection):
        for view in VIEWS:
            connection.exec_driver_sql(f"DROP VIEW {view.name}")
        for view in others:
            connection.exec_driver_sql(f"CREATE VIEW {view.name} AS {view.select['postgresql']}")
    with _login(engine, odd) as reader:
        for view in others:
            reader.execute(f"SELECT * FROM {view.name} LIMIT 1")
        acl = "SELECT '=r' = ANY(string_to_array(relacl::text, '/')) OR relacl::text LIKE '%,=r/%'"
        public = reader.execute(f"{acl} FROM pg_class WHERE relname = 'freshness'").fetchone()
    assert public == (True,)
    assert dropped.name not in sa.inspect(engine).get_view_names()
