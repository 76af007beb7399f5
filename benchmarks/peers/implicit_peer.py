"""implicit on request: ``recommend`` and ``similar_items`` with given factors.

Usage: ``implicit_peer.py FOLDER``, where FOLDER holds ``users.npy``, ``items.npy`` and
``seen.npz``. Reads ``recommend ROWS N`` or ``similar ROWS N`` from stdin, answers in JSON.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import implicit
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

warnings.filterwarnings("ignore")  # advice about BLAS threads, which whoever starts this takes


def main() -> None:
    """Answer until the input ends."""
    folder = Path(sys.argv[1])
    seen = sparse.load_npz(folder / "seen.npz").tocsr()
    items = np.load(folder / "items.npy")
    model = AlternatingLeastSquares(factors=items.shape[1])
    model.user_factors = np.load(folder / "users.npy")
    model.item_factors = items
    say({"implicit": implicit.__version__, "numpy": np.__version__})
    for line in sys.stdin:
        what, rows, n = line.split()
        ids = np.arange(int(rows), dtype=np.int32)
        start = time.perf_counter()
        if what == "recommend":
            model.recommend(ids, seen[: int(rows)], N=int(n), filter_already_liked_items=True)
        else:
            model.similar_items(ids, N=int(n) + 1)  # itself comes first
        say({"seconds": time.perf_counter() - start})


def say(answer: dict[str, object]) -> None:
    """Print one answer."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
