"""Training side by side: LightFM's own kernel against the fast trainer.

    python benchmarks/train.py --sizes small          ml-latest-small and 1M ratings
    python benchmarks/train.py --sizes small large    the size of MovieLens 25M as well

Every speed is measured in a process of its own, LightFM and the fast trainer taking turns, and
the median is reported: other work on the machine then falls on both. Writes ``train.json`` and
``train.md`` to ``benchmarks/results``. ml-latest-small is read from ``RECSVC_TEST_DATA``.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from lightfm import LightFM
from lightfm.cross_validation import random_train_test_split

from recsvc.model.fast import Embeddings, carry_over, train
from recsvc.model.hyperparameters import Hyperparameters

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("RECSVC_TEST_DATA", ROOT.parent / "shared" / "ml-latest-small"))
#: users, items, positives and tags of generated data
SIZES = {
    "1M": (6_500, 10_000, 480_000, 1_500),
    "25M": (162_000, 59_000, 11_900_000, 15_000),
}
LARGE = Hyperparameters(max_sampled=20, item_alpha=1e-6, user_alpha=1e-6)


@dataclass(frozen=True)
class Data:
    """Positives and item features."""

    positives: Any  #: COO ``(n_users, n_items)``
    features: Any  #: CSR ``(n_items, n_tokens)``, identity block first


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    lightfm: float | None
    fast: float
    unit: str
    result: str
    target: str
    met: bool


def _with_identity(tokens: Any) -> Any:
    identity = sp.identity(tokens.shape[0], dtype=np.float32, format="csr")
    features = sp.hstack([identity, tokens]).tocsr().astype(np.float32)
    features.sort_indices()
    return features


def movielens() -> tuple[Data, Any]:
    """ml-latest-small as the pipeline sees it, and the time of each positive."""
    ratings = pd.read_csv(DATA / "ratings.csv")
    movies = pd.read_csv(DATA / "movies.csv").sort_values("movieId")
    tags = pd.read_csv(DATA / "tags.csv", keep_default_na=False)
    positives = ratings[ratings.rating >= 4].sort_values(["userId", "movieId"])
    user = np.searchsorted(np.unique(ratings.userId), positives.userId).astype(np.int32)
    movie = np.searchsorted(movies.movieId, positives.movieId).astype(np.int32)
    shape = (ratings.userId.nunique(), len(movies))
    matrix = sp.coo_matrix((np.ones(len(user), np.float32), (user, movie)), shape)

    tags["token"] = "tag:" + tags.tag.str.strip().str.casefold().str.normalize("NFC")
    frequent = tags.groupby("token").token.transform("size") >= 3
    tokens = tags[frequent].drop_duplicates(["movieId", "token"]).groupby("movieId").head(20)
    genres = movies.assign(token=movies.genres.str.split("|")).explode("token")
    genres["token"] = "genre:" + genres.token
    pairs = pd.concat([genres[["movieId", "token"]], tokens[["movieId", "token"]]])
    names, column = np.unique(pairs.token, return_inverse=True)
    row = np.searchsorted(movies.movieId, pairs.movieId)
    content = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), (shape[1], len(names)))
    return Data(matrix, _with_identity(content)), positives.timestamp.to_numpy()


def generated(size: str, seed: int = 0) -> Data:
    """Long-tailed arrays: log-normal activity, Zipf popularity that differs between 64 groups."""
    n_users, n_items, n_positives, n_tags = SIZES[size]
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(3.4, 1.25, n_users)
    counts = np.maximum(1, activity / activity.sum() * n_positives * 1.1).astype(np.int64)
    log_popularity = 1.05 * np.log(np.arange(n_items) + 20)
    cumulative = np.cumsum(np.exp(-log_popularity))
    by_group = np.stack(
        [np.argsort(log_popularity + 0.8 * rng.standard_normal(n_items)) for _ in range(64)]
    )
    user = np.repeat(np.arange(n_users), counts)
    rank = np.searchsorted(cumulative, rng.random(len(user)) * cumulative[-1])
    movie = by_group[rng.integers(0, 64, n_users)[user], rank.clip(max=n_items - 1)]
    pairs = np.unique(user * n_items + movie)
    indices = ((pairs // n_items).astype(np.int32), (pairs % n_items).astype(np.int32))
    positives = sp.coo_matrix((np.ones(len(pairs), np.float32), indices), (n_users, n_items))

    n_genres, n_item_tags = (
        rng.integers(1, 4, n_items),
        np.minimum(20, rng.geometric(0.16, n_items)),
    )
    row = np.repeat(np.arange(n_items), n_genres), np.repeat(np.arange(n_items), n_item_tags)
    genre_weight, tag_weight = 1 / (np.arange(20) + 3), 1 / (np.arange(n_tags) + 10)
    column = (
        rng.choice(20, len(row[0]), p=genre_weight / genre_weight.sum()),
        20 + rng.choice(n_tags, len(row[1]), p=tag_weight / tag_weight.sum()),
    )
    entries = np.unique(np.concatenate(row) * (n_tags + 20) + np.concatenate(column))
    shape = (n_items, n_tags + 20)
    place = (entries // shape[1], entries % shape[1])
    return Data(positives, _with_identity(sp.csr_matrix((np.ones(len(entries)), place), shape)))


def without_features(data: Data) -> Data:
    """The same positives with identity tokens only."""
    empty = sp.csr_matrix((data.features.shape[0], 0), dtype=np.float32)
    return Data(data.positives, _with_identity(empty))


def identity(n: int) -> Any:
    """The feature matrix of users without features."""
    return sp.identity(n, dtype=np.float32, format="csr")


def lightfm_model(hyper: Hyperparameters, seed: int) -> LightFM:
    """An untrained LightFM with these hyper-parameters."""
    return LightFM(
        no_components=hyper.components,
        learning_rate=hyper.learning_rate,
        loss=hyper.loss,
        max_sampled=hyper.max_sampled,
        item_alpha=hyper.item_alpha,
        user_alpha=hyper.user_alpha,
        random_state=seed,
    )


def fresh_sides(data: Data, hyper: Hyperparameters, seed: int) -> tuple[Embeddings, Embeddings]:
    """Untrained embeddings of both sides."""
    rng = np.random.RandomState(seed)
    items = Embeddings.initial(data.features.shape[1], hyper.components, rng)
    return items, Embeddings.initial(data.positives.shape[0], hyper.components, rng)


def fit_fast(
    data: Data,
    hyper: Hyperparameters,
    seed: int,
    threads: int,
    start: tuple[Embeddings, Embeddings] | None = None,
) -> tuple[Embeddings, Embeddings]:
    """Train with the fast trainer."""
    items, users = start or fresh_sides(data, hyper, seed)
    features = identity(data.positives.shape[0])
    train(
        items,
        users,
        data.features,
        features,
        data.positives,
        hyperparameters=hyper,
        seed=seed,
        threads=threads,
    )
    return items, users


def fit_lightfm(
    data: Data, hyper: Hyperparameters, seed: int, threads: int
) -> tuple[Embeddings, Embeddings]:
    """Train with LightFM's own kernel."""
    model = lightfm_model(hyper, seed)
    model.fit(data.positives, item_features=data.features, epochs=hyper.epochs, num_threads=threads)
    items, users = (
        Embeddings(
            getattr(model, f"{side}_embeddings"),
            getattr(model, f"{side}_biases"),
            getattr(model, f"{side}_embedding_gradients"),
            getattr(model, f"{side}_bias_gradients"),
        )
        for side in ("item", "user")
    )
    return items, users


