"""Ingest a folder of MovieLens files: read everything, then change the database at once."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.errors import SourceDataError
from recsvc.ingest.files.parsed import ParsedFile, Reject
from recsvc.ingest.files.reading import MovieIds, read_file, storable
from recsvc.ingest.files.source_file import SourceFile
from recsvc.ingest.sources.formats import FORMATS, MOVIES, RATINGS, Format, format_of
from recsvc.runtime.checkpoints import checkpoint
from recsvc.store.database.snapshot import Snapshot, snapshot
from recsvc.store.database.transactions import loading, reading
from recsvc.store.sources.changes import Changes
from recsvc.store.sources.ingest_log import FileChanges, lock_sources, record_ingest
from recsvc.store.sources.settling import settle
from recsvc.store.sources.source_tables import known_movie_ids

OnBytes = Callable[[str, int], None]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did, or with a dry run would have done."""

    ingest_id: int | None  #: row in ``ingests``; ``None`` for a dry run
    files: list[FileChanges]  #: one entry for each file, in the order of reading
    rejects: list[Reject]  #: rows that were not accepted

    @property
    def changed(self) -> int:
        """Rows inserted or updated."""
        return sum(file.inserted + file.updated for file in self.files)


def ingest_folder(
    engine: sa.Engine,
    folder: Path,
    *,
    max_rejects: float = 1.0,
    dry_run: bool = False,
    on_bytes: OnBytes | None = None,
) -> IngestReport:
    """Bring the files of a folder into the source tables, all of them or nothing.

    Args:
        engine: the database.
        folder: holds ratings.csv and movies.csv, and may hold tags.csv, links.csv and users.csv.
        max_rejects: percentage of bad rows in a file up to which they are put aside.
        dry_run: report what would change, and change nothing.
        on_bytes: called with a file name and the number of bytes just read.

    Raises:
        SourceDataError: a file is missing, unreadable, of another form, or too bad.
    """
    started_at = datetime.now(UTC)
    with _collector_paused():
        parsed = _parse(engine, folder, max_rejects, on_bytes)
    rejects = [reject for file in parsed for reject in file.rejects]
    if dry_run:
        return IngestReport(None, [counts for _, counts in _compare(engine, parsed)], rejects)
    with loading(engine) as connection:
        lock_sources(connection)
        compared = _compare(engine, parsed)
        for changes, counts in compared:
            format_of(counts.file).into.write_changes(connection, changes)
            checkpoint(f"ingest:{counts.file}:written")
        files = [counts for _, counts in compared]
        source = storable(str(folder.resolve()))
        rows = _reject_rows(rejects)
        ingest_id = record_ingest(
            connection, source, started_at, files, rows, _newest_rating(parsed)
        )
    return IngestReport(ingest_id, files, rejects)


def settle_tables(engine: sa.Engine, report: IngestReport) -> None:
    """Do at once what a first load leaves to be done; whoever stops it loses nothing."""
    settle(engine, [(format_of(file.file).into, file) for file in report.files])


def present_files(folder: Path) -> list[tuple[Format, Path]]:
    """Return the files of a folder that recsvc reads.

    Raises:
        SourceDataError: the folder or a required file is not there.
    """
    try:
        if folder.is_file():
            raise SourceDataError(f"{folder} is a file: name the folder that holds it.")
        if not folder.is_dir():
            raise SourceDataError(
                f"There is no folder {folder}: name one that holds MovieLens CSVs."
            )
        # A dangling link is listed as well: a file that is meant to be there is not passed over.
        found = {entry.name: entry.is_file() for entry in os.scandir(folder)}
    except OSError as error:
        raise SourceDataError(f"The folder {folder} cannot be read: {error.strerror}.") from None
    for kind in FORMATS:
        if kind.required and kind.file not in found:
            raise SourceDataError(
                f"{folder} has no {kind.file}; ratings.csv and movies.csv are required."
            )
        if not found.get(kind.file, True):
            raise SourceDataError(
                f"{folder / kind.file} is not a file; put the CSV there, or remove it."
            )
    return [(kind, folder / kind.file) for kind in FORMATS if kind.file in found]


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare the search for cycles among rows by the million, of which none is in a cycle.

    It would take as long as the parsing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parse(
    engine: sa.Engine, folder: Path, max_rejects: float, on_bytes: OnBytes | None
) -> list[ParsedFile]:
    with reading(engine) as connection:
        movie_ids = known_movie_ids(connection)
    parsed: list[ParsedFile] = []
    sources: list[SourceFile] = []
    for kind, path in present_files(folder):
        source = SourceFile(path, _for_file(on_bytes, kind.file))
        sources.append(source)
        file = read_file(source, kind, _catalogue(kind, movie_ids))
        file.require_acceptable(max_rejects)
        parsed.append(file)
        checkpoint(f"ingest:{file.name}:parsed")
        if kind is MOVIES:
            movie_ids = np.union1d(movie_ids, file.rows["movie_id"].to_numpy())
    for source in sources:  # they belong together: none may have changed while another was read
        source.require_unchanged()
    return parsed


def _catalogue(kind: Format, movie_ids: MovieIds) -> MovieIds | None:
    refers = kind is not MOVIES and "movie_id" in kind.into.columns
    return movie_ids if refers else None


def _for_file(on_bytes: OnBytes | None, file: str) -> Callable[[int], None] | None:
    return (lambda count: on_bytes(file, count)) if on_bytes else None


def _compare(engine: sa.Engine, parsed: list[ParsedFile]) -> list[tuple[Changes, FileChanges]]:
    """Compare files with what is committed: the rows that differ, and the counts."""
    with snapshot(engine) as database:
        return [_changes(database, file) for file in parsed]


def _changes(database: Snapshot, file: ParsedFile) -> tuple[Changes, FileChanges]:
    changes = format_of(file.name).into.find_changes(database, file.rows)
    return changes, FileChanges(
        file=file.name,
        sha256=file.sha256,
        bytes=file.bytes,
        inserted=len(changes.inserted),
        updated=len(changes.updated),
        unchanged=changes.unchanged,
        duplicates=file.duplicates,
        rejected=len(file.rejects),
    )


def _newest_rating(parsed: list[ParsedFile]) -> int | None:
    ratings = next(file.rows for file in parsed if file.name == RATINGS.file)
    return int(ratings["rated_at"].max()) if len(ratings) else None


def _reject_rows(rejects: list[Reject]) -> pd.DataFrame:
    columns = ["file", "line", "reason", "raw"]
    return pd.DataFrame([asdict(reject) for reject in rejects], columns=columns)
