"""What an unattended run leaves behind: a log of every phase, and figures for the monitor."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.cli.main import main
from recsvc.store.contract.tables import run_phases, runs
from recsvc.store.database.transactions import reading


@pytest.fixture(autouse=True)
def _unattended(
    engine: sa.Engine, tmp_path: Path, synthetic_data: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Data in the database, and settings for a quick run."""
    quick = {"components": 4, "epochs": 2, "top_n": 5, "similar_n": 2, "threads": 1}
    for name, value in quick.items():
        monkeypatch.setenv(f"RECSVC_{name.upper()}", str(value))
    monkeypatch.setenv("RECSVC_METRICS_TEXTFILE", str(tmp_path / "recsvc.prom"))
    monkeypatch.setenv("DATABASE_URL", engine.url.render_as_string(hide_password=False))
    root = logging.getLogger()
    handlers = list(root.handlers)
    assert _exit_code("ingest", str(synthetic_data)) == 0
    yield
    root.handlers[:] = handlers
    logging.captureWarnings(capture=False)


def _exit_code(*arguments: str) -> object:
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    return end.value.code


def _logged(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """Run a command with JSON logs: every line on stderr must be an object with the same keys."""
    capsys.readouterr()
    _exit_code("--log-json", *arguments)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    for line in lines:
        assert {"time", "level", "run_id", "phase", "message", "fields"} <= set(line)
    return lines


def test_every_phase_is_logged_under_its_run_with_what_it_took(
    engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _logged(capsys, "retrain", "--force")
    with reading(engine) as connection:
        run_id = connection.scalar(sa.select(runs.c.run_id))
        recorded = dict(connection.execute(sa.select(run_phases.c.phase, run_phases.c.rows)).all())
    assert {line["run_id"] for line in lines} == {run_id}
    ended = {line["phase"]: line["fields"] for line in lines if line["message"] == "phase ends"}
    assert {phase: fields["rows"] for phase, fields in ended.items()} == recorded
    assert all(fields["seconds"] >= 0 for fields in ended.values())
    (last,) = [line for line in lines if line["message"] == "run ends"]
    assert last["fields"]["status"] == "published"


def test_a_refusal_is_logged_with_its_reason_and_told_to_the_monitor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSVC_POSITIVE_RATING", "5")
    monkeypatch.setenv("RECSVC_EPOCHS", "1")
    monkeypatch.setenv("RECSVC_PUBLISH", "lightfm_cf")
    monkeypatch.setenv("RECSVC_LEARNING_RATE", "1e-9")
    lines = _logged(capsys, "retrain")
    (end,) = [line for line in lines if line["message"] == "run ends"]
    assert end["fields"]["status"] == "refused"
    assert end["fields"]["reason"]
    assert 'recsvc_last_run_status{status="refused"} 1.0' in (tmp_path / "recsvc.prom").read_text()


def test_without_the_option_each_line_names_run_and_phase(
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    _exit_code("retrain", "--force")
    lines = capsys.readouterr().err.splitlines()
    assert any(" INFO run_id=1 phase=publish phase ends seconds=" in line for line in lines)
    assert all(" run_id=1 " in line for line in lines)
