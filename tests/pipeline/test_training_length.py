"""How long a night trains: early stopping and warm start, through the whole job."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import RetrainReport, retrain
from recsvc.store.runs.publication import roll_back
from tests import taste
from tests.prepared import DATABASES, QUICK, Prepared, copied

CF, HYBRID = "lightfm_cf", "lightfm_hybrid"
FULL = QUICK["epochs"]
FIFTH = 2  # of the ten epochs
#: More epochs than this little data can make use of.
LONG = 40
NEWCOMER, NEW_MOVIE = 105, 62

LISTS = "SELECT user_id, rank, movie_id, score FROM current_recommendations ORDER BY 1, 2"


def run(database: Prepared, **settings: object) -> RetrainReport:
    with database.engine() as engine:
        return retrain(engine, database.settings(**settings), force=True)


def models(database: Prepared, run_id: int) -> dict[str, Any]:
    query = "SELECT model, epochs, warm_from FROM models WHERE run_id = :run"
    return {row.model: row for row in database.rows(query, run=run_id)}


def settled(database: Prepared, run_id: int) -> int | None:
    """The number of epochs that early stopping settled on; None without it."""
    query = "SELECT rows FROM run_phases WHERE run_id = :run AND phase = 'fit:epochs'"
    rows = database.rows(query, run=run_id)
    return int(rows[0].rows) if rows else None


def lists(database: Prepared) -> str:
    """What readers see, to the last bit."""
    return repr(database.rows(LISTS))


def next_day(database: Prepared, folder: Path) -> None:
    """Bring in a new user and a new movie, with what is known of them."""
    movies = [*taste.movie_rows(), (NEW_MOVIE, "Film 62 (1962)", taste.genre_of(NEW_MOVIE))]
    loved = [movie for movie in taste.MOVIES if taste.loves(NEWCOMER, movie)][:10]
    rows = [(NEWCOMER, movie, 5.0, taste.START + 10_000 + movie) for movie in loved]
    ratings = [*taste.rating_rows(), *rows, (taste.LOVERS[1], NEW_MOVIE, 5.0, taste.START)]
    with database.engine() as engine:
        ingest_folder(engine, taste.write_files(folder, movies=movies, ratings=ratings))


@pytest.fixture(scope="module", params=DATABASES)
def town(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """The plain tastes, nothing trained; to be copied."""
    folder = tmp_path_factory.mktemp("town")
    with copied(request.param, request, folder) as database:
        with database.engine() as engine:
            ingest_folder(engine, taste.write_files(folder / "files"))
        yield database


@pytest.fixture(scope="module")
def warm(
    request: pytest.FixtureRequest, town: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """A first night that may be gone on from; to be copied."""
    with copied(_kind(town), request, tmp_path_factory.mktemp("warm"), town) as database:
        run(database, warm_start=True)
        yield database


@pytest.fixture
def fresh(request: pytest.FixtureRequest, town: Prepared, tmp_path: Path) -> Iterator[Prepared]:
    with copied(_kind(town), request, tmp_path, town) as database:
        yield database


@pytest.fixture
def own(request: pytest.FixtureRequest, warm: Prepared, tmp_path: Path) -> Iterator[Prepared]:
    """The first night's database, to be changed."""
    with copied(_kind(warm), request, tmp_path, warm) as database:
        yield database


def _kind(database: Prepared) -> str:
    return "sqlite" if database.url.drivername == "sqlite" else "postgresql"


