"""What a retrain reads: filtered by SQL, the same from either database and in any file order."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recsvc.ingest.folder import ingest_folder
from recsvc.model.data.splits import hold_out
from recsvc.pipeline.load import TrainingData, load_training_data
from recsvc.settings import Recipe
from tests import taste
from tests.prepared import DATABASES, Prepared, copied


def ingested(database: Prepared, folder: Path) -> Prepared:
    with database.engine() as engine:
        ingest_folder(engine, folder)
    return database


def loaded(database: Prepared, **recipe: object) -> TrainingData:
    with database.engine() as engine:
        return load_training_data(engine, Recipe(**recipe))  # type: ignore[arg-type]


def tokens_of(data: TrainingData, movie: int) -> set[str]:
    n = len(data.interactions.items)
    row = data.features.items.matrix[
        [int(data.interactions.items.to_indices(np.array([movie]))[0])]
    ]
    return {data.features.items.tokens[column - n] for column in row.indices if column >= n}


@pytest.fixture(scope="module", params=DATABASES)
def town(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """The plain tastes, to be read."""
    folder = tmp_path_factory.mktemp("town")
    with copied(request.param, request, folder) as database:
        yield ingested(database, taste.write_files(folder / "files"))


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Prepared]:
    with copied(request.param, request, tmp_path) as database:
        yield database


@pytest.fixture
def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Prepared]:
    """A database for what does not depend on the database."""
    with copied("sqlite", request, tmp_path) as database:
        yield database


class TestWhatSqlFilters:
    def test_ratings_from_the_threshold_up_are_positive(self, town: Prepared) -> None:
        stars = [stars for _, _, stars, _ in taste.rating_rows()]
        for threshold in (4.0, 4.5):
            positives = loaded(town, positive_rating=threshold).interactions.positives
            assert positives.nnz == sum(value >= threshold for value in stars)

    def test_everything_rated_is_known_as_seen(self, town: Prepared) -> None:
        interactions = loaded(town).interactions
        assert interactions.n_ratings == len(taste.rating_rows())
        grumbler = int(interactions.users.to_indices(np.array([taste.GRUMBLER]))[0])
        assert interactions.rated[[grumbler]].nnz == 3
        assert interactions.positives[[grumbler]].nnz == 0

    def test_every_user_and_every_movie_has_an_index(self, town: Prepared) -> None:
        interactions = loaded(town).interactions
        others = [taste.LISTED, taste.BLANK, taste.GRUMBLER, taste.TAGGER]
        assert interactions.users.ids.tolist() == [*taste.LOVERS, *others]
        assert interactions.items.ids.tolist() == [*taste.MOVIES, taste.BARE]

    def test_spellings_of_a_tag_are_one_token(self, town: Prepared) -> None:
        data = loaded(town, min_tag_freq=3)
        assert tokens_of(data, 1) == {f"genre:{taste.genre_of(1)}", "tag:loud"}
        assert tokens_of(data, 9) == {f"genre:{taste.genre_of(9)}", "tag:loud"}

    @pytest.mark.parametrize(
        ("min_tag_freq", "tags"), [(1, {"tag:loud", "tag:rare"}), (3, {"tag:loud"}), (4, set())]
    )
    def test_rare_tags_are_left_out(
        self, town: Prepared, min_tag_freq: int, tags: set[str]
    ) -> None:
        tokens = loaded(town, min_tag_freq=min_tag_freq).features.items.tokens
        assert {token for token in tokens if token.startswith("tag:")} == tags

    def test_a_bare_movie_has_the_bias_token(self, town: Prepared) -> None:
        data = loaded(town)
        assert tokens_of(data, taste.BARE) == {"bias:item"}
        assert data.features.items.matrix[[60]].nnz == 2, "its identity and the token"

    def test_attributes_of_users_are_tokens(self, town: Prepared) -> None:
        data = loaded(town)
        assert data.features.users.tokens == ("gender:F", "gender:M")
        users = data.interactions.users
        listed, blank = users.to_indices(np.array([taste.LISTED, taste.BLANK]))
        assert data.features.users.shared[[listed]].toarray().tolist() == [[1, 0]]
        assert data.features.users.shared[[blank]].nnz == 0

    def test_withdrawn_movies_are_marked(self, empty: Prepared, tmp_path: Path) -> None:
        ingested(empty, taste.write_files(tmp_path / "files"))
        empty.change("UPDATE movies SET available = (1 = 0) WHERE movie_id = 7")
        interactions = loaded(empty).interactions
        assert interactions.items.ids[~interactions.available].tolist() == [7]

    def test_an_empty_database_is_data_too(self, empty: Prepared) -> None:
        data = loaded(empty)
        assert data.interactions.rated.shape == (0, 0)
        assert data.features.items.matrix.shape == (0, 0)
        assert data.last_ingest == 0


class TestFingerprint:
    def test_permuted_files_give_the_same(
        self, town: Prepared, sqlite: Prepared, tmp_path: Path
    ) -> None:
        ingested(sqlite, taste.write_files(tmp_path / "permuted", shuffle=3))
        assert loaded(sqlite).fingerprint() == loaded(town).fingerprint()

    @pytest.mark.parametrize(
        "change",
        [
            {"ratings": [*taste.rating_rows(), (taste.TAGGER, 1, 5.0, taste.START)]},
            {"tags": [*taste.tag_rows(), (3, 20, "loud", taste.START)]},
            {"users": [*taste.user_rows(), (3, "M")]},
            {"movies": [*taste.movie_rows(), (62, "Another (2001)", "Drama")]},
        ],
        ids=["a rating", "a tag", "an attribute", "a movie"],
    )
    def test_it_changes_with(
        self, sqlite: Prepared, tmp_path: Path, change: dict[str, list[taste.Row]]
    ) -> None:
        before = loaded(ingested(sqlite, taste.write_files(tmp_path / "files"))).fingerprint()
        more = taste.write_files(tmp_path / "more", **change)
        assert loaded(ingested(sqlite, more)).fingerprint() != before

    def test_it_does_not_change_with_a_title(self, sqlite: Prepared, tmp_path: Path) -> None:
        before = loaded(ingested(sqlite, taste.write_files(tmp_path / "files"))).fingerprint()
        renamed = [(movie, f"{title}!", genres) for movie, title, genres in taste.movie_rows()]
        again = taste.write_files(tmp_path / "renamed", movies=renamed)
        assert loaded(ingested(sqlite, again)).fingerprint() == before


def test_either_database_gives_the_same_arrays(
    town: Prepared, sqlite: Prepared, tmp_path: Path
) -> None:
    ingested(sqlite, taste.write_files(tmp_path / "files"))
    ours, theirs = loaded(town, min_tag_freq=1), loaded(sqlite, min_tag_freq=1)
    assert ours.features.items.tokens == theirs.features.items.tokens
    for side in ("items", "users"):
        for name in ("indptr", "indices", "data"):
            one, other = (
                getattr(getattr(data.features, side).matrix, name) for data in (ours, theirs)
            )
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("protocol", ["random", "leave_last", "temporal"])
def test_the_holdout_is_made_by_the_protocol(town: Prepared, protocol: str) -> None:
    data = loaded(town)
    recipe = Recipe(protocol=protocol, holdout_fraction=0.25, holdout_last=3)  # type: ignore[arg-type]
    split = hold_out(data.interactions, recipe, seed=42)
    n = data.interactions.positives.nnz
    expected = 3 * len(taste.LOVERS) if protocol == "leave_last" else round(0.25 * n)
    assert len(split.test.rows) == pytest.approx(expected, abs=1)
    assert len(split.train.rows) == n - len(split.test.rows)


def test_ids_of_64_bits_survive(empty: Prepared, tmp_path: Path) -> None:
    large = 2**63 - 1
    files = taste.write_files(
        tmp_path / "large",
        movies=[(large, "Far Out (1999)", "Drama"), (1, "Near (1999)", "Drama")],
        ratings=[(large, large, 5.0, 0), (1, 1, 5.0, 1)],
        tags=[],
        users=[],
    )
    interactions = loaded(ingested(empty, files)).interactions
    assert interactions.users.ids.tolist() == [1, large]
    assert interactions.items.ids.tolist() == [1, large]
    assert interactions.positives.toarray().tolist() == [[1, 0], [0, 1]]
