"""Rows of differing lengths in one array of words, as ``packed`` makes them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.runtime.compiled import jit


def places_of_rows(words: Any, is_text: Any) -> npt.NDArray[np.int64]:
    """Return where in ``words`` each value begins, shape ``(n_columns, n_rows)``.

    Args:
        words: rows one after the other, int64; a number takes one word, and a text one for its
            length in bytes and as many as its bytes need.
        is_text: of each column.
    """
    places = np.empty((len(is_text), len(words) // len(is_text)), np.int64)
    return places[:, : _walk(words, is_text, places)]


@jit(error_model="numpy")
def _walk(words: Any, is_text: Any, places: Any) -> Any:
    place, row = 0, 0
    while place < len(words):
        for column in range(len(is_text)):
            places[column, row] = place
            if is_text[column]:
                place += (words[place] + 7) // 8
            place += 1
        row += 1
    return row


def gathered(text: Any, starts: Any, ends: Any) -> npt.NDArray[np.uint8]:
    """Put pieces of a text one after the other.

    Args:
        text: bytes.
        starts: where in ``text`` each piece begins.
        ends: where in the result each piece ends, after a 0.
    """
    result = np.empty(ends[-1], np.uint8)
    _gather(text, starts, ends, result)
    return result


@jit(error_model="numpy")
def _gather(text: Any, starts: Any, ends: Any, result: Any) -> None:
    for piece in range(len(starts)):
        start, low = starts[piece], ends[piece]
        for place in range(ends[piece + 1] - low):
            result[low + place] = text[start + place]
