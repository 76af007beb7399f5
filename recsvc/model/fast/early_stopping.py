"""When to stop training, as a value that each epoch's score turns into the next one."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class EarlyStopping:
    """Stop once ``patience`` epochs in a row have not improved a score by ``min_delta``.

    >>> stopping = EarlyStopping(patience=2)
    >>> for score in (0.20, 0.24, 0.23, 0.22):
    ...     stopping = stopping.after(score)
    >>> stopping.should_stop, stopping.best, stopping.best_epoch
    (True, 0.24, 2)
    """

    patience: int  #: epochs without improvement that are allowed, 1 or more
    min_delta: float = 0.0  #: the least gain over the best score that counts as improvement
    best: float = float("-inf")  #: the highest score so far
    best_epoch: int = 0  #: the epoch that reached it, counted from 1; 0 before the first
    epochs: int = 0  #: epochs seen

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience must be 1 or more, not {self.patience}")

    def after(self, score: float) -> "EarlyStopping":
        """The state after one more epoch; a score that is not a number is no improvement."""
        epochs = self.epochs + 1
        if score > self.best + self.min_delta:
            return replace(self, best=score, best_epoch=epochs, epochs=epochs)
        return replace(self, epochs=epochs)

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.epochs - self.best_epoch >= self.patience
