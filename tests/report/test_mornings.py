"""What the report says first, before there is anything and when something went wrong."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from recsvc.store.contract.tables import publications, runs
from recsvc.store.database.clock import database_now
from recsvc.store.database.transactions import reading, writing
from recsvc.store.runs.ledger import finish_run, record_gate
from recsvc.store.runs.publication import publish
from tests.report.pages import Page, _claimed, rendered


def _refused(engine: sa.Engine) -> None:
    claim = _claimed(engine)
    reason = "lightfm_hybrid does not beat popular in NDCG@10: difference -0.0185."
    interval = {"mean": -0.0185, "ci_low": -0.027, "ci_high": -0.0099}
    gate = {"passed": False, "reason": reason, "comparisons": {"popular": interval}}
    record_gate(engine, claim, "lightfm_hybrid", gate | {"forced": False})
    finish_run(engine, claim, "refused", f"Run 1 is not published. {reason}")


def _rated(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        for statement in (
            "INSERT INTO users (user_id) VALUES (1)",
            "INSERT INTO movies (movie_id, title) VALUES (1, 'Heat (1995)')",
            "INSERT INTO ratings (user_id, movie_id, rating, rated_at) VALUES (1, 1, 4.0, 1)",
        ):
            connection.execute(sa.text(statement))


def _state(engine: sa.Engine, now: datetime | None = None) -> str:
    return Page(rendered(engine, now)).text


class TestMornings:
    def test_an_empty_database_asks_for_data(self, engine: sa.Engine) -> None:
        text = _state(engine)
        assert "Have a look. Readers see nothing yet: there are no ratings." in text
        assert "Run recsvc ingest DIR with a folder" in text

    def test_without_a_run_it_asks_for_one(self, engine: sa.Engine) -> None:
        _rated(engine)
        text = _state(engine)
        assert "Readers see nothing yet: there was no run. Run recsvc retrain ." in text

    def test_refused_from_the_start(self, engine: sa.Engine) -> None:
        _rated(engine)
        _refused(engine)
        text = _state(engine)
        assert "Have a look. Readers see nothing yet: Run 1 was refused." in text
        assert "recsvc retrain --force publishes all the same" in text
        assert "The gate: run 1 did not pass. lightfm_hybrid does not beat popular" in text
        assert "popular -0.0185 -0.0270 -0.0099" in text

    def test_the_first_run_is_under_way(self, engine: sa.Engine) -> None:
        _rated(engine)
        _claimed(engine)
        assert "Readers see nothing yet: a run is under way." in _state(engine)

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("failed", "Something is wrong. Run 2 failed. Readers see run 1, "),
            ("lost", "Something is wrong. Run 2 was lost. Readers see run 1, "),
            ("refused", "Have a look. Run 2 was refused. Readers see run 1, "),
            ("skipped", "All is well. Readers see run 1, "),
        ],
    )
    def test_the_last_run_did_not_publish(
        self, engine: sa.Engine, status: str, expected: str
    ) -> None:
        publish(engine, _claimed(engine), "better")
        finish_run(engine, _claimed(engine), status, "this is why")
        text = _state(engine)
        assert expected in text
        assert "this is why" in text

    def test_a_run_is_under_way(self, engine: sa.Engine) -> None:
        publish(engine, _claimed(engine), "better")
        _claimed(engine)
        assert "All is well. Readers see run 1, published " in _state(engine)
        assert "Run 2 is under way." in _state(engine)

    def test_a_run_that_died_is_not_said_to_be_under_way(self, engine: sa.Engine) -> None:
        _rated(engine)
        claim = _claimed(engine)
        with reading(engine) as connection:
            later = database_now(connection) + timedelta(hours=1, seconds=1)
        silence = "Run 1 showed no sign of life for 1 h 0 min."
        expected = f"Something is wrong. Readers see nothing yet: {silence}"
        assert expected in _state(engine, later)
        publish(engine, claim, "better")
        _claimed(engine)
        text = _state(engine, later)
        assert "Something is wrong. Run 2 showed no sign of life for" in text
        assert "recsvc retrain takes over" in text

    def test_a_day_without_a_run_is_told(self, engine: sa.Engine) -> None:
        publish(engine, _claimed(engine), "better")
        with reading(engine) as connection:
            started = connection.scalar(sa.select(runs.c.started_at))
        assert started is not None
        text = _state(engine, started + timedelta(hours=27, minutes=5))
        assert "Have a look. There was no run for 27 h 5 min." in text
        assert "All is well" in _state(engine, started + timedelta(hours=25))

    def test_a_rollback_is_told(self, engine: sa.Engine) -> None:
        publish(engine, _claimed(engine), "better")
        with writing(engine) as connection:
            connection.execute(sa.update(publications).values(action="rollback"))
        assert "Have a look. Readers see run 1, to which they were rolled back" in _state(engine)

    def test_a_publication_against_the_gate_is_told(self, engine: sa.Engine) -> None:
        claim = _claimed(engine)
        gate = {"passed": False, "reason": "worse", "comparisons": {}, "forced": True}
        record_gate(engine, claim, "blend", gate)
        publish(engine, claim, "Forced: worse")
        text = _state(engine)
        assert "Have a look. Readers see run 1, published by force" in text
        assert "The gate: run 1 did not pass, and was told to publish in any case. worse" in text
