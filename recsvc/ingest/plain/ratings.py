r"""Lines of ratings.csv to columns by a compiled reader, in one pass over the bytes.

A plain line is ``[0-9]{1,18},[0-9]{1,18},[0-9](\.[0-9]{1,14})?,[0-9]{1,12}``, and may have a CR
before its LF. So many digits fit into 64 bits, and a rating's digits into the 53 bits of a double:
divided by a power of ten, itself exact, they give the double nearest to what is written (Clinger
1990, https://doi.org/10.1145/93542.93557).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsvc.ingest.plain.blocks import KnownMovies, Mask, PlainBlock, count_lines
from recsvc.ingest.sources.formats import RATINGS
from recsvc.ingest.sources.values import HIGHEST_RATING, LATEST_TIME, LOWEST_RATING
from recsvc.runtime.compiled import jit

_ZERO, _NINE, _COMMA, _POINT, _CR, _LF = b"09,.\r\n"
_ID_DIGITS = 18  # any number of so many fits into 64 bits
_TIME_DIGITS = 12  # LATEST_TIME has as many
_DECIMALS = 14
_POWERS_OF_TEN = 10 ** np.arange(_DECIMALS + 1)


class PlainRatings:
    """See :class:`recsvc.ingest.plain.blocks.PlainLines`."""

    format = RATINGS
    line_breaks = False

    def parse(self, block: bytes, movies: KnownMovies) -> PlainBlock:
        """Parse those lines of a block that are plain and good."""
        n_lines = count_lines(block)
        user_ids, movie_ids, times = (np.empty(n_lines, np.int64) for _ in range(3))
        ratings = np.empty(n_lines, np.float64)
        starts, good = np.empty(n_lines + 1, np.int64), np.empty(n_lines, np.bool_)
        ended = block if block.endswith(b"\n") else block + b"\n"
        _parse(np.frombuffer(ended, np.uint8), user_ids, movie_ids, ratings, times, starts, good)
        good &= (ratings >= LOWEST_RATING) & (ratings <= HIGHEST_RATING) & (times <= LATEST_TIME)
        good &= movies.include(movie_ids)
        values = (user_ids, movie_ids, ratings, times)
        columns = dict(zip(RATINGS.into.columns, values, strict=True))
        if not good.all():
            columns = {name: column[good] for name, column in columns.items()}
        return PlainBlock(n_lines, pd.DataFrame(columns, copy=False), _others(ended, starts, good))


def _others(block: bytes, starts: npt.NDArray[np.int64], good: Mask) -> list[tuple[int, bytes]]:
    places = np.flatnonzero(~good).tolist()
    return [(place, block[starts[place] : starts[place + 1] - 1]) for place in places]


@jit(error_model="numpy")
def _parse(
    text: Any,
    user_ids: Any,
    movie_ids: Any,
    ratings: Any,
    times: Any,
    starts: Any,
    good: Any,
) -> None:
    """Parse lines that all end with LF; what is not plain is not ``good``.

    ``starts`` gets the place of each line in ``text``, and that after the last one.
    """
    place = 0
    for line in range(len(good)):
        starts[line] = place
        user_ids[line], movie_ids[line], ratings[line], times[line], place, plain = _plain_line(
            text, place
        )
        good[line] = plain
        while text[place] != _LF:
            place += 1
        place += 1
    starts[len(good)] = place


@jit(error_model="numpy")
def _plain_line(text: Any, place: Any) -> Any:
    """Return the four values of a line, the place before its LF, and whether it is plain.

    Of a line that is not, return some place in it.
    """
    user_id, place, digits = _whole_number(text, place, _ID_DIGITS)
    if digits == 0 or text[place] != _COMMA:
        return 0, 0, 0.0, 0, place, False
    movie_id, place, digits = _whole_number(text, place + 1, _ID_DIGITS)
    if digits == 0 or text[place] != _COMMA:
        return 0, 0, 0.0, 0, place, False
    numerator, place, digits = _whole_number(text, place + 1, 1)
    decimals = 0
    if digits == 1 and text[place] == _POINT:
        fraction, place, decimals = _whole_number(text, place + 1, _DECIMALS)
        numerator = numerator * _POWERS_OF_TEN[decimals] + fraction
        digits = decimals
    if digits == 0 or text[place] != _COMMA:
        return 0, 0, 0.0, 0, place, False
    rated_at, place, digits = _whole_number(text, place + 1, _TIME_DIGITS)
    if text[place] == _CR:
        place += 1
    rating = numerator / _POWERS_OF_TEN[decimals]
    return user_id, movie_id, rating, rated_at, place, digits > 0 and text[place] == _LF


@jit(error_model="numpy")
def _whole_number(text: Any, place: Any, most_digits: Any) -> Any:
    """Read digits, at most so many: return their value, the place after them, and their number."""
    value, start = 0, place
    while _ZERO <= text[place] <= _NINE and place - start < most_digits:
        value = 10 * value + (text[place] - _ZERO)
        place += 1
    return value, place, place - start
