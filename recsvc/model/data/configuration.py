"""How interactions become features and a holdout: what can be set, each default once.

Nothing heavy is imported here: the settings of every command are made of these.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from recsvc.vocabulary import LAST_DAY, RATED, MaskName, ProtocolName

MANY = 1_000_000  # more than anybody wants, and still a number for every library underneath

#: Marks a setting that exists for experiments, or to repeat those of others.
EXPERT: JsonDict = {"expert": True}

TagOrder = Literal["most_applied", "first_applied"]


class FeatureConfiguration(BaseModel):
    """Which tokens describe a movie."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    min_tag_freq: int = Field(3, ge=1, le=MANY, description="Tags used less often are left out")
    max_tags_per_movie: int = Field(20, ge=0, le=MANY, description="Tags kept for each movie")
    tag_order: TagOrder = Field(
        "most_applied",
        description="Which tags a movie keeps: those applied most, or the first in user order",
        json_schema_extra=EXPERT,
    )
    bias_token: bool = Field(
        True,
        description="Whether a movie without genres and tags gets the token `bias:item`",
        json_schema_extra=EXPERT,
    )
    normalize_features: bool = Field(
        False,
        description="Whether the feature weights of a movie are scaled to sum to one",
        json_schema_extra=EXPERT,
    )


class HoldoutConfiguration(BaseModel):
    """Which positives are set aside to judge by."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    protocol: ProtocolName = Field(
        LAST_DAY,
        description="How the holdout is made: `last_day` (each user's last active day), "
        "`leave_last` (each user's last positives), `temporal` (one cut in time) or `random`; "
        "where times say nothing, `random` stands in for the others",
    )
    holdout_fraction: float = Field(
        0.2, gt=0, lt=1, description="Share of positives held out by `random` and `temporal`"
    )
    holdout_last: int = Field(
        5, ge=1, le=MANY, description="Positives held out for each user by `leave_last`"
    )
    mask: MaskName = Field(
        RATED,
        description="What lists that are judged leave out: all that was `rated` until then, as "
        "published lists do, or positives of `training` only, as `lightfm.evaluation` does",
        json_schema_extra=EXPERT,
    )
