"""Databases that earlier releases made are upgraded under their readers, who notice nothing.

``tests/data/releases`` holds one for each revision that was released, and what its readers ask.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.store.administration import migrate
from recsvc.store.administration.revision import current_revision
from recsvc.store.contract.views import VIEWS
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import writing

RELEASES = sorted((Path(__file__).parents[2] / "data" / "releases").glob("*.sqlite"))

changes_by_the_minute = "age_seconds"

of_each_release = pytest.mark.parametrize(
    "release", RELEASES, ids=[release.stem for release in RELEASES]
)


def _queries(release: Path) -> list[str]:
    return release.with_suffix(".sql").read_text(encoding="utf-8").splitlines()


def _answers(connection: sa.Connection, release: Path) -> list[list[dict[str, Any]]]:
    """Ask what the readers of a release ask, in a transaction for each question."""
    answers = []
    for query in _queries(release):
        with connection.begin():
            rows = connection.exec_driver_sql(query).mappings()
            answers.append(
                [{name: row[name] for name in row if name != changes_by_the_minute} for row in rows]
            )
    return answers


def test_there_is_a_database_of_an_earlier_release() -> None:
    assert RELEASES
    assert all(release.stat().st_size < 100_000 for release in RELEASES)


@of_each_release
def test_the_database_of_a_release_is_upgraded_under_a_reader(
    release: Path, tmp_path: Path
) -> None:
    path = tmp_path / "recsvc.db"
    shutil.copy(release, path)
    url = sa.URL.create("sqlite", database=str(path))
    engine, readers = open_engine(url), open_engine(url)
    with readers.connect() as reader:
        before = _answers(reader, release)
        assert all(before), "every view of the recorded database has rows"
        with reader.begin():
            in_the_middle = reader.exec_driver_sql("SELECT * FROM run_history").all()
            migrate.upgrade(engine)
            assert reader.exec_driver_sql("SELECT * FROM run_history").all() == in_the_middle
        assert _answers(reader, release) == before
    assert migrate.differences(engine) == []
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    engine.dispose()
    readers.dispose()


@of_each_release
def test_the_schema_of_a_release_is_upgraded_under_a_reader(
    release: Path, empty_url: sa.URL
) -> None:
    engine = open_engine(empty_url, create=True)
    migrate.upgrade(engine, release.stem)
    assert current_revision(engine) == release.stem
    with writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO users VALUES (1)")
        connection.exec_driver_sql("INSERT INTO movies (movie_id, title) VALUES (1, 'One (2001)')")
        connection.exec_driver_sql("INSERT INTO ratings VALUES (1, 1, 4.5, 1700000000)")
    readers = open_engine(empty_url)
    with readers.connect() as reader:
        before = _answers(reader, release)
        migrate.upgrade(engine)
        assert _answers(reader, release) == before
    assert migrate.differences(engine) == []
    engine.dispose()
    readers.dispose()


@of_each_release
def test_no_view_or_column_that_a_release_promised_is_gone(release: Path) -> None:
    promised = {query.split(" FROM ")[1].rstrip(";"): query for query in _queries(release)}
    columns = {view.name: set(view.columns) for view in VIEWS}
    for view, query in promised.items():
        asked = query.removeprefix("SELECT ").split(" FROM ")[0].split(", ")
        assert set(asked) <= columns[view]
