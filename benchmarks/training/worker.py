"""One trainer in a process of its own, so that its peak of memory is its own too.

Usage: ``python -m training.worker FOLDER TRAINER EPOCHS FITS THREADS large|default``, in the
folder of the benchmarks. Prints seconds and processor seconds of each fit, the peak in MB.
"""

import json
import sys
import time
from pathlib import Path

from training.data import load, tiny
from training.trainers import DEFAULT, LARGE, TRAINERS, train


def main() -> None:
    """Load compiled code with a few rows, then train as measured."""
    folder, name, epochs, fits, threads, size = sys.argv[1:]
    (trainer,) = (known for known in TRAINERS if known == name)
    how = (LARGE if size == "large" else DEFAULT).model_copy(update={"epochs": int(epochs)})
    train(trainer, tiny(), how.model_copy(update={"epochs": 1}), int(threads))
    data = load(Path(folder))
    seconds, processor = [], []
    for _ in range(int(fits)):
        started, processor_started = time.perf_counter(), time.process_time()
        train(trainer, data, how, int(threads))
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - processor_started)
    positives = len(data.positives.rows)
    print(
        json.dumps(
            {"seconds": seconds, "processor": processor, "peak": _peak(), "positives": positives}
        )
    )


def _peak() -> float:
    """Most memory this process had, in MB.

    Not ``ru_maxrss``: a new process inherits that of whoever started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
