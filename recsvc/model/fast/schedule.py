"""How an epoch is cut: where shards meet, and how many positives of a user follow one another."""

import math
from typing import NamedTuple

#: The first epoch of this many positives would be one block; see ``plan_epoch``.
POSITIVES_OF_ONE_BLOCK = 1_000
MIN_BLOCKS = 4
#: Visiting a user costs as much as a positive, so that later epochs take several in one visit.
POSITIVES_PER_VISIT = 8


class EpochPlan(NamedTuple):
    """The cut of one epoch."""

    n_blocks: int  #: how often the shards meet
    positives_per_visit: int  #: taken of a user at a time, if there are as many


def plan_epoch(epoch: int, n_positives: int, blocks_per_epoch: int = 0) -> EpochPlan:
    """Plan an epoch, counted from 1 over all that the embeddings have behind them.

    AdaGrad's steps fall with the root of what was seen, so blocks may grow with it: after ``n``
    positives, repeats included, there were ``sqrt(n / POSITIVES_OF_ONE_BLOCK)`` blocks. Early
    steps are large; that is where meeting often, and changing users often, pays
    (docs/training.md has the measurements).

    Args:
        epoch: from 1 up.
        n_positives: in each epoch.
        blocks_per_epoch: a fixed number of blocks instead; 0 for none.

    >>> [plan_epoch(epoch, 10_000_000).n_blocks for epoch in (1, 2, 3, 25)]
    [100, 41, 32, 10]
    >>> plan_epoch(1, 40_000)
    EpochPlan(n_blocks=6, positives_per_visit=1)
    """
    blocks_of_first = math.sqrt(n_positives / POSITIVES_OF_ONE_BLOCK)
    share = math.sqrt(epoch) - math.sqrt(epoch - 1)
    n_blocks = blocks_per_epoch or max(MIN_BLOCKS, round(blocks_of_first * share))
    return EpochPlan(n_blocks, 1 if epoch == 1 else POSITIVES_PER_VISIT)
