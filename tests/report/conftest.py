"""Fixtures of several files here."""

from collections.abc import Iterator

import pytest

from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from tests import hostile
from tests.prepared import DATABASES, Prepared, copied
from tests.report.pages import rendered


@pytest.fixture(scope="session", params=DATABASES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """Two published runs on titles that try to be more than text."""
    folder = tmp_path_factory.mktemp("report")
    with copied(request.param, request, folder) as database:
        with database.engine() as engine:
            ingest_folder(engine, hostile.write_files(folder / "files"))
            retrain(engine, database.settings())
            retrain(engine, database.settings(seed=7), force=True)
        yield database


@pytest.fixture(scope="module")
def html(published: Prepared) -> str:
    with published.engine() as engine:
        return rendered(engine)
