"""Holding positives out, to see whether a model finds them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsvc.model.data.configuration import HoldoutConfiguration
from recsvc.model.data.identifiers import Csr, Indices
from recsvc.model.data.interactions import Interactions
from recsvc.runtime.arrays import Int64
from recsvc.vocabulary import LEAVE_LAST, RANDOM, TEMPORAL, ProtocolName


@dataclass(frozen=True)
class Positives:
    """Positives in the order in which a model is to see them."""

    rows: Indices  #: user indices
    columns: Indices  #: item indices
    shape: tuple[int, int]  #: ``(n_users, n_items)``

    def at(self, places: Int64) -> "Positives":
        """Return those at some places, in that order."""
        return Positives(self.rows[places], self.columns[places], self.shape)

    def coo(self) -> sparse.coo_matrix:
        """Return them as LightFM takes them, order kept."""
        ones = np.ones(len(self.rows), np.float32)
        return sparse.coo_matrix((ones, (self.rows, self.columns)), shape=self.shape)

    def csr(self) -> Csr:
        """Return them sorted by user and item."""
        matrix = sparse.csr_array(self.coo())
        matrix.sort_indices()
        return matrix


@dataclass(frozen=True)
class Split:
    """Positives to learn from and positives to find again."""

    train: Positives
    test: Positives


def all_positives(data: Interactions) -> Positives:
    """Return every positive, sorted by user and item."""
    rows, columns = _coordinates(data)
    return Positives(rows, columns, _shape(data))


Protocol = Callable[[Interactions, HoldoutConfiguration, int], "Split"]


def hold_out(data: Interactions, configuration: HoldoutConfiguration, seed: int) -> Split:
    """Split positives by the protocol of the configuration.

    Args:
        data: all of them.
        configuration: protocol and how much it holds out.
        seed: of whatever is random.
    """
    return _PROTOCOLS[configuration.protocol](data, configuration, seed)


def split_random(data: Interactions, fraction: float, seed: int) -> Split:
    """Hold out a random share of all positives.

    The same positives in the same order as ``lightfm.cross_validation.random_train_test_split``.
    """
    return split_positives(all_positives(data), fraction, seed)


def split_positives(positives: Positives, fraction: float, seed: int) -> Split:
    """Hold out a random share of some positives."""
    order = np.arange(len(positives.rows))
    np.random.RandomState(seed).shuffle(order)
    cut = int((1.0 - fraction) * len(order))
    return Split(positives.at(order[:cut]), positives.at(order[cut:]))


def split_leave_last(data: Interactions, count: int) -> Split:
    """Hold out the last ``count`` positives of each user by time, ties by item index.

    Users with no more than ``count`` positives stay in training whole: nothing would be left
    to recommend from.
    """
    indptr = data.positives.indptr
    sizes = np.diff(indptr)
    rows, columns = _coordinates(data)
    order = np.lexsort((columns, data.positive_times, rows))
    # After sorting, positives of a user still fill the same range of positions.
    from_end = np.repeat(indptr[1:], sizes) - np.arange(len(order))
    held_out = (from_end <= count) & np.repeat(sizes > count, sizes)
    return _by_order(data, np.sort(order[~held_out]), np.sort(order[held_out]))


def split_temporal(data: Interactions, fraction: float) -> Split:
    """Hold out the newest share of all positives: everything after one moment.

    Positives of the same second stay on the same side.
    """
    times = data.positive_times
    if not len(times):
        empty = np.arange(0)
        return _by_order(data, empty, empty)
    cut = np.quantile(times, 1.0 - fraction, method="inverted_cdf")
    return _by_order(data, np.flatnonzero(times <= cut), np.flatnonzero(times > cut))


_PROTOCOLS: dict[ProtocolName, Protocol] = {
    RANDOM: lambda data, given, seed: split_random(data, given.holdout_fraction, seed),
    LEAVE_LAST: lambda data, given, _: split_leave_last(data, given.holdout_last),
    TEMPORAL: lambda data, given, _: split_temporal(data, given.holdout_fraction),
}


def _by_order(data: Interactions, train: Int64, test: Int64) -> Split:
    positives = all_positives(data)
    return Split(positives.at(train), positives.at(test))


def _coordinates(data: Interactions) -> tuple[Indices, Indices]:
    users = np.arange(len(data.users), dtype=np.int32)
    return np.repeat(users, np.diff(data.positives.indptr)), data.positives.indices


def _shape(data: Interactions) -> tuple[int, int]:
    return len(data.users), len(data.items)
