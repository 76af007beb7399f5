"""A model comes back from bytes as it was, to the last bit."""

import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from recsvc.model.data.features import token_features
from recsvc.model.data.identifiers import IdMap
from recsvc.model.data.splits import Positives
from recsvc.model.lightfm.archive import arrays_of, model_of
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.lightfm.fitting import Training, fit
from recsvc.model.lightfm.trained import TrainedModel
from recsvc.model.recommenders.archive import Archive, from_bytes, to_bytes

USERS, MOVIES = IdMap(np.array([-5, 2, 2**62])), IdMap(np.array([1, 3]))


@pytest.fixture(scope="module")
def archived() -> Archive:
    train = Positives(
        np.array([0, 1], np.int32), np.array([0, 1], np.int32), np.array([5, 6]), (3, 2)
    )
    awkward = pd.DataFrame({"id": [1, 3, 3], "token": ["tag:日本", 'tag:"quoted", \\', "tag:日本"]})
    items = token_features(MOVIES, awkward, normalize=True)
    nobody = pd.DataFrame({"id": [], "token": []})
    users = token_features(USERS, nobody, normalize=True)
    training = Training(LightfmConfiguration(components=4, epochs=2), seed=1, threads=1)
    more = {"sources": np.array([0, 0, 2], np.int8), "popularity": np.array([1, 1], np.float32)}
    arrays = arrays_of(fit(train, items, users, training)) | more
    return Archive("lightfm_hybrid", USERS, MOVIES, arrays)


def restored_model(archive: Archive) -> TrainedModel:
    return model_of(from_bytes(to_bytes(archive)).arrays)


def test_everything_comes_back(archived: Archive) -> None:
    restored = from_bytes(to_bytes(archived))
    assert restored.users.ids.tolist() == USERS.ids.tolist()
    assert restored.items.ids.tolist() == MOVIES.ids.tolist()
    assert restored.recommender == "lightfm_hybrid"
    assert restored.arrays["sources"].tolist() == [0, 0, 2]
    assert restored.arrays["popularity"].tolist() == [1, 1]
    assert model_of(restored.arrays).epochs == 2


def test_an_archive_of_a_release_that_named_no_recommender_is_the_hybrids(
    archived: Archive,
) -> None:
    with np.load(BytesIO(to_bytes(archived))) as arrays:
        older = {name: array for name, array in arrays.items() if name != "recommender"}
    packed = BytesIO()
    np.savez(packed, allow_pickle=False, **older)
    assert from_bytes(packed.getvalue()).recommender == "lightfm_hybrid"


@pytest.mark.parametrize("side", ["items", "users"])
def test_embeddings_and_their_gradients_come_back_bit_by_bit(archived: Archive, side: str) -> None:
    before, after = model_of(archived.arrays), restored_model(archived)
    pairs = zip(getattr(before, side).arrays(), getattr(after, side).arrays(), strict=True)
    for before, after in pairs:
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("side", ["item_features", "user_features"])
def test_features_come_back_with_their_tokens(archived: Archive, side: str) -> None:
    before, after = model_of(archived.arrays), restored_model(archived)
    assert getattr(after, side).tokens == getattr(before, side).tokens
    assert getattr(after, side).fingerprint() == getattr(before, side).fingerprint()


def test_the_restored_model_scores_as_before(archived: Archive) -> None:
    known = np.array([True, True, False])
    before, after = (
        model.factors(known) for model in (model_of(archived.arrays), restored_model(archived))
    )
    assert before.users.tobytes() == after.users.tobytes()
    assert before.items.tobytes() == after.items.tobytes()


def test_the_bytes_hold_no_pickle(archived: Archive) -> None:
    with zipfile.ZipFile(BytesIO(to_bytes(archived))) as archive:
        for name in archive.namelist():
            assert b"'descr': '|O'" not in archive.read(name)[:128], name


def test_an_object_array_is_refused_rather_than_pickled(archived: Archive) -> None:
    objects = {"popularity": np.array([object()], dtype=object)}
    pickled = replace(archived, arrays=archived.arrays | objects)
    with pytest.raises(ValueError, match="allow_pickle"):
        to_bytes(pickled)
