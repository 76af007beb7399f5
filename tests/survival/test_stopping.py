"""What a stop signal does to a command, and to the run that it has under way."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from recsvc.cli import main as cli
from recsvc.pipeline import scheduler
from recsvc.pipeline.retrain import retrain
from recsvc.runtime import checkpoints
from recsvc.runtime.signals import STOP_SIGNALS, Stopped, handled_by, stop
from recsvc.store.contract.tables import runs
from recsvc.store.database.transactions import reading
from tests.conftest import MakeSettings


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    yield
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


@pytest.fixture
def database(database_url: sa.URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's database is the test's."""
    monkeypatch.setenv("DATABASE_URL", database_url.render_as_string(hide_password=False))


def run_rows(engine: sa.Engine) -> list[sa.Row[tuple[str, datetime, str]]]:
    with reading(engine) as connection:
        query = sa.select(runs.c.status, runs.c.scheduled_for, runs.c.error)
        return list(connection.execute(query).all())


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_retrain_that_is_stopped_ends_as_failed_and_says_why(
    engine: sa.Engine,
    settings: MakeSettings,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop_while_loading(checkpoint: str) -> None:
        if checkpoint == "load:begin":
            signal.raise_signal(number)

    monkeypatch.setattr(checkpoints, "hook", stop_while_loading)
    with pytest.raises(Stopped), handled_by(stop):
        retrain(engine, settings())
    [row] = run_rows(engine)
    assert row.status == "failed"
    assert f"stopped by {number.name}" in row.error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.usefixtures("database")
def test_a_command_that_is_stopped_says_so_and_exits_as_shells_expect(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    monkeypatch.setattr(
        "recsvc.pipeline.retrain.retrain", lambda *_, **__: signal.raise_signal(number)
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["retrain"])
    assert ended.value.code == code
    assert f"recsvc: stopped by {number.name}" in capsys.readouterr().err


IN_THE_KERNEL = """
import os, signal, sys, threading
import numpy as np
import scipy.sparse as sp
from recsvc.model.fast import Embeddings, train, trainer
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.runtime.signals import Stopped, handled_by, stop

sys.setswitchinterval(1_000)  # another thread gets its turn only where the lock is released
called = threading.Event()

def send() -> None:
    called.wait()
    os.kill(os.getpid(), signal.SIGTERM)

kernel = trainer.train_shard

def watched(*arguments):
    called.set()
    return kernel(*arguments)

def fit():
    identity = sp.identity(1_000, dtype=np.float32, format="csr")  # some milliseconds in the kernel
    positives = sp.random(1_000, 1_000, 0.2, random_state=1, dtype=np.float32, format="coo")
    positives.data[:] = 1
    sides = [Embeddings.initial(1_000, 5, np.random.RandomState(seed)) for seed in (1, 2)]
    given = LightfmConfiguration(
        components=5, epochs=1, learning_rate=0.1, max_sampled=4, item_alpha=0.0, user_alpha=0.0
    )
    train(*sides, identity, identity, positives, configuration=given, seed=1, threads=1)

fit()  # compiled
trainer.train_shard = watched
threading.Thread(target=send, daemon=True).start()
try:
    with handled_by(stop):
        fit()
except Stopped as stopped:
    print(stopped)
"""


def test_a_signal_amid_compiled_training_stops_it_and_does_not_crash_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", IN_THE_KERNEL], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "stopped by SIGTERM\n"), ended.stderr


def test_a_second_signal_does_not_disturb_the_ending_that_the_first_began() -> None:
    endings = []

    def run() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            endings.append("recorded")

    with pytest.raises(Stopped, match="SIGTERM"), handled_by(stop):
        run()
    assert endings == ["recorded"]


@pytest.mark.usefixtures("database")
def test_a_night_given_on_the_command_line_is_run_once(
    engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    night = datetime(2026, 11, 23, 2, tzinfo=UTC)
    with pytest.raises(SystemExit) as refused:
        cli.main(["retrain", "--scheduled-for", "2026-11-23T02:00:00+00:00"])
    assert refused.value.code == 4
    assert [row.scheduled_for for row in run_rows(engine)] == [night]
    with pytest.raises(SystemExit) as done:
        cli.main(["retrain", "--scheduled-for", "2026-11-23T03:00:00+01:00"])
    assert done.value.code == 0
    assert "was run already" in capsys.readouterr().err
    assert len(run_rows(engine)) == 1


def test_a_night_without_an_offset_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(["retrain", "--scheduled-for", "2026-11-23T02:00:00"])
    assert refused.value.code == 2
    assert "2026-11-23T02:00:00Z" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 75])
@pytest.mark.usefixtures("database")
def test_schedule_exits_with_what_became_of_the_run(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(scheduler.Scheduler, "serve", lambda *_: code)
    with pytest.raises(SystemExit) as ended:
        cli.main(["schedule"])
    assert ended.value.code == code
