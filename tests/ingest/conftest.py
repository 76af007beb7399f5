"""Folders of small files, and a look at everything that ingest writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.store.contract import tables
from recsvc.store.database.transactions import reading

FILES = {
    "movies": (
        "movieId,title,genres\n"
        "1,Toy Story (1995),Animation|Children\n"
        "2,Heat (1995),Action|Crime\n"
        "3,Babylon 5,(no genres listed)\n"
    ),
    "ratings": "userId,movieId,rating,timestamp\n1,1,4.0,100\n1,2,3.5,110\n2,1,5.0,120\n",
    "tags": "userId,movieId,tag,timestamp\n1,1,pixar,130\n3,1,Pixar,140\n",
    "links": "movieId,imdbId,tmdbId\n1,0114709,862\n2,0113277,\n",
    "users": "userId,gender,age\n1,F,25\n9,M,\n",
}
SOURCES = ("users", "user_features", "movies", "movie_genres", "links", "ratings", "tags")
LEDGER = ("ingests", "ingest_files", "rejected_rows")

MakeFolder = Callable[..., Path]
Contents = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Make a folder of all five files, or of what is given instead; ``None`` leaves a file out."""

    def make(name: str = "data", **given: str | bytes | None) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for stem, content in {**FILES, **given}.items():
            path = folder / f"{stem}.csv"
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return make


@pytest.fixture
def contents(engine: sa.Engine) -> Callable[..., Contents]:
    """Read tables whole, each in some fixed order; without names those that hold source rows."""

    def read(*names: str) -> Contents:
        found: Contents = {}
        with reading(engine) as connection:
            for name in names or SOURCES:
                rows = connection.execute(sa.select(tables.metadata.tables[name]))
                found[name] = sorted(map(tuple, rows), key=repr)
        return found

    return read


@pytest.fixture
def everything(contents: Callable[..., Contents]) -> Callable[[], Contents]:
    """Read the source tables and the record of ingests."""
    return lambda: contents(*SOURCES, *LEDGER)
