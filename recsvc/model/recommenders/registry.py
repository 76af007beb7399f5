"""The line-up: every recommender that the scheduled run compares, a line each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recsvc.model.blend.choosing import Holdout
from recsvc.model.blend.parts import PLAIN, Weights
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.lightfm.epochs import Judge, best_epoch
from recsvc.model.lightfm.fitting import Training
from recsvc.model.recommenders.archive import Archive
from recsvc.model.recommenders.blend import Blend, explain_blend, tuned_blend
from recsvc.model.recommenders.explanation import Explanation
from recsvc.model.recommenders.lightfm_cf import LightfmCf
from recsvc.model.recommenders.lightfm_hybrid import LightfmHybrid, explain_lightfm
from recsvc.model.recommenders.neighbours import NeighboursRecommender, explain_neighbours
from recsvc.model.recommenders.popular import Popular, explain_popular
from recsvc.model.recommenders.recent_popular import RecentPopular, explain_recent_popular
from recsvc.model.recommenders.recommender import Description, Fitted, Recommender, TrainingSet
from recsvc.model.scores.scores import Scores
from recsvc.vocabulary import (
    BLEND,
    LIGHTFM_CF,
    LIGHTFM_HYBRID,
    NEIGHBOURS,
    POPULAR,
    RECENT_POPULAR,
)


@dataclass(frozen=True)
class LineupConfiguration:
    """What the recommenders of a line-up are configured by."""

    lightfm: LightfmConfiguration
    seed: int  #: of every random number
    threads: int
    weights: Weights = PLAIN  #: of the blend, unless a holdout chooses them

    @property
    def training(self) -> Training:
        """How LightFM models are trained."""
        return Training(self.lightfm, seed=self.seed, threads=self.threads)

    @property
    def settles(self) -> bool:
        """Whether :func:`settled` has anything to do."""
        return self.lightfm.settles_epochs

    def with_epochs(self, epochs: int) -> "LineupConfiguration":
        """Return the same with another number of epochs."""
        return replace(self, lightfm=self.lightfm.model_copy(update={"epochs": epochs}))


#: Settles by a holdout what a recommender leaves open, given what is fitted already, by name;
#: returns the recommender, and scores to judge it by.
Tune = Callable[
    [Any, Mapping[str, Fitted], Holdout],
    tuple[Recommender, Scores],
]


@dataclass(frozen=True)
class Entry:
    """A recommender in the line-up."""

    make: Callable[[LineupConfiguration], Recommender]
    explain: Callable[[Archive, int, int], Explanation]  #: archive, user index, item index
    tune: Tune | None = None
    made_of: tuple[str, ...] = ()  #: recommenders before it that :attr:`tune` looks at


#: By name as in ``vocabulary.MODELS``, in the same order: the simplest first.
REGISTRY: dict[str, Entry] = {
    POPULAR: Entry(lambda given: Popular(Description(given.seed)), explain_popular),
    RECENT_POPULAR: Entry(
        lambda given: RecentPopular(Description(given.seed)), explain_recent_popular
    ),
    NEIGHBOURS: Entry(
        lambda given: NeighboursRecommender(Description(given.seed), given.threads),
        explain_neighbours,
    ),
    LIGHTFM_CF: Entry(lambda given: LightfmCf(given.training), explain_lightfm),
    LIGHTFM_HYBRID: Entry(lambda given: LightfmHybrid(given.training), explain_lightfm),
    BLEND: Entry(
        lambda given: Blend(given.training, given.weights),
        explain_blend,
        tune=tuned_blend,
        made_of=(LIGHTFM_HYBRID,),
    ),
}


def lineup(configuration: LineupConfiguration) -> dict[str, Recommender]:
    """Return every recommender, configured, by name."""
    return {name: entry.make(configuration) for name, entry in REGISTRY.items()}


def settled(
    configuration: LineupConfiguration, data: TrainingSet, judge: Judge
) -> LineupConfiguration:
    """Settle what is to be found out before anything is compared: the number of epochs.

    Args:
        configuration: with the most epochs that there may be.
        data: training positives without those that the judge goes by.
        judge: of scores, by a slice of the training positives.
    """
    training = configuration.training
    epochs = best_epoch(data.positives, data.items, data.users, training, judge)
    return configuration.with_epochs(epochs)


def explain(archive: Archive, user: int, item: int) -> Explanation:
    """Split a score of the published run into terms that add up to it.

    Args:
        archive: of the run.
        user: user index.
        item: item index.
    """
    return REGISTRY[archive.recommender].explain(archive, user, item)
