"""A recommender as two matrices, the one form that ranking and evaluation know."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """The score of item ``i`` for user ``u`` is ``users[u] @ items[i]``.

    Biases and fallbacks are folded in as further columns, so that every model of the line-up is
    ranked and evaluated by the same matrix product.
    """

    users: Float32  #: shape ``(n_users, d)``, C-contiguous
    items: Float32  #: shape ``(n_items, d)``, C-contiguous

    def __post_init__(self) -> None:
        if self.users.shape[1] != self.items.shape[1]:
            message = f"users have {self.users.shape[1]} factors, items {self.items.shape[1]}"
            raise ValueError(message)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return int(self.users.shape[0])

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.items.shape[0])
