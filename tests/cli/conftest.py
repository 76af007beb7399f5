"""Fixtures of several files here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from tests import taste
from tests.commands import Commands
from tests.prepared import Prepared, copied


@pytest.fixture
def recsvc(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Commands:
    """Commands on a database that does not exist yet."""
    commands = Commands(monkeypatch, capsys)
    commands.set("DATABASE_URL", f"sqlite:///{tmp_path / 'recsvc.db'}")
    return commands


@pytest.fixture(scope="module")
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("cli")
    with copied("sqlite", request, folder) as database:
        with database.engine() as engine:
            ingest_folder(engine, taste.write_files(folder / "files"))
            retrain(engine, database.settings())
        yield database


@pytest.fixture
def shown(recsvc: Commands, published: Prepared) -> Commands:
    """Commands on a published run, to be read."""
    recsvc.set("DATABASE_URL", published.url.render_as_string())
    return recsvc


@pytest.fixture
def own(
    recsvc: Commands, published: Prepared, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Commands]:
    """Commands on a published run, to be changed."""
    with copied("sqlite", request, tmp_path, published) as database:
        recsvc.set("DATABASE_URL", database.url.render_as_string())
        yield recsvc
