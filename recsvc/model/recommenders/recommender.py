"""What the scheduled run asks of every recommender.

A recommender is one file in this folder and one line in :mod:`recsvc.model.recommenders.registry`.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from recsvc.model.blend.parts import Weights
from recsvc.model.data.features import Features
from recsvc.model.data.splits import Positives
from recsvc.model.recommenders.archive import Arrays, Previous
from recsvc.model.scores.scores import Scores
from recsvc.runtime.arrays import Int8


@dataclass(frozen=True)
class TrainingSet:
    """What a recommender learns from."""

    positives: Positives  #: at least one
    items: Features  #: identity, genres and tags
    users: Features  #: identity and attributes


@dataclass(frozen=True)
class Description:
    """How a recommender is trained, for the record."""

    seed: int  #: of its random numbers
    hyperparameters: dict[str, Any] = field(default_factory=dict)  #: JSON-ready, by name
    epochs: int = 0  #: passes over the positives; 0 if it makes none
    weights: Weights | None = None  #: of a blend


class Fitted(Protocol):
    """A recommender that has learnt, ready to rank."""

    @property
    def description(self) -> Description:
        """How it was trained in the end."""

    @property
    def continued(self) -> bool:
        """Whether training went on from an earlier model."""

    @property
    def scores(self) -> Scores:
        """The scores of every item, for every user."""

    @property
    def sources(self) -> Int8:
        """Why each list is what it is: indices in ``vocabulary.SOURCES``, shape ``(n_users,)``."""

    @property
    def similarity(self) -> Scores:
        """How much each item is like each other, -1 to 1: items take the place of users."""

    def arrays(self) -> Arrays:
        """Return what it takes to explain a score, or to go on training from here, by name."""


class Recommender(Protocol):
    """A way to recommend, configured and not yet fitted."""

    @property
    def name(self) -> str:
        """One of ``vocabulary.MODELS``."""

    @property
    def description(self) -> Description:
        """How it is going to be trained."""

    @property
    def continues(self) -> bool:
        """Whether :meth:`fit` makes use of an earlier model."""

    def fit(self, data: TrainingSet, *, previous: Previous | None = None) -> Fitted:
        """Learn.

        Args:
            data: what to learn from.
            previous: the published model, to go on from; only where it ``continues``.

        Raises:
            TrainingDivergedError: parameters stopped being finite.
        """
