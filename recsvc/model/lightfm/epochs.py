"""How many epochs to train, settled on a slice of the training positives."""

from collections.abc import Callable

import numpy as np

from recsvc.model.data.features import Features
from recsvc.model.data.splits import Positives
from recsvc.model.fast.early_stopping import EarlyStopping
from recsvc.model.fast.state import EpochProgress
from recsvc.model.lightfm.fitting import Training, fit
from recsvc.model.lightfm.trained import TrainedModel
from recsvc.model.scores.scores import Scores

#: The quality of some scores, the higher the better.
Judge = Callable[[Scores], float]


def best_epoch(
    train: Positives, items: Features, users: Features, training: Training, judge: Judge
) -> int:
    """Return the epoch with the best scores, 1 or more.

    Training ends once ``patience`` epochs in a row have brought nothing better.

    Args:
        train: positives without those that the judge goes by; at least one.
        items: features of items.
        users: features of users.
        training: how, and for how many epochs at most.
        judge: of the scores after each epoch.
    """
    known = np.diff(train.csr().indptr) > 0
    stopping = EarlyStopping(patience=training.configuration.patience)

    def on_epoch(_: EpochProgress, model: TrainedModel) -> bool:
        nonlocal stopping
        stopping = stopping.after(judge(model.factors(known)))
        return stopping.should_stop

    fit(train, items, users, training, on_epoch=on_epoch)
    return max(1, stopping.best_epoch)
