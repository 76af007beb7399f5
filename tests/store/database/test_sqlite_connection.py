"""The aggregate ``packed``: many rows as one blob, compiled or in Python."""

import signal
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsvc.store.database.sqlite import connection as module
from recsvc.store.database.sqlite.connection import PackingConnection
from recsvc.store.database.sqlite.library import handle_of

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = numbers | texts


def connected() -> PackingConnection:
    connection = sqlite3.connect(":memory:", factory=PackingConnection)
    connection.add_packed()
    return connection


@pytest.fixture(params=["compiled", "python"])
def connection(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PackingConnection]:
    """A connection by whose handle the aggregate is added, and one whose handle is not known."""
    if request.param == "python":

        def unseen(opening: object) -> None:
            opening()  # type: ignore[operator]

        monkeypatch.setattr(module, "handle_of", unseen)
    connection = connected()
    yield connection
    connection.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(values, values, values), max_size=30))
def test_a_blob_holds_the_values_of_all_rows(
    connection: PackingConnection, rows: list[tuple[float | str, ...]]
) -> None:
    connection.execute("DROP TABLE IF EXISTS t")
    connection.execute("CREATE TABLE t (a, b, c)")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    (blob,) = connection.execute("SELECT packed(a, b, c) FROM t").fetchone()
    assert blob == (b"".join(words(value) for row in rows for value in row) if rows else None)


def words(value: float | str) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return struct.pack("=q", len(text)) + text + bytes(-len(text) % 8)
    return struct.pack("=d" if isinstance(value, float) else "=q", value)


def test_groups_have_a_blob_each(connection: PackingConnection) -> None:
    rows = "(VALUES (1, 5), (2, 6), (1, 7))"
    found = connection.execute(f"SELECT column1, packed(column2) FROM {rows} GROUP BY 1").fetchall()
    assert found == [(1, struct.pack("=2q", 5, 7)), (2, struct.pack("=q", 6))]


@pytest.mark.parametrize("value", ["NULL", "x'05'"])
def test_what_is_neither_number_nor_text_is_refused(
    connection: PackingConnection, value: str
) -> None:
    query = f"SELECT packed(column1) FROM (VALUES (1), ({value}), (2))"
    with pytest.raises(sqlite3.Error):
        connection.execute(query).fetchone()
    assert connection.execute("SELECT packed(1)").fetchone() == (struct.pack("=q", 1),)


def test_a_blob_may_be_of_many_rows(connection: PackingConnection) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
    (blob,) = connection.execute(f"{numbers} SELECT packed(i) FROM n").fetchone()
    assert blob == struct.pack("=300000q", *range(1, 300_001))


def test_a_signal_while_a_connection_opens_is_heeded_when_it_is_open() -> None:
    """In the callback that SQLite makes meanwhile, what its handler raises would be lost."""
    opened = []

    def opening() -> None:
        signal.raise_signal(signal.SIGINT)
        opened.append(True)

    with pytest.raises(KeyboardInterrupt):
        handle_of(opening)
    assert opened == [True]


def test_a_closed_connection_is_not_given_the_aggregate() -> None:
    connection = sqlite3.connect(":memory:", factory=PackingConnection)
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.add_packed()


def test_connections_opened_at_the_same_time_get_handles_of_their_own(tmp_path: Path) -> None:
    found: dict[int, bytes] = {}
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        connection = sqlite3.connect(tmp_path / f"{number}.db", factory=PackingConnection)
        connection.add_packed()
        found[number] = connection.execute(f"SELECT packed({number})").fetchone()[0]
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: struct.pack("=q", number) for number in range(8)}
