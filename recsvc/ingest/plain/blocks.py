"""Blocks of plain lines to columns, by Arrow's reader of CSV."""

import io
import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from recsvc.ingest.sources.formats import Format
from recsvc.runtime.arrays import Int64, Mask

#: Ids up to here are looked up in a table, at 16 MiB for the largest.
_TABLE_IDS = 2**24


class PlainBlock(NamedTuple):
    """What a fast reader made of a block."""

    lines: int  #: how many there are, blank ones included
    rows: pd.DataFrame  #: good rows, in file order
    others: list[tuple[int, bytes]]  #: every other line, with its place in the block, from 0


class KnownMovies:
    """The movies that rows may name.

    >>> movies = KnownMovies(np.array([2, 7, 2**62]))
    >>> movies.include(np.array([7, 3, 2**62])).tolist()
    [True, False, True]
    """

    def __init__(self, movie_ids: Int64) -> None:
        """Take ids that are ascending and not negative."""
        self.ids = movie_ids
        small = movie_ids[movie_ids < _TABLE_IDS]
        self._table = np.zeros(int(small.max(initial=-1)) + 2, dtype=np.bool_)
        self._table[small] = True
        self._large = movie_ids[len(small) :]

    def include(self, movie_ids: Int64) -> Mask:
        """Tell of each id, none of them negative, whether it is among the movies."""
        known: Mask = self._table[np.minimum(movie_ids, len(self._table) - 1)]
        if len(self._large):
            known |= np.isin(movie_ids, self._large)
        return known


class PlainForm(Protocol):
    """What the plain lines of a file look like: those that need no more than a look."""

    format: Format
    line_breaks: bool  #: whether a value may contain one, so that a line need not be a record
    unusual: bytes  #: for each byte, whether no plain line has it; a table for ``bytes.translate``
    pattern: "re.Pattern[bytes]"  #: a plain line without its LF

    def converted(self, text: bytes) -> pd.DataFrame:
        """Convert lines that look plain, without their being told apart.

        Raises:
            ArrowInvalid: one is not plain.
        """

    def good(self, rows: pd.DataFrame, movies: KnownMovies) -> Mask:
        """Tell of each row whether its values may be stored."""


def parse_block(form: PlainForm, block: bytes, movies: KnownMovies) -> PlainBlock:
    """Parse those lines of a block that are plain and good.

    Args:
        form: of the file.
        block: whole lines, without the header.
        movies: those that rows may name.

    Returns:
        The rows, and the lines that :func:`recsvc.ingest.files.records.read_records` has to
        look at, because they are unusual or wrong.
    """
    lines = _BlockLines(block)
    plain = lines.without(form.unusual)
    rows = _as_a_whole(form, lines.joined(plain))
    if rows is None or len(rows) != np.count_nonzero(plain):
        for place in np.flatnonzero(plain).tolist():
            plain[place] = form.pattern.fullmatch(lines[place]) is not None
        rows = form.converted(lines.joined(plain))
    good = form.good(rows, movies)
    plain[plain] = good
    left = [(place, lines[place]) for place in np.flatnonzero(~plain).tolist()]
    return PlainBlock(len(lines), rows if good.all() else rows.loc[good], left)


def unusual_but(plain: Iterable[int]) -> bytes:
    """Return a table for ``bytes.translate`` that has 0 for bytes of plain lines, 1 for others."""
    allowed = set(plain)
    return bytes(byte not in allowed for byte in range(256))


def read_columns(text: bytes, types: dict[str, pa.DataType]) -> pa.Table:
    """Read lines without quotes into columns of which no value is missing.

    Raises:
        ArrowInvalid: a line has another number of values, or one is missing or of another type.
    """
    if not text:
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    table = pa_csv.read_csv(
        io.BytesIO(text),
        # The blocks of a file are parsed side by side.
        pa_csv.ReadOptions(column_names=list(types), use_threads=False),
        pa_csv.ParseOptions(quote_char=False),
        pa_csv.ConvertOptions(column_types=types),
    )
    if any(column.null_count for column in table.columns):
        raise pa.ArrowInvalid("a value is missing")
    return table


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

    def without(self, unusual: bytes) -> Mask:
        """Tell of each line whether it may be plain by its bytes."""
        plain = np.ones(len(self), dtype=np.bool_)
        found = np.flatnonzero(np.frombuffer(self._block.translate(unusual), dtype=np.bool_))
        plain[np.searchsorted(self._ends, found)] = False
        return plain

    def joined(self, chosen: Mask) -> bytes:
        """Return some of the lines, copied by runs of neighbours."""
        edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).reshape(-1, 2)
        runs = zip(self._starts[edges[:, 0]], self._ends[edges[:, 1] - 1] + 1, strict=True)
        return b"".join([self._block[start:end] for start, end in runs])


def _as_a_whole(form: PlainForm, text: bytes) -> pd.DataFrame | None:
    """Convert lines that look plain; there are fewer rows than lines if some are blank."""
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        return None  # Arrow would take CR alone for a line end
    try:
        return form.converted(text)
    except pa.ArrowInvalid:
        return None
