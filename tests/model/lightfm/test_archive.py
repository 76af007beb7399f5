"""A model comes back from bytes as it was, to the last bit."""

import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from recsvc.model.data.features import token_features
from recsvc.model.data.interactions import IdMap
from recsvc.model.data.splits import Positives
from recsvc.model.fast.hyperparameters import Hyperparameters
from recsvc.model.lightfm.archive import ArchivedModel, from_bytes, to_bytes
from recsvc.model.recommenders.registry import Training, fit_hybrid

USERS, MOVIES = IdMap(np.array([-5, 2, 2**62])), IdMap(np.array([1, 3]))


@pytest.fixture(scope="module")
def archived() -> ArchivedModel:
    train = Positives(np.array([0, 1], np.int32), np.array([0, 1], np.int32), (3, 2))
    awkward = pd.DataFrame({"id": [1, 3, 3], "token": ["tag:日本", 'tag:"quoted", \\', "tag:日本"]})
    items = token_features(MOVIES, awkward, normalize=True)
    nobody = pd.DataFrame({"id": [], "token": []})
    users = token_features(USERS, nobody, normalize=True)
    training = Training(Hyperparameters(components=4, epochs=2), seed=1, threads=1)
    fitted = fit_hybrid(train, items, users, training)
    return ArchivedModel(
        fitted.trained,
        USERS,
        MOVIES,
        sources=np.array([0, 0, 2], np.int8),
        popularity=np.array([1, 1], np.float32),
    )


def test_everything_comes_back(archived: ArchivedModel) -> None:
    restored = from_bytes(to_bytes(archived))
    assert restored.users.ids.tolist() == USERS.ids.tolist()
    assert restored.items.ids.tolist() == MOVIES.ids.tolist()
    assert restored.sources.tolist() == [0, 0, 2]
    assert restored.popularity.tolist() == [1, 1]
    assert restored.model.epochs == 2


@pytest.mark.parametrize("side", ["items", "users"])
def test_embeddings_and_their_gradients_come_back_bit_by_bit(
    archived: ArchivedModel, side: str
) -> None:
    restored = from_bytes(to_bytes(archived))
    pairs = zip(
        getattr(archived.model, side).arrays(), getattr(restored.model, side).arrays(), strict=True
    )
    for before, after in pairs:
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("side", ["item_features", "user_features"])
def test_features_come_back_with_their_tokens(archived: ArchivedModel, side: str) -> None:
    restored = getattr(from_bytes(to_bytes(archived)).model, side)
    assert restored.tokens == getattr(archived.model, side).tokens
    assert restored.fingerprint() == getattr(archived.model, side).fingerprint()


def test_the_restored_model_scores_as_before(archived: ArchivedModel) -> None:
    known = np.array([True, True, False])
    before, after = (
        model.factors(known) for model in (archived.model, from_bytes(to_bytes(archived)).model)
    )
    assert before.users.tobytes() == after.users.tobytes()
    assert before.items.tobytes() == after.items.tobytes()


def test_the_bytes_hold_no_pickle(archived: ArchivedModel) -> None:
    with zipfile.ZipFile(BytesIO(to_bytes(archived))) as archive:
        for name in archive.namelist():
            assert b"'descr': '|O'" not in archive.read(name)[:128], name


def test_an_object_array_is_refused_rather_than_pickled(archived: ArchivedModel) -> None:
    pickled = replace(archived, popularity=np.array([object()], dtype=object))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="allow_pickle"):
        to_bytes(pickled)
