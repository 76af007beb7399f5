"""A PostgreSQL that answers, and refuses: commands say so, and whether waiting would help."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsvc.store.administration.grants import grant_reader
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import writing
from tests.commands import Commands
from tests.databases import PostgresDatabase

READER = "reader_of_test_refused"


@pytest.fixture
def url(postgres_url: sa.URL, postgres_template: str) -> Iterator[sa.URL]:
    """A database at head, of which a role may read the views."""
    with PostgresDatabase(postgres_url, postgres_template) as url:
        engine = open_engine(url)
        grant_reader(engine, READER, statement_timeout=60)
        yield url
        with writing(engine) as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {READER}")
            connection.exec_driver_sql(f"DROP ROLE {READER}")
        engine.dispose()


@pytest.fixture
def recsvc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


def use(recsvc: Commands, url: sa.URL) -> None:
    recsvc.set("DATABASE_URL", url.render_as_string(hide_password=False))


@pytest.mark.parametrize("command", [("status",), ("retrain",), ("db", "upgrade"), ("prune",)])
def test_a_role_without_rights_is_told_which_one_to_connect_as(
    url: sa.URL, recsvc: Commands, command: tuple[str, ...]
) -> None:
    use(recsvc, url.set(username=READER))
    refused = recsvc(*command)
    assert refused.code == 78
    assert "permission denied for table" in refused.err
    assert "Connect as the role that owns the tables" in refused.err
    assert "Traceback" not in refused.err


def test_a_server_that_takes_no_changes_may_take_them_later(url: sa.URL, recsvc: Commands) -> None:
    options = {"options": "-c default_transaction_read_only=on"}
    use(recsvc, url.update_query_dict(options))
    refused = recsvc("retrain")
    assert refused.code == 69
    assert "takes no changes now" in refused.err


def test_options_with_spaces_reach_the_driver_of_bulk_reads_too(
    url: sa.URL, recsvc: Commands, synthetic_data: Path
) -> None:
    use(recsvc, url.update_query_dict({"options": "-c statement_timeout=300s"}))
    taken = recsvc("ingest", synthetic_data)
    assert taken.code == 0, taken.err


def test_a_parameter_that_libpq_does_not_know_is_a_matter_of_the_url(recsvc: Commands) -> None:
    recsvc.set("DATABASE_URL", "postgresql://reader:hunter2@127.0.0.1:1/films?colour=blue")
    refused = recsvc("status")
    assert refused.code == 78
    assert refused.err.startswith("recsvc: DATABASE_URL ")
    assert "colour" in refused.err
    assert "hunter2" not in refused.err
