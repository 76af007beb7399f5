"""Top lists and similar items against the matrix product alone, implicit and LightFM's predict.

``python benchmarks/rank.py`` takes about two minutes; ``--large`` ranks all users of MovieLens
25M. `make peers` makes the environment of implicit.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from measure import Peer, Report, alternate, compared, peer_has, seconds
from scipy import sparse
from threadpoolctl import threadpool_limits
from workload import COMPONENTS, MOVIELENS_25M, Workload, as_lightfm, make

from recsvc.model.factors import Factors
from recsvc.model.ranking import rank, similar_items

TOP_N, SIMILAR_N = 100, 50
PRODUCT_ROWS = 1024
LIGHTFM_USERS = 50
#: implicit asks for this, and is faster with it.
IMPLICIT = {"OPENBLAS_NUM_THREADS": "1"}
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
        peer = None
        if peer_has("implicit"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            _save(workload, folder)
            peer = stack.enter_context(Peer("implicit_peer.py", str(folder), environment=IMPLICIT))
            report.state(f"Peer: implicit {peer.about['implicit']}, numpy {peer.about['numpy']}.")
        else:
            report.skip("implicit is not installed in the peers' environment")
        _compare_top(report, workload, peer, options)
        _compare_similar(report, workload, peer, options)
    report.write()


def _compare_top(
    report: Report, workload: Workload, peer: Peer | None, options: argparse.Namespace
) -> None:
    factors, threads = workload.factors, options.threads
    contenders: dict[str, Contender] = {
        "ours": lambda: factors.n_users / seconds(lambda: _rank_all(workload, threads)),
        "matrix product": lambda: factors.n_users / seconds(lambda: _product(factors, threads)),
        "LightFM": lambda: LIGHTFM_USERS / seconds(_lightfm_predict(workload, threads)),
    }
    if peer is not None:
        contenders["implicit"] = lambda: (
            factors.n_users / peer.ask(f"recommend {factors.n_users} {TOP_N}")["seconds"]
        )
    speeds = alternate(contenders, options.repetitions)
    work = f"top {TOP_N} for every user"
    targets = {"matrix product": 0.75, "implicit": 1.4, "LightFM": 50.0}
    notes = {"matrix product": f"blocks of {PRODUCT_ROWS}", "implicit": "recommend"}
    for name in sorted(speeds.keys() - {"ours"}):
        note = notes.get(name, f"predict for each of {LIGHTFM_USERS} users")
        report.add(compared(work, "users", speeds, name, target=targets[name], note=note))


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


def _rank_all(workload: Workload, threads: int) -> None:
    for _ in rank(workload.factors, workload.seen, TOP_N, threads=threads):
        pass


def _similar_all(vectors: np.ndarray, threads: int) -> None:
    for _ in similar_items(vectors, SIMILAR_N, threads=threads):
        pass


def _product(factors: Factors, threads: int) -> None:
    """Every score once, into one reused buffer: what no ranking by scores can go below."""
    buffer = np.empty((PRODUCT_ROWS, factors.n_items), dtype=np.float32)
    with threadpool_limits(limits=threads, user_api="blas"):
        for start in range(0, factors.n_users, PRODUCT_ROWS):
            block = factors.users[start : start + PRODUCT_ROWS]
            np.matmul(block, factors.items.T, out=buffer[: block.shape[0]])


def _lightfm_predict(workload: Workload, threads: int) -> Callable[[], None]:
    factors, seen = workload.factors, workload.seen
    model = as_lightfm(factors)
    items = np.arange(factors.n_items, dtype=np.int32)
    # Without them LightFM builds an identity of all users anew at every call.
    everyone = sparse.identity(factors.n_users, dtype=np.float32, format="csr")
    everything = sparse.identity(factors.n_items, dtype=np.float32, format="csr")

    def work() -> None:
        for user in range(LIGHTFM_USERS):
            scores = model.predict(user, items, everything, everyone, num_threads=threads)
            scores[seen.indices[seen.indptr[user] : seen.indptr[user + 1]]] = -np.inf
            best = np.argpartition(-scores, TOP_N)[:TOP_N]
            best[np.argsort(-scores[best])]

    return work


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
