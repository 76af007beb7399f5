"""The compiled inner loop: one shard of users against a snapshot of the item side.

An item's row has ``d + 1`` columns, its embedding and then its bias; a user's row gets a constant
one as its last column, so that a score is one dot product. ``train_shard`` is a pure function of
the item side and the shard: it writes nothing but its own users' rows and its own change buffers.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recsvc.model.factors import Float32
from recsvc.model.fast.compiling import compiled, inlined
from recsvc.model.fast.prefetch import prefetch

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

#: LightFM's clipping of a sample's gradient.
MAX_LOSS = np.float32(10.0)
#: Regularisation never shrinks a shard's copy of the items by more than this within one block.
MIN_SHRINK = np.float32(1e-6)
#: How many draws before its use an item's row is asked for, and how many visits a user's.
DRAWS_AHEAD = np.uint64(16)
VISITS_AHEAD = 4
#: BPR: draws for a negative before a sample is skipped, which only a user of nearly all items is.
MAX_DRAWS = 100
#: SplitMix64's increment, 2**64 divided by the golden ratio.
GAMMA = np.uint64(0x9E3779B97F4A7C15)


class SideSnapshot(NamedTuple):
    """Items or users at the start of a block: ``n`` rows of ``width`` columns."""

    rows: Float32  #: ``(n, width)`` identity and tokens summed
    squares: Float32  #: ``(n, width)`` AdaGrad sums of the identity embeddings
    weights: Float32  #: ``(n,)`` feature value of the identity token
    token_rates: Float32  #: ``(n,)`` learning rates summed over the row's shared tokens
    row_tokens: Float32  #: ``(n,)`` number of tokens in the row, identity included


class ShardRows(NamedTuple):
    """The positives of a shard's users, sorted by user and item; other shards do not see them."""

    users: Int32  #: ``(n_shard_users,)`` each user's row in the user side
    indptr: Int64  #: ``(n_shard_users + 1,)``
    indices: Int32  #: ``(nnz,)`` items
    sample_weights: Float32  #: ``(nnz,)``, or empty when all are one
    popular: Int32  #: items as often as they are liked by any user: BPR's negatives, shared
    visits: Int32  #: ``(n_shard_users, 3)`` scratch: visits of a block, see ``_plan_visits``
    order: Int32  #: ``(nnz,)`` scratch: ``indices``, each user's in the order of an epoch


class ItemChanges(NamedTuple):
    """A shard's private copies of the item rows that it writes in one block.

    What a step changes of an item lies side by side: on large data each step is at an item that
    is in no cache, and one place is fetched faster than three.
    """

    slots: Int32  #: ``(n_items,)`` position of an item's copy, -1 without one
    touched: Int32  #: ``(capacity,)`` item of each copy
    states: Float32  #: ``(capacity, 3, d + 1)`` row, AdaGrad sums, and if tokens need them
    #: (else it is ``(capacity, 2, d + 1)``) the row's gradients summed


class UserChanges(NamedTuple):
    """What the users' shared tokens need from a block; empty arrays where there are none."""

    own: Float32  #: ``(n_users, d)`` identity embeddings, apart from the tokens
    gradients: Float32  #: ``(n_users, d)`` the row's gradients summed
    squares: Float32  #: ``(n_users, d)`` their squares summed


class Scratch(NamedTuple):
    """Rows of the user who is being visited."""

    user: Float32  #: ``(d + 1,)`` the row, then a constant one
    state: Float32  #: ``(1, 3, d)`` the row, its AdaGrad sums, its gradients over the visit
    difference: Float32  #: ``(d,)`` negative minus positive item

    @classmethod
    def for_components(cls, d: int) -> "Scratch":
        """Fresh arrays."""
        return cls(
            user=np.ones(d + 1, np.float32),
            state=np.empty((1, 3, d), np.float32),
            difference=np.empty(d, np.float32),
        )


class Block(NamedTuple):
    """The scalars of one block."""

    seed: np.uint64
    number: int  #: counted from 0 within the epoch
    n_blocks: int  #: in this epoch
    positives_per_visit: int  #: of a user, taken at a time if there are as many
    n_shards: int
    bpr: bool  #: BPR, else WARP
    learning_rate: np.float32
    item_alpha: float


