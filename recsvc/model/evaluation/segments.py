"""Parts of the users and of the catalogue that are evaluated apart.

A segment of users says for whom a model works; a segment of items says what it finds: there only
held-out positives of the segment count, while ranks stay those in the full catalogue.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsvc import vocabulary
from recsvc.model.data.features import Features
from recsvc.runtime.arrays import Int32, Ints, Mask

#: Shares of all training positives that the most popular items hold, up to the end of the
#: head and of the mid segment.
HEAD_SHARE, MID_SHARE = 0.5, 0.8

GENRE = "genre:"  #: what tokens begin with that are segments of items
FEWEST = 10  #: judged users with an attribute; of fewer no segment is made
MOST = 50  #: attributes, or genres, that are segments: the commonest


@dataclass(frozen=True)
class Segment:
    """A named part; None stands for everything."""

    name: str  #: as it appears in the metrics table, such as ``activity:low``
    users: Mask | None = None  #: over the evaluated users
    items: Mask | None = None  #: over the catalogue
    ks: tuple[int, ...] | None = None  #: lengths of lists to look at; None for all


@dataclass(frozen=True)
class Described:
    """What describes items and users, to tell segments by and how alike the items of a list are."""

    items: Features
    users: Features


ALL = Segment(vocabulary.ALL)


def standard_segments(activity: Ints, popularity: Ints) -> tuple[Segment, ...]:
    """All users, users by activity and items by popularity.

    Args:
        activity: Training positives of each evaluated user.
        popularity: Training positives of each item, shape ``(n_items,)``.
    """
    return (ALL, *by_activity(activity), *by_popularity(popularity))


def by_activity(activity: Ints) -> Iterator[Segment]:
    """Split users at the terciles of their number of training positives; those without any apart.

    Users of equal activity stay together, so the thirds are not quite equal:

    >>> activity = np.array([1, 2, 2, 0, 3, 9, 30])
    >>> [(part.name, part.users.nonzero()[0].tolist()) for part in by_activity(activity)]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('activity:none', [3]), ('activity:low', [0, 1, 2]), ('activity:medium', [4]),
     ('activity:high', [5, 6])]
    """
    known = activity > 0
    if not known.all():
        yield Segment(vocabulary.ACTIVITY_NONE, users=~known)
    if not known.any():
        return
    low, high = np.quantile(activity[known], [1 / 3, 2 / 3], method="inverted_cdf")
    parts = (known & (activity <= low), (activity > low) & (activity <= high), activity > high)
    for name, users in zip(vocabulary.ACTIVITY, parts, strict=True):
        yield Segment(name, users=users)


def by_popularity(popularity: Ints) -> Iterator[Segment]:
    """Split items by the share of training positives that more popular items hold already.

    ``head`` is the fewest most popular items (ties by index) that together hold half of all
    positives, ``mid`` goes on to 80 %, ``tail`` is the rest with any, ``cold`` has none.

    >>> popularity = np.array([50, 0, 30, 10, 10])
    >>> [part.items.nonzero()[0].tolist() for part in by_popularity(popularity)]
    [[0], [2], [3, 4], [1]]
    """
    order = np.argsort(-popularity.astype(np.int64), kind="stable")
    total = int(popularity.sum())
    before = np.empty(popularity.size, dtype=np.int64)
    before[order] = np.cumsum(popularity[order]) - popularity[order]
    warm = popularity > 0
    head = warm & (before < HEAD_SHARE * total)
    mid = warm & ~head & (before < MID_SHARE * total)
    parts = (head, mid, warm & ~head & ~mid, ~warm)
    for name, items in zip(vocabulary.POPULARITY, parts, strict=True):
        yield Segment(name, items=items)


def by_attribute(users: Features, evaluated: Int32) -> Iterator[Segment]:
    """Yield the evaluated users with each attribute, such as ``gender:F``.

    The :data:`MOST` commonest of those that :data:`FEWEST` evaluated users have.

    Args:
        users: of all users.
        evaluated: indices of the evaluated ones.
    """
    theirs = users.shared[evaluated].tocsc()
    sizes = np.diff(theirs.indptr)
    commonest = np.argsort(-sizes, kind="stable")[:MOST]
    for column in np.sort(commonest[sizes[commonest] >= FEWEST]).tolist():
        having = np.zeros(len(evaluated), np.bool_)
        having[theirs.indices[theirs.indptr[column] : theirs.indptr[column + 1]]] = True
        yield Segment(users.tokens[column], users=having, ks=(vocabulary.GATE_K,))


def by_genre(items: Features) -> Iterator[Segment]:
    """Yield the items of each genre; the :data:`MOST` commonest genres."""
    columns = [place for place, token in enumerate(items.tokens) if token.startswith(GENRE)]
    shared = items.shared.tocsc()
    sizes = np.diff(shared.indptr)
    for column in sorted(sorted(columns, key=lambda place: (-sizes[place], place))[:MOST]):
        having = np.zeros(shared.shape[0], np.bool_)
        having[shared.indices[shared.indptr[column] : shared.indptr[column + 1]]] = True
        yield Segment(items.tokens[column], items=having, ks=(vocabulary.GATE_K,))
