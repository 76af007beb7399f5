"""Files into the database, and rows into arrays, against pandas, raw loads and LightFM's Dataset.

``python benchmarks/ingest.py`` takes a few minutes on 1M ratings; ``--large`` has 25M. Databases
are made in a temporary folder, PostgreSQL by the server that the tests use. pandas loads a slice,
and so does LightFM's Dataset; what they would take for all rows is extrapolated.
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa
from databases import MakeEngine, command, databases, drop, rest, rows_in, rows_of
from lightfm.data import Dataset
from measure import Report, alternate, compared, seconds
from raw import raw_load

from recsvc.datasets.synthetic.dataset import write_synthetic
from recsvc.ingest.folder import ingest_folder, settle_tables
from recsvc.pipeline.load import load_training_data
from recsvc.settings import Recipe
from recsvc.store.contract.tables import links, movie_genres, movies, ratings, tags, users
from recsvc.store.database.bulk import insert
from recsvc.store.database.transactions import reading, writing

TABLES = (users, movies, movie_genres, links, ratings, tags)
NIGHT = 0.01  # share of the ratings that a night changes or adds
SLICE = 100_000  # ratings that the slow peers get
TARGETS = {"sqlite": 3.0, "postgresql": 20.0}


def main() -> None:
    """Measure, print and write the results."""
    options = _options()
    report = Report(
        "ingest_large" if options.large else "ingest",
        "Ingest and load",
        {"ratings": options.ratings, "repetitions": options.repetitions},
    )
    report.keep_others(options.databases)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = options.data or scratch / "data"
        if not options.data:
            write_synthetic(data, ratings=options.ratings, seed=1)
        night = _next_night(data, scratch / "night")
        for name in options.databases:
            make = stack.enter_context(databases(name, scratch))
            _compare(report, name, make, data, night, options.repetitions)
            report.write()  # what is measured so far


def _compare(
    report: Report, name: str, make: MakeEngine, data: Path, night: Path, repetitions: int
) -> None:
    n_ratings = rows_in(data)
    source = make()
    _ingest(source, data)
    loaded = [source]

    def load() -> float:
        if loaded[0] is not source:
            drop(loaded[0])
        loaded[:] = [make()]
        return ingest(data)

    def ingest(folder: Path) -> float:
        rest(source)
        return n_ratings / seconds(lambda: _ingest(loaded[0], folder))

    raw = raw_load(source, make, TABLES)
    speeds = alternate(
        {
            "ours": load,
            "pandas to_sql": lambda: _pandas_load(source, make),
            "raw load": lambda: n_ratings / raw(),
            "the same files again": lambda: ingest(data),
            "one night": lambda: ingest(night),
        },
        repetitions,
        warm_up=False,  # a load has gone before
    )
    work = f"{name}: ingest into an empty database"
    slice_note = f"{SLICE:,} rows of ratings, keys and constraints included"
    row = partial(compared, work, "ratings")
    report.add(row(speeds, "pandas to_sql", target=TARGETS[name], note=slice_note))
    report.add(row(speeds, "raw load", target=1 / 1.5, note="the same rows of all tables"))
    for what in ("the same files again", "one night"):
        pair = {"ours": speeds[what], "first load": speeds["ours"]}
        report.add(compared(f"{name}: {what}", "ratings", pair, "first load", target=3.0))
    drop(loaded[0])
    url = make().url
    for what, folder in (("first load", data), ("same files again", data), ("night", night)):
        peak = command(url, "ingest", str(folder)).peak_mib
        report.state(f"{name}: peak memory of the {what}: {peak:,} MiB.")
    _compare_training(report, name, source, repetitions)


def _ingest(engine: sa.Engine, folder: Path) -> None:
    """Do what ``recsvc ingest`` does."""
    settle_tables(engine, ingest_folder(engine, folder))


def _compare_training(report: Report, name: str, engine: sa.Engine, repetitions: int) -> None:
    n_ratings = rows_of(engine)
    recipe = Recipe()
    rest(engine)
    speeds = alternate(
        {
            "ours": lambda: n_ratings / seconds(lambda: load_training_data(engine, recipe)),
            "read_sql + Dataset": lambda: n_ratings / _dataset_seconds(engine, recipe, n_ratings),
        },
        repetitions,
    )
    note = f"interactions of {SLICE:,} ratings extrapolated, features of all movies"
    report.add(
        compared(
            f"{name}: load for training",
            "ratings",
            speeds,
            "read_sql + Dataset",
            target=8.0,
            note=note,
        )
    )


# --- peers -------------------------------------------------------------------------------------


def _pandas_load(source: sa.Engine, make: MakeEngine) -> float:
    """Ratings a second of ``to_sql`` into the table that recsvc fills."""
    query = sa.select(ratings).limit(SLICE)
    with reading(source) as connection:
        rows = pd.read_sql(query, connection)
        parents = [pd.read_sql(sa.select(table), connection) for table in (users, movies)]
    engine = make()
    with writing(engine) as connection:
        for table, frame in zip((users, movies), parents, strict=True):
            insert(connection, table, frame)
    rest(engine)
    with engine.begin() as connection:
        took = seconds(lambda: rows.to_sql("ratings", connection, if_exists="append", index=False))
    drop(engine)
    return len(rows) / took


def _dataset_seconds(engine: sa.Engine, recipe: Recipe, n_ratings: int) -> float:
    """How long pandas and LightFM's Dataset would take for all ratings."""
    with reading(engine) as connection:
        start = time.perf_counter()
        user_ids = pd.read_sql(sa.select(users), connection)["user_id"]
        movie_ids = pd.read_sql(sa.select(movies.c.movie_id), connection)["movie_id"]
        genres = pd.read_sql(sa.select(movie_genres), connection)
        written = pd.read_sql(sa.select(tags.c.movie_id, tags.c.tag_key), connection)
        tokens = _tokens(genres, written, recipe)
        dataset = Dataset()
        dataset.fit(user_ids, movie_ids, item_features=set(tokens["token"]))
        by_movie = tokens.groupby("movie_id")["token"].agg(list)
        dataset.build_item_features(by_movie.items(), normalize=False)
        once = time.perf_counter() - start
        start = time.perf_counter()
        rows = pd.read_sql(sa.select(ratings).limit(SLICE), connection)
        positives = rows[rows["rating"] >= recipe.positive_rating]
        pairs = zip(positives["user_id"], positives["movie_id"], strict=True)
        dataset.build_interactions(pairs)
        part = time.perf_counter() - start
    return once + part * n_ratings / len(rows)


