"""How good the models are, over seeds; a process for each core, one thread in each.

The fast trainer gives the same bytes at any number of threads, and LightFM with one thread is
LightFM at its best: its threads write to shared memory without locks.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import stats

from recsvc.model.data.splits import split_positives
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.lightfm.fitting import Start
from training.data import Data, load
from training.results import Row
from training.trainers import DEFAULT, TRAINERS, Trainer, model, ndcg

TOLERANCE = 0.002
NEW_SHARE, EPOCH_SHARE = 0.01, 5


def compare(name: str, folder: Path, how: LightfmConfiguration, seeds: int) -> Row:
    """The paired difference of NDCG@10, with its 95 % interval by Student's t."""
    with _pool() as pool:
        found = {
            trainer: [pool.submit(_score, folder, trainer, how, seed) for seed in range(seeds)]
            for trainer in TRAINERS
        }
        scores = {name: np.array([f.result() for f in futures]) for name, futures in found.items()}
    what = f"NDCG@10, {name}, {seeds} seeds"
    return _paired(what, scores["lightfm"], scores["fast"])


def warm_start(folder: Path, seeds: int) -> Row:
    """A fifth of the epochs from a model of 99 % of the positives, against a full training."""
    with _pool() as pool:
        futures = [pool.submit(_warm_and_full, folder, seed) for seed in range(seeds)]
        warm, full = np.array([future.result() for future in futures]).T
    difference = float((warm - full).mean())
    return Row(
        f"NDCG@10, warm start with 1/{EPOCH_SHARE} of the epochs, 1 % new, {seeds} seeds",
        None,
        float(warm.mean()),
        "",
        f"{difference:+.4f} against a full training",
        f">= -{TOLERANCE}",
        difference >= -TOLERANCE,
    )


def _paired(what: str, theirs: np.ndarray, ours: np.ndarray) -> Row:
    difference = ours - theirs
    n = len(difference)
    half = stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n)
    low, high = difference.mean() - half, difference.mean() + half
    return Row(
        what,
        float(theirs.mean()),
        float(ours.mean()),
        "",
        f"{difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]",
        f"from -{TOLERANCE} up",
        bool(low >= -TOLERANCE),
    )


def _pool() -> ProcessPoolExecutor:
    # forked, the threads of NumPy's BLAS would be missing in the children
    return ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn"))


@cache
def _loaded(folder: Path) -> Data:
    return load(folder)


def _score(folder: Path, trainer: Trainer, how: LightfmConfiguration, seed: int) -> float:
    data = _loaded(folder)
    return ndcg(model(trainer, data, how, seed), data)


def _warm_and_full(folder: Path, seed: int) -> tuple[float, float]:
    data = _loaded(folder)
    before = split_positives(data.positives, NEW_SHARE, seed).train
    former = model("fast", replace(data, positives=before), DEFAULT, seed)
    fifth = DEFAULT.model_copy(update={"epochs": DEFAULT.epochs // EPOCH_SHARE})
    start = Start(former.items, former.users, former.epochs)
    warm = model("fast", data, fifth, seed, start=start)
    return ndcg(warm, data), ndcg(model("fast", data, DEFAULT, seed), data)
