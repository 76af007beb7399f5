"""Make a job fall at a checkpoint, in a process of its own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from recsvc.runtime import checkpoints
from recsvc.settings import Settings
from recsvc.store.database.engine import open_engine

Job = Callable[[sa.Engine, Settings, Path], object]


class Fall(Exception):  # noqa: N818 - it is no error of recsvc's
    """What is raised at a checkpoint."""


def run_retrain(engine: sa.Engine, settings: Settings, _: Path) -> object:
    return retrain(engine, settings, force=True)  # so few ratings would not pass the gate


def run_ingest(engine: sa.Engine, _: Settings, folder: Path) -> object:
    return ingest_folder(engine, folder)


JOBS: dict[str, Job] = {"retrain": run_retrain, "ingest": run_ingest}


def passed_checkpoints(job: str, settings: Settings, folder: Path) -> list[str]:
    """Run undisturbed and return the names of the checkpoints on the way, each once."""
    names: list[str] = []
    _run(job, settings, folder, names.append)
    return list(dict.fromkeys(names))


def fall_by_exception(job: str, settings: Settings, folder: Path, name: str) -> None:
    """Raise at a checkpoint."""

    def fall(passed: str) -> None:
        if passed == name:
            raise Fall(name)

    try:
        _run(job, settings, folder, fall)
    except Fall:
        return
    raise AssertionError(f"{name} was not passed")


def fall_by_kill(job: str, settings: Settings, folder: Path, name: str) -> None:
    """Kill this process at a checkpoint: nothing gets a chance to clean up."""

    def fall(passed: str) -> None:
        if passed == name:
            os.kill(os.getpid(), signal.SIGKILL)

    _run(job, settings, folder, fall)


def _run(job: str, settings: Settings, folder: Path, hook: Callable[[str], None]) -> None:
    engine = open_engine(settings.url)
    checkpoints.hook = hook
    try:
        JOBS[job](engine, settings, folder)
    finally:
        checkpoints.hook = None
        engine.dispose()
