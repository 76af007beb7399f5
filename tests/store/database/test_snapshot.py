"""Whole columns out of the database, all seeing it at one moment."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsvc.errors import DatabaseUnreachableError
from recsvc.store.contract.tables import links, movies, ratings, users
from recsvc.store.database import ranges
from recsvc.store.database import snapshot as module
from recsvc.store.database.bulk import insert
from recsvc.store.database.engine import open_engine
from recsvc.store.database.postgresql import reader as postgresql_reader
from recsvc.store.database.retry import is_transient
from recsvc.store.database.snapshot import snapshot
from recsvc.store.database.sqlite import reader as sqlite_reader
from recsvc.store.database.transactions import reading, writing
from tests.databases import is_sqlite

TOP = 2**63 - 1
INTEGERS = (ratings.c.user_id, ratings.c.movie_id, ratings.c.rated_at)


@pytest.fixture
def filled(engine: sa.Engine) -> sa.Engine:
    """A database of three movies, two users and three ratings."""
    with writing(engine) as connection:
        insert(
            connection,
            movies,
            pd.DataFrame(
                {
                    "movie_id": [1, 2, TOP],
                    "title": ["A", '\u00c9\n"q", \\N', "\U0001f3ac"],
                    "release_year": pd.Series([1999, None, 0], dtype="Int64"),
                }
            ),
        )
        insert(connection, users, pd.DataFrame({"user_id": [1, TOP]}))
        insert(
            connection,
            ratings,
            pd.DataFrame(
                {
                    "user_id": [1, 1, TOP],
                    "movie_id": [1, 2, TOP],
                    "rating": [0.5, 3.7, 3.7000000000000006],
                    "rated_at": [0, 2**53 + 1, TOP],
                }
            ),
        )
    return engine


def test_columns_come_back_as_they_were_written(filled: sa.Engine) -> None:
    with snapshot(filled) as database:
        found = database.frame(sa.select(ratings).order_by(ratings.c.rating))
        titles = database.frame(sa.select(movies).order_by(movies.c.movie_id))
    assert found.to_dict("list") == {
        "user_id": [1, 1, TOP],
        "movie_id": [1, 2, TOP],
        "rating": [0.5, 3.7, 3.7000000000000006],
        "rated_at": [0, 2**53 + 1, TOP],
    }
    assert [str(kind) for kind in found.dtypes] == ["int64", "int64", "float64", "int64"]
    assert titles["title"].tolist() == ["A", '\u00c9\n"q", \\N', "\U0001f3ac"]
    assert titles["release_year"].tolist() == [1999, pd.NA, 0]
    assert titles["movie_id"].tolist() == [1, 2, TOP]
    assert [bool(flag) for flag in titles["available"]] == [True, True, True]


def test_a_query_without_rows_gives_a_frame_without_rows(filled: sa.Engine) -> None:
    with snapshot(filled) as database:
        found = database.frame(sa.select(links))
        assert list(database.batches(sa.select(links))) == []
    assert list(found.columns) == ["movie_id", "imdb_id", "tmdb_id"]
    assert len(found) == 0


def test_values_are_bound_not_written_into_the_query(filled: sa.Engine) -> None:
    query = sa.select(movies.c.movie_id).where(
        movies.c.title == sa.bindparam("title", '\u00c9\n"q", \\N'),
        movies.c.movie_id <= sa.bindparam("most", TOP),
    )
    with snapshot(filled) as database:
        assert database.frame(query)["movie_id"].tolist() == [2]


def test_a_query_with_numbers_to_fill_in_is_streamed_like_any_other(filled: sa.Engine) -> None:
    if is_sqlite(filled):
        pytest.skip("about the driver for PostgreSQL")
    n = sa.func.generate_series(1, 5_000_000).column_valued("n")
    query = sa.select(sa.type_coerce(n, sa.BigInteger).label("n"), (n >= 2.5).label("high"))
    with snapshot(filled) as database:
        sizes = [batch.num_rows for batch in database.batches(query)]
    assert sum(sizes) == 5_000_000
    assert len(sizes) > 1


def test_a_connection_lost_among_the_rows_says_that_the_database_does_not_answer(
    filled: sa.Engine,
) -> None:
    if is_sqlite(filled):
        pytest.skip("SQLite has no connection to lose")
    n = sa.func.generate_series(1, 20_000_000).column_valued("n")
    end = sa.text(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%generate_series%'"
        " AND pid <> pg_backend_pid()"
    )
    with snapshot(filled) as database:
        batches = database.batches(sa.select(n))
        next(batches)
        with writing(filled) as connection:
            assert connection.scalars(end).all() == [True]
        with pytest.raises(DatabaseUnreachableError, match="does not answer"):
            list(batches)


def test_rows_come_in_batches_of_bounded_size(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reader, "BATCH_ROWS", 2)
    with snapshot(filled) as database:
        batches = list(database.batches(sa.select(ratings).order_by(ratings.c.rating)))
    if is_sqlite(filled):
        assert [batch.num_rows for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches).num_rows == 3


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    values=st.dictionaries(
        st.tuples(st.sampled_from([1, TOP]), st.sampled_from([1, 2, TOP])),
        st.tuples(st.floats(0.5, 5.0), st.integers(-(2**63), TOP)),
    ),
    groups=st.sampled_from([1, 512]),
)
def test_packed_rows_are_the_same_rows(
    filled: sa.Engine, values: dict[tuple[int, int], tuple[float, int]], groups: int
) -> None:
    columns = ["user_id", "movie_id", "rating", "rated_at"]
    rows = pd.DataFrame([(*key, *value) for key, value in values.items()], columns=columns)
    with writing(filled) as connection:
        connection.execute(sa.delete(ratings))
        insert(connection, ratings, rows)
    high = sa.cast(ratings.c.rating >= sa.bindparam("least", 4.0), sa.Integer).label("high")
    query = sa.select(*INTEGERS, high).where(ratings.c.rating < sa.bindparam("most", 4.9))
    with pytest.MonkeyPatch.context() as patch, snapshot(filled) as database:
        patch.setattr(sqlite_reader, "RANGE_KEYS", groups)
        patch.setattr(postgresql_reader, "RANGE_KEYS", groups)
        packed = database.frame(query, packed_by=ratings.c.user_id)
    assert sorted(map(tuple, packed.to_numpy(object))) == sorted(
        (*key, rated_at, rating >= 4.0)
        for key, (rating, rated_at) in values.items()
        if rating < 4.9
    )
    assert packed.empty or set(packed.dtypes) == {np.dtype(np.int64)}


def test_what_is_no_integer_is_not_packed(filled: sa.Engine) -> None:
    with snapshot(filled) as database, pytest.raises(TypeError, match="rating is no integer"):
        database.batches(sa.select(ratings), packed_by=ratings.c.user_id)


def test_rows_whose_user_was_deleted_by_hand_are_seen_too(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_sqlite(filled):
        pytest.skip("PostgreSQL lets nobody delete such a user")
    monkeypatch.setattr(sqlite_reader, "RANGE_KEYS", 1)
    with sqlite3.connect(str(filled.url.database)) as other:  # without foreign keys
        other.execute("DELETE FROM users WHERE user_id = 1")
        other.execute("INSERT INTO ratings VALUES (-5, 1, 4.0, 7)")
    other.close()
    with snapshot(filled) as database:
        found = database.frame(sa.select(*INTEGERS), packed_by=ratings.c.user_id)
    assert found["user_id"].tolist() == [-5, 1, 1, TOP]


def test_no_thread_reads_on_when_whoever_takes_the_rows_fails(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reader, "RANGE_KEYS", 1)
    monkeypatch.setattr(postgresql_reader, "RANGE_KEYS", 1)
    before = set(threading.enumerate())

    def failing() -> None:
        with snapshot(filled) as database:
            next(database.batches(sa.select(*INTEGERS), packed_by=ratings.c.user_id))
            raise KeyError

    with pytest.raises(KeyError) as failure:  # it keeps the reading that was begun
        failing()
    assert set(threading.enumerate()) <= before
    assert failure.value.args == ()


def test_connections_that_read_together_see_the_same_moment(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_sqlite(filled):
        pytest.skip("PostgreSQL lets one connection look at the moment of another")
    monkeypatch.setattr(ranges.os, "cpu_count", lambda: 3)
    begun = []

    @contextmanager
    def interrupted(engine: sa.Engine) -> Iterator[sa.Connection]:
        """Commit something when the second of the first three transactions begins."""
        with reading(engine) as connection:
            begun.append(connection)
            if len(begun) == 2:
                begun[0].exec_driver_sql("SELECT * FROM users").all()
                with writing(engine) as other:
                    insert(other, users, pd.DataFrame({"user_id": [2]}))
            yield connection

    monkeypatch.setattr(sqlite_reader, "reading", interrupted)
    with sqlite_reader.SqliteBatchReader.open(filled) as reader:
        assert len(begun) == 6
        counts = [c.scalar(sa.select(sa.func.count()).select_from(users)) for c in begun[3:]]
        (batch,) = reader.batches(sa.select(users))
    assert counts == [3, 3, 3]
    assert batch.num_rows == 3


@pytest.mark.parametrize("at_hand", [1, 2, 3, 9])
def test_more_connections_to_postgresql_see_the_moment_of_the_first(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch, at_hand: int
) -> None:
    """However many it gives, and though something is committed before each of them is opened."""
    if is_sqlite(filled):
        pytest.skip("SQLite's connections begin together")
    monkeypatch.setattr(ranges.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(postgresql_reader, "RANGE_KEYS", 1)
    query = sa.select(*INTEGERS)
    with snapshot(filled) as database:
        before = database.frame(query.order_by(ratings.c.user_id, ratings.c.movie_id))
    opened, connect = [], postgresql_reader._adbc_connection

    @contextmanager
    def later(url: sa.URL) -> Iterator[object]:
        if len(opened) == at_hand:
            raise DatabaseUnreachableError("too many clients already")
        if opened:
            added = {"user_id": [1], "movie_id": [TOP], "rating": [1.0], "rated_at": [len(opened)]}
            with writing(filled) as connection:
                connection.execute(sa.delete(ratings))
                insert(connection, ratings, pd.DataFrame(added))
        with connect(url) as connection:
            opened.append(connection)
            yield connection

    monkeypatch.setattr(postgresql_reader, "_adbc_connection", later)
    with snapshot(filled) as database:
        assert len(database.frame(sa.select(users))) == 2
        found = database.frame(query, packed_by=ratings.c.user_id)
        assert len(opened) == min(at_hand, 3)
    pd.testing.assert_frame_equal(found, before)


def test_where_no_connection_sees_that_moment_the_first_one_reads_alone(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pool that leads to another server."""
    if is_sqlite(filled):
        pytest.skip("SQLite has no server")
    monkeypatch.setattr(ranges.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(postgresql_reader, "RANGE_KEYS", 1)
    monkeypatch.setattr(
        postgresql_reader, "_READING_ALONG", ("SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",)
    )
    with snapshot(filled) as database:
        found = database.frame(sa.select(*INTEGERS), packed_by=ratings.c.user_id)
    assert found["user_id"].tolist() == [1, 1, TOP]


def test_a_connection_lost_among_the_ranges_is_worth_another_try(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_sqlite(filled):
        pytest.skip("SQLite has no connection to lose")
    monkeypatch.setattr(ranges.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(postgresql_reader, "RANGE_KEYS", 1)
    ids = range(100, 160)
    with writing(filled) as connection:
        insert(connection, users, pd.DataFrame({"user_id": ids}))
        rows = pd.DataFrame({"user_id": ids, "movie_id": 1, "rating": 4.0, "rated_at": 7})
        insert(connection, ratings, rows)
    end = sa.text(
        "SELECT bool_and(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with snapshot(filled) as database:
        batches = database.batches(sa.select(*INTEGERS), packed_by=ratings.c.user_id)
        next(batches)
        with writing(filled) as connection:
            assert connection.scalar(end)
        with pytest.raises(Exception) as lost:  # noqa: PT011 - the driver has several
            list(batches)
    assert is_transient(lost.value)


@given(st.sets(st.integers(-(2**63), TOP)), st.integers(1, 5))
def test_ranges_hold_so_many_keys_at_most_and_leave_nothing_between_them(
    keys: set[int], most: int
) -> None:
    parts = ranges.cut(np.array(sorted(keys), dtype=np.int64), most)
    assert (parts[0][0], parts[-1][1]) == ranges.ALL
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    held = [
        sum((above is None or key > above) and (end is None or key <= end) for key in keys)
        for above, end in parts
    ]
    assert max(held) <= most
    assert sum(held) == len(keys)


def test_all_reads_see_the_moment_of_the_first(filled: sa.Engine) -> None:
    def count(database: module.Snapshot) -> tuple[int, int]:
        return len(database.frame(sa.select(users))), len(database.frame(sa.select(ratings)))

    with snapshot(filled) as database:
        assert len(database.frame(sa.select(movies))) == 3
        with writing(filled) as connection:
            insert(connection, users, pd.DataFrame({"user_id": [2]}))
            added = {"user_id": [2], "movie_id": [1], "rating": [1.0], "rated_at": [1]}
            insert(connection, ratings, pd.DataFrame(added))
        assert count(database) == (2, 3)
    with snapshot(filled) as database:
        assert count(database) == (3, 4)


def test_a_snapshot_cannot_write(filled: sa.Engine) -> None:
    if is_sqlite(filled):
        pytest.skip("SQLite has no read-only transaction")
    delete = sa.select(sa.func.setval("ingests_ingest_id_seq", 7))
    with snapshot(filled) as database, pytest.raises(Exception, match="read-only transaction"):
        database.frame(delete)


def test_a_snapshot_leaves_the_locks_of_its_process_alone(filled: sa.Engine) -> None:
    """A second SQLite library in the process would release them when it closes the file."""
    if not is_sqlite(filled):
        pytest.skip("about SQLite's file locks")
    with writing(filled):
        with snapshot(filled) as database:
            assert len(database.frame(sa.select(movies))) == 3
        attempt = (
            "import sqlite3, sys\n"
            "connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
            "try:\n    connection.execute('BEGIN IMMEDIATE')\n"
            "except sqlite3.OperationalError as error:\n    print(error)\n"
        )
        command = [sys.executable, "-I", "-c", attempt, str(filled.url.database)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "database is locked"


def test_a_database_that_does_not_answer_is_named_without_its_password(
    filled: sa.Engine,
) -> None:
    if is_sqlite(filled):
        pytest.skip("a SQLite file always answers")
    canary = "s3cret"
    engine = open_engine(filled.url.set(database="nowhere", password=canary))
    with pytest.raises(DatabaseUnreachableError) as refused, snapshot(engine):
        pass
    engine.dispose()
    assert canary not in str(refused.value)
    assert "***" in str(refused.value)
