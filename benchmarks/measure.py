"""Measuring side by side: alternating repetitions, medians of ratios, and a record of it all."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

#: Python of the environment that holds the peers, made from ``peers/requirements.txt``.
PEER_PYTHON = Path(os.environ.get("RECSVC_BENCH_PEER_PYTHON", HERE / ".peers" / "bin" / "python"))

#: Python of RecTools' environment, made from ``peers/rectools.txt``.
RECTOOLS_PYTHON = Path(
    os.environ.get("RECSVC_BENCH_RECTOOLS_PYTHON", HERE / ".peers-rectools" / "bin" / "python")
)

_PACKAGES = ("numpy", "scipy", "numba", "lightfm-next", "pandas", "pyarrow", "sqlalchemy")


@dataclass(frozen=True)
class Comparison:
    """One row of the table: our time against a peer's for the same amount of work."""

    work: str  #: what was done
    ours: float  #: median units of work a second
    peer: str  #: what it is compared with
    theirs: float  #: median units of work a second
    unit: str  #: what is counted, such as ``users``
    ratio: float  #: median over repetitions of our speed over theirs
    target: float  #: what the ratio must reach
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio >= self.target


@dataclass
class Report:
    """What one benchmark found, written as JSON and Markdown under the same name."""

    name: str
    title: str
    parameters: dict[str, Any]
    comparisons: list[Comparison] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    measurements: dict[str, Any] = field(default_factory=dict)

    def keep_others(self, measured: Sequence[str]) -> dict[str, Any]:
        """Take over what is not measured now: other databases, all else being the same.

        Returns:
            The former measurements; none if something else was another.
        """
        path = RESULTS / f"{self.name}.json"
        former = json.loads(path.read_text()) if path.exists() else {}
        there, here = former.get("machine", {}), machine()
        alike = there | {"command": ""} == here | {"command": ""}
        if not alike or former.get("parameters") != self.parameters:
            return {}
        now = tuple(f"{name}:" for name in measured)
        rows = (Comparison(**row) for row in former["comparisons"])
        self.comparisons += (row for row in rows if not row.work.startswith(now))
        self.facts += (fact for fact in former["facts"] if not fact.startswith(now))
        measurements: dict[str, Any] = former.get("measurements", {})
        return measurements

    def add(self, comparison: Comparison) -> None:
        """Take a row and show it."""
        self.comparisons.append(comparison)
        print(_markdown_row(comparison), flush=True)

    def skip(self, reason: str) -> None:
        """Note what could not be measured."""
        self.skipped.append(reason)
        print(f"skipped: {reason}", flush=True)

    def state(self, fact: str) -> None:
        """Note something that is no comparison."""
        self.facts.append(fact)
        print(fact, flush=True)

    def write(self) -> None:
        """Write ``results/NAME.json`` and ``results/NAME.md``."""
        RESULTS.mkdir(exist_ok=True)
        record = {"machine": machine(), **asdict(self)}
        (RESULTS / f"{self.name}.json").write_text(json.dumps(record, indent=2) + "\n")
        (RESULTS / f"{self.name}.md").write_text(self.markdown())

    def markdown(self) -> str:
        """The table, with the machine it was measured on."""
        about = machine()
        versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        lines = [
            f"# {self.title}",
            "",
            f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, "
            f"Python {about['python']}; {versions}. "
            + ", ".join(f"{key} {value}" for key, value in self.parameters.items())
            + ".",
            "",
            *(_MARKDOWN_HEAD if self.comparisons else []),
            *map(_markdown_row, self.comparisons),
            *([""] if self.comparisons else []),
            *self.facts,
            *(f"Skipped: {reason}" for reason in self.skipped),
        ]
        return "\n".join(lines).rstrip() + "\n"


_MARKDOWN_HEAD = (
    "| work | ours | against | theirs | ratio | target | |",
    "|---|---|---|---|---|---|---|",
)


def _markdown_row(row: Comparison) -> str:
    verdict = "met" if row.met else "**missed**"
    note = f"; {row.note}" if row.note else ""
    return (
        f"| {row.work} | {row.ours:,.0f} {row.unit}/s | {row.peer} | {row.theirs:,.0f} {row.unit}/s"
        f" | {row.ratio:,.2f} | {row.target:,.2f} | {verdict}{note} |"
    )


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(
    contenders: Mapping[str, Callable[[], float]], repetitions: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Run the contenders in turn, so that a busy machine is busy for all of them.

    Args:
        contenders: Each does its work and returns its own speed in units of work a second.
        repetitions: Rounds that count.
        warm_up: Whether one more goes before them.

    Returns:
        For each contender its speed in every round.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + warm_up):
        for name, work in contenders.items():
            speed = work()
            if repetition >= warm_up:
                speeds[name].append(speed)
    return speeds


def compared(
    work: str,
    unit: str,
    speeds: Mapping[str, Sequence[float]],
    peer: str,
    *,
    target: float,
    note: str = "",
) -> Comparison:
    """Make a row of the speeds of ``ours`` and of ``peer``, measured in alternation."""
    ours, theirs = speeds["ours"], speeds[peer]
    return Comparison(
        work=work,
        ours=statistics.median(ours),
        peer=peer,
        theirs=statistics.median(theirs),
        unit=unit,
        ratio=statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        target=target,
        note=note,
    )


class Peer:
    """A script of ``peers/`` in its own environment, which does work when it is asked.

    It prints one JSON line when it is ready and one for each line it is sent.
    """

    def __init__(
        self,
        script: str,
        *arguments: str,
        python: Path = PEER_PYTHON,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [str(python), str(HERE / "peers" / script), *arguments]
        self._environment = {**os.environ, **(environment or {})}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        self.about: dict[str, Any] = self._answer()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, question: str) -> dict[str, Any]:
        """Send one line and wait for the answer."""
        if self._process.stdin is None:
            raise RuntimeError("the peer has no input")
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{' '.join(self._command)} ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


def peer_has(module: str, python: Path = PEER_PYTHON) -> bool:
    """Whether an environment of peers exists and can import ``module``."""
    if not python.exists():
        return False
    tried = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    return tried.returncode == 0


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: number for name in _PACKAGES if (number := _version(name))},
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
