"""Whole columns into the database arrive as they are."""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recsvc.errors import DatabaseUnreachableError
from recsvc.runtime.signals import Stopped
from recsvc.store.administration import migrate
from recsvc.store.contract.tables import links, movies, ratings, users
from recsvc.store.contract.types import BigId, Flag, Real
from recsvc.store.database import statements
from recsvc.store.database.bulk import fill, insert, upsert
from recsvc.store.database.postgresql import bulk as postgresql_bulk
from recsvc.store.database.sqlite import bulk as sqlite_bulk
from recsvc.store.database.sqlite.bulk import STATEMENT_ROWS
from recsvc.store.database.transactions import loading, reading, reading_at_one_moment, writing
from tests.databases import is_sqlite

TRIAL = sa.Table(
    "trial",
    sa.MetaData(),
    sa.Column("id", BigId, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text),
    sa.Column("number", BigId),
    sa.Column("value", Real),
    sa.Column("flag", Flag),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
NUMBERS = sa.Table(
    "numbers",
    sa.MetaData(),
    sa.Column("id", BigId, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("value", Real, nullable=False),
    sa.Column("flag", Flag, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
KINDS = {"id": "int64", "text": "str", "number": "Int64", "value": "float64", "flag": "boolean"}

Begin = Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
Write = Callable[[sa.Connection, sa.Table, pd.DataFrame], int]
Row = tuple[int, str | None, int | None, float | None, bool | None]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
odd_texts = st.sampled_from((
    "", " ", '"', '""', "'", ",", "\\", "\\N", "\\.", "\\.\n", "\n", "\r\n", "\r", "\t", "NULL",
    "null", "NaN", "None", "a\n\\.\nb", "\ufeff", "\u2028", "\U0010ffff", "e\u0301", "\x01\x7f",
))  # fmt: skip
integers = st.integers(-(2**63), 2**63 - 1)
rows = st.builds(
    lambda *values: values,
    st.none() | texts | odd_texts,
    st.none() | integers,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
)
tables = st.dictionaries(integers, rows, max_size=12)


@pytest.fixture
def trial(engine: sa.Engine) -> Iterator[sa.Engine]:
    """A database with an empty table of all kinds of columns."""
    with writing(engine) as connection:
        TRIAL.create(connection)
    return engine


def frame(rows: dict[int, Any]) -> pd.DataFrame:
    columns: Any = zip(*[(key, *row) for key, row in rows.items()], strict=True)
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=kind)
            for (name, kind), values in zip(KINDS.items(), columns, strict=True)
        }
        if rows
        else {name: pd.Series(dtype=kind) for name, kind in KINDS.items()}
    )


def stored(engine: sa.Engine) -> dict[int, Any]:
    with reading(engine) as connection:
        found = connection.execute(sa.select(TRIAL)).all()
    return {row[0]: (*row[1:4], None if row[4] is None else bool(row[4])) for row in found}


each_table = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@each_table
@given(table=tables)
@example({n: (text, n, 0.1, None) for n, text in enumerate(["", "\\N", "\\.", '"', "\n", "\r"])})
@example({1: (None, None, None, None), 2: ("", 0, 0.0, False)})
@example({1: ("a", 2**63 - 1, 5e-324, True), 2: ("b", -(2**63), 1.7976931348623157e308, False)})
@example({1: ("a", 2**53 + 1, 0.1 + 0.2, None), 2: ("b", None, math.pi, None)})
def test_every_value_is_stored_as_it_is(trial: sa.Engine, table: dict[int, Any]) -> None:
    with writing(trial) as connection:
        connection.execute(sa.delete(TRIAL))
        assert insert(connection, TRIAL, frame(table)) == len(table)
    assert stored(trial) == table


@each_table
@given(before=tables, after=tables)
def test_an_upsert_replaces_by_key_and_leaves_the_rest(
    trial: sa.Engine, before: dict[int, Any], after: dict[int, Any]
) -> None:
    with writing(trial) as connection:
        connection.execute(sa.delete(TRIAL))
        insert(connection, TRIAL, frame(before))
        assert upsert(connection, TRIAL, frame(after)) == len(after)
    assert stored(trial) == before | after


def test_an_upsert_of_some_columns_leaves_the_others(trial: sa.Engine) -> None:
    with writing(trial) as connection:
        insert(connection, TRIAL, frame({1: ("a", 5, 0.5, True)}))
        upsert(connection, TRIAL, pd.DataFrame({"id": [1, 2], "number": [6, 7]}))
    assert stored(trial) == {1: ("a", 6, 0.5, True), 2: (None, 7, None, None)}


def test_an_upsert_of_keys_alone_adds_what_is_missing(trial: sa.Engine) -> None:
    with writing(trial) as connection:
        insert(connection, TRIAL, frame({1: ("a", 5, 0.5, True)}))
        upsert(connection, TRIAL, pd.DataFrame({"id": [1, 2]}))
    assert stored(trial) == {1: ("a", 5, 0.5, True), 2: (None, None, None, None)}


def test_numbers_of_32_bits_and_missing_floats_are_taken(trial: sa.Engine) -> None:
    rows = pd.DataFrame(
        {
            "id": np.array([1, 2], dtype=np.int32),
            "value": np.array([0.1, np.nan], dtype=np.float32),
            "text": pd.Series(["x", None], dtype="str"),
        }
    )
    with writing(trial) as connection:
        insert(connection, TRIAL, rows)
    found = stored(trial)
    assert found[1][2] == pytest.approx(0.1, rel=1e-7)
    assert found[2] == (None, None, None, None)


@pytest.fixture
def numbers(engine: sa.Engine) -> Iterator[sa.Engine]:
    """A database with an empty table of numbers and a text, none of them missing."""
    with writing(engine) as connection:
        NUMBERS.create(connection)
    return engine


@each_table
@given(
    table=st.dictionaries(
        integers,
        st.tuples(
            st.integers(-(2**31), 2**31 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            odd_texts,
        ),
        min_size=1,
        max_size=12,
    ),
    chunk=st.integers(1, 4),
)
@example({2**63 - 1: (2**31 - 1, 5e-324, True, "a"), -(2**63): (-(2**31), 0.0, False, "")}, 1)
def test_numbers_and_a_few_texts_are_stored_as_they_are(
    numbers: sa.Engine, table: dict[int, tuple[int, float, bool, str]], chunk: int
) -> None:
    rows = [(key, *values) for key, values in table.items()]
    kinds = {"id": "int64", "number": "int32", "value": "float64", "flag": "bool"}
    kinds["text"] = "category"
    columns = {
        name: pd.Series(values, dtype=kind)
        for (name, kind), values in zip(kinds.items(), zip(*rows, strict=True), strict=True)
    }
    with pytest.MonkeyPatch.context() as patch, writing(numbers) as connection:
        patch.setattr(statements, "CHUNK_ROWS", chunk)
        connection.execute(sa.delete(NUMBERS))
        assert insert(connection, NUMBERS, pd.DataFrame(columns)) == len(rows)
    with reading(numbers) as connection:
        found = connection.execute(sa.select(NUMBERS)).all()
    assert sorted((*row[:3], bool(row[3]), row[4]) for row in found) == sorted(rows)


GOOD = pd.DataFrame({"id": [1], "number": np.int32([1]), "value": [1.0], "flag": [True]}).assign(
    text=pd.Categorical(["a"])
)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(GOOD.assign(id=2, value=np.nan), id="missing"),
        pytest.param(GOOD.assign(id=2, value=pd.array([None], "Float64")), id="missing, masked"),
        pytest.param(GOOD.assign(id=2, number=pd.array([None], "Int64")), id="of another dtype"),
        pytest.param(GOOD.assign(id=2, number="x"), id="a text for a number"),
        pytest.param(GOOD.assign(id=2, text=pd.Categorical([None], ["a"])), id="no text"),
    ],
)
def test_what_does_not_fit_its_column_is_an_error_and_nothing_is_kept(
    numbers: sa.Engine, bad: pd.DataFrame
) -> None:
    expected = (sa.exc.DBAPIError, TypeError, ValueError)
    with pytest.raises(expected, match=r"value|number|text"), writing(numbers) as connection:
        insert(connection, NUMBERS, iter([GOOD, bad]))
    with reading(numbers) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(NUMBERS)) == 0


