"""``lightfm_hybrid``: a LightFM model with tokens of genres, tags and user attributes."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from recsvc.model.data.features import identity_features
from recsvc.model.lightfm.archive import arrays_of, model_of
from recsvc.model.lightfm.fitting import Start, Training, fit
from recsvc.model.lightfm.trained import TrainedModel
from recsvc.model.lightfm.warm import Named, warm_start
from recsvc.model.recommenders.archive import Archive, Arrays, Previous
from recsvc.model.recommenders.attributes import vectors_by_attributes
from recsvc.model.recommenders.explanation import Contribution, Explanation
from recsvc.model.recommenders.fallback import having_source, user_sources, with_popularity
from recsvc.model.recommenders.popular import explain_popular
from recsvc.model.recommenders.recent_popular import decayed_counts, standard_popularity
from recsvc.model.recommenders.recommender import Description, TrainingSet
from recsvc.model.scores.factors import Factors, cosines
from recsvc.runtime.arrays import Float32, Float64, Int8
from recsvc.vocabulary import (
    COLD_USER,
    HYBRID,
    LIGHTFM_HYBRID,
    POPULAR_ITEMS,
    RECENT_POPULAR,
    SOURCES,
)

WARM_SHARE = 5  #: a model that goes on from an earlier one takes a fifth of the epochs

#: What is popular now, in standard deviations for each of what the attributes of a user say.
COLD_POPULARITY = 2.0


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
        if previous is None or "item_embeddings" not in previous.archive.arrays:
            return fit_lightfm(data, self.training)
        user_tokens = self.training.configuration.user_tokens
        users = data.users if user_tokens else identity_features(len(previous.users))
        start = warm_start(
            model_of(previous.archive.arrays),
            previous.archive.users,
            previous.archive.items,
            Named(previous.users, users),
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
    data: TrainingSet, training: Training, start: Start | None = None, *, known_as: str = HYBRID
) -> "FittedLightfm":
    """Train a LightFM model on what the data hold; see :func:`recsvc.model.lightfm.fitting.fit`."""
    configuration, positives = training.configuration, data.positives
    users = data.users if configuration.user_tokens else identity_features(positives.shape[0])
    trained = fit(positives, data.items, users, training, start=start)
    if not configuration.untrained_identities:
        liked = np.bincount(positives.columns, minlength=positives.shape[1]) > 0
        trained = trained.without_identities(~liked)
    return FittedLightfm(
        description=describe(training),
        continued=start is not None,
        trained=trained,
        data=data,
        sources=user_sources(positives.csr(), data.users, known_as),
        by_regression=not configuration.user_tokens,
    )


@dataclass(frozen=True)
class FittedLightfm:
    """See :class:`recsvc.model.recommenders.recommender.Fitted`.

    Users with positives get the model's scores, others what their attributes say, with what is
    popular now added, or else what is popular now.
    """

    description: Description
    continued: bool
    trained: TrainedModel
    data: TrainingSet
    sources: Int8
    by_regression: bool  #: whether attributes come in after the training

    @cached_property
    def recent(self) -> Float64:
        """Decayed counts of positives, shape ``(n_items,)``."""
        return decayed_counts(self.data.positives)

    @cached_property
    def personal(self) -> Factors:
        """The model's scores; zero for users about whom it knows nothing."""
        cold = having_source(self.sources, COLD_USER)
        known = ~cold & ~having_source(self.sources, RECENT_POPULAR)
        factors = self.trained.factors(known)
        users = factors.users
        if self.by_regression and cold.any():
            attributes = self.data.users.shared
            users[cold, :-1] = vectors_by_attributes(attributes, users[:, :-1], known, cold)
        users[having_source(self.sources, RECENT_POPULAR)] = 0
        return Factors(users, factors.items)

    @cached_property
    def popularity_weights(self) -> Float32:
        """How much what is popular now adds to the scores of each user, shape ``(n_users,)``."""
        weights = np.zeros(len(self.sources), np.float32)
        weights[having_source(self.sources, RECENT_POPULAR)] = 1
        cold = np.flatnonzero(having_source(self.sources, COLD_USER))
        if self.by_regression and len(cold):
            deviations = Factors(self.personal.users[cold], self.personal.items).deviations()
            weights[cold] = COLD_POPULARITY * np.where(deviations > 0, deviations, 1)
        return weights

    @cached_property
    def scores(self) -> Factors:
        """The model's scores, and what is popular now for those who need it."""
        popularity = standard_popularity(self.recent)
        return with_popularity(self.personal, self.popularity_weights, popularity)

    @property
    def similarity(self) -> Factors:
        """Cosine of the items' representations."""
        return cosines(self.trained.item_vectors())

    def arrays(self) -> Arrays:
        """Return embeddings, features, sources, counts, and the vectors of cold users."""
        cold = np.flatnonzero(having_source(self.sources, COLD_USER))
        return arrays_of(self.trained) | {
            "sources": self.sources,
            "recent_popularity": self.recent.astype(np.float32),
            "popularity_weights": self.popularity_weights,
            "cold_users": cold,
            "cold_vectors": self.personal.users[cold],
        }


