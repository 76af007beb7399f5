"""Hyper-parameters of the LightFM models."""

from dataclasses import dataclass
from typing import Literal

Loss = Literal["warp", "bpr"]


@dataclass(frozen=True)
class Hyperparameters:
    """What a LightFM model is trained with, in LightFM's own terms.

    The defaults are the settings that did best on MovieLens (NDCG@10 on held-out positives).
    """

    loss: Loss = "warp"
    components: int = 64  #: length of an embedding
    learning_rate: float = 0.02  #: initial step of AdaGrad
    max_sampled: int = 50  #: WARP: negatives drawn at most for each positive
    item_alpha: float = 1e-4  #: L2 penalty on item token embeddings
    user_alpha: float = 1e-5  #: L2 penalty on user token embeddings
    epochs: int = 25
    normalize_features: bool = False  #: whether each feature row is scaled to sum to one
