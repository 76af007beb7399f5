"""Settings: what does not exist is refused, and each default stands in one place."""

import pytest
from pydantic import BaseModel

from recsvc.errors import ConfigurationError
from recsvc.model.data.configuration import FeatureConfiguration, HoldoutConfiguration
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.settings import Recipe, Settings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RECSVC_TOPN", "did you mean RECSVC_TOP_N?"),
        ("recsvc_epoch", "did you mean RECSVC_EPOCHS?"),
        ("RECSVC_DATABASE_URL", "did you mean"),
        ("RECSVC_ZZZZZZZZZZZZZZ", "remove it"),
    ],
)
def test_a_variable_that_does_not_exist_is_refused_with_the_nearest(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "3")
    with pytest.raises(ConfigurationError, match=meant) as refused:
        Settings.read()
    assert name in str(refused.value)
    assert refused.value.exit_code == 78


@pytest.mark.parametrize(
    "name", ["RECSVC_LOG_JSON", "RECSVC_TEST_DATA", "RECSVC_BENCH_POSTGRES_URL", "RECSVC_top_n"]
)
def test_what_others_read_and_any_case_are_accepted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "3")
    Settings.read()


@pytest.mark.parametrize("part", [FeatureConfiguration, HoldoutConfiguration, LightfmConfiguration])
def test_settings_have_the_defaults_of_the_parts_that_declare_them(part: type[BaseModel]) -> None:
    assert Settings.read().part(part) == part()


def test_a_part_holds_what_was_set_and_nothing_else() -> None:
    recipe = Recipe(epochs=3, top_n=7)  # type: ignore[call-arg]
    assert recipe.part(LightfmConfiguration).epochs == 3
    assert "top_n" not in recipe.part(LightfmConfiguration).model_dump()
