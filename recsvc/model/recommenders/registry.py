"""The line-up: every recommender that the scheduled run compares, a line each."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.lightfm.epochs import Judge, best_epoch
from recsvc.model.lightfm.fitting import Training
from recsvc.model.recommenders.archive import Archive
from recsvc.model.recommenders.explanation import Explanation
from recsvc.model.recommenders.lightfm_cf import LightfmCf
from recsvc.model.recommenders.lightfm_hybrid import LightfmHybrid, explain_lightfm
from recsvc.model.recommenders.popular import Popular, explain_popular
from recsvc.model.recommenders.recommender import Description, Recommender, TrainingSet
from recsvc.vocabulary import LIGHTFM_CF, LIGHTFM_HYBRID, POPULAR


@dataclass(frozen=True)
class LineupConfiguration:
    """What the recommenders of a line-up are configured by."""

    lightfm: LightfmConfiguration
    seed: int  #: of every random number
    threads: int

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


@dataclass(frozen=True)
class Entry:
    """A recommender in the line-up."""

    make: Callable[[LineupConfiguration], Recommender]
    explain: Callable[[Archive, int, int], Explanation]  #: archive, user index, item index


#: By name as in ``vocabulary.MODELS``, in the same order: the simplest first.
REGISTRY: dict[str, Entry] = {
    POPULAR: Entry(lambda given: Popular(Description(given.seed)), explain_popular),
    LIGHTFM_CF: Entry(lambda given: LightfmCf(given.training), explain_lightfm),
    LIGHTFM_HYBRID: Entry(lambda given: LightfmHybrid(given.training), explain_lightfm),
}

PUBLISHED_MODEL = LIGHTFM_HYBRID  #: whose lists readers get


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
