"""How long the trainers take and what memory they need, each fit in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measure import HERE

from training.results import Row
from training.trainers import TRAINERS, Trainer

GROWTH = 1.05  # more is no longer linear
FIRST_CALL = """
import time
started = time.perf_counter()
from training.data import tiny
from training.trainers import LARGE, train
imported = time.perf_counter()
train("fast", tiny(), LARGE, 2)
print(time.perf_counter() - imported)
"""


Runs = dict[Trainer, list[dict[str, Any]]]  # what the worker printed, fit by fit


@dataclass(frozen=True)
class Workload:
    """What is trained on, and how."""

    name: str  #: as the table calls it
    folder: Path  #: saved arrays
    size: str  #: ``default`` or ``large``: the hyper-parameters
    epochs: int
    fits: int = 1  #: in one process; the median counts


def first_call() -> list[Row]:
    """The first call with nothing compiled, and the first call of the next process."""
    with tempfile.TemporaryDirectory() as cache:
        compiled, cached = (_run(["-c", FIRST_CALL], NUMBA_CACHE_DIR=cache) for _ in range(2))
    seconds, again = float(compiled), float(cached)
    return [
        Row(
            "first call, compilation included",
            None,
            seconds,
            "s",
            f"next process {again:.2f} s",
            "<= 15 s",
            seconds <= 15,
        )
    ]


def alternate(workload: Workload, repetitions: int, threads: int) -> Runs:
    """LightFM and the fast trainer in turns, so that other work falls on both."""
    runs: Runs = {trainer: [] for trainer in TRAINERS}
    for _ in range(repetitions):
        for trainer, found in runs.items():
            found.append(_fit(workload, trainer, threads))
    return runs


def times(workload: Workload, runs: Runs, target: float) -> list[Row]:
    """Seconds of a whole fit, setting up included, and processor seconds of all threads."""
    what = f"{workload.name}, {_epochs(workload.epochs)}"
    slow, fast, ratio = _compared(runs, "seconds")
    by_clock = Row(what, slow, fast, "s", f"{ratio:.1f}x", f">= {target:g}x", ratio >= target)
    slow, fast, ratio = _compared(runs, "processor")
    return [by_clock, Row(f"{what}, processor time", slow, fast, "s", f"{ratio:.1f}x")]


def memory(workload: Workload, runs: Runs) -> Row:
    """The peak of a process that does nothing else."""
    what = f"{workload.name}, peak memory"
    slow, fast = (max(run["peak"] for run in runs[trainer]) for trainer in TRAINERS)
    share = fast / slow
    return Row(what, slow, fast, "MB", f"{share:.2f}x", "<= 1.5x", share <= 1.5)


def further_epochs(workload: Workload, runs: Runs, threads: int) -> Row:
    """What an epoch costs that nothing is set up for: the second and third, on average."""
    more = 2
    longer = replace(workload, epochs=workload.epochs + more)
    slow, fast = (
        (seconds - median(median(run["seconds"]) for run in runs[trainer])) / more
        for trainer, seconds in _seconds(alternate(longer, 1, threads))
    )
    what = f"{workload.name}, second and third epoch, each"
    return Row(what, slow, fast, "s", f"{slow / fast:.1f}x")


def _seconds(runs: Runs) -> list[tuple[Trainer, float]]:
    return [(trainer, median(run["seconds"][0] for run in runs[trainer])) for trainer in TRAINERS]


def growth(small: Workload, large: Workload, repetitions: int, threads: int) -> list[Row]:
    """The power of the number of positives by which the time of an epoch grows.

    By the clock and by processor time: of a small fit, other work easily doubles the former.
    """
    pairs = [
        [_fit(workload, "fast", threads) for workload in (small, large)] for _ in range(repetitions)
    ]
    few, many = (run["positives"] for run in pairs[0])
    rows = []
    for figure, name in (("seconds", ""), ("processor", ", processor time")):
        small_time, large_time = (
            median(run[figure][0] for run in runs) for runs in zip(*pairs, strict=True)
        )
        exponent = float(np.log(large_time / small_time) / np.log(many / few))
        what = f"growth from {small.name} to {large.name}, one epoch{name}, exponent"
        result = f"{large_time / small_time:.1f} times as long for {many / few:.1f} times as many"
        rows.append(Row(what, None, exponent, "", result))
    by_clock = rows[0]
    met = by_clock.fast <= GROWTH
    return [replace(by_clock, target=f"<= {GROWTH}", met=met), rows[1]]


def _compared(runs: Runs, figure: str) -> tuple[float, float, float]:
    """Median of each trainer, and of the ratios of the runs that followed one another."""
    slow, fast = ([median(run[figure]) for run in runs[trainer]] for trainer in TRAINERS)
    return median(slow), median(fast), median(a / b for a, b in zip(slow, fast, strict=True))


def _epochs(number: int) -> str:
    return "one epoch" if number == 1 else f"{number} epochs"


def _fit(workload: Workload, trainer: Trainer, threads: int) -> dict[str, Any]:
    numbers = [str(number) for number in (workload.epochs, workload.fits, threads)]
    arguments = [str(workload.folder), trainer, *numbers, workload.size]
    return dict(json.loads(_run(["-m", "training.worker", *arguments])))


def _run(arguments: list[str], **environment: str) -> str:
    """Run Python where the benchmarks are."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE,
        env=os.environ | environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return finished.stdout
