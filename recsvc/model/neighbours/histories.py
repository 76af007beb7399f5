"""What each user liked, oldest first."""

from dataclasses import dataclass

import numpy as np

from recsvc.model.data.chronology import oldest_first
from recsvc.model.data.splits import Positives
from recsvc.runtime.arrays import Int32, Int64


@dataclass(frozen=True)
class Histories:
    """The positives of each user in the order of time."""

    indptr: Int64  #: shape ``(n_users + 1,)``, delimits the positives of each user
    items: Int32  #: shape ``(n,)``, item indices, oldest first within a user
    n_items: int  #: items of the catalogue

    @property
    def n_users(self) -> int:
        """Number of users, those without positives included."""
        return len(self.indptr) - 1

    def counts(self) -> Int64:
        """Return the number of positives of each item, shape ``(n_items,)``."""
        return np.bincount(self.items, minlength=self.n_items)

    def newest(self, count: int) -> "Histories":
        """Return the last ``count`` positives of each user."""
        from_end = np.repeat(self.indptr[1:], np.diff(self.indptr)) - np.arange(len(self.items))
        lengths = np.minimum(np.diff(self.indptr), count)
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        return Histories(indptr, self.items[from_end <= count], self.n_items)


def histories_of(positives: Positives, seed: int) -> Histories:
    """Arrange positives by user and time; equal times are put in order at random.

    Args:
        positives: in any order.
        seed: of the order of equal times.
    """
    n_users, n_items = positives.shape
    by_user = np.argsort(positives.rows, kind="stable")
    rows, columns = positives.rows[by_user], positives.columns[by_user]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=n_users))))
    order = oldest_first(indptr, positives.times[by_user], rows, columns, seed)
    return Histories(indptr, columns[order].astype(np.int32, copy=False), n_items)