def test_rows_pass_in_pieces_and_from_several_frames(
    trial: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "CHUNK_ROWS", 7)
    monkeypatch.setattr(sqlite_bulk, "STATEMENT_ROWS", 3)
    table = {key: (str(key), key, key / 7, None) for key in range(20)}
    parts = [frame({key: table[key] for key in range(*ends)}) for ends in ((0, 8), (8, 8), (8, 20))]
    with writing(trial) as connection:
        assert insert(connection, TRIAL, iter(parts)) == 20
        assert insert(connection, TRIAL, []) == 0
        assert upsert(connection, TRIAL, parts[1]) == 0
    assert stored(trial) == table


def test_a_duplicate_key_is_an_error_like_any_other_of_sqlalchemy(trial: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), writing(trial) as connection:
        insert(connection, TRIAL, pd.DataFrame({"id": [1, 1]}))
    assert stored(trial) == {}


def test_a_failure_of_whoever_makes_the_rows_is_passed_on_and_nothing_is_kept(
    trial: sa.Engine,
) -> None:
    def failing() -> Iterator[pd.DataFrame]:
        yield frame({1: ("a", 1, 0.5, None)})
        raise KeyError("no more rows")

    with pytest.raises(KeyError, match="no more rows"), writing(trial) as connection:
        insert(connection, TRIAL, failing())
    assert stored(trial) == {}
    with writing(trial) as connection:
        insert(connection, TRIAL, frame({1: ("a", 1, 0.5, None)}))


