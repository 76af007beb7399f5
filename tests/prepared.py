"""Databases in a state that many tests start from, made once and read or copied."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.settings import Settings
from recsvc.store.database.engine import open_engine
from recsvc.store.database.transactions import reading, writing
from tests.databases import PostgresDatabase

DATABASES = ("sqlite", "postgresql")

#: Quick, and good enough to beat popularity on the data of ``tests.taste``.
QUICK = {
    "components": 8,
    "epochs": 10,
    "learning_rate": 0.05,
    "threads": 1,
    "top_n": 20,
    "protocol": "leave_last",
    "publish": "lightfm_hybrid",
}


@dataclass(frozen=True)
class Prepared:
    """A database that nobody is connected to, so that it can be copied."""

    url: sa.URL

    def settings(self, **overrides: object) -> Settings:
        """Make quick settings, and what the test says."""
        url = self.url.render_as_string(hide_password=False)
        return Settings.read({"DATABASE_URL": url, **QUICK, **overrides})

    @contextmanager
    def engine(self) -> Iterator[sa.Engine]:
        """Open it for a while."""
        engine = open_engine(self.url)
        try:
            yield engine
        finally:
            engine.dispose()

    def rows(self, query: str, **parameters: object) -> Sequence[sa.Row[Any]]:
        """Return the rows of a query."""
        with self.engine() as engine, reading(engine) as connection:
            return connection.execute(sa.text(query), parameters).all()

    def value(self, query: str, **parameters: object) -> Any:
        """Return the one value of a query."""
        ((value,),) = self.rows(query, **parameters)
        return value

    def change(self, *statements: str) -> None:
        """Do what no command does."""
        with self.engine() as engine, writing(engine) as connection:
            for statement in statements:
                connection.execute(sa.text(statement))


@contextmanager
def copied(
    kind: str, request: pytest.FixtureRequest, folder: Path, original: Prepared | None = None
) -> Iterator[Prepared]:
    """Copy a prepared database; by default one that is at head and empty."""
    if kind == "sqlite":
        source = original.url.database if original else request.getfixturevalue("sqlite_template")
        path = folder / "recsvc.db"
        shutil.copy(str(source), path)
        yield Prepared(sa.URL.create("sqlite", database=str(path)))
        return
    server = request.getfixturevalue("postgres_url")
    template = original.url.database if original else request.getfixturevalue("postgres_template")
    with PostgresDatabase(server, str(template)) as url:
        yield Prepared(url)
