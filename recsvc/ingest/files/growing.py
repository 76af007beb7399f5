"""A frame that grows by others of its columns."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_NUMBERS = ("int64", "float64")
_GROWTH = 1.5  # where rows are more than were expected


class GrowingFrame:
    """Rows of many frames, those of the next below those of the last.

    Numbers are copied at once to where they stay, so that a frame's own memory can be given up and
    taken by the next one. To get as much fresh memory for all frames costs more than the copies.

    >>> growing = GrowingFrame({"n": "int64", "text": "str"})
    >>> growing.append(pd.DataFrame({"n": [1, 2], "text": ["a", "b"]}))
    >>> growing.append(pd.DataFrame({"n": [3], "text": ["c"]}))
    >>> growing.whole()["n"].tolist()
    [1, 2, 3]
    """

    def __init__(self, kinds: dict[str, str]) -> None:
        """Take the columns and their pandas dtypes."""
        self._kinds = kinds
        self._rows = 0
        self._numbers: dict[str, npt.NDArray[Any]] = {
            name: np.empty(0, kind) for name, kind in kinds.items() if kind in _NUMBERS
        }
        self._others: dict[str, list[pd.Series[Any]]] = {
            name: [] for name in kinds if name not in self._numbers
        }

    def append(self, frame: pd.DataFrame, expected_rows: int = 0) -> None:
        """Add the rows of a frame.

        Args:
            frame: of the same columns and dtypes.
            expected_rows: how many there may be in the end, as far as one knows: room is made for
                them, which is address space until it is used.
        """
        end = self._rows + len(frame)
        for name, column in self._numbers.items():
            self._numbers[name] = _with_room(column, self._rows, end, expected_rows)
            self._numbers[name][self._rows : end] = frame[name].to_numpy()
        for name, parts in self._others.items():
            parts.append(frame[name])
        self._rows = end

    def whole(self) -> pd.DataFrame:
        """Return all rows."""
        columns: dict[str, Any] = {}
        for name, kind in self._kinds.items():
            if name in self._numbers:
                columns[name] = self._numbers[name][: self._rows]
            elif self._others[name]:
                columns[name] = pd.concat(self._others[name], ignore_index=True)
            else:
                columns[name] = pd.Series([], dtype=kind)
        return pd.DataFrame(columns, copy=False)


def _with_room(column: npt.NDArray[Any], rows: int, needed: int, expected: int) -> npt.NDArray[Any]:
    if needed <= len(column):
        return column
    larger = np.empty(max(needed, expected, int(_GROWTH * len(column))), column.dtype)
    larger[:rows] = column[:rows]
    return larger