class BlockResult(NamedTuple):
    """Counts of one shard in one block."""

    n_touched: int  #: item rows written
    samples: int
    violations: int
    loss: float  #: sum over the samples of the gradient's factor
    mean_rates: float  #: sum over the updates of the mean learning rate, for lazy regularisation


@inlined
def _mix(counter: Any) -> Any:
    """Scramble a counter into 64 random bits (SplitMix64: Steele, Lea and Flood 2014)."""
    z = (counter ^ (counter >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def _below(bits: Any, bound: Any) -> Any:
    """Scale random bits to ``0 .. bound - 1`` with a multiplication (Lemire 2019)."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@compiled
def _shuffle(values: Any, low: Any, high: Any, counter: Any) -> Any:
    """Permute ``values[low:high]`` (Fisher and Yates); returns the counter."""
    for k in range(low, high):
        counter += GAMMA
        other = low + _below(_mix(counter), k - low + 1)
        values[k], values[other] = values[other], values[k]
    return counter


@compiled
def _shuffle_rows(rows: Any, n_rows: Any, counter: Any) -> Any:
    """Permute ``rows[:n_rows]``; returns the counter."""
    for k in range(n_rows):
        counter += GAMMA
        other = _below(_mix(counter), k + 1)
        for c in range(rows.shape[1]):
            rows[k, c], rows[other, c] = rows[other, c], rows[k, c]
    return counter


@compiled
def positives_of_block(n: Any, u: Any, block: Any) -> Any:
    """Return which of a user's ``n`` positives a block takes: the first, and that after the last.

    The visits of a user are spread evenly over the blocks of an epoch. A phase of its own lets
    users with fewer visits than blocks take turns.
    """
    if n == 0:
        return n, n
    n_visits = min(-(-n // block.positives_per_visit), block.n_blocks)
    phase = _below(_mix(np.uint64(u) * GAMMA), block.n_blocks)
    first = (block.number * n_visits + phase) // block.n_blocks
    after = ((block.number + 1) * n_visits + phase) // block.n_blocks
    return first * n // n_visits, after * n // n_visits


@compiled
def _plan_visits(shard: Any, block: Any, counter: Any) -> Any:
    """Write the visits of a block, in random order, to ``shard.visits``.

    A visit is a user's place in the shard, and the first and last but one place in
    ``shard.order`` of the positives to take. The first block of an epoch also shuffles each user's
    positives. Returns the number of visits and the counter.
    """
    indptr, indices, order, visits = shard.indptr, shard.indices, shard.order, shard.visits
    n_visits = 0
    for local in range(len(shard.users)):
        start, stop = indptr[local], indptr[local + 1]
        if block.number == 0:
            for k in range(start, stop):
                order[k] = indices[k]
            counter = _shuffle(order, start, stop, counter)
        low, high = positives_of_block(stop - start, shard.users[local], block)
        if low < high:
            visits[n_visits, 0] = local
            visits[n_visits, 1] = start + low
            visits[n_visits, 2] = start + high
            n_visits += 1
    return n_visits, _shuffle_rows(visits, n_visits, counter)


@inlined
def _ask_for_visit(shard: Any, visit: Any, user_rows: Any, user_squares: Any) -> None:
    """Have what a visit begins with in a cache when it begins."""
    user = shard.users[shard.visits[visit, 0]]
    prefetch(user_rows, user)
    prefetch(user_squares, user)
    prefetch(shard.order, shard.visits[visit, 1])


@compiled
def _place(indices: Any, low: Any, high: Any, item: Any) -> Any:
    """Return the first place in the ascending ``indices[low:high]`` not before ``item``."""
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _holds(indices: Any, low: Any, high: Any, item: Any) -> Any:
    """Whether the ascending ``indices[low:high]`` hold ``item``."""
    place = _place(indices, low, high, item)
    return place < high and indices[place] == item


@inlined
def _dot(user: Any, rows: Any, row: Any) -> Any:
    total = np.float32(0.0)
    for c in range(user.shape[0]):
        total += user[c] * rows[row, c]
    return total


@inlined
def _dot_state(user: Any, states: Any, slot: Any) -> Any:
    total = np.float32(0.0)
    for c in range(user.shape[0]):
        total += user[c] * states[slot, 0, c]
    return total


@inlined
def _score(user: Any, item: Any, item_rows: Any, states: Any, slots: Any) -> Any:
    """Score by the shard's own copy of the item's row, or else by the shared row."""
    slot = slots[item]
    return _dot_state(user, states, slot) if slot >= 0 else _dot(user, item_rows, item)


@inlined
def _load_state(rows: Any, squares: Any, row: Any, states: Any, slot: Any) -> None:
    """Begin a state: a row, its AdaGrad sums, no gradients yet."""
    n = rows.shape[1]
    for c in range(n):
        states[slot, 0, c] = rows[row, c]
    for c in range(n):
        states[slot, 1, c] = squares[row, c]
    if states.shape[1] > 2:  # noqa: PLR2004  (gradients are kept)
        for c in range(n):
            states[slot, 2, c] = 0.0


@inlined
def _subtract_rows(difference: Any, states: Any, minuend: Any, subtrahend: Any) -> None:
    for c in range(difference.shape[0]):
        difference[c] = states[minuend, 0, c] - states[subtrahend, 0, c]


@inlined
def _adagrad(states: Any, slot: Any, scale: Any, step: Any, slope: Any, direction: Any) -> Any:
    """One AdaGrad step of an identity embedding, as its row sees it.

    With a feature value ``w`` and the row's gradient ``g``, the embedding's gradient is ``w g``
    and its step moves the row ``w`` times as far. ``scale * direction`` is the embedding's
    gradient, ``step * direction`` the row's move before its division by the root of the sum,
    ``slope * direction`` the row's gradient. Returns the sum of ``1 / sqrt(squares)`` before the
    step.
    """
    total = np.float32(0.0)
    for c in range(direction.shape[0]):
        inverse_root = np.float32(1.0) / np.sqrt(states[slot, 1, c])
        gradient = scale * direction[c]
        states[slot, 0, c] -= step * inverse_root * direction[c]
        states[slot, 1, c] += gradient * gradient
        total += inverse_root
    if states.shape[1] > 2:  # noqa: PLR2004  (gradients are kept)
        for c in range(direction.shape[0]):
            states[slot, 2, c] += slope * direction[c]
    return total


@compiled
def _draw_warp(
    user: Any,
    margin: Any,
    item_rows: Any,
    states: Any,
    slots: Any,
    indices: Any,
    start: Any,
    stop: Any,
    max_sampled: Any,
    counter: Any,
) -> Any:
    """Draw items until one that is no positive scores above ``margin``.

    Returns ``(item, draws before it, counter)``, with item -1 after ``max_sampled`` draws.
    """
    for draw in range(max_sampled):
        counter += GAMMA
        later = _below(_mix(counter + DRAWS_AHEAD * GAMMA), slots.shape[0])
        prefetch(item_rows, later)
        item = _below(_mix(counter), slots.shape[0])
        if _score(user, item, item_rows, states, slots) > margin and not _holds(
            indices, start, stop, item
        ):
            return item, draw, counter
    return np.int64(-1), max_sampled, counter


@compiled
def _draw_bpr(popular: Any, indices: Any, start: Any, stop: Any, counter: Any) -> Any:
    """Draw an item by popularity that is no positive; -1 if there seems to be none."""
    for _ in range(MAX_DRAWS):
        counter += GAMMA
        item = np.int64(popular[_below(_mix(counter), popular.shape[0])])
        if not _holds(indices, start, stop, item):
            return item, counter
    return np.int64(-1), counter


@compiled
def train_shard(  # noqa: C901, PLR0912, PLR0915  (one loop whose state stays in registers)
    items: SideSnapshot,
    users: SideSnapshot,
    shard: ShardRows,
    item_changes: ItemChanges,
    user_changes: UserChanges,
    scratch: Scratch,
    penalties: Float32,
    block: Block,
) -> tuple[int, int, int, float, float]:
    """Walk one block of a shard's samples, user by user.

    Each user contributes a random part of its positives, so that an epoch takes every positive
    once.

    Args:
        items: the item side, read only.
        users: the user side; the rows and squares of the shard's users are updated in place.
        shard: the users and their positives.
        item_changes: empty buffers (all slots -1), filled with this shard's copies.
        user_changes: filled for the shard's users if users have shared tokens.
        scratch: overwritten.
        penalties: WARP's weight of a violation found at the first, second, ... draw; its length
            is the number of draws.
        block: the scalars.

    Returns:
        The fields of a :class:`BlockResult`, in order.
    """
    item_rows, item_squares, item_weights = items.rows, items.squares, items.weights
    user_rows, user_squares = users.rows, users.squares
    indptr, indices, sample_weights = shard.indptr, shard.indices, shard.sample_weights
    order, visits = shard.order, shard.visits
    slots, touched = item_changes.slots, item_changes.touched
    states = item_changes.states
    width = item_rows.shape[1]
    d = width - 1
    one = np.float32(1.0)
    max_sampled = penalties.shape[0]
    user, difference, own = scratch.user, scratch.difference, scratch.state
    n_touched, samples, violations = 0, 0, 0
    total_loss, mean_rates = 0.0, 0.0
    # the items' true rows are the stored ones times `shrink`; `growth` is its inverse
    shrink, growth = one, one

    n_visits, counter = _plan_visits(shard, block, block.seed)
    for visit in range(n_visits):
        if visit + VISITS_AHEAD < n_visits:
            _ask_for_visit(shard, visit + VISITS_AHEAD, user_rows, user_squares)
        if visit + 1 < n_visits:
            prefetch(item_rows, order[visits[visit + 1, 1]])
        local = visits[visit, 0]
        u = shard.users[local]
        start, stop = indptr[local], indptr[local + 1]
        user_weight = users.weights[u]
        _load_state(user_rows, user_squares, u, own, 0)
        for k in range(visits[visit, 1], visits[visit, 2]):
            for c in range(d):
                user[c] = own[0, 0, c]
            positive = np.int64(order[k])
            weight = one
            if len(sample_weights) > 0:
                weight = sample_weights[_place(indices, start, stop, positive)]
            samples += 1
            score = _score(user, positive, item_rows, states, slots)
            if block.bpr:
                negative, counter = _draw_bpr(shard.popular, indices, start, stop, counter)
                if negative < 0:
                    continue
                other = _score(user, negative, item_rows, states, slots)
                loss = weight / (one + np.exp((score - other) * shrink))
            else:
                negative, draw, counter = _draw_warp(
                    user,
                    score - growth,
                    item_rows,
                    states,
                    slots,
                    indices,
                    start,
                    stop,
                    max_sampled,
                    counter,
                )
                if negative < 0:
                    continue
                loss = min(weight * penalties[draw], MAX_LOSS)
            violations += 1
            total_loss += loss

            for item in (positive, negative):
                if slots[item] < 0:
                    slots[item] = n_touched
                    touched[n_touched] = item
                    _load_state(item_rows, item_squares, item, states, n_touched)
                    n_touched += 1
            p, q = slots[positive], slots[negative]
            _subtract_rows(difference, states, q, p)
            slope = loss * shrink
            step = block.learning_rate * loss * growth
            w = item_weights[positive]
            roots = _adagrad(states, p, w * loss, -step * w * w, -loss * growth, user)
            w = item_weights[negative]
            roots += _adagrad(states, q, w * loss, step * w * w, loss * growth, user)
            w = user_weight
            step = block.learning_rate * slope * w * w
            roots += _adagrad(own, 0, w * slope, step, slope, difference)

            rates = (
                block.learning_rate * roots
                + items.token_rates[positive]
                + items.token_rates[negative]
                + users.token_rates[u]
            )
            tokens = items.row_tokens[positive] + items.row_tokens[negative] + users.row_tokens[u]
            mean_rate = rates / (width * tokens)
            mean_rates += mean_rate
            decay = np.float32(block.item_alpha * block.n_shards * mean_rate)
            shrink = max(shrink / (one + decay), MIN_SHRINK)
            growth = one / shrink

        if len(user_changes.gradients) > 0:
            for c in range(d):
                grown = own[0, 1, c] - user_squares[u, c]
                user_changes.gradients[u, c] = own[0, 2, c]
                user_changes.squares[u, c] = grown / (user_weight * user_weight)
            if len(user_changes.own) > 0:
                for c in range(d):
                    user_changes.own[u, c] += (own[0, 0, c] - user_rows[u, c]) / user_weight
        for c in range(d):
            user_rows[u, c] = own[0, 0, c]
        for c in range(d):
            user_squares[u, c] = own[0, 1, c]
    # Not as a BlockResult: Numba would call Python to make it, and crash if a signal's handler
    # raises there.
    return n_touched, samples, violations, total_loss, mean_rates
