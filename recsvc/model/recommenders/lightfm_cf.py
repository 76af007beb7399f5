"""``lightfm_cf``: a LightFM model of interactions alone, each user and item its own token."""

from dataclasses import dataclass, replace

from recsvc.model.data.features import identity_features
from recsvc.model.lightfm.fitting import Training
from recsvc.model.recommenders.archive import Previous
from recsvc.model.recommenders.lightfm_hybrid import FittedLightfm, describe, fit_lightfm
from recsvc.model.recommenders.recommender import Description, TrainingSet
from recsvc.vocabulary import LIGHTFM_CF


@dataclass(frozen=True)
class LightfmCf:
    """See :class:`recsvc.model.recommenders.recommender.Recommender`."""

    training: Training
    name: str = LIGHTFM_CF
    continues: bool = False

    @property
    def description(self) -> Description:
        """Hyper-parameters, seed and epochs."""
        return describe(self.training)

    def fit(self, data: TrainingSet, *, previous: Previous | None = None) -> FittedLightfm:  # noqa: ARG002
        """Train on who liked what, and nothing else."""
        n_users, n_items = data.positives.shape
        bare = replace(data, items=identity_features(n_items), users=identity_features(n_users))
        return fit_lightfm(bare, self.training, known_as=LIGHTFM_CF)