TRAINERS = {"lightfm": fit_lightfm, "fast": fit_fast}


def ndcg(items: Embeddings, users: Embeddings, data: Data, test: Any, k: int = 10) -> float:
    """NDCG@k over users with held-out positives, training positives excluded."""
    item_rows = data.features @ np.column_stack([items.embeddings, items.biases])
    known, wanted = sp.csr_matrix(data.positives), sp.csr_matrix(test)
    discount = 1 / np.log2(np.arange(k) + 2)
    ideal = np.cumsum(discount)
    gains = []
    for user in np.flatnonzero(np.diff(wanted.indptr)):
        scores = item_rows[:, :-1] @ users.embeddings[user] + item_rows[:, -1]
        scores[known.indices[known.indptr[user] : known.indptr[user + 1]]] = -np.inf
        relevant = wanted.indices[wanted.indptr[user] : wanted.indptr[user + 1]]
        top = np.argpartition(-scores, k)[:k]
        hits = np.isin(top[np.argsort(-scores[top])], relevant)
        gains.append((hits * discount).sum() / ideal[min(k, len(relevant)) - 1])
    return float(np.mean(gains))


def split_random(data: Data, seed: int = 42) -> tuple[Data, Any]:
    """80 % of the positives for training, the rest for the test."""
    kept, test = random_train_test_split(data.positives, 0.2, random_state=seed)
    return replace(data, positives=kept), test


