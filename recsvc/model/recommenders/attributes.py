"""Users without positives, by what their attributes say: a regression made after the training.

Attributes that are trained as tokens of a user cost more than they bring wherever users have
positives of their own: on MovieLens 100K shuffled attributes hurt as much as true ones. What they
are good for is a user about whom nothing else is known.
"""

import numpy as np
from scipy import sparse

from recsvc.model.data.identifiers import Csr
from recsvc.runtime.arrays import Float32, Int64, Mask

RIDGE = 20.0
MOST_ATTRIBUTES = 4_096  #: the normal equations are dense; of more, the commonest are kept


def vectors_by_attributes(attributes: Csr, vectors: Float32, known: Mask, wanted: Mask) -> Float32:
    """Predict the vectors of some users from their attributes.

    A ridge regression (Hoerl, Kennard 1970) ``E = (A'A + 20 I)^-1 A'P`` over users whose vectors
    ``P`` were trained, with ``A`` their attributes and a constant.

    Args:
        attributes: shape ``(n_users, n_attributes)``, weights of attributes.
        vectors: shape ``(n_users, d)``; only rows of ``known`` are looked at.
        known: shape ``(n_users,)``, users with positives.
        wanted: shape ``(n_users,)``, users to predict.

    Returns:
        Shape ``(number of wanted, d)``.
    """
    learnt_from = known & (np.diff(attributes.indptr) > 0)
    matrix = _with_constant(attributes[np.flatnonzero(learnt_from)])
    commonest = _commonest(matrix)
    matrix = matrix[:, commonest]
    gram = (matrix.T @ matrix).toarray() + RIDGE * np.eye(len(commonest))
    effects = np.linalg.solve(gram, matrix.T @ vectors[learnt_from].astype(np.float64))
    theirs = _with_constant(attributes[np.flatnonzero(wanted)])
    predicted = theirs[:, commonest] @ effects
    return np.asarray(predicted, dtype=np.float32)


def _with_constant(attributes: Csr) -> Csr:
    ones = sparse.csr_array(np.ones((attributes.shape[0], 1)))
    return sparse.csr_array(sparse.hstack([attributes.astype(np.float64), ones], format="csr"))


def _commonest(matrix: Csr) -> Int64:
    """Return the columns to keep, the constant among them."""
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    counts[-1] = matrix.shape[0] + 1
    order = np.argsort(-counts, kind="stable")[: MOST_ATTRIBUTES + 1]
    return np.sort(order)
