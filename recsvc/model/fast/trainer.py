"""The training loop: epochs of blocks, blocks of shards, and what is checked after each epoch."""

import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsvc.errors import TrainingDivergedError
from recsvc.model.factors import Float32
from recsvc.model.fast.barrier import MergedChanges, add_changes
from recsvc.model.fast.kernel import Block, BlockResult, Scratch, SideSnapshot, train_shard
from recsvc.model.fast.schedule import EpochPlan, plan_epoch
from recsvc.model.fast.shards import ChangeBuffers, split_positives
from recsvc.model.fast.sides import Side
from recsvc.model.fast.state import Embeddings, EpochProgress, TrainingSummary
from recsvc.model.fast.workers import Workers
from recsvc.model.hyperparameters import Hyperparameters


def rank_penalties(n_items: int, max_sampled: int) -> Float32:
    """WARP's weight of a violation by the draw that found it, shape ``(max_sampled,)``.

    A violation at draw ``n`` estimates the positive's rank as ``(n_items - 1) // n``; the weight is
    its logarithm, LightFM's stand-in for the harmonic sum of Weston et al. (2011), eq. 3.

    >>> rank_penalties(9, 4).astype(float).round(2).tolist()
    [2.08, 1.39, 0.69, 0.69]
    """
    ranks = np.maximum(1, (n_items - 1) // np.arange(1, max_sampled + 1))
    return np.log(ranks).astype(np.float32)


class _Training:
    """The state between blocks."""

    def __init__(
        self,
        *,
        item_side: Embeddings,
        user_side: Embeddings,
        item_features: Any,
        user_features: Any,
        positives: Any,
        sample_weight: Any,
        hyperparameters: Hyperparameters,
        seed: int,
        n_shards: int,
        workers: Workers,
    ) -> None:
        self._hyperparameters = hyperparameters
        self._learning_rate = np.float32(hyperparameters.learning_rate)
        self._seed = seed
        self._workers = workers
        self._shards = split_positives(positives, sample_weight, n_shards)
        #: samples of an epoch
        self.n_positives = sum(len(shard.indices) for shard in self._shards)
        self._items = Side(item_side, item_features, workers, with_bias=True)
        self._users = Side(user_side, user_features, workers, with_bias=False)
        n_items, width = self._items.n_rows, item_side.components + 1
        self._components = item_side.components
        self._penalties = rank_penalties(n_items, hyperparameters.max_sampled)
        self._buffers = ChangeBuffers(
            self._shards,
            (n_items, width),
            workers.threads,
            gradients=self._items.steps_tokens,
        )
        self._item_cuts = workers.cut_rows(n_items)
        self._merged = MergedChanges(
            touched=np.zeros(n_items, np.bool_),
            moves=np.empty((n_items, width), np.float32),
            squares=np.empty((n_items, width), np.float32),
            gradients=np.empty((n_items if self._items.steps_tokens else 0, width), np.float32),
        )

    def run_epoch(self, epoch: int, plan: EpochPlan) -> list[BlockResult]:
        """Take every positive once."""
        blocks = (self._run_block(epoch, number, plan) for number in range(plan.n_blocks))
        return list(chain.from_iterable(blocks))

    def _run_block(self, epoch: int, number: int, plan: EpochPlan) -> list[BlockResult]:
        """Train every shard on one block, then bring their changes together."""
        items = self._items.snapshot(self._learning_rate)
        users = self._users.snapshot(self._learning_rate)
        user_changes = self._users.empty_user_changes()
        self._merged.touched[:] = False
        results: list[BlockResult] = []
        item_shrink = np.float32(1.0)

        for wave in self._buffers.waves():

            def run(shard: int, first: int = wave.start) -> BlockResult:
                counts = train_shard(
                    items,
                    users,
                    self._shards[shard],
                    self._buffers.at(shard - first),
                    user_changes,
                    Scratch.for_components(self._components),
                    self._penalties,
                    self._block(epoch, number, shard, plan),
                )
                return BlockResult(*counts)

            finished = self._workers.map(run, wave)
            results += finished
            item_shrink = self._shrink(self._hyperparameters.item_alpha, results)
            is_last = wave.stop == len(self._shards)
            self._merge(finished, items, item_shrink if is_last else None)

        user_shrink = self._shrink(self._hyperparameters.user_alpha, results)
        self._items.step_tokens(self._merged, self._learning_rate, item_shrink)
        self._users.apply_user_changes(user_changes, self._learning_rate, user_shrink)
        return results

    def _merge(
        self, wave: list[BlockResult], items: SideSnapshot, shrink: np.float32 | None
    ) -> None:
        """Add the changes of a wave; with ``shrink``, after the last one, move the item rows.

        Both in one pass: on small data waking the threads is what costs.
        """
        filled = self._buffers.first(len(wave))

        def merge(low: int, high: int) -> None:
            add_changes(low, high, items, filled, self._merged)
            if shrink is not None:
                self._items.move_rows(low, high, self._merged, shrink)

        self._workers.over_rows(merge, self._item_cuts)
        for place, result in enumerate(wave):
            self._buffers.clear(place, result.n_touched)

    @staticmethod
    def _shrink(alpha: float, results: list[BlockResult]) -> np.float32:
        """The factor by which the updates so far regularise every embedding of a side."""
        return np.float32(np.exp(-alpha * sum(result.mean_rates for result in results)))

    def _block(self, epoch: int, number: int, shard: int, plan: EpochPlan) -> Block:
        entropy = np.random.SeedSequence([self._seed, epoch, number, shard])
        return Block(
            seed=entropy.generate_state(1, np.uint64)[0],
            number=number,
            n_blocks=plan.n_blocks,
            positives_per_visit=plan.positives_per_visit,
            n_shards=len(self._shards),
            bpr=self._hyperparameters.loss == "bpr",
            learning_rate=self._learning_rate,
            item_alpha=float(self._hyperparameters.item_alpha),
        )

    def scatter(self) -> None:
        """Write the state back into the arrays that training was given."""
        self._items.scatter()
        self._users.scatter()


def train(
    item_side: Embeddings,
    user_side: Embeddings,
    item_features: sp.csr_matrix,
    user_features: sp.csr_matrix,
    positives: Any,
    *,
    hyperparameters: Hyperparameters,
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
        hyperparameters: loss, rates and penalties.
        seed: any non-negative integer.
        threads: number of threads.
        sample_weight: weights with the entries of ``positives``, in the same order (COO).
        n_shards: parts of the users that train apart within a block.
        blocks_per_epoch: how often the shards meet in an epoch; 0 leaves it to ``plan_epoch``.
        first_epoch: number of the first epoch; a value above 1 continues a training, with blocks
            and random numbers of its own.
        epochs: number of epochs, by default the hyper-parameters' own.
        on_epoch: called after each epoch, with both sides up to date; ends training if it
            returns True.

    Raises:
        TrainingDivergedError: if a parameter is infinite or NaN after an epoch.
        ValueError: if shapes do not fit together.
    """
    _check_shapes(item_features, user_features, positives, n_shards, blocks_per_epoch)
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
            hyperparameters=hyperparameters,
            seed=seed,
            n_shards=n_shards,
            workers=workers,
        )
        n_epochs = hyperparameters.epochs if epochs is None else epochs
        for epoch in range(first_epoch, first_epoch + n_epochs):
            epoch_started = time.perf_counter()
            plan = plan_epoch(epoch, training.n_positives, blocks_per_epoch)
            results = training.run_epoch(epoch, plan)
            training.scatter()
            if not (item_side.is_finite() and user_side.is_finite()):
                raise TrainingDivergedError(
                    f"Training diverged in epoch {epoch} with {hyperparameters}; "
                    "a lower learning rate usually mends it."
                )
            progress = _progress(epoch, results, time.perf_counter() - epoch_started)
            history.append(progress)
            stopped = bool(on_epoch and on_epoch(progress))
            if stopped:
                break
    seconds = time.perf_counter() - started
    return TrainingSummary(len(history), stopped, seconds, tuple(history))


def _progress(epoch: int, results: list[BlockResult], seconds: float) -> EpochProgress:
    samples = max(1, sum(result.samples for result in results))
    violations = sum(result.violations for result in results)
    loss = sum(result.loss for result in results)
    return EpochProgress(epoch, violations / samples, loss / samples, seconds)


def _check_shapes(
    item_features: Any, user_features: Any, positives: Any, n_shards: int, blocks_per_epoch: int
) -> None:
    expected = (user_features.shape[0], item_features.shape[0])
    if positives.shape != expected:
        raise ValueError(f"positives are {positives.shape}, features describe {expected}")
    if n_shards < 1 or blocks_per_epoch < 0:
        raise ValueError("n_shards must be 1 or more, blocks_per_epoch 0 or more")