def test_a_connection_lost_among_the_rows_says_so_without_the_password(trial: sa.Engine) -> None:
    if is_sqlite(trial):
        pytest.skip("SQLite has no connection to lose")

    def cut_off(connection: sa.Connection) -> Iterator[pd.DataFrame]:
        yield frame({1: ("a", 1, 0.5, None)})
        pid = connection.connection.driver_connection.info.backend_pid
        with psycopg.connect(
            trial.url.set(drivername="postgresql").render_as_string(hide_password=False)
        ) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        for key in range(2, 2_000):
            yield frame({key: ("x" * 1000, 1, 0.5, None)})

    with (
        pytest.raises(DatabaseUnreachableError, match="does not answer"),
        writing(trial) as connection,
    ):
        insert(connection, TRIAL, cut_off(connection))
    assert stored(trial) == {}


@pytest.mark.parametrize("count", [1, STATEMENT_ROWS - 1, STATEMENT_ROWS, STATEMENT_ROWS + 1])
def test_any_number_of_rows_arrives(engine: sa.Engine, count: int) -> None:
    """SQLite takes several rows a statement; full and partly filled statements alike."""
    rows = pd.DataFrame({"user_id": range(1, count + 1)})
    with writing(engine) as connection:
        assert insert(connection, users, rows) == count
        ids = connection.scalars(sa.select(users.c.user_id).order_by("user_id")).all()
    assert ids == rows["user_id"].tolist()


# --- the first load of a table -----------------------------------------------------------------


