"""What training reads and changes: embeddings, their AdaGrad sums, and the progress it reports."""

from dataclasses import dataclass

import numpy as np

from recsvc.model.fast.compiling import compiled
from recsvc.runtime.arrays import Float32


@compiled
def all_finite(values: Float32) -> bool:
    """Whether no number is infinite or NaN, in one pass without a temporary array."""
    total = np.float32(0.0)
    for value in values:
        total += value * np.float32(0.0)  # NaN for what is not finite, and it stays
    return bool(total == 0.0)


@dataclass(frozen=True)
class Embeddings:
    """Parameters of one side (items or users); training changes the arrays in place.

    The four arrays are those that LightFM calls ``item_embeddings``, ``item_biases``,
    ``item_embedding_gradients`` and ``item_bias_gradients`` (and the same for users). Row ``t``
    belongs to column ``t`` of the side's feature matrix.
    """

    embeddings: Float32  #: shape ``(n_tokens, d)``
    biases: Float32  #: shape ``(n_tokens,)``
    embedding_gradients: Float32  #: shape ``(n_tokens, d)``, AdaGrad's sums of squares, from 1 up
    bias_gradients: Float32  #: shape ``(n_tokens,)``, likewise

    def __post_init__(self) -> None:
        shape = self.embeddings.shape
        if self.embedding_gradients.shape != shape:
            message = f"embeddings are {shape}, their sums {self.embedding_gradients.shape}"
            raise ValueError(message)
        if self.biases.shape != shape[:1] or self.bias_gradients.shape != shape[:1]:
            message = f"{shape[0]} tokens, but biases of shape {self.biases.shape}"
            raise ValueError(message)
        for array in self.arrays():
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise ValueError("embeddings must be C-contiguous float32 arrays")

    def arrays(self) -> tuple[Float32, Float32, Float32, Float32]:
        """The four arrays, in the order of the fields."""
        return self.embeddings, self.biases, self.embedding_gradients, self.bias_gradients

    @property
    def n_tokens(self) -> int:
        """Number of feature tokens, identity tokens included."""
        return int(self.embeddings.shape[0])

    @property
    def components(self) -> int:
        """Length of an embedding."""
        return int(self.embeddings.shape[1])

    def rows(self, start: int, stop: int) -> "Embeddings":
        """A view of tokens ``start .. stop - 1``."""
        return Embeddings(*(array[start:stop] for array in self.arrays()))

    @classmethod
    def stack(cls, first: "Embeddings", second: "Embeddings") -> "Embeddings":
        """The tokens of one after those of the other, copied."""
        pairs = zip(first.arrays(), second.arrays(), strict=True)
        return cls(*(np.concatenate(pair) for pair in pairs))

    @classmethod
    def initial(cls, n_tokens: int, components: int, rng: np.random.RandomState) -> "Embeddings":
        """Start as LightFM does: uniform in ``(-0.5, 0.5) / d``, zero biases, sums of one."""
        uniform = (rng.rand(n_tokens, components) - 0.5) / components
        return cls(
            embeddings=uniform.astype(np.float32),
            biases=np.zeros(n_tokens, np.float32),
            embedding_gradients=np.ones((n_tokens, components), np.float32),
            bias_gradients=np.ones(n_tokens, np.float32),
        )


@dataclass(frozen=True)
class EpochProgress:
    """What one epoch did."""

    epoch: int  #: counted from 1
    violation_rate: float  #: share of samples that found a negative to learn from; BPR: 1
    loss: float  #: mean over the samples of the factor before the gradient, 0 without violation
    seconds: float  #: wall-clock time of this epoch


@dataclass(frozen=True)
class TrainingSummary:
    """How a training ended."""

    epochs: int  #: epochs that were run
    stopped_early: bool  #: whether the callback asked to stop
    seconds: float  #: wall-clock time of all epochs
    history: tuple[EpochProgress, ...]  #: one entry per epoch
