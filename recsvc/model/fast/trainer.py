"""The training loop: epochs of blocks, blocks of turns, and what is checked after each epoch."""

import time
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from recsvc.errors import TrainingDivergedError
from recsvc.model.fast.kernel import (
    Catalogue,
    Scratch,
    SideState,
    Turn,
    TurnResult,
    arrange_positives,
    train_shard,
)
from recsvc.model.fast.schedule import EpochPlan, n_shards_for, plan_epoch, positives_per_visit
from recsvc.model.fast.shards import arrange_catalogue, popular_items, split_positives
from recsvc.model.fast.sides import Side, shares_tokens
from recsvc.model.fast.state import Embeddings, EpochProgress, TrainingSummary, all_finite
from recsvc.model.fast.workers import Workers
from recsvc.model.lightfm.configuration import LightfmConfiguration
from recsvc.runtime.arrays import Float32, UInt64

#: A block in which regularisation shrinks the items by more ends early: the scale of their stored
#: numbers stays far from what float32 cannot hold.
LEAST_SHRINK = 1e-3


def rank_penalties(n_items: int, max_sampled: int) -> Float32:
    """WARP's weight of a violation by the draw that found it, shape ``(max_sampled,)``.

    A violation at draw ``n`` estimates the positive's rank as ``(n_items - 1) // n``; the weight is
    its logarithm, LightFM's stand-in for the harmonic sum of Weston et al. (2011), eq. 3.

    >>> rank_penalties(9, 4).astype(float).round(2).tolist()
    [2.08, 1.39, 0.69, 0.69]
    """
    ranks = np.maximum(1, (n_items - 1) // np.arange(1, max_sampled + 1))
    return np.log(ranks).astype(np.float32)


class _Epoch(NamedTuple):
    """What the turns of an epoch have in common."""

    plan: EpochPlan
    seeds: UInt64  #: ``(n_turns, n_shards)``
    catalogue: Catalogue
    items: SideState
    users: SideState


class _Training:
    """The state between epochs."""

    def __init__(
        self,
        *,
        item_side: Embeddings,
        user_side: Embeddings,
        item_features: Any,
        user_features: Any,
        positives: Any,
        sample_weight: Any,
        configuration: LightfmConfiguration,
        seed: int,
        n_shards: int,
        workers: Workers,
    ) -> None:
        self._configuration = configuration
        self._learning_rate = np.float32(configuration.learning_rate)
        self._seed = seed
        self._workers = workers
        self._n_shards = n_shards
        #: samples of an epoch
        self.n_positives = _n_positives(positives)
        self._per_visit = positives_per_visit(self.n_positives)
        self._shards = split_positives(positives, sample_weight, n_shards, self._per_visit)
        self._items = Side(item_side, item_features, workers, of_items=True)
        self._users = Side(user_side, user_features, workers, of_items=False)
        self._users_in_order = np.arange(self._users.n_rows, dtype=np.int32)
        self._arrays = [*item_side.arrays(), *user_side.arrays()]
        self._scratch = [Scratch.for_components(item_side.components) for _ in self._shards]
        self._penalties = rank_penalties(self._items.n_rows, configuration.max_sampled)
        is_bpr = configuration.loss == "bpr"
        self._popular = popular_items(self._shards) if is_bpr else np.empty(0, np.int32)

    def run_epoch(self, number: int, plan: EpochPlan) -> list[TurnResult]:
        """Take every positive once."""
        epoch = self._begin_epoch(number, plan)
        blocks = (self._run_block(epoch, turns) for turns in plan.turns_of_blocks(self._n_shards))
        return list(chain.from_iterable(blocks))

    def _begin_epoch(self, number: int, plan: EpochPlan) -> _Epoch:
        """Shuffle the items into parts, and what each user likes in each part."""
        rng = np.random.default_rng([self._seed, number])
        order = rng.permutation(self._items.n_rows).astype(np.int32)
        catalogue = arrange_catalogue(order, self._popular, self._n_shards)
        turns_and_shards = (plan.n_rounds * self._n_shards, self._n_shards)
        seeds = rng.integers(2**64, size=self._n_shards, dtype=np.uint64)
        self._workers.map(
            lambda shard: arrange_positives(self._shards[shard], catalogue.place_of, seeds[shard]),
            range(self._n_shards),
        )
        return _Epoch(
            plan=plan,
            seeds=rng.integers(2**64, size=turns_and_shards, dtype=np.uint64),
            catalogue=catalogue,
            items=self._items.arrange(order, self._learning_rate),
            users=self._users.arrange(self._users_in_order, self._learning_rate),
        )

    def _run_block(self, epoch: _Epoch, turns: range) -> list[TurnResult]:
        """Bring shards and parts together, turn by turn, then step what is shared."""
        finished: list[TurnResult] = []
        results: list[TurnResult] = []
        alpha = self._configuration.item_alpha
        for turn in turns:
            results += self._run_turn(epoch, turn, self._shrink(alpha, results))
            if self._shrink(alpha, results) < LEAST_SHRINK:
                self._finish_block(results)
                finished, results = finished + results, []
        self._finish_block(results)
        return finished + results

    def _finish_block(self, results: list[TurnResult]) -> None:
        given = self._configuration
        self._items.finish_block(self._learning_rate, self._shrink(given.item_alpha, results))
        self._users.finish_block(self._learning_rate, self._shrink(given.user_alpha, results))

    def _run_turn(self, epoch: _Epoch, number: int, shrink: np.float32) -> list[TurnResult]:
        """Train every shard on a part of the items of its own."""

        def run(shard: int) -> TurnResult:
            counts = train_shard(
                epoch.items,
                epoch.users,
                self._shards[shard],
                epoch.catalogue,
                self._scratch[shard],
                self._penalties,
                self._turn(epoch, number, shard, shrink),
            )
            return TurnResult(*counts)

        return self._workers.map(run, range(self._n_shards))

    @staticmethod
    def _shrink(alpha: float, results: list[TurnResult]) -> np.float32:
        """The factor by which the updates so far regularise every embedding of a side."""
        return np.float32(np.exp(-alpha * sum(result.mean_rates for result in results)))

    def _turn(self, epoch: _Epoch, number: int, shard: int, shrink: np.float32) -> Turn:
        return Turn(
            seed=epoch.seeds[number, shard],
            part=(shard + number) % self._n_shards,
            round=number // self._n_shards,
            n_rounds=epoch.plan.n_rounds,
            positives_per_visit=self._per_visit,
            n_shards=self._n_shards,
            bpr=self._configuration.loss == "bpr",
            learning_rate=self._learning_rate,
            item_alpha=float(self._configuration.item_alpha),
            shrink=shrink,
        )

    def scatter(self) -> None:
        """Write the state back into the arrays that training was given."""
        self._items.scatter()
        self._users.scatter()

    def is_finite(self) -> bool:
        """Whether every parameter of both sides is a number."""
        return all(self._workers.map(all_finite, [array.reshape(-1) for array in self._arrays]))


def train(
    item_side: Embeddings,
    user_side: Embeddings,
    item_features: sp.csr_matrix,
    user_features: sp.csr_matrix,
    positives: Any,
    *,
    configuration: LightfmConfiguration,
    seed: int,
    threads: int,
    sample_weight: sp.coo_matrix | None = None,
    n_shards: int = 8,
    blocks_per_epoch: int = 0,
    first_epoch: int = 1,
    epochs: int | None = None,
    on_epoch: Callable[[EpochProgress], bool | None] | None = None,
) -> TrainingSummary:
    """Train both sides in place by WARP or BPR with AdaGrad.

    The result depends on the data, the hyper-parameters, the seed, ``n_shards`` and
    ``blocks_per_epoch``, not on ``threads``. Users' biases stay as they are: a pairwise loss
    compares scores of one user, in which they cancel.

    Args:
        item_side: embeddings of the item tokens.
        user_side: embeddings of the user tokens.
        item_features: ``(n_items, n_item_tokens)``, fast if it begins with an identity block.
        user_features: ``(n_users, n_user_tokens)``, likewise.
        positives: sparse ``(n_users, n_items)`` without duplicates; values above zero count.
        configuration: loss, rates, penalties, epochs.
        seed: any non-negative integer.
        threads: number of threads.
        sample_weight: weights with the entries of ``positives``, in the same order (COO).
        n_shards: parts of the users, and of the items, that train apart within a turn; fewer where
            there are few items or positives.
        blocks_per_epoch: how often shared tokens are stepped in an epoch; 0 leaves it to
            ``plan_epoch``.
        first_epoch: number of the first epoch; a value above 1 continues a training, with blocks
            and random numbers of its own.
        epochs: number of epochs, by default the configuration's own.
        on_epoch: called after each epoch, with both sides up to date; ends training if it
            returns True.

    Raises:
        TrainingDivergedError: if a parameter is infinite or NaN after an epoch.
        ValueError: if shapes do not fit together.
    """
    _check_shapes(item_features, user_features, positives, n_shards, blocks_per_epoch)
    n_shards = n_shards_for(item_features.shape[0], _n_positives(positives), n_shards)
    started = time.perf_counter()
    history: list[EpochProgress] = []
    stopped = False
    with Workers(threads) as workers:
        training = _Training(
            item_side=item_side,
            user_side=user_side,
            item_features=item_features,
            user_features=user_features,
            positives=positives,
            sample_weight=sample_weight,
            configuration=configuration,
            seed=seed,
            n_shards=n_shards,
            workers=workers,
        )
        n_epochs = configuration.epochs if epochs is None else epochs
        for epoch in range(first_epoch, first_epoch + n_epochs):
            epoch_started = time.perf_counter()
            plan = plan_epoch(
                epoch,
                training.n_positives,
                n_shards,
                blocks_per_epoch,
                users_share_tokens=shares_tokens(user_features),
            )
            results = training.run_epoch(epoch, plan)
            training.scatter()
            if not training.is_finite():
                raise TrainingDivergedError(
                    f"Training diverged in epoch {epoch} with {configuration}; "
                    "lower RECSVC_LEARNING_RATE."
                )
            progress = _progress(epoch, results, time.perf_counter() - epoch_started)
            history.append(progress)
            stopped = bool(on_epoch and on_epoch(progress))
            if stopped:
                break
    seconds = time.perf_counter() - started
    return TrainingSummary(len(history), stopped, seconds, tuple(history))


def _progress(epoch: int, results: list[TurnResult], seconds: float) -> EpochProgress:
    samples = max(1, sum(result.samples for result in results))
    violations = sum(result.violations for result in results)
    loss = sum(result.loss for result in results)
    return EpochProgress(epoch, violations / samples, loss / samples, seconds)


def _n_positives(positives: Any) -> int:
    return int(np.count_nonzero(positives.data > 0))


def _check_shapes(
    item_features: Any, user_features: Any, positives: Any, n_shards: int, blocks_per_epoch: int
) -> None:
    expected = (user_features.shape[0], item_features.shape[0])
    if positives.shape != expected:
        raise ValueError(f"positives are {positives.shape}, features describe {expected}")
    if n_shards < 1 or blocks_per_epoch < 0:
        raise ValueError("n_shards must be 1 or more, blocks_per_epoch 0 or more")