def split_last(data: Data, times: Any, n_last: int = 5) -> tuple[Data, Any]:
    """Each user's last positives for the test, for users with more than that."""
    entries = data.positives
    order = np.lexsort((entries.col, times, entries.row))
    rows, columns = entries.row[order], entries.col[order]
    counts = np.bincount(rows, minlength=entries.shape[0])
    held_out = (np.cumsum(counts)[rows] - np.arange(len(rows)) <= n_last) & (counts[rows] > n_last)
    kept, test = (
        sp.coo_matrix((np.ones(part.sum(), np.float32), (rows[part], columns[part])), entries.shape)
        for part in (~held_out, held_out)
    )
    return replace(data, positives=kept), test


def saved(size: str, hybrid: str, folder: Path) -> Path:
    """Write the arrays that a worker trains on, so that making them does not count as memory."""
    path = folder / f"{size}-{hybrid}"
    if not path.exists():
        data = split_random(movielens()[0])[0] if size == "movielens" else generated(size)
        data = data if hybrid == "hybrid" else without_features(data)
        path.mkdir()
        sp.save_npz(path / "positives.npz", data.positives, compressed=False)
        sp.save_npz(path / "features.npz", data.features, compressed=False)
    return path


def measure(size: str, trainer: str, epochs: int, hybrid: str, args: Any) -> dict[str, float]:
    """Train in a process of its own; seconds, peak memory in MB, and positives."""
    path = saved(size, hybrid, args.folder)
    command = [sys.executable, __file__, "--worker", str(path), trainer, str(epochs)]
    command += ["--threads", str(args.threads)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)
    return dict(json.loads(finished.stdout))


def worker(path: Path, trainer: str, epochs: int, threads: int) -> None:
    """Train once to load compiled code, then as measured."""
    TRAINERS[trainer](generated_tiny(), replace(LARGE, epochs=1), 0, threads)
    data = Data(sp.load_npz(path / "positives.npz"), sp.load_npz(path / "features.npz"))
    hyper = Hyperparameters() if path.name.startswith("movielens") else LARGE
    started, cpu_started = time.perf_counter(), time.process_time()
    TRAINERS[trainer](data, replace(hyper, epochs=epochs), 0, threads)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "positives": data.positives.nnz})
    )


def generated_tiny() -> Data:
    """A few rows, to compile with."""
    positives = sp.random(50, 40, 0.2, rng=np.random.default_rng(0), format="coo")
    positives.data = np.ones(positives.nnz, np.float32)
    return Data(positives.astype(np.float32), _with_identity(sp.csr_matrix(np.eye(40, 3))))


def speed_rows(size: str, epochs: int, hybrid: str, target: float, args: Any) -> list[Row]:
    """LightFM and the fast trainer in turns; the last row compares their memory."""
    runs: dict[str, list[dict[str, float]]] = {"lightfm": [], "fast": []}
    for _ in range(args.repeats):
        for trainer, measured in runs.items():
            measured.append(measure(size, trainer, epochs, hybrid, args))
    seconds = {name: float(np.median([r["seconds"] for r in rs])) for name, rs in runs.items()}
    peaks = {name: max(r["peak"] for r in rs) for name, rs in runs.items()}
    pairs = zip(runs["lightfm"], runs["fast"], strict=True)
    ratio = float(np.median([slow["seconds"] / fast["seconds"] for slow, fast in pairs]))
    what = f"{size}, {hybrid}, {epochs} epoch(s)"
    rows = [
        Row(
            what,
            seconds["lightfm"],
            seconds["fast"],
            "s",
            f"{ratio:.1f}x",
            f">= {target}x",
            ratio >= target,
        )
    ]
    share = peaks["fast"] / peaks["lightfm"]
    rows.append(
        Row(
            f"{what}, peak memory",
            peaks["lightfm"],
            peaks["fast"],
            "MB",
            f"{share:.2f}x",
            "<= 1.5x",
            share <= 1.5,
        )
    )
    return rows


