"""What a LightFM model is trained with, and by which trainer: each default once.

Nothing heavy is imported here: the settings of every command are made of this.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsvc.model.data.configuration import EXPERT, MANY

Loss = Literal["warp", "bpr"]
Trainer = Literal["lightfm", "fast"]


class LightfmConfiguration(BaseModel):
    """Hyper-parameters in LightFM's own terms, and what is particular to the trainers.

    The defaults are the settings that did best on MovieLens (NDCG@10 on held-out positives).
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    loss: Loss = Field("warp", description="LightFM's loss", json_schema_extra=EXPERT)
    components: int = Field(64, ge=1, le=1024, description="Length of an embedding")
    learning_rate: float = Field(0.02, gt=0, description="AdaGrad's initial step")
    max_sampled: int = Field(
        50, ge=1, le=MANY, description="WARP: negatives drawn at most for each positive"
    )
    item_alpha: float = Field(1e-4, ge=0, description="L2 penalty on movie token embeddings")
    user_alpha: float = Field(1e-5, ge=0, description="L2 penalty on user token embeddings")
    epochs: int = Field(25, ge=1, le=MANY, description="Passes over the positives")
    patience: int = Field(
        0,
        ge=0,
        le=MANY,
        description="fast: epochs without a better NDCG@10 on a validation slice after which the "
        "number of epochs is settled; 0 trains all of them",
    )
    warm_start: bool = Field(
        False,
        description="fast: whether the published model is trained on for a fifth of the epochs, as "
        "long as the settings stay the same; the lists then depend on the nights before",
    )
    user_tokens: bool = Field(
        False,
        description="Whether attributes of users are tokens that are trained; if not, lists of "
        "users without positives go by a regression from attributes to user vectors",
        json_schema_extra=EXPERT,
    )
    untrained_identities: bool = Field(
        False,
        description="Whether a movie that nobody liked yet is scored by its own embedding too, "
        "which is random still, as LightFM does; if not, by its tokens alone",
        json_schema_extra=EXPERT,
    )
    trainer: Trainer = Field(
        "fast",
        description="`fast`: the same bytes at any number of threads; `lightfm`: LightFM's own "
        "kernel, the same bytes with one thread only",
        json_schema_extra=EXPERT,
    )
    shards: int = Field(
        8,
        ge=1,
        le=256,
        description="fast: parts of the users, and of the movies, that train apart within a turn",
        json_schema_extra=EXPERT,
    )
    blocks_per_epoch: int = Field(
        0,
        ge=0,
        le=4096,
        description="fast: how often shared tokens are stepped in an epoch; 0 goes by the number "
        "of positives seen: often in the first epoch, more and more rarely after it",
        json_schema_extra=EXPERT,
    )

    @property
    def settles_epochs(self) -> bool:
        """Whether the number of epochs is found out on a slice of the training positives."""
        return self.patience > 0 and self.trainer == "fast"

    def hyperparameters(self) -> dict[str, Any]:
        """Return the part that is recorded of a model, JSON-ready."""
        return self.model_dump(exclude=_OURS)


_OURS = {
    *("patience", "warm_start", "user_tokens", "untrained_identities"),
    *("trainer", "shards", "blocks_per_epoch"),
}
