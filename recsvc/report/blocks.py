"""What a page is made of; templates turn each into HTML and escape every text in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from recsvc.report.charts import Chart


@dataclass(frozen=True)
class Text:
    """A paragraph; what stands between backticks is code."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """Rows under a caption; the first cell of a row is its header."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[str] = frozenset()  #: columns that are set flush right
    widest: str = ""  #: the column that takes most of the room


@dataclass(frozen=True)
class Picture:
    """A chart with the text that stands for it where it is not seen."""

    kind: ClassVar[str] = "picture"
    name: str  #: unique on the page
    title: str
    description: str
    chart: Chart


Block = Text | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    name: str  #: unique on the page
    title: str
    blocks: Sequence[Block]
