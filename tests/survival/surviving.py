"""Runs that are held up, and what they leave."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import RetrainReport, retrain
from recsvc.runtime import checkpoints
from tests.prepared import Prepared

on_sqlite = pytest.mark.parametrize("published", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("published", ["postgresql"], indirect=True)
LEASE_S = 60.0
LISTS = "SELECT user_id, rank, movie_id, score FROM current_recommendations ORDER BY user_id, rank"
STATUSES = "SELECT status FROM runs ORDER BY run_id"
VISIBLE = "SELECT run_id FROM freshness"


def run(database: Prepared, *, force: bool = False, **settings: object) -> RetrainReport:
    with database.engine() as engine:
        return retrain(engine, database.settings(**settings), force=force)


def ingest(database: Prepared, folder: Path) -> None:
    with database.engine() as engine:
        ingest_folder(engine, folder)


@contextmanager
def at(name: str, act: Callable[[], object], *, once: bool = True) -> Iterator[list[str]]:
    """Do something in the middle of a run; the list tells how often."""
    passed: list[str] = []

    def hook(checkpoint: str) -> None:
        if checkpoint == name:
            passed.append(name)
            if not once or len(passed) == 1:
                act()

    checkpoints.hook = hook
    try:
        yield passed
    finally:
        checkpoints.hook = None
    assert passed, f"{name} was not passed"


def kind_of(database: Prepared) -> str:
    return "sqlite" if database.url.drivername == "sqlite" else "postgresql"
