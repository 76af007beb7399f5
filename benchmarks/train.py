"""Training side by side: LightFM's own kernel against the fast trainer.

``python benchmarks/train.py`` measures everything, in about half an hour on two cores, and
``--parts`` some of it. Results are written after each part, and what is not measured keeps its
former results: a run that is interrupted can be gone on with.

The parts ``large`` and ``large-cf`` are of the size of MovieLens 25M, on arrays made here;
``quality-synthetic`` and ``growth`` are on files that ``recsvc synth`` makes. ml-latest-small is
read from ``RECSVC_TEST_DATA``.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import HERE
from training import quality, speed
from training.curve import curve, plot
from training.data import Data, save
from training.folders import read, synthetic
from training.generated import movielens_25m
from training.results import Point, Results, Row
from training.speed import Workload
from training.trainers import DEFAULT, LARGE

SMALL, MEDIUM, BIG, LIKE_25M = "ml-latest-small", "synth1m", "synth25m", "MovieLens 25M's size"
MOVIELENS = Path(os.environ.get("RECSVC_TEST_DATA", HERE.parents[1] / "shared" / SMALL))
SMALL_REPETITIONS, LARGE_REPETITIONS = 5, 2
#: With 10 seeds, those of ml-latest-small alone move a difference by 0.0025.
SMALL_SEEDS, MEDIUM_SEEDS = 30, 10
#: Ten epochs for 1M ratings: LightFM would take an hour for more, with ten seeds.
MEDIUM_HOW = LARGE.model_copy(update={"epochs": 10})


@dataclass(frozen=True)
class Bench:
    """What the parts have in common."""

    data: Path  #: folder of the synthetic data sets
    scratch: Path  #: folder of the arrays made of them
    threads: int
    seeds: int | None  #: models for each quality; None leaves it to the part
    repetitions: int | None  #: of each speed; None leaves it to the part

    def arrays(self, name: str, protocol: str | None = None, *, features: bool = True) -> Path:
        """Return the folder of the arrays of a data set, made if they are not there."""
        path = self.scratch / f"{name}-{protocol or 'whole'}-{'hybrid' if features else 'cf'}"
        if not path.exists():
            data = self._made(name, protocol)
            save(data if features else data.without_features(), path)
        return path

    def _made(self, name: str, protocol: str | None) -> Data:
        if name == LIKE_25M:
            return movielens_25m()
        return read(MOVIELENS if name == SMALL else synthetic(name, self.data), protocol)


def first_call(_: Bench) -> list[Row]:
    """Compilation, in a process that has nothing cached."""
    return speed.first_call()


def small(bench: Bench) -> list[Row]:
    """ml-latest-small, default hyper-parameters, all epochs."""
    arrays = bench.arrays(SMALL, "random")
    workload = Workload(f"{SMALL}, hybrid", arrays, "default", DEFAULT.epochs, fits=3)
    repetitions = bench.repetitions or SMALL_REPETITIONS
    return speed.times(workload, speed.alternate(workload, repetitions, bench.threads), target=5)


def quality_random(bench: Bench) -> list[Row]:
    """NDCG@10 on a random share of ml-latest-small."""
    return [_quality(bench, SMALL, "random")]


def quality_leave_last(bench: Bench) -> list[Row]:
    """NDCG@10 on the last positives of each user of ml-latest-small."""
    return [_quality(bench, SMALL, "leave_last")]


def quality_synthetic(bench: Bench) -> list[Row]:
    """NDCG@10 on a random share of 1M synthetic ratings."""
    name = f"{MEDIUM}, random, {MEDIUM_HOW.epochs} epochs"
    seeds = bench.seeds or MEDIUM_SEEDS
    return [quality.compare(name, bench.arrays(MEDIUM, "random"), MEDIUM_HOW, seeds)]


def warm_start(bench: Bench) -> list[Row]:
    """A fifth of the epochs, from a model of 99 % of the positives."""
    return [quality.warm_start(bench.arrays(SMALL, "random"), bench.seeds or SMALL_SEEDS)]


def large(bench: Bench) -> list[Row]:
    """One hybrid epoch at the size of MovieLens 25M."""
    workload = Workload(f"{LIKE_25M}, hybrid", bench.arrays(LIKE_25M), "large", 1)
    return _large(bench, workload, target=10)


def large_cf(bench: Bench) -> list[Row]:
    """One epoch at the size of MovieLens 25M without features."""
    arrays = bench.arrays(LIKE_25M, features=False)
    return _large(bench, Workload(f"{LIKE_25M}, without features", arrays, "large", 1), target=5)


def growth(bench: Bench) -> list[Row]:
    """The fast trainer alone, from 1M to 25M ratings."""
    few = Workload(MEDIUM, bench.arrays(MEDIUM), "large", 1)
    many = Workload(BIG, bench.arrays(BIG), "large", 1)
    return speed.growth(few, many, bench.repetitions or SMALL_REPETITIONS, bench.threads)


PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "first-call": first_call,
    "small": small,
    "quality-random": quality_random,
    "quality-leave-last": quality_leave_last,
    "quality-synthetic": quality_synthetic,
    "warm-start": warm_start,
    "large": large,
    "large-cf": large_cf,
    "growth": growth,
}
CURVE = "curve"
NAMES = (*PARTS, CURVE)


def main() -> None:
    """Measure part by part, print and write the results."""
    options = _options()
    results = Results(NAMES)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        bench = Bench(
            options.data or scratch, scratch, options.threads, options.seeds, options.repetitions
        )
        for part in options.parts:
            started = time.perf_counter()
            rows, points = _measured(part, bench)
            results.record(part, rows, points)
            print(f"{part}: {time.perf_counter() - started:.0f} s", flush=True)
            if points:
                plot(results.path)


def _measured(part: str, bench: Bench) -> tuple[list[Row], list[Point]]:
    if part == CURVE:
        return [], curve(bench.arrays(SMALL, "random"), bench.threads)
    return PARTS[part](bench), []


def _quality(bench: Bench, name: str, protocol: str) -> Row:
    arrays = bench.arrays(name, protocol)
    return quality.compare(f"{name}, {protocol}", arrays, DEFAULT, bench.seeds or SMALL_SEEDS)


def _large(bench: Bench, workload: Workload, target: float) -> list[Row]:
    repetitions = bench.repetitions or LARGE_REPETITIONS
    runs = speed.alternate(workload, repetitions, bench.threads)
    rows = speed.times(workload, runs, target)
    further = speed.further_epochs(workload, runs, bench.threads)
    return [*rows, further, speed.memory(workload, runs)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=NAMES, default=list(NAMES), metavar="PART")
    parser.add_argument(
        "--data",
        type=Path,
        help=f"keep {MEDIUM}/ and {BIG}/ in this folder, and take them from it if they are there",
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--seeds",
        type=int,
        help=f"models for each quality: {SMALL_SEEDS}, synthetic {MEDIUM_SEEDS}",
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        help=f"of each speed: {SMALL_REPETITIONS}, large {LARGE_REPETITIONS}",
    )
    parser.epilog = f"Parts: {', '.join(NAMES)}."
    return parser.parse_args()


if __name__ == "__main__":
    main()
