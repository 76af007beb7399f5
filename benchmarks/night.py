"""Whole nights: ingest and retrain with the default settings, phase by phase, at several sizes.

``python benchmarks/night.py`` takes some minutes for up to 1M ratings; ``--large`` goes up to 25M
and takes an hour. Commands are processes of their own, on databases made for them. The plot of cost
against size needs matplotlib in the peers' environment.
"""

import argparse
import math
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import sqlalchemy as sa
from databases import MakeEngine, command, databases
from measure import HERE, PEER_PYTHON, RESULTS, Report, peer_has

from recsvc.datasets.synthetic.dataset import write_synthetic
from recsvc.store.contract.tables import run_phases, runs
from recsvc.store.database.transactions import reading

NAMES = ("sqlite", "postgresql")
SIZES = [100_000, 300_000, 1_000_000]
LARGE_SIZES = [1_000_000, 5_000_000, 25_000_000]
MOST_MEMORY_MIB = 4096
EXPONENT = 1.05
TRAINING = ("fit", "refit")
#: Counted in the phase that consumes them as well.
WITHIN = ("rank", "rank:similar_movies")


@dataclass(frozen=True)
class Night:
    """An ingest into an empty database and the retrain after it."""

    database: str
    ratings: int
    ingest_seconds: float  #: the whole command
    ingest_mib: int  #: peak resident memory
    retrain_seconds: float  #: the whole command
    retrain_mib: int
    phases: dict[str, float] = field(default_factory=dict)  #: seconds of each phase of the retrain

    @property
    def training(self) -> float:
        """Seconds of the trainer alone."""
        return sum(took for name, took in self.phases.items() if name.split(":")[0] in TRAINING)

    @property
    def around(self) -> float:
        """Seconds of all but training."""
        return self.ingest_seconds + self.retrain_seconds - self.training


def main() -> None:
    """Measure, print and write the results."""
    options = _options()
    report = Report(
        "night_large" if options.large else "night",
        "Whole nights",
        {"ratings": ", ".join(f"{size:,}" for size in options.sizes), "settings": "default"},
    )
    nights = _former(report, options.databases)
    with ExitStack() as stack:
        folders = [_data(stack, options.data, size) for size in options.sizes]
        for name in options.databases:
            new = _nights(name, dict(zip(options.sizes, folders, strict=True)))
            _conclude(report, new)
            nights += new
            report.measurements["nights"] = list(map(asdict, nights))
            report.write()  # what is measured so far
    largest = [night for night in nights if night.ratings == options.sizes[-1]]
    report.state(_table(sorted(largest, key=lambda night: NAMES.index(night.database))))
    report.write()
    _plot(report)


def _former(report: Report, measured: Sequence[str]) -> list[Night]:
    """Take over the nights of the other database."""
    kept = report.keep_others(measured)
    report.facts = [fact for fact in report.facts if fact.startswith(NAMES)]
    report.comparisons.clear()
    names = {field.name for field in fields(Night)}
    former = ({name: night[name] for name in names} for night in kept.get("nights", []))
    return [Night(**night) for night in former if night["database"] not in measured]


def _nights(name: str, folders: dict[int, Path]) -> list[Night]:
    """One night for each size, ascending."""
    nights: list[Night] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make = stack.enter_context(databases(name, scratch))
        for size, folder in folders.items():
            nights.append(_night(name, size, make, folder))
            print(nights[-1], flush=True)
    return nights


def _data(stack: ExitStack, given: Path | None, size: int) -> Path:
    folder = (given or Path(stack.enter_context(tempfile.TemporaryDirectory()))) / str(size)
    if not folder.exists():
        write_synthetic(folder, ratings=size, seed=1)
    return folder


def _night(name: str, size: int, make: MakeEngine, data: Path) -> Night:
    engine = make()
    ingest = command(engine.url, "ingest", str(data))
    retrain = command(engine.url, "retrain", "--force")
    with reading(engine) as connection:
        run_id = connection.scalar(sa.select(runs.c.run_id))
        phases = connection.execute(
            sa.select(run_phases.c.phase, run_phases.c.seconds)
            .where(run_phases.c.run_id == run_id)
            .order_by(run_phases.c.started_at)
        ).all()
    return Night(
        database=name,
        ratings=size,
        ingest_seconds=ingest.seconds,
        ingest_mib=ingest.peak_mib,
        retrain_seconds=retrain.seconds,
        retrain_mib=retrain.peak_mib,
        phases={row.phase: row.seconds for row in phases},
    )


def _conclude(report: Report, nights: list[Night]) -> None:
    smallest, largest = nights[0], nights[-1]
    name = largest.database
    for what, small, large in (
        ("the whole night", _whole(smallest), _whole(largest)),
        ("all but training", smallest.around, largest.around),
        ("training", smallest.training, largest.training),
        ("peak memory", smallest.retrain_mib, largest.retrain_mib),
    ):
        exponent = math.log(large / small) / math.log(largest.ratings / smallest.ratings)
        verdict = "met" if exponent <= EXPONENT else "**missed**"
        report.state(
            f"{name}: {what} grows with the power {exponent:.2f} of the ratings, from "
            f"{smallest.ratings:,} to {largest.ratings:,}; at most {EXPONENT}: {verdict}.\n"
        )
    peak = max(largest.ingest_mib, largest.retrain_mib)
    verdict = "met" if peak <= MOST_MEMORY_MIB else "**missed**"
    report.state(
        f"{name}: peak resident memory {peak:,} MiB; at most {MOST_MEMORY_MIB:,}: {verdict}.\n"
    )


def _whole(night: Night) -> float:
    return night.ingest_seconds + night.retrain_seconds


def _table(nights: list[Night]) -> str:
    """Seconds of each phase, a column for each database."""
    lines = [
        f"Seconds at {nights[0].ratings:,} ratings:\n",
        "| phase | " + " | ".join(night.database for night in nights) + " |",
        "|---" * (len(nights) + 1) + "|",
    ]
    for label, seconds in _table_rows(nights):
        lines.append(f"| {label} | " + " | ".join(f"{value:,.1f}" for value in seconds) + " |")
    return "\n".join(lines) + "\n"


def _table_rows(nights: list[Night]) -> Iterator[tuple[str, list[float]]]:
    yield "ingest, the whole command", [night.ingest_seconds for night in nights]
    for phase in nights[0].phases:
        label = f"of which {phase}" if phase in WITHIN else phase
        yield label, [night.phases.get(phase, math.nan) for night in nights]
    yield "retrain, the whole command", [night.retrain_seconds for night in nights]
    yield "**the night**", [_whole(night) for night in nights]
    yield "of which training", [night.training for night in nights]
    yield "all but training", [night.around for night in nights]


def _plot(report: Report) -> None:
    if not peer_has("matplotlib"):
        print("matplotlib is not installed in the peers' environment: no plot", flush=True)
        return
    script = HERE / "peers" / "plot_night.py"
    results = RESULTS / f"{report.name}.json"
    subprocess.run([PEER_PYTHON, script, results, results.with_suffix(".svg")], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="up to 25M ratings")
    parser.add_argument("--sizes", type=int, nargs="+", help="ratings, ascending")
    parser.add_argument("--data", type=Path, help="where data are made and found again")
    parser.add_argument("--databases", nargs="+", choices=NAMES, default=list(NAMES))
    options = parser.parse_args()
    options.sizes = options.sizes or (LARGE_SIZES if options.large else SIZES)
    return options


if __name__ == "__main__":
    main()
