"""What is asked of a database that a run has written to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import RetrainReport, retrain
from recsvc.runtime import checkpoints
from tests import taste
from tests.outputs import ROWS_OF_RUN
from tests.prepared import Prepared

WITHDRAWN = 60
NOBODY_ELSE = [taste.LISTED, taste.BLANK, taste.GRUMBLER, taste.TAGGER]
EVERYONE = [*taste.LOVERS, *NOBODY_ELSE]
LISTS = """SELECT user_id, rank, movie_id, title, genres, score, source
           FROM current_recommendations ORDER BY user_id, rank"""
SIMILAR = """SELECT movie_id, title, rank, similar_movie_id, similar_title, similarity
             FROM current_similar_movies ORDER BY movie_id, rank"""
METRICS = """SELECT model, protocol, segment, metric, k, value, ci_low, ci_high, users
             FROM model_metrics WHERE run_id = :run ORDER BY model, segment, metric, k"""
LAST = "(SELECT max(run_id) FROM runs)"
LAST_RUN = "SELECT * FROM runs ORDER BY run_id DESC LIMIT 1"
ROWS_OF_LAST = ROWS_OF_RUN.replace(":run", LAST)


def ingest(database: Prepared, folder: Path) -> None:
    with database.engine() as engine:
        ingest_folder(engine, folder)


def run(database: Prepared, *, force: bool = False, **settings: object) -> RetrainReport:
    with database.engine() as engine:
        return retrain(engine, database.settings(**settings), force=force)


def seen_by_readers(database: Prepared) -> tuple[str, str]:
    """Both lists to the last bit: ``repr`` of a float is exact."""
    return repr(database.rows(LISTS)), repr(database.rows(SIMILAR))


def lists_of(database: Prepared) -> dict[int, list[Any]]:
    rows = database.rows(LISTS)
    return {user: list(group) for user, group in groupby(rows, key=lambda row: row.user_id)}


def town(database: Prepared, folder: Path) -> Prepared:
    """Bring in the plain tastes, one movie withdrawn."""
    ingest(database, taste.write_files(folder / "files"))
    database.change(f"UPDATE movies SET available = (1 = 0) WHERE movie_id = {WITHDRAWN}")
    return database


@contextmanager
def at(name: str, act: Callable[[], None]) -> Iterator[None]:
    """Do something in the middle of a run."""

    def hook(checkpoint: str) -> None:
        if checkpoint == name:
            act()

    checkpoints.hook = hook
    try:
        yield
    finally:
        checkpoints.hook = None
