"""Headers of the files, and what an ingest is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsvc.ingest.folder import IngestReport

MakeFolder = Callable[..., Path]
Contents = dict[str, list[tuple[Any, ...]]]
Read = Callable[..., Contents]
MOVIES = "movieId,title,genres\n"
RATINGS = "userId,movieId,rating,timestamp\n"
TAGS = "userId,movieId,tag,timestamp\n"


def counts(report: IngestReport) -> dict[str, tuple[int, int, int]]:
    """Rows inserted, updated and unchanged, file by file."""
    return {
        file.file.removesuffix(".csv"): (file.inserted, file.updated, file.unchanged)
        for file in report.files
    }
