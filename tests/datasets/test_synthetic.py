import csv
import hashlib
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsvc.datasets.synthetic.attributes import ATTRIBUTES
from recsvc.datasets.synthetic.dataset import SyntheticSummary, proportions, write_synthetic
from recsvc.datasets.synthetic.population import FIRST_SECOND, LAST_SECOND, allocate
from recsvc.datasets.synthetic.words import TASTES
from recsvc.errors import UsageError

NAMES = ["links.csv", "movies.csv", "ratings.csv", "tags.csv", "users.csv"]
WITH_SIGNAL, NOISE = ["age", "gender", "occupation"], ["newsletter", "region"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic") / "30k"


@pytest.fixture(scope="module")
def summary(folder: Path) -> SyntheticSummary:
    return write_synthetic(folder, ratings=30_000, seed=3)


@pytest.fixture(scope="module")
def ratings(summary: SyntheticSummary, folder: Path) -> pd.DataFrame:
    assert summary.ratings == 30_000
    return pd.read_csv(folder / "ratings.csv")


@pytest.fixture(scope="module")
def movies(summary: SyntheticSummary, folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "movies.csv")
    assert len(frame) == summary.movies
    return frame


@pytest.fixture(scope="module")
def tags(summary: SyntheticSummary, folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "tags.csv", keep_default_na=False)
    assert len(frame) == summary.tags
    return frame


@pytest.fixture(scope="module")
def users(summary: SyntheticSummary, folder: Path) -> pd.DataFrame:
    frame = read_users(folder)
    assert len(frame) == summary.users + summary.newcomers
    return frame


def read_users(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "users.csv", keep_default_na=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_have_the_headers_of_movielens(summary: SyntheticSummary) -> None:
    first_lines = {path.name: path.read_text().splitlines()[0] for path in summary.files}
    assert first_lines == {
        "links.csv": "movieId,imdbId,tmdbId",
        "movies.csv": "movieId,title,genres",
        "ratings.csv": "userId,movieId,rating,timestamp",
        "tags.csv": "userId,movieId,tag,timestamp",
        "users.csv": "userId,age,gender,occupation,newsletter,region",
    }


@pytest.mark.parametrize("count", [1, 5, 19, 39, 40, 200, 401, 2_500])
def test_exactly_the_ratings_asked_for_are_written_whatever_the_size(
    tmp_path: Path, count: int
) -> None:
    summary = write_synthetic(tmp_path, ratings=count, seed=0)
    frame = pd.read_csv(tmp_path / "ratings.csv")
    assert len(frame) == summary.ratings == count
    assert frame["userId"].nunique() == summary.users
    assert frame["userId"].value_counts().min() >= min(20, count)
    assert not frame.duplicated(["userId", "movieId"]).any()


def test_ratings_are_sorted_by_user_then_movie_without_duplicates(ratings: pd.DataFrame) -> None:
    pairs = ratings[["userId", "movieId"]]
    pd.testing.assert_frame_equal(pairs, pairs.sort_values(["userId", "movieId"]))
    assert not pairs.duplicated().any()


def test_ratings_are_written_as_movielens_writes_them(ratings: pd.DataFrame, folder: Path) -> None:
    lines = (folder / "ratings.csv").read_text().splitlines()[1:]
    assert len(lines) == len(ratings)
    assert all(re.fullmatch(r"\d+,\d+,([0-4]\.5|[1-5]\.0),\d{9,10}", line) for line in lines)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_synthetic(tmp_path / name, ratings=3_000, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["ratings.csv"] != contents(tmp_path / "c")["ratings.csv"]


def test_the_files_of_a_seed_stay_the_same_bytes(tmp_path: Path) -> None:
    """Figures on synthetic data are compared across versions."""
    write_synthetic(tmp_path, ratings=3_000, seed=7)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents(tmp_path).items()}
    assert {name: digest[:16] for name, digest in digests.items()} == {
        "links.csv": "22db93e0b2589667",
        "movies.csv": "b94d3fa3d01e4d73",
        "ratings.csv": "0c0130a7affbd8c1",
        "tags.csv": "0fef2bc9a7515817",
        "users.csv": "e7f75733ad8e4433",
    }


def test_other_attributes_and_more_newcomers_leave_the_other_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "a", ratings=3_000, seed=7)
    for module in ("attributes", "dataset"):
        monkeypatch.setattr(f"recsvc.datasets.synthetic.{module}.ATTRIBUTES", ATTRIBUTES[:1])
    monkeypatch.setattr("recsvc.datasets.synthetic.dataset._NEWCOMER_RATE", 0.5)
    write_synthetic(tmp_path / "b", ratings=3_000, seed=7)
    before, after = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert {name for name in NAMES if before[name] != after[name]} == {"users.csv"}


def test_several_blocks_make_one_sorted_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsvc.datasets.synthetic.ratings._BLOCK_ROWS", 500)
    reports: list[int] = []
    summary = write_synthetic(tmp_path, ratings=5_000, seed=1, on_progress=reports.append)
    frame = pd.read_csv(tmp_path / "ratings.csv")
    assert len(reports) > 5
    assert reports == sorted(reports)
    assert reports[-1] == len(frame) == 5_000
    assert frame["userId"].is_monotonic_increasing
    assert frame["userId"].max() == summary.users
    assert read_users(tmp_path)["userId"].tolist() == list(
        range(1, summary.users + summary.newcomers + 1)
    )


def test_newcomers_come_in_blocks_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsvc.datasets.synthetic.dataset._NEWCOMER_RATE", 0.5)
    monkeypatch.setattr("recsvc.datasets.synthetic.ratings._BLOCK_NEWCOMERS", 7)
    summary = write_synthetic(tmp_path, ratings=3_000, seed=1)
    assert summary.newcomers == summary.users // 2
    newcomers = read_users(tmp_path).drop(columns="userId").to_numpy()[summary.users :]
    assert len(newcomers) == summary.newcomers
    assert (newcomers[:7] != newcomers[7:14]).any()


def test_the_rating_scale_is_used_as_in_movielens(ratings: pd.DataFrame) -> None:
    assert ratings["rating"].mean() == pytest.approx(3.5, abs=0.15)
    assert (ratings["rating"] >= 4.0).mean() == pytest.approx(0.48, abs=0.06)
    assert (ratings["rating"] % 1 == 0).mean() > 0.6
    assert set(ratings["rating"]) == {half / 2 for half in range(1, 11)}


def test_popularity_and_activity_have_long_tails(ratings: pd.DataFrame) -> None:
    per_movie = ratings["movieId"].value_counts()
    per_user = ratings["userId"].value_counts()
    head = per_movie.iloc[: len(per_movie) // 10].sum() / len(ratings)
    assert 0.4 < head < 0.8
    assert per_user.mean() > 1.4 * per_user.median()
    assert per_user.min() >= 20


def test_nobody_rates_a_movie_before_its_year(ratings: pd.DataFrame, movies: pd.DataFrame) -> None:
    year = movies.set_index("movieId")["title"].str.extract(r"\((\d{4})\)$")[0].astype("Int64")
    rated = pd.to_datetime(ratings["timestamp"], unit="s").dt.year
    released = ratings["movieId"].map(year)
    assert ratings["timestamp"].between(FIRST_SECOND, LAST_SECOND).all()
    assert (released.isna() | (released <= rated)).all()


def test_ratings_of_a_user_fall_in_sessions(ratings: pd.DataFrame) -> None:
    times = ratings.sort_values(["userId", "timestamp"])
    gaps = times.groupby("userId")["timestamp"].diff().dropna()
    assert (gaps < 120).mean() > 0.9
    assert (gaps > 86_400).sum() > 100


def test_popular_movies_are_rated_first(ratings: pd.DataFrame) -> None:
    popularity = ratings["movieId"].map(ratings["movieId"].value_counts())
    place = ratings.groupby("userId")["timestamp"].rank(pct=True)
    assert popularity[place < 0.2].mean() > 1.2 * popularity[place > 0.8].mean()


def test_movies_have_genres_and_titles_like_movielens(movies: pd.DataFrame) -> None:
    known = {genre for taste in TASTES for genre in taste.genres}
    listed = movies.loc[movies["genres"] != "(no genres listed)", "genres"].str.split("|")
    assert set(listed.explode()) == known
    assert listed.str.len().between(1, 4).all()
    assert 0 < len(movies) - len(listed) < 0.02 * len(movies)
    with_year = movies["title"].str.contains(r" \(\d{4}\)$")
    assert 0.98 < with_year.mean() < 1.0
    assert movies["title"].str.contains(",").any()
    assert movies["title"].str.contains('"').any()
    assert movies["movieId"].is_monotonic_increasing


def test_every_line_reads_back_with_its_number_of_fields(summary: SyntheticSummary) -> None:
    for path in summary.files:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert rows
        assert {len(row) for row in rows} == {len(header)}


def test_links_are_unique_and_a_few_are_missing(
    summary: SyntheticSummary, movies: pd.DataFrame
) -> None:
    links = pd.read_csv(summary.files[0], dtype=str)
    assert links["movieId"].astype(int).tolist() == movies["movieId"].tolist()
    assert links["imdbId"].str.fullmatch(r"\d{7,8}").all()
    assert links["imdbId"].is_unique
    assert links["tmdbId"].dropna().is_unique
    assert links["tmdbId"].isna().any()


def test_tags_belong_to_ratings_and_follow_them(tags: pd.DataFrame, ratings: pd.DataFrame) -> None:
    both = tags.merge(ratings, on=["userId", "movieId"], how="left", suffixes=("", "_rating"))
    assert len(both) == len(tags)
    assert (both["timestamp"] > both["timestamp_rating"]).all()
    assert not tags.duplicated(["userId", "movieId", "tag"]).any()


def test_some_tags_are_typed_carelessly(tags: pd.DataFrame) -> None:
    assert (tags["tag"] != tags["tag"].str.strip()).any()
    assert (tags["tag"].str.isupper()).any()
    assert tags["tag"].str.contains(",").any()


def test_tags_tell_about_genres(tags: pd.DataFrame, movies: pd.DataFrame) -> None:
    genres = movies.set_index("movieId")["genres"]
    horror = genres.str.contains("Horror")
    words = "|".join(next(taste for taste in TASTES if taste.genres == ("Horror",)).tags)
    tagged = tags["movieId"][tags["tag"].str.contains(words, case=False)]
    assert horror.loc[tagged].mean() > 3 * horror.mean()


def test_whoever_rated_is_listed_and_the_last_few_users_rated_nothing(
    summary: SyntheticSummary, users: pd.DataFrame, ratings: pd.DataFrame
) -> None:
    assert users["userId"].tolist() == list(range(1, len(users) + 1))
    newcomers = set(users["userId"]) - set(ratings["userId"])
    assert newcomers == set(users["userId"].tail(summary.newcomers))
    assert len(newcomers) == round(summary.users / 100)


@pytest.mark.parametrize("count", [1, 40, 2_500])
def test_however_small_a_set_is_it_has_a_newcomer(tmp_path: Path, count: int) -> None:
    summary = write_synthetic(tmp_path, ratings=count, seed=0)
    assert summary.newcomers == 1
    assert len(read_users(tmp_path)) == summary.users + 1


def test_every_value_of_an_attribute_occurs_and_a_few_cells_are_empty(users: pd.DataFrame) -> None:
    for attribute in ATTRIBUTES:
        assert set(users[attribute.name]) == {*attribute.frequencies, ""}
    empty = (users.drop(columns="userId") == "").to_numpy().mean()
    assert empty == pytest.approx(0.05, abs=0.02)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "200k"
    write_synthetic(folder, ratings=200_000, seed=1)
    return folder


@pytest.fixture(scope="module")
def attributes(larger: Path) -> pd.DataFrame:
    """Of the users who rated, in the order of their ids."""
    users = read_users(larger).set_index("userId")
    return users.loc[pd.read_csv(larger / "ratings.csv")["userId"].unique()]


@pytest.fixture(scope="module")
def profiles(larger: Path) -> np.ndarray:
    """The same users' shares of genres among what they rated, each genre scaled."""
    ratings = pd.read_csv(larger / "ratings.csv")
    genres = pd.read_csv(larger / "movies.csv").set_index("movieId")["genres"].str.get_dummies()
    rated = genres.loc[ratings["movieId"]].set_axis(ratings["userId"]).groupby(level=0).mean()
    return ((rated - rated.mean()) / rated.std()).to_numpy()


def explained(profiles: np.ndarray, values: np.ndarray) -> float:
    """Share of the profiles' variance between users with different values."""
    groups = [profiles[values == value] for value in np.unique(values)]
    return sum(len(g) * float((g.mean(axis=0) ** 2).sum()) for g in groups) / profiles.size


def explained_by_chance(profiles: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the same share when values are dealt out anew."""
    rng = np.random.default_rng(0)
    shares = [explained(profiles, rng.permutation(values)) for _ in range(100)]
    return float(np.mean(shares)), float(np.std(shares))


@pytest.mark.parametrize("name", WITH_SIGNAL)
def test_attributes_with_signal_go_with_what_users_rate_but_do_not_decide_it(
    attributes: pd.DataFrame, profiles: np.ndarray, name: str
) -> None:
    values = attributes[name].to_numpy()
    mean, deviation = explained_by_chance(profiles, values)
    assert mean + 6 * deviation < explained(profiles, values) < 0.1


@pytest.mark.parametrize("name", NOISE)
def test_noise_goes_with_nothing(attributes: pd.DataFrame, profiles: np.ndarray, name: str) -> None:
    values = attributes[name].to_numpy()
    mean, deviation = explained_by_chance(profiles, values)
    assert explained(profiles, values) < mean + 4 * deviation


def test_occupation_tells_less_than_age_and_gender(
    attributes: pd.DataFrame, profiles: np.ndarray
) -> None:
    beyond_chance = {
        name: explained(profiles, values) - explained_by_chance(profiles, values)[0]
        for name in WITH_SIGNAL
        for values in [attributes[name].to_numpy()]
    }
    assert min(beyond_chance, key=beyond_chance.__getitem__) == "occupation"


def hits_at_20(scores: np.ndarray, seen: np.ndarray, wanted: np.ndarray) -> int:
    """Held-out positives among the 20 best movies that the user has not rated yet."""
    best = np.argpartition(np.where(seen, np.inf, -scores), 20, axis=1)[:, :20]
    return int(np.take_along_axis(wanted, best, axis=1).sum())


def rows_of_unit_length(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True).clip(1e-9)


def test_taste_predicts_held_out_positives_better_than_popularity(
    ratings: pd.DataFrame, movies: pd.DataFrame
) -> None:
    """Kernel ridge regression over users who share movies and lean to the same genres."""
    users = ratings["userId"].to_numpy() - 1
    columns = movies["movieId"].searchsorted(ratings["movieId"])
    seen = np.zeros((users.max() + 1, len(movies)))
    wanted = np.zeros_like(seen)
    held_out = np.arange(len(ratings)) % 5 == 0
    positive = held_out & (ratings["rating"] >= 4.0).to_numpy()
    seen[users[~held_out], columns[~held_out]] = 1
    wanted[users[positive], columns[positive]] = 1
    popularity = np.tile(seen.sum(axis=0), (len(seen), 1))
    genres = movies["genres"].str.get_dummies().to_numpy(float)
    profiles = rows_of_unit_length(seen @ rows_of_unit_length(genres))
    profiles = rows_of_unit_length(profiles - profiles.mean(axis=0))
    neighbours = rows_of_unit_length(seen)
    kernel = neighbours @ neighbours.T + profiles @ profiles.T
    by_taste = kernel @ np.linalg.solve(kernel + 2 * np.eye(len(kernel)), seen)
    assert hits_at_20(popularity, seen > 0, wanted) > 200
    assert hits_at_20(by_taste, seen > 0, wanted) > 1.25 * hits_at_20(popularity, seen > 0, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_holds_one_of_the_files_is_refused_and_left_alone(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / name))):
        write_synthetic(tmp_path, ratings=100, seed=0)
    assert contents(tmp_path) == {name: b"mine"}


def test_an_interrupted_run_leaves_no_file(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path, ratings=100, seed=0, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def intrude(_: int) -> None:
        (tmp_path / "movies.csv").write_text("mine")

    with pytest.raises(UsageError, match=r"movies\.csv"):
        write_synthetic(tmp_path, ratings=100, seed=0, on_progress=intrude)
    assert contents(tmp_path) == {"movies.csv": b"mine"}


@pytest.mark.parametrize(("count", "seed"), [(0, 1), (-5, 1), (100, -1)])
def test_impossible_sizes_and_seeds_are_refused(tmp_path: Path, count: int, seed: int) -> None:
    with pytest.raises(UsageError, match="at least"):
        write_synthetic(tmp_path, ratings=count, seed=seed)


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        write_synthetic(tmp_path / "file", ratings=100, seed=0)
    with pytest.raises(UsageError, match="Cannot make the folder"):
        write_synthetic(tmp_path / "file" / "below", ratings=100, seed=0)


def test_proportions_grow_with_the_ratings_and_go_on_beyond_movielens_25m() -> None:
    sizes = [proportions(10**power) for power in range(3, 10)]
    for smaller, larger in itertools.pairwise(sizes):
        assert smaller.users < larger.users
        assert smaller.movies < larger.movies
        assert smaller.tags < larger.tags


def test_shares_are_allocated_exactly_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    low, caps = np.full(500, 20), rng.integers(40, 400, size=500)
    counts = allocate(40_000, rng.lognormal(sigma=1.5, size=500), low, caps)
    assert counts.sum() == 40_000
    assert (counts >= low).all()
    assert (counts <= caps).all()
    assert allocate(10, np.ones(2), np.zeros(2, int), np.array([3, 4])).tolist() == [3, 4]
