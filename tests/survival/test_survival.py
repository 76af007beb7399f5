"""What goes wrong in the night, one thing at a time: what becomes of the run, and what readers see.

Falls at checkpoints are in ``test_crash.py``; docs/reliability.md lists all that is survived.
"""

import re
import sqlite3
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.errors import (
    DiskFullError,
    PublicationRefusedError,
    TrainingDivergedError,
)
from recsvc.pipeline import compare
from recsvc.pipeline.load import load_training_data
from recsvc.pipeline.retrain import RetrainReport, retrain
from recsvc.store.contract.tables import runs
from recsvc.store.database.transactions import reading
from recsvc.store.runs.current import Publication
from recsvc.store.runs.publication import prune, retained_runs, roll_back
from recsvc.vocabulary import MODELS
from tests import taste
from tests.outputs import ROWS_OF_RUN
from tests.prepared import Prepared
from tests.survival.surviving import LISTS, VISIBLE, at, ingest, on_postgresql, on_sqlite, run

ROOT = Path(__file__).parents[2]
LAST_RUN = "SELECT * FROM runs ORDER BY run_id DESC LIMIT 1"
OTHERS = set(MODELS) - {"lightfm_hybrid"}  #: than the one that these tests publish


def more_files(folder: Path) -> Path:
    """The plain tastes, a movie that is new, and somebody new who loves it."""
    movies = [*taste.movie_rows(), (62, "Newest Film (2020)", "Drama")]
    ratings = [*taste.rating_rows(), (105, 62, 5.0, taste.START), (105, 2, 5.0, taste.START)]
    return taste.write_files(folder, movies=movies, ratings=ratings)


# --- a disk that is full, a model that diverges, ratings that make no sense -------------------


@on_sqlite
def test_a_disk_that_is_full_fails_the_run_and_the_next_one_publishes(own: Prepared) -> None:
    before = own.rows(LISTS)
    limit = {"pages": 2**31 - 1}

    def enforce(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit['pages']}")

    with own.engine() as engine:
        sa.event.listen(engine, "checkout", enforce)
        with at("write:begin", lambda: limit.update(pages=1)):  # noqa: SIM117
            with pytest.raises(DiskFullError) as full:
                retrain(engine, own.settings(), force=True)
        (row,) = own.rows(LAST_RUN)
        assert (row.status, row.error) == ("failed", str(full.value))
        assert "is full: database or disk is full. Make room, then run" in row.error
        assert own.rows(LISTS) == before
        assert own.value(ROWS_OF_RUN, run=2) == 0
        limit["pages"] = 2**31 - 1
        assert retrain(engine, own.settings(), force=True).status == "published"
    assert own.rows(LISTS) == before, "the same data give the same lists"
    assert own.value(VISIBLE) == 3


def test_a_model_that_diverges_fails_the_run_and_readers_keep_what_they_had(
    own: Prepared,
) -> None:
    before = own.rows(LISTS)
    with pytest.raises(TrainingDivergedError, match="RECSVC_LEARNING_RATE"):
        run(own, force=True, learning_rate=1e6)
    (row,) = own.rows(LAST_RUN)
    assert (row.run_id, row.status) == (2, "failed")
    assert "RECSVC_LEARNING_RATE" in row.error
    assert own.rows(LISTS) == before
    assert own.value(VISIBLE) == 1


def gate_of_last(database: Prepared) -> dict[str, Any]:
    with database.engine() as engine, reading(engine) as connection:
        gate = sa.select(runs.c.gate).order_by(runs.c.run_id.desc()).limit(1)
        document: dict[str, Any] = connection.execute(gate).scalar_one()
    return document


def phases_of_last(database: Prepared) -> set[str]:
    query = "SELECT phase FROM run_phases WHERE run_id = (SELECT max(run_id) FROM runs)"
    return {row.phase for row in database.rows(query)}


def test_the_first_run_is_compared_with_the_line_up_alone(own: Prepared) -> None:
    gate = gate_of_last(own)
    assert set(gate["comparisons"]) == OTHERS
    assert gate["passed"] is True
    assert gate["forced"] is False


def test_other_settings_are_compared_with_the_former_ones_on_the_split_of_tonight(
    own: Prepared,
) -> None:
    with pytest.raises(PublicationRefusedError, match="is worse than run 1"):
        run(own, epochs=2, components=2)
    assert {"fit:published", "evaluate:published"} <= phases_of_last(own)
    assert gate_of_last(own)["comparisons"]["run 1"]["ci_high"] < 0
    assert own.value(VISIBLE) == 1


