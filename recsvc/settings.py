"""Settings, read once from the environment into a frozen object."""

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from recsvc.errors import ConfigurationError
from recsvc.model.data.configuration import MANY, FeatureConfiguration, HoldoutConfiguration
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.vocabulary import BEST, LIGHTFM_HYBRID, RANDOM, TRAINING, ModelName

PREFIX = "RECSVC_"

#: Variables that others than the settings read: the command's own options, tests, benchmarks.
ELSEWHERE = re.compile(rf"{PREFIX}(LOG_JSON|(TEST|BENCH)_\w+)")

DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def _supported_url(secret: SecretStr) -> SecretStr:
    """Check the form of a database URL without ever repeating it: it may hold a password."""
    try:
        url = make_url(secret.get_secret_value())
    except (ArgumentError, ValueError):
        message = "is not of the form sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        raise ValueError(message) from None
    if url.drivername not in DRIVERS:
        message = f"names {url.drivername}; sqlite and postgresql are supported"
        raise ValueError(message)
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        message = "names no file; use sqlite:///FILE"
        raise ValueError(message)
    return secret


DatabaseUrl = Annotated[SecretStr, AfterValidator(_supported_url)]


Part = TypeVar("Part", bound=BaseModel)


class Recipe(FeatureConfiguration, HoldoutConfiguration, LightfmConfiguration, BaseSettings):
    """The settings that recommendations depend on; they are recorded with every run.

    Most belong to a part of the model, which declares them with their defaults.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", allow_inf_nan=False
    )

    positive_rating: float = Field(
        4.0, ge=0.5, le=5.0, description="Ratings at or above it are positive"
    )
    top_n: int = Field(100, ge=1, le=10_000, description="Recommendations for each user")
    similar_n: int = Field(50, ge=1, le=10_000, description="Similar movies for each movie")
    exclude: Literal["rated", "positive"] = Field(
        "rated",
        description="What counts as seen: anything `rated`, or only what was rated `positive`",
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of every random number")
    publish: ModelName | Literal["best"] = Field(
        BEST,
        description="Whose lists readers get: those of the `best` of the line-up by the holdout, "
        "or of the model that is named, if it beats `popular`",
    )
    gate_tolerance: float = Field(
        0.01,
        ge=0,
        description="NDCG@10 that a night may lose against the published run on other data",
    )

    @classmethod
    def of_run(cls, recorded: Mapping[str, Any]) -> Self | None:
        """Return the settings that a run recorded; ``None`` if they would not be valid today."""
        try:
            # Another prefix: the environment of this process has no say in what was recorded.
            return cls(_env_prefix="RECORDED_RECSVC_", **recorded)
        except ValidationError:
            return None

    def part(self, kind: type[Part]) -> Part:
        """Return the settings that a part of the model declares, and no others."""
        return kind(**self.model_dump(include=set(kind.model_fields)))

    def training(self) -> dict[str, Any]:
        """The part that a trained model depends on, whatever is made of it afterwards."""
        return self.model_dump(mode="json", include=set(Recipe.model_fields) - _AFTERWARDS)


_AFTERWARDS = {"top_n", "similar_n", "exclude", "gate_tolerance"}


class Settings(Recipe):
    """Everything that can be set, each from the variable of its name."""

    database_url: DatabaseUrl = Field(
        SecretStr("sqlite:///recsvc.db"),
        validation_alias="DATABASE_URL",
        description="`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`",
    )
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1024,
        description="Threads for training and ranking; all cores by default",
    )
    keep_runs: int = Field(
        7,
        ge=1,
        le=MANY,
        description="Runs whose recommendations, similar movies and arrays are kept",
    )

    audit_days: int = Field(
        0,
        ge=0,
        le=MANY,
        description="How many days after the last audit of features a published run makes "
        "another, such as 7: it takes 5 trainings for each of 3 seeds; 0 makes none",
    )
    lease_seconds: float = Field(
        60,
        gt=0,
        le=86_400,
        description="A run that shows no sign of life for so long is taken for dead",
    )
    heartbeat_seconds: float = Field(
        10, ge=0.01, description="How often a run shows a sign of life; well below the lease"
    )
    lock_timeout_seconds: float = Field(
        5,
        ge=0.001,
        le=86_400,
        description="How long writing, prune and migrations wait for a lock that a reader holds",
    )
    attempts: int = Field(
        6, ge=1, le=MANY, description="Tries of a phase when the database fails in passing"
    )
    schedule: str = Field("02:00", description="Time of the nightly run")
    timezone: str = Field("UTC", description="Time zone of the schedule, such as Europe/Berlin")
    grace_seconds: float = Field(
        300, ge=0, le=86_400, description="How long a stopping scheduler lets a run finish"
    )
    metrics_textfile: Path | None = Field(
        None, description="Where to write figures for Prometheus after each run; nowhere if unset"
    )

    @field_validator("schedule")
    @classmethod
    def _time_of_day(cls, text: str) -> str:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text, re.ASCII):
            message = f"is {text!r}, but must be a time such as 02:00"
            raise ValueError(message)
        return text

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # Europe is a folder
            message = f"names {name!r}, which is no time zone"
            raise ValueError(message) from None
        return name

    @model_validator(mode="after")
    def _heartbeat_below_lease(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            message = "RECSVC_HEARTBEAT_SECONDS must be at most half of RECSVC_LEASE_SECONDS"
            raise ValueError(message)
        return self

    @cached_property
    def url(self) -> URL:
        """The database, with the driver that recsvc uses; its ``repr`` hides the password."""
        url = make_url(self.database_url.get_secret_value())
        return url.set(drivername=DRIVERS[url.drivername])

    @classmethod
    def read(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read the environment; ``overrides`` (from a preset or the command line) win.

        Raises:
            ConfigurationError: naming the first variable that does not hold, or does not exist.
        """
        cls._require_known(os.environ)
        try:
            return cls(**dict(overrides or {}))
        except ValidationError as error:
            first = error.errors()[0]
            reason = first["msg"].removeprefix("Value error, ")
            if not first["loc"]:
                raise ConfigurationError(f"{reason}; see docs/settings.md.") from None
            name = str(first["loc"][0])
            variable = name if name == "DATABASE_URL" else f"{PREFIX}{name.upper()}"
            message = f"{variable} {reason[0].lower()}{reason[1:]}; see docs/settings.md."
            raise ConfigurationError(message) from None

    @classmethod
    def _require_known(cls, environment: Iterable[str]) -> None:
        """Refuse a variable that looks like a setting and is none: its writer meant something."""
        known = {f"{PREFIX}{name.upper()}" for name in cls.model_fields} - {f"{PREFIX}DATABASE_URL"}
        for name in sorted(environment):
            if not name.upper().startswith(PREFIX) or name.upper() in known:
                continue
            if ELSEWHERE.fullmatch(name.upper()):
                continue
            nearest = get_close_matches(name.upper(), sorted({*known, "DATABASE_URL"}), n=1)
            meant = f"did you mean {nearest[0]}?" if nearest else "remove it."
            raise ConfigurationError(f"There is no setting {name}: {meant} See docs/settings.md.")

    def recipe(self) -> dict[str, Any]:
        """The part that recommendations depend on, ready for JSON."""
        return self.model_dump(mode="json", include=set(Recipe.model_fields))


PRESETS: dict[str, dict[str, Any]] = {
    "notebook": {
        "trainer": "lightfm",
        "loss": "bpr",
        "components": 40,
        "learning_rate": 0.05,
        "epochs": 25,
        "item_alpha": 0.0,
        "user_alpha": 0.0,
        "normalize_features": True,
        "min_tag_freq": 3,
        "max_tags_per_movie": 20,
        "tag_order": "first_applied",
        "bias_token": True,
        "user_tokens": True,
        "untrained_identities": True,
        "positive_rating": 4.0,
        "protocol": RANDOM,
        "holdout_fraction": 0.2,
        "mask": TRAINING,
        "publish": LIGHTFM_HYBRID,
        "seed": 42,
    },
}
