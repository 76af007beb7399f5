"""Source tables as ingest sees them."""

import pandas as pd
import pytest
import sqlalchemy as sa

from recsvc.store.database.snapshot import snapshot
from recsvc.store.database.transactions import reading, writing
from recsvc.store.sources import source_tables
from recsvc.store.sources.source_tables import SourceTable, known_movie_ids

TOP = 2**63 - 1
ROWS = {
    "movies": {
        "movie_id": pd.Series([1, TOP], dtype="int64"),
        "title": pd.Series(["A (1999)", "B"], dtype="str"),
        "release_year": pd.Series([1999, None], dtype="Int64"),
        "genres": pd.Series(["", "a|b|\u00e9"], dtype="str"),
    },
    "users": {
        "user_id": pd.Series([1, TOP], dtype="int64"),
        "features": pd.Series(["", "a:1\nb:2"], dtype="str"),
    },
    "links": {
        "movie_id": pd.Series([1, TOP], dtype="int64"),
        "imdb_id": pd.Series([2**53 + 1, None], dtype="Int64"),
        "tmdb_id": pd.Series([None, TOP], dtype="Int64"),
    },
    "ratings": {
        "user_id": pd.Series([1, TOP], dtype="int64"),
        "movie_id": pd.Series([TOP, 1], dtype="int64"),
        "rating": pd.Series([0.5, 3.7000000000000006], dtype="float64"),
        "rated_at": pd.Series([0, 253_402_300_799], dtype="int64"),
    },
    "tags": {
        "user_id": pd.Series([1, TOP], dtype="int64"),
        "movie_id": pd.Series([1, 1], dtype="int64"),
        "tag": pd.Series(["\u00c9", "\\N"], dtype="str"),
        "tag_key": pd.Series(["\u00e9", "\\n"], dtype="str"),
        "tagged_at": pd.Series([5, 6], dtype="int64"),
    },
}
SOURCES: dict[str, SourceTable] = {
    "movies": source_tables.MOVIES,
    "users": source_tables.USERS,
    "links": source_tables.LINKS,
    "ratings": source_tables.RATINGS,
    "tags": source_tables.TAGS,
}


def write(engine: sa.Engine, source: str, rows: pd.DataFrame) -> tuple[int, int, int]:
    """Compare with what is there and write what differs: inserted, updated, unchanged."""
    with snapshot(engine) as database:
        changes = SOURCES[source].find_changes(database, rows)
    with writing(engine) as connection:
        SOURCES[source].write_changes(connection, changes)
    return len(changes.inserted), len(changes.updated), changes.unchanged


@pytest.mark.parametrize("source", ROWS)
def test_what_was_written_is_found_unchanged(engine: sa.Engine, source: str) -> None:
    write(engine, "movies", pd.DataFrame(ROWS["movies"]))
    for _ in range(2):
        rows = pd.DataFrame(ROWS[source])
        write(engine, source, rows)
        with snapshot(engine) as database:
            found = SOURCES[source].existing(database)
        found = found.sort_values(list(SOURCES[source].key), ignore_index=True)
        pd.testing.assert_frame_equal(found[list(rows.columns)], rows, check_dtype=False)
    assert write(engine, source, pd.DataFrame(ROWS[source])) == (0, 0, 2)


@pytest.mark.parametrize("source", ROWS)
def test_one_changed_value_is_one_update(engine: sa.Engine, source: str) -> None:
    write(engine, "movies", pd.DataFrame(ROWS["movies"]))
    rows = pd.DataFrame(ROWS[source])
    write(engine, source, rows)
    last = rows.columns[-1]
    for value in ("changed" if rows[last].dtype == "str" else 77, rows[last].iloc[1]):
        changed = rows.copy()
        changed.loc[1, last] = value
        expected = (0, 1, 1)
        assert write(engine, source, changed) == expected


def test_the_catalogue_is_known_in_order(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        assert known_movie_ids(connection).tolist() == []
    write(engine, "movies", pd.DataFrame(ROWS["movies"]).iloc[::-1])
    with reading(engine) as connection:
        assert known_movie_ids(connection).tolist() == [1, TOP]
