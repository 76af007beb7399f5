"""What lists that are judged leave out: what published lists would have left out at that moment."""

import numpy as np
from scipy import sparse

from recsvc.model.data.identifiers import Csr
from recsvc.model.data.interactions import Interactions
from recsvc.model.data.splits import Positives, Split
from recsvc.runtime.arrays import Int64
from recsvc.vocabulary import RANDOM, TRAINING, MaskName


def seen_before(data: Interactions, split: Split, mask: MaskName) -> Csr:
    """Return what each user had seen when the holdout began, shape ``(n_users, n_items)``.

    That is their training positives; by the mask ``rated`` also whatever else they had rated up to
    the last of these. A ``random`` holdout has no such moment: then all ratings that are no
    positives count.

    Args:
        data: all ratings.
        split: of its positives.
        mask: ``rated`` or ``training``.
    """
    if mask == TRAINING:
        return split.train.csr()
    rows = np.repeat(np.arange(len(data.users)), np.diff(data.rated.indptr))
    kept = np.ones(len(rows), np.bool_)
    if split.protocol != RANDOM:
        kept = data.rated_times <= _last_time_of_each(split.train)[rows]
    kept[_places(data, split.test)] = False
    per_user = np.bincount(rows[kept], minlength=len(data.users))
    indptr = np.concatenate(([0], np.cumsum(per_user)))
    columns = data.rated.indices[kept]
    ones = np.ones(len(columns), np.bool_)
    return sparse.csr_array((ones, columns, indptr), shape=data.rated.shape)


def _last_time_of_each(positives: Positives) -> Int64:
    """Return the time of each user's last positive; before all times for a user without any."""
    last = np.full(positives.shape[0], np.iinfo(np.int64).min)
    np.maximum.at(last, positives.rows, positives.times)
    return last


def _places(data: Interactions, positives: Positives) -> Int64:
    """Return where positives stand among all ratings."""
    n_users, n_items = positives.shape
    per_user = np.diff(data.rated.indptr)
    rated = np.repeat(np.arange(n_users) * n_items, per_user) + data.rated.indices
    return np.searchsorted(rated, positives.rows.astype(np.int64) * n_items + positives.columns)
