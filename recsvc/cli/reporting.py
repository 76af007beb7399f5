"""The command that writes the morning report."""

from pathlib import Path
from typing import Annotated

import typer

from recsvc.cli import display
from recsvc.cli.application import app, engine_at_head
from recsvc.errors import UsageError
from recsvc.runtime.files import write_atomically

STDOUT = Path("-")


@app.command()
def report(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; - for stdout.")
    ],
) -> None:
    """Write one HTML page on the state, the quality and the lists, to be read in the morning.

    Example: recsvc report -o report.html
    """
    from recsvc.report.page import render
    from recsvc.store.database.clock import database_now
    from recsvc.store.database.transactions import reading_at_one_moment
    from recsvc.store.reading.overview import read_overview

    _require_place(output)
    with reading_at_one_moment(engine_at_head()) as connection:
        page = render(read_overview(connection), database_now(connection))
    if output == STDOUT:
        display.print_exactly(page)
    else:
        _write(output, page)


def _require_place(output: Path) -> None:
    """Say what is wrong with the path before the database is read."""
    if output != STDOUT and not output.parent.is_dir():
        raise UsageError(f"There is no folder {output.parent} for the report: make it first.")
    if output.is_dir():
        raise UsageError(f"{output} is a folder: name a file in it.")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no regular file: name one, or - for stdout.")


def _write(output: Path, page: str) -> None:
    try:
        write_atomically(output, page)
    except OSError as error:
        raise UsageError(
            f"The report {output} cannot be written: {error.strerror}. "
            "Name a file in a folder that you may write to."
        ) from None
    display.print_line(f"{output}")
