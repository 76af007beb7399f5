"""Blocks of plain lines to columns, without a Python object for each value."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from recsvc.ingest.formats import RATINGS, TAGS, Format
from recsvc.ingest.values import (
    HIGHEST_RATING,
    LATEST_TIME,
    LONGEST_TAG,
    LOWEST_RATING,
    SAFE_DIGITS,
)

Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class PlainBlock(NamedTuple):
    """What the fast reader made of a block."""

    lines: int  #: how many there are, blank ones included
    rows: pd.DataFrame  #: good rows, in file order
    others: list[tuple[int, bytes]]  #: every other line, with its place in the block, from 0


@dataclass(frozen=True)
class PlainLines:
    """What the plain lines of a file look like, and how they become rows."""

    format: Format
    alphabet: bytes  #: all bytes of plain lines
    pattern: re.Pattern[bytes]  #: a plain line without its LF
    convert: Callable[[bytes], pd.DataFrame]  #: raises ArrowInvalid if a line is not plain
    good: Callable[[pd.DataFrame], Mask]  #: whether values are in range; movies apart
    line_breaks: bool  #: whether a value may contain one, so that a line need not be a record

    def parse(self, block: bytes, movie_ids: Int64) -> PlainBlock:
        """Parse those lines of a block that are plain and good.

        Args:
            block: whole lines, without the header.
            movie_ids: the known movies, ascending.

        Returns:
            The rows, and the lines that :func:`recsvc.ingest.records.read_records` has to look
            at, because they are unusual or wrong.
        """
        n_lines = _count_lines(block)
        rows = self._as_a_whole(block)
        if rows is not None and len(rows) == n_lines and self._good(rows, movie_ids).all():
            return PlainBlock(n_lines, rows, [])
        lines = block.removesuffix(b"\n").split(b"\n")
        plain = np.flatnonzero([self.pattern.fullmatch(line) is not None for line in lines])
        rows = self.convert(b"\n".join([lines[place] for place in plain.tolist()]))
        good = self._good(rows, movie_ids)
        others = np.setdiff1d(np.arange(len(lines)), plain[good], assume_unique=True)
        left = [(place, lines[place]) for place in others.tolist()]
        return PlainBlock(n_lines, rows.loc[good], left)

    def _as_a_whole(self, block: bytes) -> pd.DataFrame | None:
        """Convert a block of plain lines; there are fewer rows than lines if some are blank."""
        if block.translate(None, self.alphabet):
            return None
        if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
            return None  # Arrow would take CR alone for a line end
        try:
            return self.convert(block)
        except pa.ArrowInvalid:
            return None

    def _good(self, rows: pd.DataFrame, movie_ids: Int64) -> Mask:
        return self.good(rows) & np.isin(rows["movie_id"].to_numpy(), movie_ids)


def _count_lines(block: bytes) -> int:
    ends = np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
    return int(ends) + (not block.endswith(b"\n"))


def _read(block: bytes, types: dict[str, pa.DataType]) -> pa.Table:
    """Read lines without quotes into columns of which no value is missing."""
    if not block:
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    table = pa_csv.read_csv(
        io.BytesIO(block),
        pa_csv.ReadOptions(column_names=list(types)),
        pa_csv.ParseOptions(quote_char=False),
        pa_csv.ConvertOptions(column_types=types),
    )
    if any(column.null_count for column in table.columns):
        raise pa.ArrowInvalid("a value is missing")
    return table


# --- ratings -----------------------------------------------------------------------------------

_RATING_TYPES = {name: pa.type_for_alias(kind) for name, kind in RATINGS.columns.items()}


def _convert_ratings(block: bytes) -> pd.DataFrame:
    table = _read(block, _RATING_TYPES)
    return pd.DataFrame({name: table[name].to_numpy() for name in _RATING_TYPES})


def _good_ratings(rows: pd.DataFrame) -> Mask:
    good = rows["rating"].between(LOWEST_RATING, HIGHEST_RATING) & (rows["rated_at"] <= LATEST_TIME)
    return np.asarray(good)


# --- tags --------------------------------------------------------------------------------------

_TAG_FIELDS = ("user_id", "movie_id", "tag", "tagged_at")
_TAG_TEXTS = dict.fromkeys(_TAG_FIELDS, pa.string())


def _convert_tags(block: bytes) -> pd.DataFrame:
    """Read all as text first: Arrow takes spaces, signs and hexadecimal digits for numbers too."""
    texts = _read(block, _TAG_TEXTS)
    columns = {name: texts[name] for name in _TAG_FIELDS}
    for name in ("user_id", "movie_id", "tagged_at"):
        short = pc.less_equal(pc.binary_length(columns[name]), SAFE_DIGITS)
        if not pc.all(pc.and_(pc.ascii_is_decimal(columns[name]), short), min_count=0).as_py():
            raise pa.ArrowInvalid("not a whole number")
        columns[name] = columns[name].cast(pa.int64())
    columns["tag_key"] = pc.ascii_lower(pc.ascii_trim(columns["tag"], " "))
    rows: pd.DataFrame = pa.table({name: columns[name] for name in TAGS.columns}).to_pandas()
    return rows


def _good_tags(rows: pd.DataFrame) -> Mask:
    given = (rows["tag_key"] != "") & (rows["tag"].str.len() <= LONGEST_TAG)
    return np.asarray(given & (rows["tagged_at"] <= LATEST_TIME), dtype=np.bool_)


PLAIN_RATINGS = PlainLines(
    format=RATINGS,
    alphabet=b"0123456789.,\r\n",
    pattern=re.compile(rb"[0-9]{1,18},[0-9]{1,18},[0-9](\.[0-9]{1,15})?,[0-9]{1,12}\r?"),
    convert=_convert_ratings,
    good=_good_ratings,
    line_breaks=False,
)
PLAIN_TAGS = PlainLines(
    format=TAGS,
    alphabet=bytes(set(range(0x20, 0x7F)) - set(b'"')) + b"\r\n",
    pattern=re.compile(rb"[0-9]{1,18},[0-9]{1,18},[ !#-+\--~]+,[0-9]{1,12}\r?"),
    convert=_convert_tags,
    good=_good_tags,
    line_breaks=True,
)