@pytest.fixture
def catalogue(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A database of ten users and ten movies, where three rows are a large load."""
    monkeypatch.setattr(postgresql_bulk, "LARGE_LOAD", 3)
    ids = range(10)
    with writing(engine) as connection:
        insert(connection, users, pd.DataFrame({"user_id": ids}))
        titled = pd.DataFrame({"movie_id": ids, "title": ["A"] * 10})
        insert(connection, movies, titled)
    return engine


def some_ratings(user_ids: list[int], rating: float = 4.0) -> pd.DataFrame:
    return pd.DataFrame({"user_id": user_ids, "movie_id": 1, "rating": rating, "rated_at": 5})


def raters(engine: sa.Engine) -> list[int]:
    with reading(engine) as connection:
        return sorted(connection.scalars(sa.select(ratings.c.user_id)))


def test_a_first_load_and_a_second_one_leave_the_schema_as_it_was(catalogue: sa.Engine) -> None:
    for ids in ([1, 2, 3, 4], [5, 6, 7], []):
        with writing(catalogue) as connection:
            assert fill(connection, ratings, some_ratings(ids)) == len(ids)
    assert raters(catalogue) == [1, 2, 3, 4, 5, 6, 7]
    assert migrate.differences(catalogue) == []


@pytest.mark.parametrize("bad", [[1, 2, 3, 3], [1, 2, 99]], ids=["a duplicate", "a stranger"])
@pytest.mark.parametrize("before", [[], [7, 8, 9]], ids=["empty", "filled"])
@pytest.mark.parametrize("begin", [writing, loading])
def test_a_load_that_breaks_a_rule_is_refused_and_leaves_all_as_it_was(
    catalogue: sa.Engine, before: list[int], bad: list[int], begin: Begin
) -> None:
    with begin(catalogue) as connection:
        fill(connection, ratings, some_ratings(before))
    with pytest.raises(sa.exc.IntegrityError), begin(catalogue) as connection:
        fill(connection, ratings, some_ratings(bad))
    assert raters(catalogue) == before
    assert migrate.differences(catalogue) == []


@pytest.mark.parametrize(
    "stranger", [{"user_id": 99}, {"movie_id": 99}, {"movie_id": -1}, {"user_id": 2**62}], ids=str
)
@pytest.mark.parametrize("write", [insert, upsert, fill])
def test_a_row_that_refers_to_nothing_is_refused_wherever_it_stands(
    catalogue: sa.Engine, stranger: dict[str, int], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "CHUNK_ROWS", 3)
    rows = some_ratings([*range(10)])
    rows.loc[8, list(stranger)] = list(stranger.values())
    with pytest.raises(sa.exc.IntegrityError), loading(catalogue) as connection:
        write(connection, ratings, rows)
    assert raters(catalogue) == []


@pytest.mark.parametrize("moment", ["DELETE FROM ratings", "SELECT users.user_id"])
def test_a_stop_signal_in_a_statement_ends_a_load_as_what_it_is(
    catalogue: sa.Engine, moment: str
) -> None:
    if "users" in moment and not is_sqlite(catalogue):
        pytest.skip("PostgreSQL checks references itself")
    with writing(catalogue) as connection:
        insert(connection, ratings, some_ratings([1, 2]))

    @sa.event.listens_for(catalogue, "after_cursor_execute")
    def _stop(*arguments: object) -> None:
        if str(arguments[2]).startswith(moment):
            raise Stopped(signal.SIGTERM)

    def replace(connection: sa.Connection) -> None:
        insert(connection, ratings, some_ratings([3]))
        connection.execute(sa.delete(ratings))

    with pytest.raises(Stopped), loading(catalogue) as connection:
        replace(connection)
    sa.event.remove(catalogue, "after_cursor_execute", _stop)
    assert raters(catalogue) == [1, 2]


def test_references_are_enforced_again_after_a_load_and_after_one_that_failed(
    catalogue: sa.Engine,
) -> None:
    with loading(catalogue) as connection:
        fill(connection, ratings, some_ratings([1, 2]))
    with pytest.raises(KeyError), loading(catalogue) as connection:
        raise KeyError(fill(connection, ratings, some_ratings([3])))
    with pytest.raises(sa.exc.IntegrityError), writing(catalogue) as connection:
        connection.exec_driver_sql("INSERT INTO movie_genres VALUES (404, 'Drama')")
    assert raters(catalogue) == [1, 2]


def test_postgresql_knows_what_a_first_load_brought(catalogue: sa.Engine) -> None:
    if is_sqlite(catalogue):
        pytest.skip("SQLite plans no worse without")
    with writing(catalogue) as connection:
        fill(connection, ratings, some_ratings([1, 2, 3]))
        groups = connection.scalar(
            sa.text(
                "SELECT n_distinct FROM pg_stats"
                " WHERE tablename = 'ratings' AND attname = 'user_id'"
            )
        )
    assert groups == -1.0  # as many as rows


def test_whoever_looks_at_an_earlier_moment_sees_nothing_of_a_first_load(
    catalogue: sa.Engine,
) -> None:
    analysed = sa.text("SELECT count(*) FROM pg_stats WHERE tablename = 'ratings'")
    with reading_at_one_moment(catalogue) as before:
        assert before.scalars(sa.select(links.c.movie_id)).all() == []
        with writing(catalogue) as connection:
            fill(connection, ratings, some_ratings([1, 2, 3]))
            assert is_sqlite(catalogue) or connection.scalar(analysed), "it was all at once"
        assert before.scalars(sa.select(ratings.c.user_id)).all() == []
    assert raters(catalogue) == [1, 2, 3]


def test_rules_hold_after_a_first_load(catalogue: sa.Engine) -> None:
    with writing(catalogue) as connection:
        fill(connection, ratings, some_ratings([1, 2, 3]))
    for rows in (some_ratings([1]), some_ratings([99]), some_ratings([4], rating=6.0)):
        with pytest.raises(sa.exc.IntegrityError), writing(catalogue) as connection:
            insert(connection, ratings, rows)
    with pytest.raises(sa.exc.IntegrityError), writing(catalogue) as connection:
        connection.execute(sa.delete(users))


def test_a_first_load_does_not_wait_for_readers_and_they_do_not_wait_for_it(
    catalogue: sa.Engine,
) -> None:
    with reading(catalogue) as reader:
        assert reader.scalar(sa.select(sa.func.count()).select_from(ratings)) == 0
        with writing(catalogue) as connection:
            fill(connection, ratings, some_ratings([1, 2, 3]))
            assert reader.scalar(sa.select(sa.func.count()).select_from(ratings)) == 0
    assert raters(catalogue) == [1, 2, 3]
    assert migrate.differences(catalogue) == []
