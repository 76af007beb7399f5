"""Blocks of plain numbers to columns, without a Python object for each row."""

import io

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from recsvc.ingest.formats import RATINGS
from recsvc.ingest.values import HIGHEST_RATING, LATEST_TIME, LOWEST_RATING

PLAIN = b"0123456789.,\r\n"

_CONVERT = pa_csv.ConvertOptions(
    column_types={name: pa.type_for_alias(kind) for name, kind in RATINGS.columns.items()}
)
_READ = pa_csv.ReadOptions(column_names=list(RATINGS.columns))


def parse_ratings(block: bytes, movie_ids: npt.NDArray[np.int64]) -> pd.DataFrame | None:
    """Parse a block of ``ratings.csv`` in which every line is a good row.

    Args:
        block: whole lines, without the header.
        movie_ids: the known movies, ascending.

    Returns:
        The rows in file order, or ``None`` if anything at all is unusual: then
        :func:`recsvc.ingest.records.read_records` looks at the block line by line.
    """
    if block.translate(None, PLAIN):
        return None
    try:
        table = pa_csv.read_csv(io.BytesIO(block), _READ, None, _CONVERT)
    except pa.ArrowInvalid:
        return None
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if table.num_rows != lines or any(column.null_count for column in table.columns):
        return None
    rows = pd.DataFrame(
        {
            name: column.to_numpy()
            for name, column in zip(RATINGS.columns, table.columns, strict=True)
        }
    )
    return rows if _all_good(rows, movie_ids) else None


def _all_good(rows: pd.DataFrame, movie_ids: npt.NDArray[np.int64]) -> bool:
    if not len(movie_ids):
        return False
    movies = rows["movie_id"].to_numpy()
    places = np.searchsorted(movie_ids, movies).clip(max=len(movie_ids) - 1)
    return bool(
        rows["rating"].between(LOWEST_RATING, HIGHEST_RATING).all()
        and rows["rated_at"].max() <= LATEST_TIME
        and (movie_ids[places] == movies).all()
    )