def quality_row(name: str, data: Data, test: Any, hyper: Hyperparameters, args: Any) -> Row:
    """The paired difference of NDCG@10 over seeds, with its 95 % interval."""
    scores: dict[str, list[float]] = {"lightfm": [], "fast": []}
    for seed in range(args.seeds):
        for trainer, found in scores.items():
            items, users = TRAINERS[trainer](data, hyper, seed, args.threads)
            found.append(ndcg(items, users, data, test))
    difference = np.array(scores["fast"]) - np.array(scores["lightfm"])
    # Student's t at 97.5 % for 9 degrees of freedom is 2.262; other numbers of seeds are close
    half = 2.262 * difference.std(ddof=1) / np.sqrt(len(difference))
    low, high = difference.mean() - half, difference.mean() + half
    means = {trainer: float(np.mean(found)) for trainer, found in scores.items()}
    result = f"{difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
    return Row(
        f"NDCG@10, {name}",
        means["lightfm"],
        means["fast"],
        "",
        result,
        "interval not below -0.002",
        bool(high >= -0.002 and difference.mean() >= -0.002),
    )


def warm_start_row(data: Data, test: Any, args: Any) -> Row:
    """Train on 99 %, then a fifth of the epochs on all of it, against a full training."""
    hyper = Hyperparameters()
    kept = random_train_test_split(data.positives, 0.01, random_state=1)[0]
    full, warm = [], []
    for seed in range(args.seeds):
        full.append(ndcg(*fit_fast(data, hyper, seed, args.threads), data, test))
        previous = fit_fast(replace(data, positives=kept), hyper, seed, args.threads)
        start = [
            carry_over(np.arange(side.n_tokens), side, np.arange(side.n_tokens), fresh)
            for side, fresh in zip(previous, fresh_sides(data, hyper, seed + 100), strict=True)
        ]
        fifth = replace(hyper, epochs=hyper.epochs // 5)
        again = fit_fast(data, fifth, seed + 1000, args.threads, (start[0], start[1]))
        warm.append(ndcg(*again, data, test))
    difference = float(np.mean(warm) - np.mean(full))
    return Row(
        "warm start, a fifth of the epochs, 1 % new",
        None,
        float(np.mean(warm)),
        "NDCG@10",
        f"{difference:+.4f} against full training",
        ">= -0.002",
        difference >= -0.002,
    )


def compile_row() -> Row:
    """The first call ever: an empty cache directory in a process of its own."""
    code = (
        "import time; from benchmarks.train import *; data = generated_tiny();"
        "started = time.perf_counter(); fit_fast(data, LARGE, 0, 2);"
        "print(time.perf_counter() - started)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)}
        finished = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
    seconds = float(finished.stdout)
    return Row(
        "first call, compilation included",
        None,
        seconds,
        "s",
        f"{seconds:.1f} s",
        "<= 15 s",
        seconds <= 15,
    )


def implicit_rows(data: Data, test: Any, args: Any) -> list[dict[str, Any]]:
    """Quality against seconds of implicit's ALS and BPR, if it is installed."""
    try:
        from implicit.als import AlternatingLeastSquares  # noqa: PLC0415  (an optional peer)
        from implicit.bpr import BayesianPersonalizedRanking  # noqa: PLC0415
    except ImportError:
        return []
    points = []
    for name, model in {
        "implicit ALS": AlternatingLeastSquares(64, random_state=0, num_threads=args.threads),
        "implicit BPR": BayesianPersonalizedRanking(63, random_state=0, num_threads=args.threads),
    }.items():
        started = time.perf_counter()
        model.fit(sp.csr_matrix(data.positives), show_progress=False)
        seconds = time.perf_counter() - started
        rows, columns = np.asarray(model.user_factors), np.asarray(model.item_factors)
        ones = [np.ones((len(side), rows.shape[1]), np.float32) for side in (columns, rows)]
        items = Embeddings(
            columns, np.zeros(len(columns), np.float32), ones[0], ones[0][:, 0].copy()
        )
        users = Embeddings(rows, np.zeros(len(rows), np.float32), ones[1], ones[1][:, 0].copy())
        points.append(
            {
                "trainer": name,
                "seconds": seconds,
                "ndcg": ndcg(items, users, without_features(data), test),
            }
        )
    return points


def curve(data: Data, test: Any, args: Any) -> list[dict[str, Any]]:
    """Quality against seconds at several numbers of epochs: the points of a plot."""
    points = []
    for trainer, fit in TRAINERS.items():
        for epochs in (1, 3, 6, 12, 25):
            started = time.perf_counter()
            items, users = fit(data, Hyperparameters(epochs=epochs), 0, args.threads)
            seconds = time.perf_counter() - started
            points.append(
                {
                    "trainer": trainer,
                    "epochs": epochs,
                    "seconds": seconds,
                    "ndcg": ndcg(items, users, data, test),
                }
            )
    return points + implicit_rows(data, test, args)


def machine(threads: int) -> dict[str, Any]:
    """Where the figures come from."""
    packages = ("lightfm-next", "numba", "numpy", "scipy")
    return {
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def markdown(rows: list[Row], where: dict[str, Any]) -> str:
    """The table as a page."""
    lines = ["# Training, side by side", "", ", ".join(f"{k} {v}" for k, v in where.items()), ""]
    lines += [
        "| what | LightFM | fast | | result | target | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        slow = "" if row.lightfm is None else f"{row.lightfm:.4g}"
        met = "yes" if row.met else "no"
        lines.append(
            f"| {row.what} | {slow} | {row.fast:.4g} | {row.unit} | {row.result} "
            f"| {row.target} | {met} |"
        )
    return "\n".join(lines) + "\n"


def small_rows(args: Any) -> tuple[list[Row], list[dict[str, Any]]]:
    """ml-latest-small and generated data of 1M ratings."""
    rows = [compile_row(), *speed_rows("movielens", 25, "hybrid", 5, args)]
    movielens_data, times = movielens()
    random, last = split_random(movielens_data), split_last(movielens_data, times)
    rows.append(quality_row("movielens random", *random, Hyperparameters(), args))
    rows.append(quality_row("movielens leave_last", *last, Hyperparameters(), args))
    synthetic = split_random(generated("1M"))
    shorter = Hyperparameters(epochs=10, max_sampled=20)
    rows.append(quality_row("generated 1M", *synthetic, shorter, args))
    rows.append(warm_start_row(*random, args))
    return rows, curve(*random, args)


def large_rows(args: Any) -> list[Row]:
    """The size of MovieLens 25M, and growth towards it."""
    rows = [
        *speed_rows("25M", 1, "hybrid", 10, args),
        *speed_rows("25M", 1, "identity", 5, args),
    ]
    small = measure("1M", "fast", 1, "hybrid", args)
    large = measure("25M", "fast", 1, "hybrid", args)
    exponent = float(
        np.log(large["seconds"] / small["seconds"])
        / np.log(large["positives"] / small["positives"])
    )
    rows.append(
        Row(
            "growth from 1M to 25M, exponent",
            None,
            exponent,
            "",
            f"{exponent:.2f}",
            "<= 1.05",
            exponent <= 1.05,
        )
    )
    return rows


def main() -> None:
    """Measure, print the table, write it to benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=["small", "large"], default=["small"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=10, help="models for each quality figure")
    parser.add_argument("--repeats", type=int, default=3, help="turns for each speed figure")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        path, trainer, epochs = args.worker
        worker(Path(path), trainer, int(epochs), args.threads)
        return
    rows: list[Row] = []
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        if "small" in args.sizes:
            rows, points = small_rows(args)
        if "large" in args.sizes:
            rows += large_rows(args)
    where = machine(args.threads)
    results = ROOT / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    content = {"machine": where, "rows": [asdict(row) for row in rows], "curve": points}
    (results / "train.json").write_text(json.dumps(content, indent=2) + "\n")
    (results / "train.md").write_text(markdown(rows, where))
    print(markdown(rows, where))


if __name__ == "__main__":
    main()
