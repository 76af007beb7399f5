"""How an epoch is cut: into blocks, and into visits of users."""

import math
from itertools import pairwise
from typing import NamedTuple

#: The first epoch of this many positives would be one block; see ``plan_epoch``.
POSITIVES_OF_ONE_BLOCK = 1_000
MIN_BLOCKS = 4
#: Where users share tokens. All samples of a block step them, far more than share those of a movie.
MIN_BLOCKS_OF_USERS = 32
#: Of a part of the catalogue; in a smaller one users may like everything, and find no negatives.
MIN_PART_ITEMS = 64
#: Of a shard; with fewer, beginning a turn costs as much as what is done in it.
MIN_SHARD_POSITIVES = 8_000
#: With few, a shard stays with one part of the items for long.
MIN_ROUNDS = 4
#: Positives from which on users' rows are in no cache: a visit then takes several positives.
LARGE = 1_000_000
POSITIVES_PER_VISIT = 4


class EpochPlan(NamedTuple):
    """The cut of one epoch."""

    n_rounds: int  #: how often each shard meets each part of the items; a round has a turn for each
    n_blocks: int  #: how often shared tokens are stepped, at most once a turn

    def turns_of_blocks(self, n_shards: int) -> list[range]:
        """The turns of each block, counted from 0.

        >>> EpochPlan(n_rounds=1, n_blocks=3).turns_of_blocks(4)
        [range(0, 1), range(1, 2), range(2, 4)]
        """
        n_turns = self.n_rounds * n_shards
        cuts = [n_turns * block // self.n_blocks for block in range(self.n_blocks + 1)]
        return [range(first, after) for first, after in pairwise(cuts)]


def plan_epoch(
    epoch: int,
    n_positives: int,
    n_shards: int,
    blocks_per_epoch: int = 0,
    *,
    users_share_tokens: bool = False,
) -> EpochPlan:
    """Plan an epoch, counted from 1 over all that the embeddings have behind them.

    AdaGrad's steps fall with the root of what was seen, so blocks may grow with it: after ``n``
    positives, repeats included, there were ``sqrt(n / POSITIVES_OF_ONE_BLOCK)`` blocks. Early
    steps are large; that is where stepping tokens often pays (docs/training.md has the
    measurements).

    Args:
        epoch: from 1 up.
        n_positives: in each epoch.
        n_shards: turns of a round.
        blocks_per_epoch: a fixed number of blocks instead; 0 for none.
        users_share_tokens: whether users have tokens beside their identity; then there are
            :data:`MIN_BLOCKS_OF_USERS` or more.

    >>> [plan_epoch(epoch, 10_000_000, 8).n_blocks for epoch in (1, 2, 3, 25)]
    [100, 41, 32, 10]
    >>> plan_epoch(1, 40_000, 8)
    EpochPlan(n_rounds=4, n_blocks=6)
    >>> plan_epoch(1, 40_000, 8, users_share_tokens=True)
    EpochPlan(n_rounds=4, n_blocks=32)
    """
    blocks_of_first = math.sqrt(n_positives / POSITIVES_OF_ONE_BLOCK)
    share = math.sqrt(epoch) - math.sqrt(epoch - 1)
    fewest = MIN_BLOCKS_OF_USERS if users_share_tokens else MIN_BLOCKS
    n_blocks = blocks_per_epoch or max(fewest, round(blocks_of_first * share))
    n_rounds = max(MIN_ROUNDS, -(-n_blocks // n_shards))
    return EpochPlan(n_rounds, n_blocks)


def positives_per_visit(n_positives: int) -> int:
    """Return how many positives of a user and a part are taken at a time, at most.

    >>> positives_per_visit(40_000), positives_per_visit(10_000_000)
    (1, 4)
    """
    return POSITIVES_PER_VISIT if n_positives >= LARGE else 1


def n_shards_for(n_items: int, n_positives: int, n_shards: int) -> int:
    """Return how many shards train: as many as asked for, where the data are enough for them.

    >>> n_shards_for(10_000, 10_000_000, 8), n_shards_for(10_000, 40_000, 8)
    (8, 5)
    >>> n_shards_for(200, 10_000_000, 8), n_shards_for(5, 10, 8)
    (3, 1)
    """
    return max(1, min(n_shards, n_items // MIN_PART_ITEMS, n_positives // MIN_SHARD_POSITIVES))
