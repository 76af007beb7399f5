"""``neighbours``: what others liked near the movies that a user liked last."""

from dataclasses import dataclass

import numpy as np

from recsvc.model.neighbours.cooccurrence import Neighbours, neighbours_of
from recsvc.model.neighbours.histories import Histories, histories_of
from recsvc.model.neighbours.scores import NEWEST, Term, WithNeighbours
from recsvc.model.recommenders.archive import Archive, Arrays, Previous
from recsvc.model.recommenders.explanation import Contribution, Explanation
from recsvc.model.recommenders.recent_popular import decayed_counts
from recsvc.model.recommenders.recommender import Description, TrainingSet
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float64, Int8, Mask
from recsvc.vocabulary import NEIGHBOURS, RECENT_POPULAR, SOURCES, WINDOW, NeighbourKind

KIND: NeighbourKind = WINDOW
DECAY = 1.0
#: What is popular now orders the movies that nothing in a history is near to, and those only.
POPULARITY_WEIGHT = 1e-6


@dataclass(frozen=True)
class NeighboursRecommender:
    """See :class:`recsvc.model.recommenders.recommender.Recommender`."""

    description: Description
    threads: int
    name: str = NEIGHBOURS
    continues: bool = False

    def fit(self, data: TrainingSet, *, previous: Previous | None = None) -> "FittedNeighbours":  # noqa: ARG002
        """Count who liked what near what."""
        histories = histories_of(data.positives, self.description.seed)
        return FittedNeighbours(
            description=self.description,
            histories=histories,
            neighbours=neighbours_of(histories, KIND, threads=self.threads),
            recent=decayed_counts(data.positives),
        )


@dataclass(frozen=True)
class FittedNeighbours:
    """See :class:`recsvc.model.recommenders.recommender.Fitted`."""

    description: Description
    histories: Histories
    neighbours: Neighbours
    recent: Float64  #: shape ``(n_items,)``, decayed counts of positives
    continued: bool = False

    @property
    def _known(self) -> Mask:
        return np.diff(self.histories.indptr) > 0

    @property
    def sources(self) -> Int8:
        """Neighbours for users with positives, else what is popular now."""
        codes = SOURCES.index(NEIGHBOURS), SOURCES.index(RECENT_POPULAR)
        return np.where(self._known, *codes).astype(np.int8)

    @property
    def scores(self) -> WithNeighbours:
        """The sums over a user's newest positives, and for others what is popular now."""
        popularity = np.where(self._known, POPULARITY_WEIGHT, 1.0).astype(np.float32)
        logs = np.log1p(self.recent).astype(np.float32)
        return WithNeighbours.for_some(
            Factors(popularity[:, None], logs[:, None]),
            self.histories,
            Term(self.neighbours, DECAY),
            1.0,
            self._known,
            standardised=False,
        )

    @property
    def similarity(self) -> WithNeighbours:
        """How often two items are liked near each other, 0 to 1."""
        return similarity_by(self.neighbours)

    def arrays(self) -> Arrays:
        """Return the nearest of each item, the newest of each history, and decayed counts."""
        term = Term(self.neighbours, DECAY)
        return {
            "sources": self.sources,
            "recent_popularity": self.recent.astype(np.float32),
            **arrays_of(term, self.histories),
        }


def similarity_by(neighbours: Neighbours) -> WithNeighbours:
    """Return the weight of each pair of items as the scores of all items for each item."""
    n_items = len(neighbours.items)
    nothing = np.zeros((n_items, 1), np.float32)
    itself = Histories(np.arange(n_items + 1), np.arange(n_items, dtype=np.int32), n_items)
    everything = np.ones(n_items, np.bool_)
    term = Term(neighbours, decay=1.0)
    base = Factors(nothing, nothing)
    return WithNeighbours.for_some(base, itself, term, 1.0, everything, standardised=False)


def arrays_of(term: Term, histories: Histories) -> Arrays:
    """Return what it takes to explain a sum over neighbours, by name."""
    newest = histories.newest(NEWEST)
    return {
        "neighbour_items": term.neighbours.items,
        "neighbour_weights": term.neighbours.weights,
        "neighbour_decay": np.array(term.decay),
        "history_indptr": newest.indptr,
        "history_items": newest.items,
    }


def liked_terms(
    archive: Archive, user: int, item: int, weight: float, *, standardised: bool
) -> list[Contribution]:
    """Return what each of a user's newest positives adds to the score of an item.

    Args:
        archive: with the arrays of :func:`arrays_of`.
        user: user index.
        item: item index.
        weight: of the sum over neighbours.
        standardised: as in :class:`recsvc.model.neighbours.scores.WithNeighbours`.
    """
    arrays, n_items = archive.arrays, len(archive.items)
    start, stop = arrays["history_indptr"][user : user + 2]
    mine = Histories(np.array([0, stop - start]), arrays["history_items"][start:stop], n_items)
    neighbours = Neighbours(arrays["neighbour_items"], arrays["neighbour_weights"])
    nothing = Factors(np.zeros((1, 1), np.float32), np.zeros((n_items, 1), np.float32))
    scores = WithNeighbours.for_some(
        nothing,
        mine,
        Term(neighbours, float(arrays["neighbour_decay"])),
        weight,
        np.ones(1, np.bool_),
        standardised=standardised,
    )
    newest, places, scale = scores.sums(0)
    near = neighbours.items[newest] == item
    values = scale * places * np.where(near, neighbours.weights[newest], 0).sum(axis=1)
    return [
        Contribution(f"liked:{archive.items.ids[liked]}", float(value))
        for liked, value in zip(newest, values, strict=True)
        if value
    ]


def explain_neighbours(archive: Archive, user: int, item: int) -> Explanation:
    """Split a score into what each movie of the user's history adds, and what is popular now."""
    source = SOURCES[int(archive.arrays["sources"][user])]
    popularity = float(np.log1p(archive.arrays["recent_popularity"][item]))
    if source == RECENT_POPULAR:
        return Explanation.of(source, [Contribution("popularity", popularity)])
    liked = liked_terms(archive, user, item, 1.0, standardised=False)
    return Explanation.of(
        source, [*liked, Contribution("popularity", POPULARITY_WEIGHT * popularity)]
    )
