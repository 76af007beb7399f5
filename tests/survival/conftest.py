"""Fixtures of several files here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import taste
from tests.prepared import DATABASES, Prepared, copied
from tests.survival.surviving import ingest, kind_of, run


@pytest.fixture(scope="session", params=DATABASES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """A first run, published; to be copied."""
    folder = tmp_path_factory.mktemp("published")
    with copied(request.param, request, folder) as database:
        ingest(database, taste.write_files(folder / "files"))
        assert run(database).status == "published"
        yield database


@pytest.fixture
def own(request: pytest.FixtureRequest, published: Prepared, tmp_path: Path) -> Iterator[Prepared]:
    """The first run's database, to be changed."""
    with copied(kind_of(published), request, tmp_path, published) as database:
        yield database
