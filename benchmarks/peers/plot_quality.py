"""Quality against seconds as a picture. Usage: ``plot_quality.py train.json OUT.svg``."""

import json
import sys
from itertools import groupby
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

WIDTH, HEIGHT = 7.0, 4.5


def main() -> None:
    """Draw a line for each trainer."""
    mpl.rcParams["svg.hashsalt"] = "recsvc"  # the same points give the same file
    mpl.rcParams["svg.fonttype"] = "none"
    parts = json.loads(Path(sys.argv[1]).read_text())["parts"]
    points = [point for part in parts.values() for point in part["points"]]
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
    for trainer, line in groupby(points, key=lambda point: point["trainer"]):
        found = list(line)
        seconds, quality = ([point[key] for point in found] for key in ("seconds", "ndcg"))
        axes.plot(seconds, quality, marker="o", label=trainer)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("NDCG@10, random split")
    axes.set_title("ml-latest-small, 64 components")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
