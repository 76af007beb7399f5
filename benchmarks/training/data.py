"""The arrays that trainers are given, and how they get from one process to another."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from recsvc.model.data.features import Features, identity_features, token_features
from recsvc.model.data.identifiers import IdMap
from recsvc.model.data.splits import Positives


@dataclass(frozen=True)
class Data:
    """What a trainer is given, and what its model is asked to find."""

    positives: Positives
    items: Features
    test: Positives | None = None  #: held-out positives

    def without_features(self) -> "Data":
        """Return the same with identity tokens only."""
        return replace(self, items=identity_features(self.positives.shape[1]))


def save(data: Data, folder: Path) -> None:
    """Write the arrays, so that a process that is measured needs nothing else to begin."""
    folder.mkdir(parents=True)
    for name, positives in (("train", data.positives), ("test", data.test)):
        if positives is not None:
            np.savez(
                folder / f"{name}.npz",
                rows=positives.rows,
                columns=positives.columns,
                shape=positives.shape,
            )
    sparse.save_npz(folder / "items.npz", data.items.matrix, compressed=False)


def load(folder: Path) -> Data:
    """Read back what :func:`save` wrote; tokens have lost their names."""
    matrix = sparse.csr_array(sparse.load_npz(folder / "items.npz"))
    tokens = tuple(str(token) for token in range(matrix.shape[1] - matrix.shape[0]))
    held_out = folder / "test.npz"
    return Data(
        _positives(folder / "train.npz"),
        Features(matrix, tokens),
        _positives(held_out) if held_out.exists() else None,
    )


def _positives(path: Path) -> Positives:
    with np.load(path) as arrays:
        n_users, n_items = arrays["shape"].tolist()
        return Positives(
            arrays["rows"], arrays["columns"], np.arange(len(arrays["rows"])), (n_users, n_items)
        )


def tiny() -> Data:
    """A few rows, to load compiled code with."""
    matrix = sparse.random_array((50, 40), density=0.2, rng=np.random.default_rng(0))
    rows, columns = (axis.astype(np.int32) for axis in matrix.nonzero())
    positives = Positives(rows, columns, np.arange(len(rows)), (50, 40))
    ids = IdMap(np.arange(40))
    pairs = pd.DataFrame({"id": ids.ids, "token": "genre:A"})
    return Data(positives, token_features(ids, pairs, normalize=False))
