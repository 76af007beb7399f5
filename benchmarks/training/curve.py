"""Quality against seconds of LightFM, the fast trainer, and implicit's ALS and BPR."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import HERE, PEER_PYTHON, RESULTS, Peer, peer_has

from recsvc.model.scores.factors import Factors
from training.data import Data, load, tiny
from training.results import Point
from training.trainers import DEFAULT, TRAINERS, model, ndcg, ndcg_of

EPOCHS = (1, 2, 4, 8, 15, 25)
NAMES = {"lightfm": "LightFM, hybrid", "fast": "recsvc, hybrid"}
#: implicit's models, and iterations of each.
PEERS = {"als": (1, 2, 4, 8, 15), "bpr": (10, 25, 50, 100, 200)}


def curve(folder: Path, threads: int) -> list[Point]:
    """Train for longer and longer."""
    data = load(folder)
    points = list(_ours(data, threads))
    if peer_has("implicit"):
        points += _theirs(folder, data, threads)
    else:
        print("implicit is not in the peers' environment: `make peers`", flush=True)
    return points


def _ours(data: Data, threads: int) -> Iterator[Point]:
    for trainer in TRAINERS:
        model(trainer, tiny(), DEFAULT, 0, threads=threads)  # loads compiled code
        for epochs in EPOCHS:
            started = time.perf_counter()
            trained = model(
                trainer, data, DEFAULT.model_copy(update={"epochs": epochs}), 0, threads=threads
            )
            seconds = time.perf_counter() - started
            yield Point(NAMES[trainer], epochs, seconds, ndcg(trained, data))


def _theirs(folder: Path, data: Data, threads: int) -> Iterator[Point]:
    environment = {"OPENBLAS_NUM_THREADS": "1"}  # implicit asks for it
    arguments = (str(folder / "train.npz"), str(folder), str(threads))
    with Peer("implicit_training_peer.py", *arguments, environment=environment) as peer:
        for name, iterations in PEERS.items():
            for number in iterations:
                answer = peer.ask(f"{name} {number}")
                users, items = (np.load(folder / f"{side}.npy") for side in ("users", "items"))
                quality = ndcg_of(Factors(users, items), data)
                label = f"implicit {peer.about['implicit']} {name.upper()}"
                yield Point(label, number, answer["seconds"], quality)


def plot(results: Path) -> None:
    """Draw ``train.svg`` in the peers' environment, if it can draw."""
    if not peer_has("matplotlib"):
        print("matplotlib is not in the peers' environment: `make peers`", flush=True)
        return
    script = HERE / "peers" / "plot_quality.py"
    subprocess.run([PEER_PYTHON, script, results, RESULTS / "train.svg"], check=True)
