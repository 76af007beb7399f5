"""The line-up: each recommender sees what it may see, and every user gets a list."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recsvc.model.data.features import identity_features, token_features
from recsvc.model.data.identifiers import IdMap
from recsvc.model.data.splits import Positives
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.recommenders.fallback import user_sources
from recsvc.model.recommenders.lightfm_hybrid import FittedLightfm
from recsvc.model.recommenders.recommender import TrainingSet
from recsvc.model.recommenders.registry import (
    REGISTRY,
    LineupConfiguration,
    lineup,
)
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32
from recsvc.vocabulary import (
    BLEND,
    LIGHTFM_CF,
    LIGHTFM_HYBRID,
    MODELS,
    NEIGHBOURS,
    POPULAR,
    RECENT_POPULAR,
    SOURCES,
)

CONFIGURATION = LineupConfiguration(LightfmConfiguration(components=4, epochs=3), seed=5, threads=1)

# Users 0 and 1 have positives, 2 has attributes only, 3 has neither.
TRAIN = Positives(
    np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), np.array([5, 6, 9]), (4, 3)
)
ITEMS = token_features(
    IdMap(np.arange(3)), pd.DataFrame({"id": [0, 2], "token": ["genre:a"] * 2}), normalize=False
)
USERS = token_features(
    IdMap(np.arange(4)), pd.DataFrame({"id": [1, 2], "token": ["g:F"] * 2}), normalize=False
)
DATA = TrainingSet(TRAIN, ITEMS, USERS)
BARE = TrainingSet(TRAIN, identity_features(3), identity_features(4))


def scores(name: str, data: TrainingSet = DATA) -> Float32:
    everyone = np.arange(4, dtype=np.int32)
    return lineup(CONFIGURATION)[name].fit(data).scores.scorer(4).score(everyone).copy()


def test_every_model_that_readers_can_filter_on_is_in_the_registry_simplest_first() -> None:
    assert tuple(REGISTRY) == MODELS
    assert MODELS[0] == "popular"


@pytest.mark.parametrize("name", REGISTRY)
def test_a_recommender_is_configured_under_its_own_name(name: str) -> None:
    recommender = lineup(CONFIGURATION)[name]
    assert recommender.name == name
    assert recommender.description.seed == 5


@pytest.mark.parametrize("name", REGISTRY)
def test_a_fitted_recommender_gives_everything_that_a_run_asks_for(name: str) -> None:
    fitted = lineup(CONFIGURATION)[name].fit(DATA)
    assert (fitted.scores.n_users, fitted.scores.n_items) == (4, 3)
    assert fitted.sources.shape == (4,)
    assert (fitted.similarity.n_users, fitted.similarity.n_items) == (3, 3)
    likeness = fitted.similarity.scorer(3).score(np.arange(3, dtype=np.int32))
    assert np.abs(likeness).max() <= 1 + 1e-6
    assert not fitted.continued
    assert all(array.dtype != object for array in fitted.arrays().values())


def test_a_source_tells_what_a_list_rests_on() -> None:
    sources = user_sources(TRAIN.csr(), USERS)
    assert [SOURCES[code] for code in sources] == [
        "hybrid",
        "hybrid",
        "cold_user",
        "recent_popular",
    ]
    assert sources.dtype == np.int8


def test_without_positives_nobody_gets_the_model() -> None:
    nothing = sparse.csr_array((4, 3), dtype=np.float32)
    assert [SOURCES[code] for code in user_sources(nothing, USERS)] == [
        "recent_popular",
        "cold_user",
        "cold_user",
        "recent_popular",
    ]


def test_popular_gives_everyone_the_counts() -> None:
    assert scores(POPULAR).tolist() == [[1, 2, 0]] * 4


@pytest.mark.parametrize(("name", "alike"), [(LIGHTFM_CF, True), (LIGHTFM_HYBRID, False)])
def test_only_the_hybrid_looks_at_features(name: str, alike: bool) -> None:
    assert np.array_equal(scores(name)[:2], scores(name, BARE)[:2]) is alike


@pytest.mark.parametrize(
    ("name", "fallen_back"),
    [
        (NEIGHBOURS, [False, False, True, True]),
        (LIGHTFM_CF, [False, False, True, True]),
        (LIGHTFM_HYBRID, [False, False, False, True]),
        (BLEND, [False, False, False, True]),
    ],
)
def test_whoever_a_model_knows_nothing_about_gets_what_is_popular_now(
    name: str, fallen_back: list[bool]
) -> None:
    order = np.argsort(-scores(RECENT_POPULAR)[0])
    same = [(np.argsort(-each) == order).all() for each in scores(name)]
    assert [each for each, back in zip(same, fallen_back, strict=True) if back] == [True] * (
        sum(fallen_back)
    )
    sources = [SOURCES[code] for code in lineup(CONFIGURATION)[name].fit(DATA).sources]
    assert [source == "recent_popular" for source in sources] == fallen_back


def test_a_movie_that_nobody_liked_is_scored_by_its_tokens_alone() -> None:
    """Movies 2 and 3 have the same tokens and no positives: nothing tells them apart."""
    twins = token_features(
        IdMap(np.arange(4)),
        pd.DataFrame({"id": [0, 2, 3], "token": ["genre:a"] * 3}),
        normalize=False,
    )
    train = Positives(TRAIN.rows, TRAIN.columns, TRAIN.times, (4, 4))
    data = TrainingSet(train, twins, USERS)
    by_tokens, by_identity = (
        lineup(replace(CONFIGURATION, lightfm=configuration))[LIGHTFM_HYBRID].fit(data).scores
        for configuration in (
            CONFIGURATION.lightfm,
            CONFIGURATION.lightfm.model_copy(update={"untrained_identities": True}),
        )
    )
    one, other = (
        each.scorer(1).score(np.array([0], np.int32))[0] for each in (by_tokens, by_identity)
    )
    assert one[2] == one[3]
    assert other[2] != other[3]


def test_the_fitted_hybrid_keeps_the_embeddings_behind_its_scores() -> None:
    fitted = lineup(CONFIGURATION)[LIGHTFM_HYBRID].fit(DATA)
    assert isinstance(fitted, FittedLightfm)
    direct = fitted.trained.factors(known=np.array([True, True, False, False]))
    known = slice(0, 2)
    assert isinstance(fitted.scores, Factors)
    assert fitted.scores.users[known] @ fitted.scores.items.T == pytest.approx(
        direct.users[known] @ direct.items.T, abs=1e-6
    )
