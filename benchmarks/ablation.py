"""What the trainer's tricks bring: an epoch at the size of MovieLens 25M, with and without each.

A trick that a newcomer could not maintain stays only if a night without it takes a twentieth
longer. Each variant is a process of its own, with a cache of its own for compiled code, and the
variants take turns. What the tricks compute is the same, and so must the embeddings be.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from numba import njit

VARIANTS = ("as it is", "without prefetch")
HERE = Path(__file__).resolve().parent


def main() -> None:
    """Measure the variants in turn, or one of them in this process."""
    options = _options()
    if options.variant:
        _measure(options.variant, Path(options.data), options.epochs, options.threads)
        return
    from training.data import save  # noqa: PLC0415 - the variants are set before recsvc is imported
    from training.generated import movielens_25m  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        save(movielens_25m(), folder)
        found: dict[str, list[float]] = {name: [] for name in VARIANTS}
        digests = set()
        for _ in range(options.repetitions):
            for name in VARIANTS:
                answer = _in_process(name, folder, Path(scratch), options)
                found[name] += answer["seconds"]
                digests.add(answer["digest"])
        for name, seconds in found.items():
            middle = statistics.median(seconds)
            ratio = middle / statistics.median(found[VARIANTS[0]])
            shown = ", ".join(f"{second:.1f}" for second in seconds)
            print(f"{name:18} {middle:6.2f} s an epoch, {ratio:.3f} of the first ({shown})")
        print("embeddings are the same" if len(digests) == 1 else "embeddings DIFFER")


def _in_process(
    variant: str, data: Path, scratch: Path, options: argparse.Namespace
) -> dict[str, Any]:
    command = [sys.executable, __file__, "--variant", variant, "--data", str(data)]
    command += ["--epochs", str(options.epochs), "--threads", str(options.threads)]
    cache = {"NUMBA_CACHE_DIR": str(scratch / variant.replace(" ", "_"))}
    done = subprocess.run(
        command, env=os.environ | cache, check=True, stdout=subprocess.PIPE, text=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _measure(variant: str, folder: Path, epochs: int, threads: int) -> None:
    _go_without(variant)
    from training.data import load, tiny  # noqa: PLC0415
    from training.trainers import DEFAULT, model  # noqa: PLC0415

    from recsvc.model.lightfm import fitting  # noqa: PLC0415

    seconds: list[float] = []
    train = fitting.fast_train

    def timed(*arguments: Any, **named: Any) -> Any:
        summary = train(*arguments, **named)
        seconds.append(summary.seconds / summary.epochs)
        return summary

    fitting.fast_train = timed
    model("fast", tiny(), DEFAULT.model_copy(update={"epochs": 1}), 0, threads=threads)  # compiles
    several = DEFAULT.model_copy(update={"epochs": epochs})
    trained = model("fast", load(folder), several, 0, threads=threads)
    digest = hashlib.sha256(trained.items.embeddings.tobytes()).hexdigest()
    print(json.dumps({"seconds": seconds[1:], "digest": digest}))


def _go_without(variant: str) -> None:
    """Put plain functions in the place of a trick, before anything imports it."""
    if variant == "without prefetch":
        nothing = njit(inline="always", error_model="numpy")(_no_prefetch)
        _stand_in("prefetch", prefetch=nothing, CACHE_LINE=64)


def _stand_in(name: str, **functions: Any) -> None:
    module = types.ModuleType(f"recsvc.model.fast.{name}")
    vars(module).update(functions)
    sys.modules[module.__name__] = module


def _no_prefetch(array: Any, row: Any) -> None:
    pass


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--variant", choices=VARIANTS, help="measure one, in this process")
    parser.add_argument("--data", help="where its arrays are")
    return parser.parse_args()


if __name__ == "__main__":
    main()
