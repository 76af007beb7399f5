"""Which rows PostgreSQL gets in its binary format."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sqlalchemy as sa

from recsvc.model.data.identifiers import IdMap
from recsvc.model.ranking.rank import rank, similar_items
from recsvc.model.scores.factors import Factors, cosines
from recsvc.pipeline.list_rows import recommendation_rows, similarity_rows
from recsvc.store.contract.tables import ratings, recommendations, similar_movies
from recsvc.store.contract.types import BigId, Flag, Real
from recsvc.store.database.postgresql.binary_copy import kinds_of, packed_rows


def table_of(kind: Any, *, nullable: bool = False) -> sa.Table:
    return sa.Table("t", sa.MetaData(), sa.Column("x", kind, nullable=nullable))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (BigId, np.int64([1])),
        (BigId, np.int32([1])),
        (BigId, np.array([1], ">i8")),
        (BigId, np.uint32([1])),
        (sa.Integer, np.int32([1])),
        (Real, np.float64([1])),
        (Real, np.float32([1])),
        (Real, np.int32([1])),
        (Flag, np.bool_([True])),
    ],
)
def test_numbers_that_fit_their_column_whatever_they_are(kind: Any, values: Any) -> None:
    kinds = kinds_of(table_of(kind), pd.DataFrame({"x": values}))
    assert kinds is not None
    assert np.dtype(kinds["x"]).itemsize == {BigId: 8, sa.Integer: 4, Real: 8, Flag: 1}[kind]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (BigId, np.uint64([1])),
        (BigId, np.float64([1])),
        (sa.Integer, np.int64([1])),
        (BigId, pd.array([1], "Int64")),
        (BigId, np.array([1], object)),
        (BigId, pd.to_datetime(["2026-01-01"])),
        (sa.Text, ["a"]),
        (sa.Text, pd.Categorical([1])),
        (BigId, pd.Categorical(["a"])),
    ],
)
def test_anything_else_goes_as_text(kind: Any, values: Any) -> None:
    assert kinds_of(table_of(kind), pd.DataFrame({"x": values})) is None


def test_a_column_that_may_be_null_goes_as_text() -> None:
    rows = pd.DataFrame({"x": np.float64([1])})
    assert kinds_of(table_of(Real, nullable=True), rows) is None


def test_a_few_texts_go_with_the_numbers() -> None:
    texts = pd.Categorical(["a", "", "a"])
    assert kinds_of(table_of(sa.Text), pd.DataFrame({"x": texts})) is not None


def test_texts_that_change_all_the_time_go_as_text() -> None:
    texts = pd.Categorical(["a", "b"] * 500)
    assert kinds_of(table_of(sa.Text), pd.DataFrame({"x": texts})) is None


@pytest.mark.parametrize(
    "later", [{"x": pd.Categorical([1])}, {"x": ["a"]}, {}, {"x": pd.Categorical(["a"]), "y": [1]}]
)
def test_rows_of_other_columns_or_dtypes_than_the_first_are_an_error(later: Any) -> None:
    kinds = kinds_of(table_of(sa.Text), pd.DataFrame({"x": pd.Categorical(["a"])}))
    assert kinds is not None
    with pytest.raises(TypeError, match=r"column"):
        packed_rows(pd.DataFrame(later), kinds)


def test_ratings_and_what_a_run_writes_go_so() -> None:
    rows = pd.DataFrame({"user_id": [1], "movie_id": [2], "rating": [4.5], "rated_at": [7]})
    assert kinds_of(ratings, rows) is not None
    vectors = np.eye(3, dtype=np.float32)
    items = IdMap(np.array([1, 2, 3]))
    (listed,) = similarity_rows(similar_items(cosines(vectors), 2, threads=1), items)
    assert kinds_of(similar_movies, listed.assign(run_id=1)) is not None
    factors = Factors(vectors, vectors)
    blocks = rank(factors, sp.csr_array((3, 3)), 2, threads=1)
    (listed,) = recommendation_rows(blocks, items, items, np.zeros(3, np.int8))
    assert kinds_of(recommendations, listed.assign(run_id=1)) is not None
