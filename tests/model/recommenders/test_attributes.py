"""What attributes say about a user of whom nothing else is known."""

import numpy as np
import pytest
from scipy import sparse

from recsvc.model.recommenders import attributes as module
from recsvc.model.recommenders.attributes import RIDGE, vectors_by_attributes
from recsvc.runtime.arrays import Float32, Mask


def described(groups: list[list[int]], n: int) -> sparse.csr_array:
    return sparse.csr_array(
        np.array([[float(token in group) for token in range(n)] for group in groups], np.float32)
    )


def test_it_is_a_ridge_regression_with_a_constant() -> None:
    rng = np.random.default_rng(1)
    matrix = sparse.csr_array((rng.random((200, 6)) < 0.4).astype(np.float32))
    matrix.eliminate_zeros()
    vectors = rng.standard_normal((200, 4)).astype(np.float32)
    known = np.arange(200) < 150
    found = vectors_by_attributes(matrix, vectors, known, ~known)
    dense = np.hstack([matrix.toarray(), np.ones((200, 1))])
    learnt = known & (matrix.toarray().sum(axis=1) > 0)
    gram = dense[learnt].T @ dense[learnt] + RIDGE * np.eye(7)
    effects = np.linalg.inv(gram) @ dense[learnt].T @ vectors[learnt]
    assert found == pytest.approx(dense[~known] @ effects, abs=1e-5)
    assert found.dtype == np.float32


def two_groups() -> tuple[sparse.csr_array, Float32, Mask]:
    """A thousand users of each group, whose vectors are those of the group; two are unknown."""
    groups = described([[0], [1]] * 1000 + [[0], [1]], 2)
    vectors = np.array([[1, 0], [0, 1]] * 1000 + [[9, 9], [9, 9]], np.float32)
    return groups, vectors, np.arange(2002) < 2000


def test_an_unknown_user_gets_the_vector_of_their_group() -> None:
    groups, vectors, known = two_groups()
    found = vectors_by_attributes(groups, vectors, known, ~known)
    assert found == pytest.approx(np.eye(2), abs=0.05)


def test_where_no_known_user_has_attributes_they_say_nothing() -> None:
    groups, vectors, _ = two_groups()
    nobody = np.zeros(2002, np.bool_)
    assert not vectors_by_attributes(groups, vectors, nobody, np.arange(2002) == 5).any()


def test_of_very_many_attributes_the_commonest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    groups, vectors, known = two_groups()
    rare = sparse.csr_array(sparse.eye_array(2002, dtype=np.float32, format="csr")[:, :50])
    matrix = sparse.csr_array(sparse.hstack([rare, groups], format="csr"))
    expected = vectors_by_attributes(groups, vectors, known, ~known)
    monkeypatch.setattr(module, "MOST_ATTRIBUTES", 2)
    found = vectors_by_attributes(matrix, vectors, known, ~known)
    assert found == pytest.approx(expected, abs=1e-5)
