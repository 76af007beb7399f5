"""Lines of tags.csv to columns by Arrow's reader, where there is nothing but plain ASCII."""

import io
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from recsvc.ingest.plain.blocks import KnownMovies, Mask, PlainBlock
from recsvc.ingest.sources.formats import TAGS
from recsvc.ingest.sources.values import LATEST_TIME, LONGEST_TAG, SAFE_DIGITS

_ALPHABET = set(range(0x20, 0x7F)) - set(b'"') | set(b"\r\n")
#: One for each byte that no plain line has.
_UNUSUAL = bytes(byte not in _ALPHABET for byte in range(256))
#: A plain line without its LF.
_PATTERN = re.compile(rb"[0-9]{1,18},[0-9]{1,18},[ !#-+\--~]{1,%d},[0-9]{1,12}\r?" % LONGEST_TAG)
_FIELDS = ("user_id", "movie_id", "tag", "tagged_at")
_TEXTS = dict.fromkeys(_FIELDS, pa.string())


class PlainTags:
    """See :class:`recsvc.ingest.plain.blocks.PlainLines`."""

    format = TAGS
    line_breaks = True

    def parse(self, block: bytes, movies: KnownMovies) -> PlainBlock:
        """Parse those lines of a block that are plain and good."""
        lines = _BlockLines(block)
        plain = lines.without_unusual_bytes()
        rows = _as_a_whole(lines.joined(plain))
        if rows is None or len(rows) != np.count_nonzero(plain):
            for place in np.flatnonzero(plain).tolist():
                plain[place] = _PATTERN.fullmatch(lines[place]) is not None
            rows = _converted(lines.joined(plain))
        good = _good(rows, movies)
        plain[plain] = good
        left = [(place, lines[place]) for place in np.flatnonzero(~plain).tolist()]
        return PlainBlock(len(lines), rows if good.all() else rows.loc[good], left)


class _BlockLines:
    """The lines of a block, the last of which need not have an end."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
        self._ends = ends if block.endswith(b"\n") else np.append(ends, len(block))
        self._starts = np.append(0, self._ends[:-1] + 1)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> bytes:
        return self._block[self._starts[place] : self._ends[place]]

    def without_unusual_bytes(self) -> Mask:
        """Tell of each line whether it may be plain by its bytes."""
        plain = np.ones(len(self), dtype=np.bool_)
        unusual = np.flatnonzero(np.frombuffer(self._block.translate(_UNUSUAL), dtype=np.bool_))
        plain[np.searchsorted(self._ends, unusual)] = False
        return plain

    def joined(self, chosen: Mask) -> bytes:
        """Return some of the lines, copied by runs of neighbours."""
        edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).reshape(-1, 2)
        runs = zip(self._starts[edges[:, 0]], self._ends[edges[:, 1] - 1] + 1, strict=True)
        return b"".join([self._block[start:end] for start, end in runs])


def _as_a_whole(text: bytes) -> pd.DataFrame | None:
    """Convert lines that look plain; there are fewer rows than lines if some are blank."""
    if text.count(b"\r") != text.count(b"\r\n"):
        return None  # Arrow would take CR alone for a line end
    try:
        return _converted(text)
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
    rows: pd.DataFrame = pa.table({name: columns[name] for name in TAGS.into.columns}).to_pandas()
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
