"""The figures for Prometheus say how the last run went, and the file is never half written."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsvc.pipeline.monitoring import after_run, write_textfile
from recsvc.report.prometheus import exposition
from recsvc.settings import Settings
from recsvc.store.contract.tables import runs
from recsvc.store.database.transactions import writing
from recsvc.store.reading.figures import Figures
from recsvc.store.runs.ledger import (
    Claim,
    DataRecord,
    PhaseRecord,
    claim_run,
    finish_run,
    record_data,
    record_phase,
)
from recsvc.store.runs.publication import publish
from recsvc.store.runs.results import MetricRecord, record_metrics

Samples = dict[str, float]

NOTHING = Figures(
    status=None,
    ended_at=None,
    seconds=None,
    ratings=None,
    phases={},
    published_at=None,
    rows=None,
    metrics={},
)

LABELS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? (\S+)")
START = datetime(2026, 11, 23, 2, tzinfo=UTC)


def _parsed(text: str) -> Samples:
    """Parse strictly: each family announced once, help before type before its samples."""
    assert text.endswith("\n")
    samples: Samples = {}
    families: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in families, "a family is in two pieces"
            assert re.fullmatch(rf"# HELP {family} [^\\]+", line)
            assert next(lines) == f"# TYPE {family} gauge"
            families.append(family)
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, labels, value = found.groups()
        assert name == families[-1]
        assert not LABELS.sub("", labels or ""), f"odd labels: {labels}"
        assert line.rpartition(" ")[0] not in samples, "a sample is there twice"
        samples[line.rpartition(" ")[0]] = float(value)
    return samples


def _promtool(path: Path) -> None:
    if promtool := shutil.which("promtool"):
        with path.open("rb") as file:
            checked = subprocess.run(
                [promtool, "check", "metrics"], stdin=file, capture_output=True, check=False
            )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def _claimed(engine: sa.Engine, night: int) -> Claim:
    return claim_run(
        engine,
        "retrain",
        host="here:1",
        settings={},
        versions={},
        lease_seconds=60,
        scheduled_for=START + timedelta(days=night),
    )


def _started_and_ended(engine: sa.Engine, claim: Claim, seconds: int) -> datetime:
    """Move a run to its night, as if it had been run there."""
    with writing(engine) as connection:
        night = sa.select(runs.c.scheduled_for).where(runs.c.run_id == claim.run_id)
        started: datetime = connection.scalar(night)
        ended = started + timedelta(seconds=seconds)
        connection.execute(
            sa.update(runs)
            .where(runs.c.run_id == claim.run_id)
            .values(started_at=started, finished_at=ended)
        )
    return ended


def _published(engine: sa.Engine, night: int) -> datetime:
    claim = _claimed(engine, night)
    for phase, rows in (("claim", None), ("fit:popular", 5), ("write", 40)):
        record_phase(engine, claim, PhaseRecord(phase, START, 1.5, rows, 1))
    found: tuple[tuple[str, str, int | None, float], ...] = (
        ("all", "ndcg", 10, 0.25),
        ("all", "coverage", None, 0.5),
        ("activity:low", "ndcg", 10, 0.1),
    )
    rows = [
        MetricRecord("popular", "random", segment, metric, k, value, None, None, users=3)
        for segment, metric, k, value in found
    ]
    record_metrics(engine, claim, rows)
    record_data(engine, claim, DataRecord("f", ratings=100_836, users=610, movies=9742))
    publish(engine, claim, "better")
    return _started_and_ended(engine, claim, 90)


def test_before_the_first_run_there_is_nothing_to_say(engine: sa.Engine, tmp_path: Path) -> None:
    write_textfile(engine, tmp_path / "recsvc.prom")
    assert (tmp_path / "recsvc.prom").read_text() == ""


def test_a_published_run_is_told_in_full(engine: sa.Engine, tmp_path: Path) -> None:
    ended = _published(engine, night=0).timestamp()
    path = tmp_path / "recsvc.prom"
    write_textfile(engine, path)
    _promtool(path)
    assert _parsed(path.read_text()) == {
        "recsvc_last_run_timestamp_seconds": ended,
        "recsvc_last_success_timestamp_seconds": ended,
        'recsvc_last_run_status{status="published"}': 1,
        'recsvc_last_run_status{status="refused"}': 0,
        'recsvc_last_run_status{status="failed"}': 0,
        'recsvc_last_run_status{status="lost"}': 0,
        'recsvc_last_run_status{status="skipped"}': 0,
        "recsvc_last_run_duration_seconds": 90,
        'recsvc_run_phase_seconds{phase="claim"}': 1.5,
        'recsvc_run_phase_seconds{phase="fit:popular"}': 1.5,
        'recsvc_run_phase_seconds{phase="write"}': 1.5,
        "recsvc_recommendation_rows": 40,
        "recsvc_ratings": 100_836,
        'recsvc_metric{k="10",metric="ndcg",model="popular"}': 0.25,
        'recsvc_metric{metric="coverage",model="popular"}': 0.5,
    }


def test_after_a_failure_the_last_success_and_what_readers_see_stay(
    engine: sa.Engine, tmp_path: Path
) -> None:
    success = _published(engine, night=0).timestamp()
    failed = _claimed(engine, night=1)
    finish_run(engine, failed, "failed", "disk full")
    ended = _started_and_ended(engine, failed, 10).timestamp()
    path = tmp_path / "recsvc.prom"
    write_textfile(engine, path)
    _promtool(path)
    found = _parsed(path.read_text())
    assert found["recsvc_last_run_timestamp_seconds"] == ended
    assert found["recsvc_last_success_timestamp_seconds"] == success
    assert found['recsvc_last_run_status{status="failed"}'] == 1
    assert sum(value for name, value in found.items() if "last_run_status" in name) == 1
    assert found["recsvc_recommendation_rows"] == 40
    assert 'recsvc_run_phase_seconds{phase="write"}' not in found


def test_labels_are_escaped_and_every_float_is_one_that_prometheus_reads() -> None:
    phases = {'a "b" \\ c\nd': 1e-300, "x": math.inf}
    text = exposition(replace(NOTHING, phases=phases))
    assert list(_parsed(text).values()) == [1e-300, math.inf]
    assert r'recsvc_run_phase_seconds{phase="a \"b\" \\ c\nd"} 1e-300' in text.splitlines()


def test_the_file_is_replaced_whole_and_readable_by_the_collector(
    engine: sa.Engine, tmp_path: Path
) -> None:
    path = tmp_path / "recsvc.prom"
    path.write_text("old")
    with path.open() as reader:
        _published(engine, night=0)
        write_textfile(engine, path)
        assert reader.read() == "old"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [found.name for found in tmp_path.glob("*.prom*")] == ["recsvc.prom"]
    assert not list(tmp_path.glob(".*"))


def test_when_writing_fails_the_old_file_stays_and_no_temporary_one(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "figures" / "recsvc.prom"
    path.parent.mkdir()
    path.write_text("old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_textfile(engine, path)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_that_cannot_be_written_does_not_fail_the_run(
    engine: sa.Engine,
    settings: Callable[..., Settings],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "missing" / "recsvc.prom"
    after_run(engine, settings(metrics_textfile=path))
    assert "keeps its old figures" in caplog.text
    path.parent.mkdir()
    after_run(engine, settings(metrics_textfile=path))
    assert path.exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_pipe_is_not_replaced_by_a_file(engine: sa.Engine, tmp_path: Path) -> None:
    pipe = tmp_path / "recsvc.prom"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file"):
        write_textfile(engine, pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.glob(".recsvc.prom.*")) == []


def test_without_the_setting_nothing_is_written(
    engine: sa.Engine, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "recsvc.pipeline.monitoring.write_textfile", lambda *_: pytest.fail("it was")
    )
    after_run(engine, settings())
