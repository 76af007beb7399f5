"""The line-up: each model sees what it may see, and every user gets a list."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recsvc.model.data.features import Features, identity_features, token_features
from recsvc.model.data.interactions import IdMap
from recsvc.model.data.splits import Positives
from recsvc.model.fast.hyperparameters import Hyperparameters
from recsvc.model.recommenders.registry import (
    CF,
    HYBRID,
    LINEUP,
    POPULAR,
    SOURCES,
    Training,
    fit_hybrid,
    fit_model,
    user_sources,
)

TRAINING = Training(Hyperparameters(components=4, epochs=3), seed=5, threads=1)

# Users 0 and 1 have positives, 2 has attributes only, 3 has neither.
TRAIN = Positives(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), (4, 3))
ITEMS = token_features(
    IdMap(np.arange(3)), pd.DataFrame({"id": [0, 2], "token": ["genre:a"] * 2}), normalize=False
)
USERS = token_features(
    IdMap(np.arange(4)), pd.DataFrame({"id": [1, 2], "token": ["g:F"] * 2}), normalize=False
)


def scores(name: str, items: Features = ITEMS, users: Features = USERS) -> np.ndarray:
    factors = fit_model(name, TRAIN, items, users, TRAINING)
    return factors.users @ factors.items.T


def test_there_are_three_models_and_three_sources() -> None:
    assert LINEUP == ("popular", "lightfm_cf", "lightfm_hybrid")
    assert SOURCES == ("hybrid", "cold_user", "popular")


def test_a_source_tells_what_a_list_rests_on() -> None:
    sources = user_sources(TRAIN.csr(), USERS)
    assert [SOURCES[code] for code in sources] == ["hybrid", "hybrid", "cold_user", "popular"]
    assert sources.dtype == np.int8


def test_without_positives_nobody_gets_the_model() -> None:
    nothing = sparse.csr_array((4, 3), dtype=np.float32)
    assert [SOURCES[code] for code in user_sources(nothing, USERS)] == [
        "popular",
        "cold_user",
        "cold_user",
        "popular",
    ]


def test_popular_gives_everyone_the_counts() -> None:
    assert scores(POPULAR).tolist() == [[1, 2, 0]] * 4


@pytest.mark.parametrize(("name", "alike"), [(CF, True), (HYBRID, False)])
def test_only_the_hybrid_looks_at_features(name: str, alike: bool) -> None:
    bare = scores(name, identity_features(3), identity_features(4))
    assert np.array_equal(scores(name)[:2], bare[:2]) is alike


@pytest.mark.parametrize(
    ("name", "fallen_back"),
    [(CF, [False, False, True, True]), (HYBRID, [False, False, False, True])],
)
def test_whoever_a_model_knows_nothing_about_gets_what_is_popular(
    name: str, fallen_back: list[bool]
) -> None:
    assert (scores(name) == scores(POPULAR)).all(axis=1).tolist() == fallen_back


def test_the_fitted_hybrid_keeps_the_embeddings_behind_its_scores() -> None:
    fitted = fit_hybrid(TRAIN, ITEMS, USERS, TRAINING)
    direct = fitted.trained.factors(known=np.array([True, True, False, False]))
    known = slice(0, 3)
    assert fitted.factors.users[known] @ fitted.factors.items.T == pytest.approx(
        direct.users[known] @ direct.items.T, abs=1e-6
    )
