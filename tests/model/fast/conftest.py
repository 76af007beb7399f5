"""Fixtures of several files here."""

import pytest

from recsvc.model.fast import schedule


@pytest.fixture(autouse=True)
def _shards_of_tiny_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MIN_SHARD_POSITIVES", 1)
    monkeypatch.setattr(schedule, "MIN_PART_ITEMS", 1)
