"""Top lists and similar items against the matrix product, implicit, RecTools and LightFM's predict.

``python benchmarks/rank.py`` takes some minutes; ``--large`` ranks all users of MovieLens 25M.
``make bench`` installs the peers in environments of their own.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from measure import (
    PEER_PYTHON,
    RECTOOLS_PYTHON,
    Peer,
    Report,
    alternate,
    compared,
    peer_has,
    seconds,
)
from scipy import sparse
from threadpoolctl import threadpool_limits
from workload import COMPONENTS, MOVIELENS_25M, Workload, as_hybrid, as_lightfm, make

from recsvc.model.ranking.rank import rank, similar_items
from recsvc.model.scores.factors import Factors, cosines

TOP_N, SIMILAR_N = 100, 50
PRODUCT_ROWS = 1024
LIGHTFM_USERS = 50
PEER_USERS = 32_000
#: implicit asks for this, and is faster with it; RecTools ranks with implicit's kernel.
ONE_BLAS = {"OPENBLAS_NUM_THREADS": "1"}
Contender = Callable[[], float]


def main() -> None:
    """Measure, print and write the results."""
    options = _options()
    workload = make(options.users, options.items)
    report = Report(
        "rank_large" if options.large else "rank",
        "Ranking",
        {
            "users": options.users,
            "items": options.items,
            "factors": COMPONENTS + 2,
            "threads": options.threads,
            "seen per user": round(workload.seen.nnz / options.users),
            "repetitions": options.repetitions,
        },
    )
    with ExitStack() as stack:
        peers = _peers(stack, report, workload, options.threads)
        _compare_top(report, workload, peers, options)
        _compare_similar(report, workload, peers.get("implicit"), options)
    report.write()


def _peers(stack: ExitStack, report: Report, workload: Workload, threads: int) -> dict[str, Peer]:
    """Start those that are installed, with the same factors."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    _save(workload, folder)
    peers: dict[str, Peer] = {}
    for name, python, arguments in (
        ("implicit", PEER_PYTHON, []),
        ("rectools", RECTOOLS_PYTHON, [str(threads)]),
    ):
        if not peer_has(name, python):
            report.skip(f"{name} is not installed in its environment")
            continue
        peer = Peer(f"{name}_peer.py", str(folder), *arguments, python=python, environment=ONE_BLAS)
        peers[name] = stack.enter_context(peer)
        versions = ", ".join(f"{package} {number}" for package, number in peer.about.items())
        report.state(f"Peer: {versions}.\n")
    return peers


def _compare_top(
    report: Report, workload: Workload, peers: dict[str, Peer], options: argparse.Namespace
) -> None:
    factors, threads = workload.factors, options.threads
    contenders: dict[str, Contender] = {
        "ours": lambda: factors.n_users / seconds(lambda: _rank_all(workload, threads)),
        "matrix product": lambda: factors.n_users / seconds(lambda: _product(factors, threads)),
        "LightFM": _lightfm_predict(workload.factors, workload.seen, threads, hybrid=False),
        "LightFM, hybrid": _lightfm_predict(workload.factors, workload.seen, threads, hybrid=True),
    }
    for name, peer in peers.items():
        contenders[name] = partial(_recommend, peer, min(factors.n_users, PEER_USERS))
    speeds = alternate(contenders, options.repetitions)
    work = f"top {TOP_N} for every user"
    targets = {"matrix product": 0.75, "implicit": 1.4, "rectools": 1.4}
    notes = {
        "matrix product": f"blocks of {PRODUCT_ROWS}",
        "implicit": "recommend",
        "rectools": "recommend of its LightFM wrapper",
    }
    for name in sorted(speeds.keys() - {"ours"}):
        note = notes.get(name, f"predict for each of {LIGHTFM_USERS} users")
        report.add(compared(work, "users", speeds, name, target=targets.get(name, 50.0), note=note))


def _compare_similar(
    report: Report, workload: Workload, peer: Peer | None, options: argparse.Namespace
) -> None:
    if peer is None:
        return
    vectors = workload.factors.items
    n_items = vectors.shape[0]
    speeds = alternate(
        {
            "ours": lambda: n_items / seconds(lambda: _similar_all(vectors, options.threads)),
            "implicit": lambda: n_items / peer.ask(f"similar {n_items} {SIMILAR_N}")["seconds"],
        },
        options.repetitions,
    )
    work = f"similar items, top {SIMILAR_N} for all"
    report.add(compared(work, "items", speeds, "implicit", target=1.4, note="similar_items"))


def _recommend(peer: Peer, n_users: int) -> float:
    return n_users / float(peer.ask(f"recommend {n_users} {TOP_N}")["seconds"])


def _rank_all(workload: Workload, threads: int) -> None:
    for _ in rank(workload.factors, workload.seen, TOP_N, threads=threads):
        pass


def _similar_all(vectors: np.ndarray, threads: int) -> None:
    for _ in similar_items(cosines(vectors), SIMILAR_N, threads=threads):
        pass


def _product(factors: Factors, threads: int) -> None:
    """Every score once, into one reused buffer: what no ranking by scores can go below."""
    buffer = np.empty((PRODUCT_ROWS, factors.n_items), dtype=np.float32)
    with threadpool_limits(limits=threads, user_api="blas"):
        for start in range(0, factors.n_users, PRODUCT_ROWS):
            block = factors.users[start : start + PRODUCT_ROWS]
            np.matmul(block, factors.items.T, out=buffer[: block.shape[0]])


def _lightfm_predict(
    factors: Factors, seen: sparse.csr_matrix, threads: int, *, hybrid: bool
) -> Contender:
    """Users a second; the same scores from identities alone, or from genres and tags as well."""
    # Without them LightFM builds an identity of all users anew at every call.
    everyone = sparse.identity(factors.n_users, dtype=np.float32, format="csr")
    everything = sparse.identity(factors.n_items, dtype=np.float32, format="csr")
    model, features = as_hybrid(factors) if hybrid else (as_lightfm(factors), everything)
    items = np.arange(factors.n_items, dtype=np.int32)

    def work() -> None:
        for user in range(LIGHTFM_USERS):
            scores = model.predict(user, items, features, everyone, num_threads=threads)
            scores[seen.indices[seen.indptr[user] : seen.indptr[user + 1]]] = -np.inf
            best = np.argpartition(-scores, TOP_N)[:TOP_N]
            best[np.argsort(-scores[best])]

    return lambda: LIGHTFM_USERS / seconds(work)


def _save(workload: Workload, folder: Path) -> None:
    np.save(folder / "users.npy", workload.factors.users)
    np.save(folder / "items.npy", workload.factors.items)
    sparse.save_npz(folder / "seen.npz", workload.seen, compressed=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="all users of MovieLens 25M")
    parser.add_argument("--users", type=int)
    parser.add_argument("--items", type=int, default=MOVIELENS_25M["n_items"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    options.users = options.users or (MOVIELENS_25M["n_users"] if options.large else 16_000)
    return options


if __name__ == "__main__":
    main()
