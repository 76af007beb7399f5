"""UTC in, UTC out, wherever the machine believes to be."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.cli.main import main
from recsvc.store.contract.tables import metadata, ratings
from recsvc.store.contract.types import UtcTimestamp
from recsvc.store.database.transactions import reading
from tests.databases import is_sqlite

# Half hours, so that no mistake can be taken for a whole one, on either side of UTC.
ZONES = ("America/St_Johns", "Asia/Kolkata", "UTC")

TOLERANCE = timedelta(seconds=5)  # less than any difference between zones

Run = Callable[..., str]


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Move the machine to another time zone: for C, for Python, and for child processes."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def recsvc(
    database_url: sa.URL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run a command on the test's database; returns stdout and stderr."""
    quick = {"components": 4, "epochs": 2, "top_n": 5, "similar_n": 2, "threads": 1, "keep_runs": 9}
    for name, value in quick.items():
        monkeypatch.setenv(f"RECSVC_{name.upper()}", str(value))
    monkeypatch.setenv("RECSVC_METRICS_TEXTFILE", str(tmp_path / "recsvc.prom"))
    monkeypatch.setenv("DATABASE_URL", database_url.render_as_string(hide_password=False))

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main([*arguments])
        assert end.value.code == 0
        return "".join(capsys.readouterr())

    return run


def _stored_times(connection: sa.Connection) -> dict[str, list[datetime]]:
    columns = [
        column
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, type(UtcTimestamp))
    ]
    return {
        str(column): list(connection.scalars(sa.select(column).where(column.is_not(None))))
        for column in columns
    }


def _moments(text: str) -> list[datetime]:
    """Find every time in a command's output; it must say that it is UTC."""
    found = re.findall(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(\+00:00|Z| UTC)?", text)
    assert all(found), f"a time without its zone: {text}"
    times = re.findall(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)", text)
    return [datetime.fromisoformat(f"{day}T{clock}+00:00") for day, clock in times]


def _output(connection: sa.Connection) -> list[list[Any]]:
    queries = [
        "SELECT user_id, rank, movie_id, title, genres, score, source FROM current_recommendations",
        "SELECT movie_id, rank, similar_movie_id, similarity FROM current_similar_movies",
        "SELECT user_id, movie_id, rated_at FROM rating_events",
        "SELECT newest_rating_at FROM freshness",
    ]
    return [sorted(tuple(row) for row in connection.exec_driver_sql(query)) for query in queries]


def test_nothing_that_is_stored_or_shown_depends_on_the_time_zone(
    engine: sa.Engine, synthetic_data: Path, set_zone: Callable[[str], None], recsvc: Run
) -> None:
    begin = datetime.now(UTC) - TOLERANCE
    outputs = []
    for zone in ZONES:
        set_zone(zone)
        recsvc("ingest", str(synthetic_data))
        shown = recsvc("--log-json", "retrain", "--force")
        shown += recsvc("status") + recsvc("runs") + recsvc("runs", "--json")
        now = datetime.now(UTC) + TOLERANCE
        assert _moments(shown)
        assert all(begin <= moment <= now for moment in _moments(shown)), shown
        published = json.loads(recsvc("status", "--json"))["published"]
        assert 0 <= published["age_seconds"] < (now - begin).total_seconds()
        with reading(engine) as connection:
            stored = _stored_times(connection)
            outputs.append(_output(connection))
        assert {name.split(".")[0] for name, times in stored.items() if times} == {
            "ingests",
            "runs",
            "run_phases",
            "publications",
        }
        for name, times in stored.items():
            assert all(begin <= moment <= now for moment in times), f"{name} in {zone}: {times}"
    assert outputs[0][0]
    assert outputs[0] == outputs[1] == outputs[2]


def test_a_rating_is_shown_at_its_unix_time_in_utc(
    engine: sa.Engine, synthetic_data: Path, set_zone: Callable[[str], None], recsvc: Run
) -> None:
    set_zone(ZONES[0])
    recsvc("ingest", str(synthetic_data))
    with reading(engine) as connection:
        seconds = list(connection.scalars(sa.select(ratings.c.rated_at).distinct()))
        shown = set(connection.scalars(sa.text("SELECT rated_at FROM rating_events")))
    expected = {datetime.fromtimestamp(second, UTC) for second in seconds}
    if is_sqlite(engine):
        assert shown == {f"{moment:%Y-%m-%d %H:%M:%S}" for moment in expected}
    else:
        assert shown == expected
