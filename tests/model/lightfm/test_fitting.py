"""LightFM behind one door: its scores, as two matrices."""

import lightfm
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recsvc.errors import TrainingDivergedError
from recsvc.model.data.features import Features, identity_features, token_features
from recsvc.model.data.identifiers import IdMap
from recsvc.model.data.splits import Positives
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.model.lightfm.fitting import Training, fit
from recsvc.model.lightfm.trained import TrainedModel

N_USERS, N_ITEMS = 30, 40
QUICK = LightfmConfiguration(components=8, epochs=5, learning_rate=0.05)


def positives(seed: int = 0) -> Positives:
    """Users 0 to 24 have positives; the last five have none."""
    cells = np.sort(np.random.default_rng(seed).choice(25 * N_ITEMS, 300, replace=False))
    rows, columns = np.divmod(cells.astype(np.int32), np.int32(N_ITEMS))
    return Positives(rows, columns, np.zeros(len(rows), np.int64), (N_USERS, N_ITEMS))


def tokens(n: int, names: str, seed: int, *, normalize: bool = False) -> Features:
    rng = np.random.default_rng(seed)
    chosen = rng.random((n, len(names))) < 0.4
    ids, columns = np.nonzero(chosen)
    pairs = pd.DataFrame({"id": ids, "token": [names[column] for column in columns]})
    return token_features(IdMap(np.arange(n)), pairs, normalize=normalize)


def with_lightfm(configuration: LightfmConfiguration, seed: int) -> Training:
    return Training(configuration.model_copy(update={"trainer": "lightfm"}), seed=seed, threads=1)


def trained(
    configuration: LightfmConfiguration = QUICK, *, normalize: bool = False, seed: int = 1
) -> TrainedModel:
    return fit(
        positives(),
        tokens(N_ITEMS, "abcde", 2, normalize=normalize),
        tokens(N_USERS, "xyz", 3, normalize=normalize),
        with_lightfm(configuration, seed),
    )


def csr_matrix(features: Features) -> sparse.csr_matrix:
    return sparse.csr_matrix(features.matrix.toarray())


@pytest.mark.parametrize("loss", ["warp", "bpr"])
@pytest.mark.parametrize("normalize", [False, True])
def test_scores_are_those_of_lightfms_predict(loss: str, normalize: bool) -> None:
    items = tokens(N_ITEMS, "abcde", 2, normalize=normalize)
    users = tokens(N_USERS, "xyz", 3, normalize=normalize)
    theirs = lightfm.LightFM(
        no_components=8,
        loss=loss,
        learning_rate=0.05,
        item_alpha=QUICK.item_alpha,
        user_alpha=QUICK.user_alpha,
        max_sampled=QUICK.max_sampled,
        random_state=1,
    )
    sides = {"item_features": csr_matrix(items), "user_features": csr_matrix(users)}
    theirs.fit(positives().coo(), epochs=5, num_threads=1, **sides)
    row, column = np.divmod(np.arange(N_USERS * N_ITEMS, dtype=np.int32), N_ITEMS)
    expected = theirs.predict(row, column, **sides).reshape(N_USERS, N_ITEMS)

    ours = trained(QUICK.model_copy(update={"loss": loss}), normalize=normalize)
    factors = ours.factors(known=np.ones(N_USERS, np.bool_))
    assert factors.users @ factors.items.T == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_user_without_history_is_scored_from_attributes_alone() -> None:
    model = trained()
    known = np.arange(N_USERS) < 25
    factors = model.factors(known)
    user = 27
    shared = model.user_features.shared.toarray()[user]
    assert shared.any(), "the test needs a user with attributes"
    vector = shared @ model.users.embeddings[N_USERS:]
    bias = shared @ model.users.biases[N_USERS:]
    expected = model.item_vectors() @ vector + model.item_biases() + bias
    assert factors.items @ factors.users[user] == pytest.approx(expected, abs=1e-5)


def test_two_users_without_history_and_with_equal_attributes_get_equal_scores() -> None:
    pairs = pd.DataFrame({"id": [28, 29, 3], "token": ["x", "x", "x"]})
    users = token_features(IdMap(np.arange(N_USERS)), pairs, normalize=False)
    model = fit(positives(), identity_features(N_ITEMS), users, with_lightfm(QUICK, 1))
    factors = model.factors(np.arange(N_USERS) < 25)
    assert factors.users[28].tolist() == factors.users[29].tolist()
    assert factors.users[28].tolist() != factors.users[27].tolist()


@pytest.mark.parametrize(("user", "known"), [(4, True), (27, False)])
def test_one_users_vector_is_the_row_that_ranking_uses(user: int, known: bool) -> None:
    model = trained()
    row = model.factors(np.arange(N_USERS) < 25).users[user]
    vector, bias = model.user_vector(user, known=known)
    assert vector == pytest.approx(row[:8], abs=1e-6)
    assert bias == pytest.approx(row[8], abs=1e-6)


def test_item_vectors_are_sums_over_tokens() -> None:
    model = trained()
    matrix = model.item_features.matrix.toarray()
    assert model.item_vectors() == pytest.approx(matrix @ model.items.embeddings, abs=1e-5)
    assert model.item_vectors().shape == (N_ITEMS, 8)
    assert model.item_biases() == pytest.approx(matrix @ model.items.biases, abs=1e-5)


def test_factors_are_laid_out_for_the_matrix_product() -> None:
    factors = trained().factors(np.ones(N_USERS, np.bool_))
    for matrix in (factors.users, factors.items):
        assert matrix.flags.c_contiguous
        assert matrix.dtype == np.float32


def test_with_one_thread_the_same_input_gives_the_same_bytes() -> None:
    first, second = trained(), trained()
    for side in ("items", "users"):
        for one, other in zip(
            getattr(first, side).arrays(), getattr(second, side).arrays(), strict=True
        ):
            assert one.tobytes() == other.tobytes()


def test_another_seed_gives_another_model() -> None:
    one, other = trained(seed=1), trained(seed=2)
    assert one.items.embeddings.tolist() != other.items.embeddings.tolist()


def test_epochs_are_those_that_were_asked_for() -> None:
    assert trained(QUICK.model_copy(update={"epochs": 2})).epochs == 2


# LightFM's own look for infinities makes NumPy warn of them.
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("loss", ["warp", "bpr"])
def test_a_training_that_diverges_says_so_and_what_to_change(loss: str) -> None:
    step = {"learning_rate": 1e6, "item_alpha": 0.0, "user_alpha": 0.0}
    wild = QUICK.model_copy(update={"loss": loss, **step})
    with pytest.raises(TrainingDivergedError, match="lower RECSVC_LEARNING_RATE"):
        trained(wild)