def explain_lightfm(archive: Archive, user: int, item: int) -> Explanation:
    """Split a score into what each token of the item adds, and what is popular.

    For item ``i`` with feature weights ``f_t``, the score of the model is
    ``b_u + sum_t f_t (q_t . p_u + b_t)`` (Kula 2015, equation 1). What is popular now is added for
    a user without history, and is all that there is for one without attributes.

    Args:
        archive: of the published run.
        user: user index.
        item: item index.
    """
    source = SOURCES[int(archive.arrays["sources"][user])]
    if source == POPULAR_ITEMS:  # of a release that did not know what is popular now
        return explain_popular(archive, user, item)
    terms = [*token_terms(archive, user, item), *popularity_terms(archive, user, item)]
    return Explanation.of(source, terms)


def token_terms(archive: Archive, user: int, item: int) -> list[Contribution]:
    """Return what the model says, token by token; nothing for a user it knows nothing about."""
    source = SOURCES[int(archive.arrays["sources"][user])]
    if source == RECENT_POPULAR:
        return []
    model = model_of(archive.arrays)
    vector, bias = _user_vector(archive, model, user, cold=source == COLD_USER)
    row = model.item_features.matrix[[item]].tocoo()
    values = row.data * (model.items.embeddings[row.col] @ vector + model.items.biases[row.col])
    names = [_token_name(archive, model, int(column)) for column in row.col]
    terms = map(Contribution, names, values.astype(np.float64).tolist())
    return [Contribution("user:bias", bias), *terms]


def _user_vector(
    archive: Archive, model: TrainedModel, user: int, *, cold: bool
) -> tuple[Float32, float]:
    cold_users = archive.arrays.get("cold_users", np.empty(0, np.int64))
    if cold and user in cold_users:
        found = archive.arrays["cold_vectors"][np.searchsorted(cold_users, user)]
        return found[:-2], float(found[-2])
    return model.user_vector(user, known=not cold)


def popularity_terms(archive: Archive, user: int, item: int) -> list[Contribution]:
    """Return what is popular now, where it counts for the user."""
    if "popularity_weights" not in archive.arrays or not archive.arrays["popularity_weights"][user]:
        return []
    popularity = standard_popularity(archive.arrays["recent_popularity"].astype(np.float64))[item]
    weight = float(archive.arrays["popularity_weights"][user])
    return [Contribution("popularity", weight * float(popularity))]


def _token_name(archive: Archive, model: TrainedModel, column: int) -> str:
    n_items = len(archive.items)
    if column < n_items:
        return f"movie:{archive.items.ids[column]}"
    return model.item_features.tokens[column - n_items]
