"""Migrations are the only way a schema comes to be, and the code agrees with what they make."""

from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from recsvc.errors import ConfigurationError
from recsvc.store.administration import migrate
from recsvc.store.administration.revision import (
    REVISIONS,
    VERSION_TABLE,
    current_revision,
    require_head,
)
from recsvc.store.contract.tables import metadata, movies, ratings, users
from recsvc.store.contract.views import VIEWS
from recsvc.store.database.bulk import insert, upsert
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import reading, writing
from tests.databases import is_sqlite


def test_a_migrated_database_is_what_the_code_expects(engine: sa.Engine) -> None:
    assert migrate.differences(engine) == []


def test_downgrading_removes_everything_and_upgrading_brings_it_back(engine: sa.Engine) -> None:
    migrate.downgrade(engine, "base")
    assert set(sa.inspect(engine).get_table_names()) == {VERSION_TABLE}
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []


def test_an_empty_database_is_refused_with_the_command_that_mends_it(empty_url: sa.URL) -> None:
    engine = open_engine(empty_url, create=True)
    with pytest.raises(ConfigurationError, match="recsvc db upgrade"):
        require_head(engine)
    engine.dispose()


def test_the_revisions_that_are_known_are_those_that_there_are() -> None:
    script = ScriptDirectory.from_config(migrate.alembic_config())
    newest_first = [step.revision for step in script.walk_revisions()]
    assert tuple(reversed(newest_first)) == REVISIONS


def test_a_view_changed_by_hand_is_reported(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("DROP VIEW rating_events")
        connection.exec_driver_sql("CREATE VIEW rating_events AS SELECT 1 AS user_id")
    assert migrate.differences(engine) == ["view rating_events differs"]


def test_a_column_added_by_hand_is_reported(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE links ADD COLUMN note TEXT")
    assert len(migrate.differences(engine)) == 1


def test_tables_of_others_are_left_alone(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE somebody_elses (id INTEGER)")
    assert migrate.differences(engine) == []


def test_a_migration_that_fails_half_way_leaves_the_schema_as_it_was(
    empty_url: sa.URL,
) -> None:
    engine = open_engine(empty_url, create=True)
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE ratings (in_the_way INTEGER)")
    with pytest.raises(sa.exc.DBAPIError):
        migrate.upgrade(engine)
    tables = set(sa.inspect(engine).get_table_names()) - {VERSION_TABLE}
    assert tables == {"ratings"}
    assert current_revision(engine) is None
    with writing(engine) as connection:
        connection.exec_driver_sql("DROP TABLE ratings")
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []
    engine.dispose()


def test_every_table_view_and_column_is_explained_in_the_data_dictionary(
    engine: sa.Engine,
) -> None:
    with reading(engine) as connection:
        query = "SELECT table_name, column_name FROM data_dictionary WHERE comment <> ''"
        explained = {tuple(row) for row in connection.execute(sa.text(query))}
    inspector = sa.inspect(engine)
    for name in [*metadata.tables, *(view.name for view in VIEWS)]:
        columns = {column["name"] for column in inspector.get_columns(name)}
        assert {(name, ""), *((name, column) for column in columns)} <= explained


def test_a_new_sqlite_file_is_for_its_owner_only(sqlite_template: Path) -> None:
    assert oct(sqlite_template.stat().st_mode)[-3:] == "600"


def test_the_index_of_ratings_is_not_written_for_one_that_changes(engine: sa.Engine) -> None:
    if is_sqlite(engine):
        pytest.skip("SQLite has no index beside the table")
    ids = range(1000)
    rows = pd.DataFrame({"user_id": 1, "movie_id": ids, "rating": 4.0, "rated_at": 7})
    with writing(engine) as connection:
        insert(connection, users, pd.DataFrame({"user_id": [1]}))
        insert(connection, movies, pd.DataFrame({"movie_id": ids, "title": "A"}))
        insert(connection, ratings, rows)
    with writing(engine) as connection:
        upsert(connection, ratings, rows[::100].assign(rating=1.0, rated_at=8))
        updates = connection.exec_driver_sql(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables"
            " WHERE relname = 'ratings'"
        )
        assert updates.one() == (10, 10)
