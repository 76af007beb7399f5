"""implicit's trainers on request.

Usage: ``implicit_training_peer.py TRAIN.npz FOLDER THREADS``, where TRAIN.npz holds ``rows``,
``columns`` and ``shape`` of the positives. Reads ``als N`` or ``bpr N`` from stdin, trains for N
iterations, writes ``users.npy`` and ``items.npy`` to FOLDER, answers with seconds in JSON.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import implicit
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy import sparse

warnings.filterwarnings("ignore")  # advice about BLAS threads, which whoever starts this takes

COMPONENTS = 64


def main() -> None:
    """Answer until the input ends."""
    train, folder, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with np.load(train) as arrays:
        entries = (arrays["rows"], arrays["columns"])
        ones = np.ones(len(entries[0]), np.float32)
        positives = sparse.csr_matrix((ones, entries), shape=arrays["shape"].tolist())
    say({"implicit": implicit.__version__, "numpy": np.__version__})
    for line in sys.stdin:
        name, iterations = line.split()
        kind = AlternatingLeastSquares if name == "als" else BayesianPersonalizedRanking
        model = kind(COMPONENTS, iterations=int(iterations), num_threads=threads, random_state=0)
        start = time.perf_counter()
        model.fit(positives, show_progress=False)
        seconds = time.perf_counter() - start
        np.save(folder / "users.npy", np.asarray(model.user_factors))
        np.save(folder / "items.npy", np.asarray(model.item_factors))
        say({"seconds": seconds})


def say(answer: dict[str, object]) -> None:
    """Print one answer."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
