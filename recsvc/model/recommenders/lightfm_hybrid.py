"""``lightfm_hybrid``: a LightFM model with tokens of genres, tags and user attributes."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from recsvc.model.data.identifiers import Csr
from recsvc.model.lightfm.archive import arrays_of, model_of
from recsvc.model.lightfm.fitting import Start, Training, fit
from recsvc.model.lightfm.trained import TrainedModel
from recsvc.model.lightfm.warm import Named, warm_start
from recsvc.model.recommenders.archive import Archive, Arrays, Previous
from recsvc.model.recommenders.explanation import Contribution, Explanation
from recsvc.model.recommenders.fallback import user_sources, with_fallback
from recsvc.model.recommenders.popular import explain_popular, popularity
from recsvc.model.recommenders.recommender import Description, TrainingSet
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32, Int8
from recsvc.vocabulary import HYBRID, LIGHTFM_HYBRID, POPULAR_ITEMS, SOURCES

WARM_SHARE = 5  #: a model that goes on from an earlier one takes a fifth of the epochs


@dataclass(frozen=True)
class LightfmHybrid:
    """See :class:`recsvc.model.recommenders.recommender.Recommender`."""

    training: Training
    name: str = LIGHTFM_HYBRID

    @property
    def description(self) -> Description:
        """Hyper-parameters, seed and epochs."""
        return describe(self.training)

    @property
    def continues(self) -> bool:
        """Whether the settings ask for it, and the trainer can."""
        configuration = self.training.configuration
        return configuration.warm_start and configuration.trainer == "fast"

    def fit(self, data: TrainingSet, *, previous: Previous | None = None) -> "FittedLightfm":
        """Train, from random embeddings or from those of an earlier model."""
        if previous is None:
            return fit_lightfm(data, self.training)
        start = warm_start(
            model_of(previous.archive.arrays),
            previous.archive.users,
            previous.archive.items,
            Named(previous.users, data.users),
            Named(previous.items, data.items),
            seed=self.training.seed,
        )
        return fit_lightfm(data, _for_a_part(self.training), start)


def _for_a_part(training: Training) -> Training:
    configuration = training.configuration
    epochs = -(-configuration.epochs // WARM_SHARE)
    return replace(training, configuration=configuration.model_copy(update={"epochs": epochs}))


def describe(training: Training) -> Description:
    """Return what is recorded of a training."""
    configuration = training.configuration
    return Description(
        seed=training.seed,
        hyperparameters=configuration.hyperparameters(),
        epochs=configuration.epochs,
    )


def fit_lightfm(
    data: TrainingSet, training: Training, start: Start | None = None
) -> "FittedLightfm":
    """Train a LightFM model on what the data hold; see :func:`recsvc.model.lightfm.fitting.fit`."""
    return FittedLightfm(
        description=describe(training),
        continued=start is not None,
        trained=fit(data.positives, data.items, data.users, training, start=start),
        data=data,
    )


@dataclass(frozen=True)
class FittedLightfm:
    """See :class:`recsvc.model.recommenders.recommender.Fitted`."""

    description: Description
    continued: bool
    trained: TrainedModel
    data: TrainingSet

    @cached_property
    def sources(self) -> Int8:
        """The model for users with positives, else their attributes, else what is popular."""
        return user_sources(self._train, self.data.users)

    @cached_property
    def scores(self) -> Factors:
        """The model's scores, and for users about whom it knows nothing the popular items."""
        return with_fallback(
            self.trained.factors(known=self.sources == SOURCES.index(HYBRID)),
            self.sources == SOURCES.index(POPULAR_ITEMS),
            self._popularity,
        )

    @cached_property
    def _train(self) -> Csr:
        return self.data.positives.csr()

    @cached_property
    def _popularity(self) -> Float32:
        return popularity(self._train)

    def similarity_vectors(self) -> Float32:
        """Return the items' representations, shape ``(n_items, components)``."""
        return self.trained.item_vectors()

    def arrays(self) -> Arrays:
        """Return embeddings, features, sources and counts."""
        return arrays_of(self.trained) | {
            "sources": self.sources,
            "popularity": self._popularity,
        }


def explain_lightfm(archive: Archive, user: int, item: int) -> Explanation:
    """Split a score into what each token of the item adds.

    For item ``i`` with feature weights ``f_t``, the score is
    ``b_u + sum_t f_t (q_t . p_u + b_t)`` (Kula 2015, equation 1); for a user without history and
    attributes it is the item's number of positives.

    Args:
        archive: of the published run.
        user: user index.
        item: item index.
    """
    source = SOURCES[int(archive.arrays["sources"][user])]
    if source == POPULAR_ITEMS:
        return explain_popular(archive, user, item)
    model = model_of(archive.arrays)
    vector, bias = model.user_vector(user, known=source == HYBRID)
    row = model.item_features.matrix[[item]].tocoo()
    values = row.data * (model.items.embeddings[row.col] @ vector + model.items.biases[row.col])
    names = [_token_name(archive, model, int(column)) for column in row.col]
    terms = map(Contribution, names, values.astype(np.float64).tolist())
    return Explanation.of(source, [Contribution("user:bias", bias), *terms])


def _token_name(archive: Archive, model: TrainedModel, column: int) -> str:
    n_items = len(archive.items)
    if column < n_items:
        return f"movie:{archive.items.ids[column]}"
    return model.item_features.tokens[column - n_items]
