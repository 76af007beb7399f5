"""Blocks of plain lines to columns: what the fast readers of a file have in common."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsvc.ingest.sources.formats import Format

Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

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


class PlainLines(Protocol):
    """Reads those lines of a file that need no more than a look."""

    format: Format
    line_breaks: bool  #: whether a value may contain one, so that a line need not be a record

    def parse(self, block: bytes, movies: KnownMovies) -> PlainBlock:
        """Parse those lines of a block that are plain and good.

        Args:
            block: whole lines, without the header.
            movies: those that rows may name.

        Returns:
            The rows, and the lines that :func:`recsvc.ingest.files.records.read_records` has to
            look at, because they are unusual or wrong.
        """


def count_lines(block: bytes) -> int:
    """Count lines, the last of which need not have an end."""
    ends = np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
    return int(ends) + (not block.endswith(b"\n"))
