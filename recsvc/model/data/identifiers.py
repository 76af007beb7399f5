"""Ids from the database and dense indices inside, and the map between them.

Outside, users and movies have ids. Inside, they are indices ``0..n-1`` in the order of their ids,
so that a tie between indices is a tie between ids.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsvc.runtime.arrays import Int32, Int64

Ids = Int64  # external
Indices = Int32  # internal
Csr = sparse.csr_array

#: Ids up to here, or up to so many times their number, are looked up in a table.
_TABLE_IDS, _TABLE_SHARE = 2**20, 16


class IdMap:
    """Ids to indices and back.

    >>> users = IdMap(np.array([3, 7, 10]))
    >>> users.to_indices(np.array([10, 3]))
    array([2, 0], dtype=int32)
    >>> users.ids[2]
    np.int64(10)
    """

    def __init__(self, ids: Ids) -> None:
        if np.any(ids[1:] <= ids[:-1]):
            raise ValueError("ids must be ascending and distinct")
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def to_indices(self, ids: Ids) -> Indices:
        """Return the index of each id.

        Raises:
            KeyError: an id is not in the map.
        """
        if not len(self):
            places, found = np.zeros(len(ids), np.int32), np.zeros(len(ids), np.bool_)
        else:
            places = self._places(ids)
            found = self.ids.take(places, mode="clip") == ids
        if not found.all():
            raise KeyError(int(ids[~found][0]))
        return places.astype(np.int32, copy=False)

    def _places(self, ids: Ids) -> npt.NDArray[np.signedinteger]:
        """Find the index of each id, and some index for one that is not in the map."""
        if self._table is None:
            return np.searchsorted(self.ids, ids)
        return self._table.take(ids, mode="clip")

    @cached_property
    def _table(self) -> Indices | None:
        """The index of each id up to the largest, where that takes little memory."""
        smallest, largest = int(self.ids[0]), int(self.ids[-1])
        if smallest < 0 or largest > max(_TABLE_IDS, _TABLE_SHARE * len(self)):
            return None
        table = np.zeros(largest + 1, np.int32)
        table[self.ids] = np.arange(len(self), dtype=np.int32)
        return table
