"""``--preset notebook`` on MovieLens ml-latest-small: the notebook's numbers, to the last digit.

One thread, ids and tokens in sorted order; the reference is LightFM itself, fitted here as the
notebook fits it.
"""

from collections.abc import Iterator
from pathlib import Path

import lightfm
import numpy as np
import pytest
from lightfm import evaluation
from lightfm.cross_validation import random_train_test_split
from scipy import sparse

from recsvc.errors import PublicationRefusedError
from recsvc.ingest.folder import ingest_folder
from recsvc.model.data.identifiers import Csr
from recsvc.model.data.splits import hold_out
from recsvc.pipeline.load import TrainingData, load_training_data
from recsvc.pipeline.retrain import retrain
from recsvc.settings import PRESETS
from tests.prepared import Prepared, copied

NOTEBOOK = PRESETS["notebook"] | {"threads": 1}

VALUES = {
    "lightfm_cf": {"precision": 0.118167, "recall": 0.127124},
    "lightfm_hybrid": {"precision": 0.025833, "recall": 0.028959},
}


@pytest.fixture(scope="module")
def refused(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prepared, str]]:
    """The database after a run with the preset, and why it was refused."""
    with copied("sqlite", request, tmp_path_factory.mktemp("notebook")) as database:
        with database.engine() as engine:
            ingest_folder(engine, real_data)
            with pytest.raises(PublicationRefusedError) as caught:
                retrain(engine, database.settings(**NOTEBOOK))
        yield database, str(caught.value)


@pytest.fixture(scope="module")
def data(refused: tuple[Prepared, str]) -> TrainingData:
    database, _ = refused
    with database.engine() as engine:
        return load_training_data(engine, database.settings(**NOTEBOOK))


def test_the_data_are_the_notebooks(data: TrainingData) -> None:
    assert data.interactions.positives.nnz == 48_580
    assert data.interactions.positives.shape == (610, 9_742)
    assert data.features.items.matrix.shape == (9_742, 10_090)
    assert data.features.items.matrix.nnz == 33_984
    bias = data.features.items.tokens.index("bias:item")
    assert data.features.items.shared[:, [bias]].nnz == 33


def test_the_split_is_the_notebooks(refused: tuple[Prepared, str], data: TrainingData) -> None:
    split = hold_out(data.interactions, refused[0].settings(**NOTEBOOK), seed=42)
    assert (len(split.train.rows), len(split.test.rows)) == (38_864, 9_716)


def stored(database: Prepared, model: str) -> dict[tuple[str, int | None], float]:
    rows = database.rows(
        "SELECT metric, k, value FROM model_metrics WHERE model = :model AND segment = 'all'",
        model=model,
    )
    return {(row.metric, row.k): row.value for row in rows}


@pytest.mark.parametrize("model", VALUES)
def test_the_figures_are_the_notebooks(refused: tuple[Prepared, str], model: str) -> None:
    found = stored(refused[0], model)
    for metric, value in VALUES[model].items():
        assert found[metric, 10] == pytest.approx(value, abs=5e-7)


@pytest.mark.parametrize("model", VALUES)
def test_precision_recall_and_auc_are_those_of_lightfm(
    refused: tuple[Prepared, str], data: TrainingData, model: str
) -> None:
    everything = sparse.coo_matrix(data.interactions.positives)
    train, test = random_train_test_split(everything, 0.2, np.random.RandomState(42))
    features = as_matrix(data.features.items.matrix) if model == "lightfm_hybrid" else None
    reference = lightfm.LightFM(no_components=40, learning_rate=0.05, loss="bpr", random_state=42)
    reference.fit(train, item_features=features, epochs=25, num_threads=1)

    found = stored(refused[0], model)
    given = {"train_interactions": train, "item_features": features, "num_threads": 2}
    for metric in ("precision", "recall"):
        per_user = getattr(evaluation, f"{metric}_at_k")(reference, test, k=10, **given)
        assert found[metric, 10] == pytest.approx(per_user.mean(), abs=1e-6)
    auc = evaluation.auc_score(reference, test, **given).mean()
    assert found["auc", None] == pytest.approx(auc, abs=1e-6)


def as_matrix(features: Csr) -> sparse.csr_matrix:
    """LightFM takes SciPy's older kind."""
    return sparse.csr_matrix(features)


def test_the_gate_refuses_what_is_worse_than_popularity(refused: tuple[Prepared, str]) -> None:
    database, reason = refused
    assert "does not beat popular" in reason
    assert database.value("SELECT status FROM runs") == "refused"
    assert database.value("SELECT count(*) FROM recommendations") == 0
