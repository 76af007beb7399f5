"""A compiled trainer for pairwise hybrid factorisation, deterministic at any number of threads."""

from recsvc.model.fast.early_stopping import EarlyStopping
from recsvc.model.fast.state import Embeddings, EpochProgress, TrainingSummary
from recsvc.model.fast.trainer import train
from recsvc.model.fast.warm_start import carry_over

__all__ = [
    "EarlyStopping",
    "Embeddings",
    "EpochProgress",
    "TrainingSummary",
    "carry_over",
    "train",
]
