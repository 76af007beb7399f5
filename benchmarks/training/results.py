"""What was found, part by part: a part that is measured again takes the place of the former."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measure import RESULTS, machine

NAME = "train"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    lightfm: float | None  #: LightFM's figure, where there is one
    fast: float  #: the fast trainer's
    unit: str
    result: str  #: how they compare
    target: str = ""  #: what was wanted, if anything was
    met: bool | None = None  #: whether it was reached

    def markdown(self) -> str:
        """The line."""
        slow = "" if self.lightfm is None else f"{self.lightfm:.4g}"
        met = {None: "", True: "met", False: "**missed**"}[self.met]
        return (
            f"| {self.what} | {slow} | {self.fast:.4g} | {self.unit} | {self.result} "
            f"| {self.target} | {met} |"
        )


@dataclass(frozen=True)
class Point:
    """Quality after a training of some length."""

    trainer: str
    epochs: int
    seconds: float
    ndcg: float


class Results:
    """``results/train.json`` and ``train.md``, written after each part."""

    def __init__(self, order: Sequence[str], folder: Path = RESULTS) -> None:
        self._order = order
        self._folder = folder
        self.path = folder / f"{NAME}.json"
        self._parts: dict[str, Any] = {}
        if self.path.exists():
            self._parts = json.loads(self.path.read_text())["parts"]

    def record(self, part: str, rows: Sequence[Row], points: Sequence[Point] = ()) -> None:
        """Take what a part found, show it and write it."""
        for row in rows:
            print(row.markdown(), flush=True)
        self._parts[part] = {
            "machine": machine(),
            "rows": [asdict(row) for row in rows],
            "points": [asdict(point) for point in points],
        }
        self._folder.mkdir(exist_ok=True)
        parts = {name: self._parts[name] for name in self._order if name in self._parts}
        self.path.write_text(json.dumps({"parts": parts}, indent=2) + "\n")
        (self._folder / f"{NAME}.md").write_text(self._markdown(parts))

    def _markdown(self, parts: dict[str, Any]) -> str:
        rows = [Row(**row).markdown() for part in parts.values() for row in part["rows"]]
        machines = dict.fromkeys(_described(part["machine"]) for part in parts.values())
        lines = [
            "# Training",
            "",
            *machines,
            "",
            "| what | LightFM | fast | | result | target | |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
        points = [point for part in parts.values() for point in part["points"]]
        if points:
            lines += ["", "![Quality against seconds](train.svg)", ""]
            lines += ["| trainer | epochs | seconds | NDCG@10 |", "|---|---|---|---|"]
            lines += [
                f"| {p['trainer']} | {p['epochs']} | {p['seconds']:.2f} | {p['ndcg']:.4f} |"
                for p in points
            ]
        return "\n".join(lines) + "\n"


def _described(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, "
        f"Python {about['python']}; {versions}."
    )
