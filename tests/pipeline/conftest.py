"""Fixtures of several files here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.retraining import run, town
from tests.prepared import DATABASES, Prepared, copied


@pytest.fixture(scope="session", params=DATABASES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """A first run, published; to be read, or copied."""
    folder = tmp_path_factory.mktemp("published")
    with copied(request.param, request, folder) as database:
        report = run(town(database, folder))
        assert report.status == "published"
        yield database


@pytest.fixture
def own(request: pytest.FixtureRequest, published: Prepared, tmp_path: Path) -> Iterator[Prepared]:
    """The first run's database, to be changed."""
    kind = "sqlite" if published.url.drivername == "sqlite" else "postgresql"
    with copied(kind, request, tmp_path, published) as database:
        yield database


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest,
    published: Prepared,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prepared]:
    """Such a copy for all tests of runs that fail, which must leave it as it was."""
    kind = "sqlite" if published.url.drivername == "sqlite" else "postgresql"
    with copied(kind, request, tmp_path_factory.mktemp("shared"), published) as database:
        yield database


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Prepared]:
    with copied(request.param, request, tmp_path) as database:
        yield database
