"""The default settings on MovieLens ml-latest-small reach what they were chosen for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from recsvc.settings import Recipe, Settings
from tests.prepared import Prepared, copied

TRAINERS = ("lightfm", "fast") if "trainer" in Recipe.model_fields else ("lightfm",)


@pytest.fixture(scope="module")
def real(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """The real ratings; on SQLite only, for the figures do not depend on the database."""
    with copied("sqlite", request, tmp_path_factory.mktemp("quality")) as database:
        with database.engine() as engine:
            ingest_folder(engine, real_data)
        yield database


def defaults(database: Prepared, trainer: str) -> Settings:
    """The defaults, but one thread, and the holdout of the figures published elsewhere."""
    chosen = {"trainer": trainer} if len(TRAINERS) > 1 else {}
    url = database.url.render_as_string(hide_password=False)
    holdout = {"protocol": "random", "mask": "training"}
    return Settings.read({"DATABASE_URL": url, "threads": 1, **holdout, **chosen})


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_blend_is_best_and_everyone_gets_a_full_list(real: Prepared, trainer: str) -> None:
    settings = defaults(real, trainer)
    assert settings.seed == 42
    with real.engine() as engine:
        report = retrain(engine, settings, force=True)
    rows = real.rows(
        "SELECT model, value FROM model_metrics"
        " WHERE run_id = :run AND segment = 'all' AND metric = 'ndcg' AND k = 10",
        run=report.run_id,
    )
    ndcg = {row.model: row.value for row in rows}
    assert ndcg["popular"] == pytest.approx(0.150, abs=0.001)
    assert ndcg["lightfm_hybrid"] >= 0.235
    assert ndcg["lightfm_hybrid"] > ndcg["lightfm_cf"] > ndcg["popular"]
    assert ndcg["blend"] >= 1.14 * ndcg["lightfm_hybrid"]
    assert real.value("SELECT model FROM runs ORDER BY run_id DESC LIMIT 1") == "blend"

    counts = real.rows("SELECT count(*) FROM current_recommendations GROUP BY user_id")
    assert [row[0] for row in counts] == [100] * 610
    similar = real.rows("SELECT count(*) FROM current_similar_movies GROUP BY movie_id")
    assert [row[0] for row in similar] == [50] * 9_742
