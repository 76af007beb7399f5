"""RecTools' LightFM wrapper on request: ``recommend`` with given factors.

Usage: ``rectools_peer.py FOLDER THREADS``, where FOLDER holds ``users.npy``, ``items.npy`` and
``seen.npz``. Reads ``recommend ROWS N`` from stdin, answers in JSON. It has an environment of its
own, since it needs an older pandas: ``rectools.txt``.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from lightfm import LightFM
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import LightFMWrapperModel
from scipy import sparse

warnings.filterwarnings("ignore")


def main() -> None:
    """Answer until the input ends."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    users, items = np.load(folder / "users.npy"), np.load(folder / "items.npy")
    seen = sparse.load_npz(folder / "seen.npz").tocsr()
    dataset = Dataset.construct(_interactions(seen))
    # Its internal indices follow the order of first appearance.
    user_order = dataset.user_id_map.external_ids
    item_order = dataset.item_id_map.external_ids
    model = LightFMWrapperModel(LightFM(no_components=users.shape[1] - 2), num_threads=threads)
    model.model = _model(users[user_order], items[item_order])
    model.is_fitted = True
    model.is_fitted_with_features = False
    say({"rectools": version("rectools"), "pandas": pd.__version__, "numpy": np.__version__})
    for line in sys.stdin:
        _, rows, n = line.split()
        start = time.perf_counter()
        model.recommend(np.arange(int(rows)), dataset, k=int(n), filter_viewed=True)
        say({"seconds": time.perf_counter() - start})


def _interactions(seen: sparse.csr_matrix) -> pd.DataFrame:
    """All seen pairs; every user and every movie has one."""
    coo = seen.tocoo()
    return pd.DataFrame(
        {
            Columns.User: coo.row,
            Columns.Item: coo.col,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2026-01-01"),
        }
    )


def _model(users: np.ndarray, items: np.ndarray) -> LightFM:
    """A LightFM that holds these factors: embeddings, then a column for each bias."""
    d = users.shape[1] - 2
    model = LightFM(no_components=d)
    model.fit(sparse.coo_matrix((len(users), len(items)), dtype=np.float32), epochs=1)
    model.user_embeddings, model.user_biases = users[:, :d].copy(), users[:, -2].copy()
    model.item_embeddings, model.item_biases = items[:, :d].copy(), items[:, -1].copy()
    return model


def say(answer: dict[str, object]) -> None:
    """Print one answer."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
