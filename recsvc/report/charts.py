"""Where bars, lines and labels of a chart go; ``templates/charts.html`` draws them as SVG.

Lengths are in units of the picture, which is scaled to the width of the page.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

WIDTH = 480
ROW, HEADING, AXIS = 22, 24, 26
NAMES, VALUES = 176, 62  #: room for text left and right of bars
HEIGHT, TOP, SCALE = 240, 14, 52  #: of a line chart; room above it and left of it
MOST_TICKS = 5
MOST_LABELS = 8  #: below the points of a line chart


@dataclass(frozen=True)
class Bar:
    """A value with its interval, if it has one."""

    name: str
    series: str  #: whose colour it has
    value: float
    text: str  #: the value as people read it
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """A value at one of the places along a line chart."""

    place: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class DrawnBar:
    """A bar in its place."""

    bar: Bar
    y: float  #: of its upper edge
    x: float
    width: float
    whisker: tuple[float, float] | None  #: from x to x


@dataclass(frozen=True)
class Heading:
    """A line of text above bars."""

    text: str
    y: float


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars, in groups, on one scale."""

    kind: ClassVar[str] = "bars"
    height: float
    bottom: float  #: where the axis is
    headings: Sequence[Heading]
    bars: Sequence[DrawnBar]
    ticks: Sequence[Tick]


@dataclass(frozen=True)
class DrawnLine:
    """A series in its place."""

    series: str
    dots: Sequence[tuple[float, float]]
    whiskers: Sequence[tuple[float, float, float]]  #: x, and from y to y


@dataclass(frozen=True)
class LineChart:
    """Lines over places in order, such as nights."""

    kind: ClassVar[str] = "lines"
    height: float
    left: float
    bottom: float
    lines: Sequence[DrawnLine]
    ticks: Sequence[Tick]  #: of the values
    labels: Sequence[Tick]  #: of the places


Chart = BarChart | LineChart


@dataclass(frozen=True)
class Scale:
    """A linear map from values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def round_steps(low: float, high: float) -> list[float]:
    """Return a few round values that span both and zero.

    >>> round_steps(0, 0.0639), round_steps(-0.5, 3)
    ([0.0, 0.02, 0.04, 0.06, 0.08], [-1.0, 0.0, 1.0, 2.0, 3.0])
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = 1.0
    power = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    for step in (power, 2 * power, 5 * power, 10 * power):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= MOST_TICKS:
            break
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def bar_chart(groups: Iterable[tuple[str, Sequence[Bar]]]) -> BarChart:
    """Lay out groups of bars under each other; a group without a heading has none."""
    groups = list(groups)
    steps = _steps(bar for _, bars in groups for bar in bars)
    scale = Scale(steps[0], steps[-1], NAMES, WIDTH - VALUES)
    headings, drawn, y = [], [], 0.0
    for heading, bars in groups:
        if heading:
            headings.append(Heading(heading, y + HEADING - 8))
            y += HEADING
        for bar in bars:
            drawn.append(_drawn(bar, y, scale))
            y += ROW
    ticks = [Tick(scale(step), f"{step:g}") for step in steps]
    return BarChart(y + AXIS, y, headings, drawn, ticks)


def _steps(values: Iterable[Bar | Point]) -> list[float]:
    known = [
        edge
        for value in values
        for edge in (value.value, value.low, value.high)
        if edge is not None
    ]
    return round_steps(min(known, default=0.0), max(known, default=0.0))


def _drawn(bar: Bar, y: float, scale: Scale) -> DrawnBar:
    start, end = sorted((scale(0), scale(bar.value)))
    whisker = None
    if bar.low is not None and bar.high is not None:
        whisker = (scale(bar.low), scale(bar.high))
    return DrawnBar(bar, y, start, round(end - start, 2), whisker)


def line_chart(series: Mapping[str, Sequence[Point]], places: Sequence[str]) -> LineChart:
    """Lay out series over the same places, such as ``run 1``, ``run 2``."""
    bottom = HEIGHT - AXIS
    steps = _steps(point for points in series.values() for point in points)
    up = Scale(steps[0], steps[-1], bottom, TOP)
    along = Scale(-0.5, len(places) - 0.5, SCALE, WIDTH)
    lines = [
        DrawnLine(
            name,
            [(along(point.place), up(point.value)) for point in points],
            [
                (along(point.place), up(point.low), up(point.high))
                for point in points
                if point.low is not None and point.high is not None
            ],
        )
        for name, points in series.items()
    ]
    every = math.ceil(len(places) / MOST_LABELS)
    labels = [Tick(along(i), places[i]) for i in range(len(places) - 1, -1, -every)]
    ticks = [Tick(up(step), f"{step:g}") for step in steps]
    return LineChart(HEIGHT, SCALE, bottom, lines, ticks, labels[::-1])
