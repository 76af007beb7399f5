"""Blocks of plain numbers to columns, without a Python object for each row."""

import io
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from recsvc.ingest.formats import RATINGS
from recsvc.ingest.values import HIGHEST_RATING, LATEST_TIME, LOWEST_RATING

Int64 = npt.NDArray[np.int64]

_ALPHABET = b"0123456789.,\r\n"
_PLAIN = re.compile(rb"[0-9]{1,18},[0-9]{1,18},[0-9](\.[0-9]{1,15})?,[0-9]{1,12}\r?")
_CONVERT = pa_csv.ConvertOptions(
    column_types={name: pa.type_for_alias(kind) for name, kind in RATINGS.columns.items()}
)
_READ = pa_csv.ReadOptions(column_names=list(RATINGS.columns))


class RatingsBlock(NamedTuple):
    """What the fast reader made of a block."""

    lines: int  #: how many there are, blank ones included
    rows: pd.DataFrame  #: good rows, in file order
    others: list[tuple[int, bytes]]  #: every other line, with its place in the block, from 0


def parse_ratings(block: bytes, movie_ids: Int64) -> RatingsBlock:
    """Parse those lines of a block of ``ratings.csv`` that are plain and good.

    Args:
        block: whole lines, without the header.
        movie_ids: the known movies, ascending.

    Returns:
        The rows, and the lines that :func:`recsvc.ingest.records.read_records` has to look at,
        because they are unusual or wrong.
    """
    n_lines = _count_lines(block)
    rows = _as_a_whole(block)
    if rows is not None and len(rows) == n_lines and _good(rows, movie_ids).all():
        return RatingsBlock(n_lines, rows, [])
    lines = block.removesuffix(b"\n").split(b"\n")
    plain = np.flatnonzero([_PLAIN.fullmatch(line) is not None for line in lines])
    rows = _converted(b"\n".join([lines[place] for place in plain])) if plain.size else _NO_ROWS
    good = _good(rows, movie_ids)
    others = np.setdiff1d(np.arange(len(lines)), plain[good], assume_unique=True)
    return RatingsBlock(
        n_lines, rows.loc[good], [(place, lines[place]) for place in others.tolist()]
    )


def _as_a_whole(block: bytes) -> pd.DataFrame | None:
    """Convert a block of rows of numbers; there are fewer rows than lines if some are blank."""
    if block.translate(None, _ALPHABET):
        return None
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return None  # Arrow would take CR alone for a line end
    try:
        return _converted(block)
    except pa.ArrowInvalid:
        return None


def _count_lines(block: bytes) -> int:
    ends = np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
    return int(ends) + (not block.endswith(b"\n"))


def _converted(block: bytes) -> pd.DataFrame:
    table = pa_csv.read_csv(io.BytesIO(block), _READ, None, _CONVERT)
    columns = zip(RATINGS.columns, table.columns, strict=True)
    if any(column.null_count for column in table.columns):
        raise pa.ArrowInvalid("a value is missing")
    return pd.DataFrame({name: column.to_numpy() for name, column in columns})


_NO_ROWS = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in RATINGS.columns.items()})


def _good(rows: pd.DataFrame, movie_ids: Int64) -> npt.NDArray[np.bool_]:
    good = rows["rating"].between(LOWEST_RATING, HIGHEST_RATING) & (rows["rated_at"] <= LATEST_TIME)
    return np.asarray(good.to_numpy() & np.isin(rows["movie_id"].to_numpy(), movie_ids))
