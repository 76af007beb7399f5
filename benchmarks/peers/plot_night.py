"""Cost against size, from ``results/night*.json``: ``plot_night.py RESULTS.json PLOT.svg``."""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "recsvc"

import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first

TRAINING = ("fit", "refit")


def main() -> None:
    """Draw seconds and memory, both axes logarithmic, with the line of linear growth."""
    source, target = map(Path, sys.argv[1:])
    nights = json.loads(source.read_text())["measurements"]["nights"]
    figure, (time, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in dict.fromkeys(night["database"] for night in nights):
        own = [night for night in nights if night["database"] == name]
        sizes = [night["ratings"] for night in own]
        trained = [training(night) for night in own]
        whole = [night["ingest_seconds"] + night["retrain_seconds"] for night in own]
        around = [total - part for total, part in zip(whole, trained, strict=True)]
        (line,) = time.plot(sizes, whole, "o-", label=f"{name}, the whole night")
        time.plot(sizes, around, "o--", color=line.get_color(), label=f"{name}, all but training")
        peaks = [max(night["ingest_mib"], night["retrain_mib"]) for night in own]
        memory.plot(sizes, peaks, "o-", label=name)
    linear(time, "seconds")
    linear(memory, "peak resident memory, MiB")
    figure.savefig(target, metadata={"Date": None})


def training(night: dict[str, dict[str, float]]) -> float:
    """Seconds of the trainer alone."""
    return sum(took for name, took in night["phases"].items() if name.split(":")[0] in TRAINING)


def linear(axes: plt.Axes, label: str) -> None:
    """Finish one plot: the line that grows as the data do, through its first point."""
    sizes, values = axes.lines[0].get_data()
    slope = [values[0] * size / sizes[0] for size in sizes]
    axes.plot(sizes, slope, ":", color="grey", label="as the data grow")
    axes.set(xscale="log", yscale="log", xlabel="ratings", ylabel=label)
    axes.legend(fontsize="small")


if __name__ == "__main__":
    main()
