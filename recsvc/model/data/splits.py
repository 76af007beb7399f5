"""Holding positives out, to see whether a model finds them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from recsvc.model.data.chronology import oldest_first
from recsvc.model.data.configuration import HoldoutConfiguration
from recsvc.model.data.identifiers import Csr, Indices
from recsvc.model.data.interactions import Interactions
from recsvc.runtime.arrays import Int64, Mask
from recsvc.vocabulary import LAST_DAY, LEAVE_LAST, RANDOM, TEMPORAL, ProtocolName

DAY_SECONDS = 86_400
FEWEST_JUDGED = 2  #: users; the mean of a single one has no interval


@dataclass(frozen=True)
class Positives:
    """Positives in the order in which a model is to see them."""

    rows: Indices  #: user indices
    columns: Indices  #: item indices
    times: Int64  #: Unix seconds
    shape: tuple[int, int]  #: ``(n_users, n_items)``

    def at(self, places: Int64) -> "Positives":
        """Return those at some places, in that order."""
        return Positives(self.rows[places], self.columns[places], self.times[places], self.shape)

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
    protocol: ProtocolName  #: how it was made
    instead: str | None = None  #: a sentence, where another protocol was asked for

    @property
    def n_judged(self) -> int:
        """Number of users with held-out positives."""
        return len(np.unique(self.test.rows))


def all_positives(data: Interactions) -> Positives:
    """Return every positive, sorted by user and item."""
    rows, columns = _coordinates(data)
    return Positives(rows, columns, data.positive_times, _shape(data))


Protocol = Callable[[Interactions, HoldoutConfiguration, int], Split]


def hold_out(data: Interactions, configuration: HoldoutConfiguration, seed: int) -> Split:
    """Split positives by the protocol of the configuration, at random where times say nothing.

    Args:
        data: all of them.
        configuration: protocol and how much it holds out.
        seed: of whatever is random.
    """
    protocol = configuration.protocol
    wrong = _what_times_fail_to_say(data, configuration, seed)
    split = None if wrong else _PROTOCOLS[protocol](data, configuration, seed)
    if protocol == RANDOM and split:
        return split
    if split and split.n_judged < FEWEST_JUDGED:
        wrong = f"no more than {split.n_judged} users have positives on both sides of it"
    if split and not wrong:
        return split
    sentence = f"The holdout is random and not {protocol}: {wrong}."
    stand_in = split_random(data, configuration.holdout_fraction, seed)
    return replace(stand_in, instead=sentence)


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
    return Split(positives.at(order[:cut]), positives.at(order[cut:]), RANDOM)


def split_leave_last(data: Interactions, count: int, seed: int) -> Split:
    """Hold out the last ``count`` positives of each user by time, ties at random.

    Users with no more than ``count`` positives stay in training whole: nothing would be left
    to recommend from.
    """
    order, held_out = _last_of_each(data, count, seed)
    return _by_order(data, np.sort(order[~held_out]), np.sort(order[held_out]), LEAVE_LAST)


def split_last_day(data: Interactions) -> Split:
    """Hold out what each user liked on their last day (UTC), if they liked something before it.

    A nightly run makes lists for the day that follows: what is held out is what such a list was
    there for. No two positives of a day are torn apart, so that nothing depends on their order.
    """
    starts = data.positives.indptr[:-1]
    having = np.diff(data.positives.indptr) > 0
    days = data.positive_times // DAY_SECONDS
    last = np.zeros(len(having), np.int64)
    last[having] = np.maximum.reduceat(days, starts[having]) if having.any() else 0
    first = np.zeros(len(having), np.int64)
    first[having] = np.minimum.reduceat(days, starts[having]) if having.any() else 0
    rows, _ = _coordinates(data)
    held_out = (days == last[rows]) & (first < last)[rows]
    return _by_order(data, np.flatnonzero(~held_out), np.flatnonzero(held_out), LAST_DAY)


def split_temporal(data: Interactions, fraction: float) -> Split:
    """Hold out the newest share of all positives: everything after one moment.

    Positives of the same second stay on the same side.
    """
    times = data.positive_times
    if not len(times):
        empty = np.arange(0)
        return _by_order(data, empty, empty, TEMPORAL)
    cut = np.quantile(times, 1.0 - fraction, method="inverted_cdf")
    return _by_order(data, np.flatnonzero(times <= cut), np.flatnonzero(times > cut), TEMPORAL)


_PROTOCOLS: dict[ProtocolName, Protocol] = {
    RANDOM: lambda data, given, seed: split_random(data, given.holdout_fraction, seed),
    LEAVE_LAST: lambda data, given, seed: split_leave_last(data, given.holdout_last, seed),
    TEMPORAL: lambda data, given, _: split_temporal(data, given.holdout_fraction),
    LAST_DAY: lambda data, *_: split_last_day(data),
}


def _what_times_fail_to_say(
    data: Interactions, configuration: HoldoutConfiguration, seed: int
) -> str | None:
    """Say why times cannot tell what came last; ``None`` where they can."""
    if configuration.protocol == LEAVE_LAST:
        tied = _tied_boundaries(data, configuration.holdout_last, seed)
        what = "the last positives of most users have the time of those before them"
    elif configuration.protocol == LAST_DAY:
        tied = _tied_histories(data)
        what = "most users have the same time at all their positives"
    else:
        return None
    return what if len(tied) and tied.mean() > 1 / 2 else None


def _tied_boundaries(data: Interactions, count: int, seed: int) -> Mask:
    """Whether chance decides what is held out, for each user with more than ``count`` positives."""
    order, held_out = _last_of_each(data, count, seed)
    times = data.positive_times[order]
    first = np.flatnonzero(held_out[1:] & ~held_out[:-1]) + 1
    return np.asarray(times[first] == times[first - 1])


def _tied_histories(data: Interactions) -> Mask:
    """Whether all positives have one time, for each user with several."""
    sizes = np.diff(data.positives.indptr)
    starts = data.positives.indptr[:-1][sizes > 0]
    if not len(starts):
        return np.empty(0, np.bool_)
    times = data.positive_times
    tied = np.maximum.reduceat(times, starts) == np.minimum.reduceat(times, starts)
    return np.asarray(tied[sizes[sizes > 0] > 1])


def _last_of_each(data: Interactions, count: int, seed: int) -> tuple[Int64, Mask]:
    """Return positives by user and time, and which are a user's last ``count`` and not all."""
    indptr = data.positives.indptr
    sizes = np.diff(indptr)
    rows, columns = _coordinates(data)
    users, items = data.users.ids[rows], data.items.ids[columns]
    order = oldest_first(indptr, data.positive_times, users, items, seed)
    from_end = np.repeat(indptr[1:], sizes) - np.arange(len(order))
    return order, (from_end <= count) & np.repeat(sizes > count, sizes)


def _by_order(data: Interactions, train: Int64, test: Int64, protocol: ProtocolName) -> Split:
    positives = all_positives(data)
    return Split(positives.at(train), positives.at(test), protocol)


def _coordinates(data: Interactions) -> tuple[Indices, Indices]:
    users = np.arange(len(data.users), dtype=np.int32)
    return np.repeat(users, np.diff(data.positives.indptr)), data.positives.indices


def _shape(data: Interactions) -> tuple[int, int]:
    return len(data.users), len(data.items)