def test_former_settings_are_fitted_for_the_epochs_that_early_stopping_settled_on(
    own: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = {"patience": 1, "epochs": 40, "warm_start": True}
    for _ in range(2):
        run(own, force=True, **patient)
    epochs = "SELECT epochs FROM models WHERE run_id = 3 AND model = '{}'"
    (settled,), (warm,) = (
        own.rows(epochs.format(model)) for model in ("lightfm_cf", "lightfm_hybrid")
    )
    assert 1 < settled.epochs < 40, "it stopped early"
    assert warm.epochs < settled.epochs, "the published model was trained on from another"
    fitted: list[int] = []
    make = compare.lineup

    def record(configuration: Any) -> Any:
        fitted.append(configuration.lightfm.epochs)
        return make(configuration)

    monkeypatch.setattr(compare, "lineup", record)
    run(own, force=True, epochs=7)
    assert "fit:published" in phases_of_last(own)
    assert fitted == [7, settled.epochs], "the line-up, and what it is compared with"


def test_other_data_are_compared_with_the_figures_that_were_stored(
    own: Prepared, tmp_path: Path
) -> None:
    ingest(own, more_files(tmp_path / "more"))
    assert run(own).status == "published"
    assert "fit:published" not in phases_of_last(own)
    assert set(gate_of_last(own)["comparisons"]) == {*OTHERS, "run 1"}


def test_force_is_recorded_with_what_the_gate_said(own: Prepared) -> None:
    report = run(own, force=True, epochs=2, components=2)
    gate = gate_of_last(own)
    assert (gate["passed"], gate["forced"]) == (False, True)
    reason = own.value("SELECT reason FROM publications ORDER BY publication_id DESC LIMIT 1")
    assert reason == report.reason == f"Forced: {gate['reason']}"


# --- ingest and retrain at the same time --------------------------------------------------------


@pytest.mark.parametrize("moment", ["split:begin", "verify:begin", "publish:begin"])
def test_an_ingest_during_a_retrain_is_taken_by_the_next_run(
    own: Prepared, tmp_path: Path, moment: str
) -> None:
    before = own.rows(LISTS)
    files = more_files(tmp_path / "more")
    with at(moment, lambda: ingest(own, files)):
        assert run(own, force=True).status == "published"
    assert own.rows(LISTS) == before, "what was read before the ingest"
    assert own.value("SELECT fingerprint FROM runs WHERE run_id = 2") == own.value(
        "SELECT fingerprint FROM runs WHERE run_id = 1"
    )
    assert run(own).status == "published"
    assert own.value("SELECT count(*) FROM current_recommendations WHERE user_id = 105") > 0


def test_a_retrain_during_an_ingest_reads_all_of_it_or_nothing(
    own: Prepared, tmp_path: Path
) -> None:
    files = more_files(tmp_path / "more")
    read: list[tuple[str, int]] = []

    def load() -> None:
        with own.engine() as engine:
            data = load_training_data(engine, own.settings(), None)
            read.append((data.fingerprint(), data.interactions.n_ratings))

    load()
    with at("ingest:ratings.csv:written", load):
        ingest(own, files)
    load()
    before, during, after = read
    assert during == before
    assert after != before
    assert after[1] == before[1] + 2


@on_postgresql
def test_on_postgresql_a_retrain_need_not_wait_for_an_ingest(own: Prepared, tmp_path: Path) -> None:
    reports: list[RetrainReport] = []
    with at("ingest:ratings.csv:written", lambda: reports.append(run(own))):
        ingest(own, more_files(tmp_path / "more"))
    assert [report.status for report in reports] == ["skipped"], "it saw nothing new"
    assert run(own).status == "published"


@on_sqlite
def test_on_sqlite_a_retrain_waits_for_the_ingest_and_reads_all_of_it(
    own: Prepared, tmp_path: Path
) -> None:
    reports: list[RetrainReport] = []
    night = Thread(target=lambda: reports.append(run(own)))
    with at("ingest:ratings.csv:written", night.start):
        ingest(own, more_files(tmp_path / "more"))
        night.join(120)
    assert [report.status for report in reports] == ["published"]
    ratings = own.rows("SELECT ratings FROM runs ORDER BY run_id")
    assert ratings[1].ratings == ratings[0].ratings + 2


# --- rollback and retention ----------------------------------------------------------------------


def test_a_rollback_is_one_row_and_readers_see_the_earlier_run_whole(own: Prepared) -> None:
    before = own.rows(LISTS)
    run(own, force=True, top_n=5)
    with own.engine() as engine:
        switched = roll_back(engine)
    assert (switched.run_id, switched.reason) == (1, "rolled back from run 2")
    assert own.value("SELECT count(*) FROM publications") == 3
    assert own.rows(LISTS) == before


@on_postgresql
def test_a_rollback_waits_for_a_publication_and_names_the_run_that_it_takes_back(
    own: Prepared,
) -> None:
    switched: list[Publication] = []
    waiting = (
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE d.datname = current_database() AND NOT l.granted"
    )

    def take_back() -> None:
        with own.engine() as engine:
            switched.append(roll_back(engine))

    rollback = Thread(target=take_back)

    def meanwhile() -> None:
        rollback.start()
        while rollback.is_alive() and not own.value(waiting):
            rollback.join(0.01)

    with at("publish:switched", meanwhile):
        run(own, force=True, top_n=5)
    rollback.join(60)
    assert [(done.run_id, done.reason) for done in switched] == [(1, "rolled back from run 2")]


def test_after_a_rollback_a_night_without_anything_new_is_skipped(own: Prepared) -> None:
    run(own, force=True, top_n=5)
    with own.engine() as engine:
        roll_back(engine)
    assert run(own, top_n=5).status == "skipped"
    assert run(own).status == "skipped"
    assert own.value(VISIBLE) == 1


def test_the_newest_runs_are_kept_and_the_one_that_readers_see(own: Prepared) -> None:
    for top_n in (5, 6, 7):
        run(own, force=True, top_n=top_n, keep_runs=2)
    with own.engine() as engine:
        with reading(engine) as connection:
            assert retained_runs(connection) == [4, 3]
        roll_back(engine)
        prune(engine, 1, lock_timeout=5)
        with reading(engine) as connection:
            assert retained_runs(connection) == [4, 3], "readers see 3"
    assert own.value("SELECT count(DISTINCT run_id) FROM metrics") == 4


# --- the page ------------------------------------------------------------------------------------


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    named = set(re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)+)`", page))
    assert len(named) > 60
    for file, path in named:
        source = (ROOT / file).read_text("utf-8")
        for name in path.removeprefix("::").split("::"):
            assert re.search(rf"(?:def|class) {name}\b", source), f"{file}{path} does not exist"
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", page))
    assert all((ROOT / file).exists() for file in files)