def _tokens(genres: pd.DataFrame, written: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    counts = written["tag_key"].value_counts()
    frequent = written[written["tag_key"].isin(counts.index[counts >= recipe.min_tag_freq])]
    return pd.concat(
        [
            pd.DataFrame({"movie_id": genres["movie_id"], "token": "genre:" + genres["genre"]}),
            pd.DataFrame({"movie_id": frequent["movie_id"], "token": "tag:" + frequent["tag_key"]}),
        ]
    ).drop_duplicates()


# --- data and databases ------------------------------------------------------------------------


def _next_night(data: Path, target: Path) -> Path:
    """Copy a folder, half a percent of the ratings changed and as many added by new users."""
    target.mkdir()
    for path in data.glob("*.csv"):
        (target / path.name).symlink_to(path)
    rows = pd.read_csv(data / "ratings.csv")
    movie_ids = pd.read_csv(data / "movies.csv", usecols=["movieId"])["movieId"].to_numpy()
    half = int(len(rows) * NIGHT / 2)
    changed = np.random.default_rng(1).choice(len(rows), half, replace=False)
    rows.loc[changed, "rating"] = 5.5 - rows.loc[changed, "rating"]
    rows.loc[changed, "timestamp"] += 1
    place = np.arange(half)
    added = pd.DataFrame(
        {
            "userId": rows["userId"].max() + 1 + place // 50,
            "movieId": movie_ids[(place // 50 + place % 50) % len(movie_ids)],
            "rating": 4.0,
            "timestamp": rows["timestamp"].max(),
        }
    )
    (target / "ratings.csv").unlink()
    pd.concat([rows, added]).to_csv(target / "ratings.csv", index=False)
    return target


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="25M ratings")
    parser.add_argument("--ratings", type=int)
    parser.add_argument("--data", type=Path, help="a folder made by recsvc synth")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--databases", nargs="+", choices=TARGETS, default=list(TARGETS))
    options = parser.parse_args()
    options.ratings = options.ratings or (25_000_000 if options.large else 1_000_000)
    return options


if __name__ == "__main__":
    main()
