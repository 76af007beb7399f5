"""Lines of tags.csv to columns by Arrow's reader, where there is nothing but plain ASCII."""

import io
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from recsvc.ingest.formats import TAGS
from recsvc.ingest.plain import KnownMovies, Mask, PlainBlock, count_lines
from recsvc.ingest.values import LATEST_TIME, LONGEST_TAG, SAFE_DIGITS

_ALPHABET = bytes(set(range(0x20, 0x7F)) - set(b'"')) + b"\r\n"
#: A plain line without its LF.
_PATTERN = re.compile(rb"[0-9]{1,18},[0-9]{1,18},[ !#-+\--~]+,[0-9]{1,12}\r?")
_FIELDS = ("user_id", "movie_id", "tag", "tagged_at")
_TEXTS = dict.fromkeys(_FIELDS, pa.string())


class PlainTags:
    """See :class:`recsvc.ingest.plain.PlainLines`."""

    format = TAGS
    line_breaks = True

    def parse(self, block: bytes, movies: KnownMovies) -> PlainBlock:
        """Parse those lines of a block that are plain and good."""
        n_lines = count_lines(block)
        rows = _as_a_whole(block)
        if rows is not None and len(rows) == n_lines and _good(rows, movies).all():
            return PlainBlock(n_lines, rows, [])
        lines = block.removesuffix(b"\n").split(b"\n")
        plain = np.flatnonzero([_PATTERN.fullmatch(line) is not None for line in lines])
        rows = _converted(b"\n".join([lines[place] for place in plain.tolist()]))
        good = _good(rows, movies)
        others = np.setdiff1d(np.arange(len(lines)), plain[good], assume_unique=True)
        left = [(place, lines[place]) for place in others.tolist()]
        return PlainBlock(n_lines, rows.loc[good], left)


def _as_a_whole(block: bytes) -> pd.DataFrame | None:
    """Convert a block of plain lines; there are fewer rows than lines if some are blank."""
    if block.translate(None, _ALPHABET):
        return None
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return None  # Arrow would take CR alone for a line end
    try:
        return _converted(block)
    except pa.ArrowInvalid:
        return None


def _converted(block: bytes) -> pd.DataFrame:
    """Convert plain lines; raises ArrowInvalid if one is not.

    All are read as text first: Arrow takes spaces, signs and hexadecimal digits for numbers too.
    """
    texts = _texts(block)
    columns = {name: texts[name] for name in _FIELDS}
    for name in ("user_id", "movie_id", "tagged_at"):
        short = pc.less_equal(pc.binary_length(columns[name]), SAFE_DIGITS)
        if not pc.all(pc.and_(pc.ascii_is_decimal(columns[name]), short), min_count=0).as_py():
            raise pa.ArrowInvalid("not a whole number")
        columns[name] = columns[name].cast(pa.int64())
    columns["tag_key"] = pc.ascii_lower(pc.ascii_trim(columns["tag"], " "))
    rows: pd.DataFrame = pa.table({name: columns[name] for name in TAGS.columns}).to_pandas()
    return rows


def _texts(block: bytes) -> pa.Table:
    """Read lines without quotes into columns of which no value is missing."""
    if not block:
        return pa.table({name: pa.array([], kind) for name, kind in _TEXTS.items()})
    table = pa_csv.read_csv(
        io.BytesIO(block),
        pa_csv.ReadOptions(column_names=list(_TEXTS)),
        pa_csv.ParseOptions(quote_char=False),
        pa_csv.ConvertOptions(column_types=_TEXTS),
    )
    if any(column.null_count for column in table.columns):
        raise pa.ArrowInvalid("a value is missing")
    return table


def _good(rows: pd.DataFrame, movies: KnownMovies) -> Mask:
    given = (rows["tag_key"] != "") & (rows["tag"].str.len() <= LONGEST_TAG)
    in_range = np.asarray(given & (rows["tagged_at"] <= LATEST_TIME), dtype=np.bool_)
    return in_range & movies.include(rows["movie_id"].to_numpy())