class TestEarlyStopping:
    def test_a_slice_of_the_training_data_settles_the_epochs_of_every_fit(
        self, fresh: Prepared
    ) -> None:
        run(fresh, epochs=LONG, patience=2)
        epochs = settled(fresh, 1)
        assert epochs is not None
        assert 1 <= epochs < LONG
        assert {models(fresh, 1)[name].epochs for name in (CF, HYBRID)} == {epochs}

    def test_what_is_published_is_a_training_of_so_many_epochs(self, fresh: Prepared) -> None:
        run(fresh, epochs=LONG, patience=2)
        stopped, epochs = lists(fresh), settled(fresh, 1)
        run(fresh, epochs=epochs)
        assert lists(fresh) == stopped
        run(fresh, epochs=LONG)
        assert lists(fresh) != stopped

    def test_more_patience_looks_further(self, fresh: Prepared) -> None:
        for patience in (1, LONG):
            run(fresh, epochs=LONG, patience=patience)
        (short, long) = (settled(fresh, run_id) for run_id in (1, 2))
        assert short is not None
        assert long is not None
        assert short <= long <= LONG

    def test_without_patience_all_epochs_are_trained(self, fresh: Prepared) -> None:
        run(fresh)
        assert settled(fresh, 1) is None
        assert {models(fresh, 1)[name].epochs for name in (CF, HYBRID)} == {FULL}

    def test_lightfms_own_kernel_has_no_patience(self, fresh: Prepared) -> None:
        run(fresh, trainer="lightfm", patience=2)
        assert settled(fresh, 1) is None
        assert models(fresh, 1)[HYBRID].epochs == FULL


class TestWarmStart:
    def test_the_first_night_has_nothing_to_go_on_from(self, warm: Prepared) -> None:
        hybrid = models(warm, 1)[HYBRID]
        assert (hybrid.epochs, hybrid.warm_from) == (FULL, None)

    def test_the_next_goes_on_from_it_for_a_fifth_of_the_epochs(
        self, own: Prepared, tmp_path: Path
    ) -> None:
        next_day(own, tmp_path / "next")
        assert run(own, warm_start=True).status == "published"
        hybrid = models(own, 2)[HYBRID]
        assert (hybrid.epochs, hybrid.warm_from) == (FIFTH, 1)

    def test_models_are_compared_after_a_full_training(self, own: Prepared) -> None:
        run(own, warm_start=True)
        compared = models(own, 2)[CF]
        assert (compared.epochs, compared.warm_from) == (FULL, None)

    def test_nights_go_on_from_one_another(self, own: Prepared) -> None:
        for _ in range(2):
            run(own, warm_start=True)
        assert [models(own, run_id)[HYBRID].warm_from for run_id in (1, 2, 3)] == [None, 1, 2]

    def test_after_a_rollback_it_goes_on_from_what_readers_see(self, own: Prepared) -> None:
        run(own, warm_start=True)
        with own.engine() as engine:
            roll_back(engine, 1)
        run(own, warm_start=True)
        assert models(own, 3)[HYBRID].warm_from == 1

    def test_early_stopping_settles_what_a_fifth_is_taken_of(self, fresh: Prepared) -> None:
        for _ in range(2):
            run(fresh, epochs=LONG, patience=2, warm_start=True)
        epochs = settled(fresh, 2)
        assert epochs is not None
        hybrid = models(fresh, 2)[HYBRID]
        assert (hybrid.epochs, hybrid.warm_from) == (-(-epochs // 5), 1)

    def test_whoever_is_new_gets_what_they_love(self, own: Prepared, tmp_path: Path) -> None:
        next_day(own, tmp_path / "next")
        run(own, warm_start=True)
        query = "SELECT movie_id FROM current_recommendations WHERE user_id = :user AND rank <= 4"
        found = [row.movie_id for row in own.rows(query, user=NEWCOMER)]
        assert len(found) == 4
        assert all(taste.loves(NEWCOMER, movie) for movie in found)

    def test_the_lists_depend_on_the_nights_before(self, own: Prepared) -> None:
        run(own, warm_start=True)
        warmed = lists(own)
        run(own)
        assert models(own, 3)[HYBRID].warm_from is None
        assert lists(own) != warmed

    @pytest.mark.parametrize(
        "changed",
        [
            {"components": 12},
            {"seed": 43},
            {"learning_rate": 0.04},
            {"epochs": 5},
            {"min_tag_freq": 1},
            {"positive_rating": 4.5},
            {"trainer": "lightfm"},
            {"warm_start": False},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_other_settings_start_afresh(self, own: Prepared, changed: dict[str, object]) -> None:
        settings = {"warm_start": True, **changed}
        run(own, **settings)
        hybrid = models(own, 2)[HYBRID]
        assert (hybrid.epochs, hybrid.warm_from) == (changed.get("epochs", FULL), None)

    def test_what_is_set_for_lists_alone_does_not_matter(self, own: Prepared) -> None:
        run(own, warm_start=True, top_n=5)
        assert models(own, 2)[HYBRID].warm_from == 1
