"""How commands show what they found: on stdout as tables, JSON or CSV, all else on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]

PIPE_WIDTH = 200  # a pipe has no width; lines are not to be broken for it

stderr = Console(stderr=True)


def _stdout() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def print_json(value: Any) -> None:
    """Print a value as JSON; times in ISO 8601, UTC."""
    print(json.dumps(value, default=_as_json, indent=2, ensure_ascii=False))  # noqa: T201


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "_asdict"):
        return value._asdict()
    return str(value)


def print_exactly(text: str) -> None:
    """Write text to stdout as UTF-8, line ends as they are, whatever the locale says."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def print_rows(rows: Sequence[Row], columns: Iterable[str]) -> None:
    """Print rows as a table of these columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        numeric = any(isinstance(row[name], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_cell(name, row[name])) for name in columns))
    _stdout().print(table)


def _cell(column: str, value: Any) -> str:
    """An id is shown as commands take it, everything else as people read it."""
    return str(value) if column.endswith("_id") and value is not None else shown(value)


def print_line(text: str) -> None:
    """Print a line of text as it is."""
    _stdout().print(Text(text), soft_wrap=True)


def shown(value: Any) -> str:
    """Return a value as people read it.

    >>> shown(0.123456), shown(12345), shown(None)
    ('0.1235', '12,345', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)  # noqa: PLR2004 - 4 digits read well
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return str(value)


def megabytes(count: int | None) -> str:
    """Return a number of bytes in MiB.

    >>> megabytes(3 << 20)
    '3 MiB'
    """
    return "-" if count is None else f"{count / (1 << 20):.0f} MiB"


@contextmanager
def byte_progress(total: int, verb: str) -> Iterator[Callable[[str, int], None]]:
    """Show a bar while bytes of several files pass; nothing where stderr is no terminal."""
    columns = (TextColumn(f"{verb} {{task.description}}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total or None)
        yield lambda name, count: bar.update(task, description=name, advance=count)
