"""A score is a sum over tokens, and the terms shown are all of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsvc.model.data.features import token_features
from recsvc.model.data.identifiers import IdMap
from recsvc.model.data.splits import Positives
from recsvc.model.lightfm.archive import model_of
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.lightfm.fitting import Training
from recsvc.model.recommenders.archive import Archive, from_bytes, to_bytes
from recsvc.model.recommenders.explanation import Explanation
from recsvc.model.recommenders.lightfm_hybrid import LightfmHybrid
from recsvc.model.recommenders.popular import Popular
from recsvc.model.recommenders.recommender import Description, TrainingSet
from recsvc.model.recommenders.registry import explain
from recsvc.model.scores.factors import Factors

USERS, MOVIES = IdMap(np.array([100, 200, 300, 400])), IdMap(np.array([11, 22, 33]))

# Users 0 and 1 have positives, 2 has attributes only, 3 has neither.
TRAIN = Positives(
    np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), np.array([5, 6, 9]), (4, 3)
)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "normalised"])
def published(request: pytest.FixtureRequest) -> tuple[Archive, Factors]:
    """A model as it comes out of the database, and the factors that made the recommendations."""
    genres = pd.DataFrame({"id": [11, 11, 33], "token": ["genre:a", "genre:b", "genre:a"]})
    attributes = pd.DataFrame({"id": [200, 300], "token": ["g:F", "g:F"]})
    items = token_features(MOVIES, genres, normalize=request.param)
    users = token_features(USERS, attributes, normalize=request.param)
    training = Training(
        LightfmConfiguration(components=16, epochs=20, learning_rate=0.1), seed=3, threads=1
    )
    fitted = LightfmHybrid(training).fit(TrainingSet(TRAIN, items, users))
    archive = Archive("lightfm_hybrid", USERS, MOVIES, fitted.arrays())
    return from_bytes(to_bytes(archive)), fitted.scores


def values(explanation: Explanation) -> dict[str, float]:
    return {term.token: term.value for term in explanation.contributions}


@pytest.mark.parametrize("item", range(3))
@pytest.mark.parametrize(
    ("user", "source"), [(0, "hybrid"), (1, "hybrid"), (2, "cold_user"), (3, "recent_popular")]
)
def test_terms_add_up_to_the_score_that_was_recommended(
    published: tuple[Archive, Factors], user: int, source: str, item: int
) -> None:
    archived, factors = published
    explanation = explain(archived, user, item)
    recommended = float(factors.users[user] @ factors.items[item])
    assert explanation.source == source
    assert sum(values(explanation).values()) == pytest.approx(recommended, rel=1e-5, abs=1e-6)
    assert explanation.score == pytest.approx(recommended, rel=1e-5, abs=1e-6)


def test_terms_are_the_movies_tokens_and_the_users_bias(
    published: tuple[Archive, Factors],
) -> None:
    archived, _ = published
    assert set(values(explain(archived, 0, 0))) == {"user:bias", "movie:11", "genre:a", "genre:b"}
    assert set(values(explain(archived, 2, 1))) == {"user:bias", "movie:22", "popularity"}


def test_a_term_is_what_the_token_adds(published: tuple[Archive, Factors]) -> None:
    archived, _ = published
    model = model_of(archived.arrays)
    vector, bias = model.user_vector(1, known=True)
    column = len(MOVIES) + model.item_features.tokens.index("genre:a")
    weight = model.item_features.matrix[[2]].toarray()[0, column]
    expected = weight * (model.items.embeddings[column] @ vector + model.items.biases[column])
    terms = values(explain(archived, 1, 2))
    assert terms["genre:a"] == pytest.approx(expected, abs=1e-6)
    assert terms["user:bias"] == pytest.approx(bias)


def test_for_somebody_unknown_the_one_term_is_what_is_popular_now(
    published: tuple[Archive, Factors],
) -> None:
    archived, _ = published
    of_items = [values(explain(archived, 3, item)) for item in range(3)]
    assert [set(each) for each in of_items] == [{"popularity"}] * 3
    assert of_items[1]["popularity"] > of_items[0]["popularity"] > of_items[2]["popularity"] == 0


def test_what_an_earlier_release_published_is_explained_by_its_counts(
    published: tuple[Archive, Factors],
) -> None:
    sources = np.array([0, 0, 1, 2], np.int8)
    counts = {"sources": sources, "popularity": np.array([1, 2, 0], np.float32)}
    earlier = replace(published[0], arrays=published[0].arrays | counts)
    assert explain(earlier, 3, 1).source == "popular"
    assert values(explain(earlier, 3, 1)) == {"popularity": 2.0}


def test_the_largest_terms_come_first_whatever_their_sign(
    published: tuple[Archive, Factors],
) -> None:
    sizes = [abs(term.value) for term in explain(published[0], 0, 0).contributions]
    assert sizes == sorted(sizes, reverse=True)


def test_a_published_popularity_is_explained_by_its_counts() -> None:
    nobody = token_features(USERS, pd.DataFrame({"id": [], "token": []}), normalize=False)
    fitted = Popular(Description(seed=1)).fit(TrainingSet(TRAIN, nobody, nobody))
    archive = from_bytes(to_bytes(Archive("popular", USERS, MOVIES, fitted.arrays())))
    explanation = explain(archive, 0, 1)
    assert (explanation.source, values(explanation)) == ("popular", {"popularity": 2.0})
