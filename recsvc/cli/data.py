"""Commands about source data."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsvc.cli import display
from recsvc.cli.application import Json, app, engine_at_head
from recsvc.datasets.download import NAMES, download

if TYPE_CHECKING:
    from recsvc.ingest.folder import IngestReport


@app.command("ingest")
def ingest_command(
    folder: Annotated[Path, typer.Argument(help="Holds ratings.csv, movies.csv, ...")],
    max_rejects: Annotated[
        float, typer.Option(min=0, max=100, help="Bad rows tolerated in a file, in percent.")
    ] = 1.0,
    dry_run: Annotated[
        bool, typer.Option(help="Report what would change; change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a folder of MovieLens CSVs into the database: all of it or nothing.

    Example: recsvc ingest ml-latest-small
    """
    from recsvc.ingest.folder import ingest_folder, present_files, settle_tables

    engine = engine_at_head()
    total = sum(path.stat().st_size for _, path in present_files(folder))
    with display.byte_progress(total, "reading") as on_bytes:
        report = ingest_folder(
            engine, folder, max_rejects=max_rejects, dry_run=dry_run, on_bytes=on_bytes
        )
    _print_report(report, dry_run=dry_run, as_json=as_json)
    if report.ingest_id is not None:
        settle_tables(engine, report)  # whoever stops this has read that all is ingested


def _print_report(report: "IngestReport", *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        display.print_json(asdict(report))
        return
    columns = ("file", "inserted", "updated", "unchanged", "duplicates", "rejected")
    display.print_rows([asdict(file) for file in report.files], columns)
    for reject in report.rejects[:5]:
        display.stderr.print(f"rejected: {reject}", markup=False, highlight=False, soft_wrap=True)
    if not report.changed:
        rejected = len(report.rejects)
        rows = "rejected row" if rejected == 1 else "rejected rows"
        but = f", but for {rejected:,} {rows}" if rejected else ""
        display.print_line(f"Nothing changed: the database holds these files already{but}.")
    elif dry_run:
        display.print_line(f"Dry run: {report.changed:,} rows would change.")
    else:
        display.print_line(f"Ingest {report.ingest_id}: {report.changed:,} rows changed.")


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")],
    ratings: Annotated[int, typer.Option(min=1, help="Rows of ratings.csv.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 42,
    as_json: Json = False,
) -> None:
    """Write MovieLens-shaped CSVs of any size, and attributes of their users.

    Example: recsvc synth synthetic --ratings 1000000
    """
    from recsvc.datasets.synthetic.dataset import write_synthetic

    summary = write_synthetic(folder, ratings=ratings, seed=seed)
    if as_json:
        display.print_json(asdict(summary))
    else:
        display.print_line(
            f"{folder}: {summary.ratings:,} ratings and {summary.tags:,} tags of "
            f"{summary.users:,} users for {summary.movies:,} movies; "
            f"users without ratings: {summary.newcomers:,}."
        )


@app.command("download")
def download_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}.")],
    folder: Annotated[Path, typer.Argument(help="Where to put the data set's own folder.")],
) -> None:
    """Fetch a MovieLens data set from GroupLens and verify its checksum.

    Example: recsvc download ml-latest-small data
    """
    display.print_line(f"{download(name, folder)}")
