"""The compiled inner loop: one shard of users against one part of the items.

In a turn each shard of users has a part of the items to itself. ``train_shard`` is a pure function
of the two: it reads and writes no other rows, so that shards may run in any order or at once.
"""

from typing import NamedTuple

import numpy as np

from recsvc.model.fast.compiling import compiled, inlined
from recsvc.model.fast.prefetch import prefetch
from recsvc.runtime.arrays import Float32, Int32, Int64

#: A place, a row or a count: compiled code takes either for 64 bits.
Index = int | np.int64

#: LightFM's clipping of a sample's gradient.
MAX_LOSS = np.float32(10.0)
#: Regularisation never shrinks the items of a shard by more than this within one turn.
MIN_SHRINK = np.float32(1e-6)
#: How many draws before its use an item's row is asked for, and how many visits a user's.
DRAWS_AHEAD = np.uint64(16)
VISITS_AHEAD = 4
#: BPR: draws for a negative before a sample is skipped, which only a user of nearly all items is.
MAX_DRAWS = 100
#: SplitMix64's increment, 2**64 divided by the golden ratio.
GAMMA = np.uint64(0x9E3779B97F4A7C15)


class SideState(NamedTuple):
    """Items or users in a block: ``n`` rows of ``d`` numbers, and a bias each for items.

    The bias stands apart, so that rows begin where cache lines do and vectors leave no rest.
    """

    rows: Float32  #: ``(n, d)`` identity and tokens summed
    squares: Float32  #: ``(n, d)`` AdaGrad sums of the identity embeddings
    gradients: Float32  #: ``(n, d)`` the row's gradients summed, empty where no token needs them
    biases: Float32  #: ``(n, 1)``, empty for users, as are the next two
    bias_squares: Float32  #: ``(n, 1)``
    bias_gradients: Float32  #: ``(n, 1)``, or empty like ``gradients``
    weights: Float32  #: ``(n,)`` feature value of the identity token
    token_rates: Float32  #: ``(n,)`` learning rates summed over the row's shared tokens
    row_tokens: Float32  #: ``(n,)`` number of tokens in the row, identity included


class Catalogue(NamedTuple):
    """The items in the order of an epoch, and BPR's negatives; shared by all shards.

    Part ``p`` of the items are the places from ``first_of_part(p)`` to before that of ``p + 1``.
    """

    item_at: Int32  #: ``(n_items,)`` the item at each place
    place_of: Int32  #: ``(n_items,)`` the place of each item
    popular: Int32  #: places, as often as users like them, by part; empty unless BPR draws from it
    popular_from: Int64  #: ``(n_parts + 1,)`` where each part begins in ``popular``


class ShardRows(NamedTuple):
    """The positives of a shard's users, sorted by user and item; other shards do not see them."""

    users: Int32  #: ``(n_shard_users,)`` each user's row in the user side
    indptr: Int64  #: ``(n_shard_users + 1,)``
    indices: Int32  #: ``(nnz,)`` items
    sample_weights: Float32  #: ``(nnz,)``, or empty when all are one
    visits: Int32  #: ``(most visits of a turn, 3)`` scratch, see ``_plan_visits``
    order: Int32  #: ``(nnz,)`` an epoch's order: places of each user's positives, part by part
    parts: Int32  #: ``(n_shard_users, n_parts + 1)`` where in ``order`` each part begins


class Scratch(NamedTuple):
    """Rows that a step reads after it has begun to write, ``(d,)`` each."""

    user: Float32  #: the user's
    difference: Float32  #: negative minus positive item

    @classmethod
    def for_components(cls, d: int) -> "Scratch":
        """Fresh arrays."""
        return cls(user=np.empty(d, np.float32), difference=np.empty(d, np.float32))


class Turn(NamedTuple):
    """The scalars of one shard in one turn."""

    seed: np.uint64
    part: int  #: of the items, which no other shard uses in this turn
    round: int  #: counted from 0 within the epoch; a round takes a shard through all parts
    n_rounds: int  #: in this epoch
    positives_per_visit: int  #: of a user and a part, at most
    n_shards: int
    bpr: bool  #: BPR, else WARP
    learning_rate: np.float32
    item_alpha: float
    shrink: np.float32  #: the factor by which this block's earlier turns regularise the items


class TurnResult(NamedTuple):
    """Counts of one shard in one turn."""

    samples: int
    violations: int
    loss: float  #: sum over the samples of the gradient's factor
    mean_rates: float  #: sum over the updates of the mean learning rate, for lazy regularisation


@inlined
def _mix(counter: np.uint64) -> np.uint64:
    """Scramble a counter into 64 random bits (SplitMix64: Steele, Lea and Flood 2014)."""
    z = (counter ^ (counter >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def _below(bits: np.uint64, bound: Index) -> Index:
    """Scale random bits to ``0 .. bound - 1`` with a multiplication (Lemire 2019)."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@compiled
def _shuffle(values: Int32, low: Index, high: Index, counter: np.uint64) -> np.uint64:
    """Permute ``values[low:high]`` (Fisher and Yates); returns the counter."""
    for k in range(low, high):
        counter += GAMMA
        other = low + _below(_mix(counter), k - low + 1)
        values[k], values[other] = values[other], values[k]
    return counter


@compiled
def _shuffle_rows(rows: Int32, n_rows: Index, counter: np.uint64) -> np.uint64:
    """Permute ``rows[:n_rows]``; returns the counter."""
    for k in range(n_rows):
        counter += GAMMA
        other = _below(_mix(counter), k + 1)
        for c in range(rows.shape[1]):
            rows[k, c], rows[other, c] = rows[other, c], rows[k, c]
    return counter


@inlined
def _first_of_part(part: Index, n_items: Index, n_parts: Index) -> Index:
    return -(-part * n_items // n_parts)


@compiled
def arrange_positives(shard: ShardRows, place_of: Int32, seed: np.uint64) -> None:
    """Write an epoch's ``order`` and ``parts`` of a shard.

    The positives of each user are grouped by part of the items, and in random order within each.
    """
    indptr, indices, order, parts = shard.indptr, shard.indices, shard.order, shard.parts
    n_items, n_parts = place_of.shape[0], parts.shape[1] - 1
    counter = seed
    for local in range(len(shard.users)):
        start, stop = indptr[local], indptr[local + 1]
        for part in range(n_parts + 1):
            parts[local, part] = 0
        for k in range(start, stop):
            part = np.int64(place_of[indices[k]]) * n_parts // n_items
            parts[local, part + 1] += 1
        parts[local, 0] = start
        for part in range(n_parts):
            parts[local, part + 1] += parts[local, part]
        for k in range(stop - 1, start - 1, -1):
            place = place_of[indices[k]]
            part = np.int64(place) * n_parts // n_items
            parts[local, part + 1] -= 1
            order[parts[local, part + 1]] = place
        # each part's end has moved down to its beginning
        for part in range(n_parts):
            parts[local, part] = parts[local, part + 1]
        parts[local, n_parts] = stop
        for part in range(n_parts):
            counter = _shuffle(order, parts[local, part], parts[local, part + 1], counter)


@compiled
def visits_of_turn(n: Index, u: Index, turn: Turn) -> tuple[Index, Index, Index]:
    """Return how many visits a user's ``n`` positives in a part make, and which a turn takes.

    The first of the turn's, and the one after its last. Visits are spread evenly over the rounds of
    an epoch. A phase of its own lets users with fewer visits than rounds take turns.
    """
    n_visits = -(-n // turn.positives_per_visit)
    phase = _below(_mix(np.uint64(u * turn.n_shards + turn.part) * GAMMA), turn.n_rounds)
    first = (turn.round * n_visits + phase) // turn.n_rounds
    after = ((turn.round + 1) * n_visits + phase) // turn.n_rounds
    return n_visits, first, after


@compiled
def _plan_visits(shard: ShardRows, turn: Turn, counter: np.uint64) -> tuple[Index, np.uint64]:
    """Write the visits of a turn, in random order, to ``shard.visits``.

    A visit is a user's place in the shard, and the places in ``shard.order`` of its first
    positive and after its last one. Returns the number of visits and the counter.
    """
    parts, visits = shard.parts, shard.visits
    planned = 0
    for local in range(len(shard.users)):
        start = np.int64(parts[local, turn.part])
        n = np.int64(parts[local, turn.part + 1]) - start
        n_visits, first, after = visits_of_turn(n, np.int64(shard.users[local]), turn)
        for visit in range(first, after):
            visits[planned, 0] = local
            visits[planned, 1] = start + visit * n // n_visits
            visits[planned, 2] = start + (visit + 1) * n // n_visits
            planned += 1
    return planned, _shuffle_rows(visits, planned, counter)


@inlined
def _ask_for_visit(
    shard: ShardRows, visit: Index, user_rows: Float32, user_squares: Float32
) -> None:
    """Have what a visit begins with in a cache when it begins."""
    user = shard.users[shard.visits[visit, 0]]
    prefetch(user_rows, user)
    prefetch(user_squares, user)
    prefetch(shard.order, shard.visits[visit, 1])


@compiled
def _place(indices: Int32, low: Index, high: Index, item: Index) -> Index:
    """Return the first place in the ascending ``indices[low:high]`` not before ``item``."""
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _holds(order: Int32, low: Index, high: Index, place: Index) -> np.bool:
    """Whether ``order[low:high]``, a user's positives in a part, hold a place.

    They are few, and in a cache; a search in all that the user likes would wait for memory.
    """
    wanted, found = np.int32(place), np.int32(0)
    for k in range(low, high):
        found += np.int32(order[k] == wanted)
    return found > 0


@inlined
def _score(user: Float32, rows: Float32, biases: Float32, item: Index) -> np.float32:
    total = np.float32(0.0)
    for c in range(user.shape[0]):
        total += user[c] * rows[item, c]
    score: np.float32 = total + biases[item, 0]
    return score


@inlined
def _ask_for_item(items: SideState, item: Index) -> None:
    """Have what a step of an item reads and writes in a cache when it begins."""
    prefetch(items.rows, item)
    prefetch(items.squares, item)
    if len(items.gradients) > 0:
        prefetch(items.gradients, item)


@inlined
def _adagrad(
    rows: Float32,
    squares: Float32,
    row: Index,
    scale: np.float32,
    step: np.float32,
    direction: Float32,
) -> np.float32:
    """One AdaGrad step of an identity embedding, as its row sees it.

    With a feature value ``w`` and the row's gradient ``g``, the embedding's gradient is ``w g``
    and its step moves the row ``w`` times as far. ``scale * direction`` is the embedding's
    gradient, ``step * direction`` the row's move before its division by the root of the sum.
    Returns the sum of ``1 / sqrt(squares)`` before the step.
    """
    total = np.float32(0.0)
    for c in range(direction.shape[0]):
        inverse_root = np.float32(1.0) / np.sqrt(squares[row, c])
        gradient = scale * direction[c]
        rows[row, c] -= step * inverse_root * direction[c]
        squares[row, c] += gradient * gradient
        total += inverse_root
    return total


@inlined
def _add_gradient(gradients: Float32, row: Index, slope: np.float32, direction: Float32) -> None:
    """Add ``slope * direction`` to the gradients of a row, if they are kept."""
    if len(gradients) > 0:
        for c in range(direction.shape[0]):
            gradients[row, c] += slope * direction[c]


@inlined
def _step_item(
    items: SideState,
    item: Index,
    rate: np.float32,
    slope: np.float32,
    growth: np.float32,
    user: Float32,
) -> np.float32:
    """Step an item whose score has the gradient ``slope``; returns what ``_adagrad`` does."""
    weight = items.weights[item]
    scale = weight * slope
    step = rate * slope * growth * weight * weight
    inverse_root = np.float32(1.0) / np.sqrt(items.bias_squares[item, 0])
    items.biases[item, 0] -= step * inverse_root
    items.bias_squares[item, 0] += scale * scale
    if len(items.gradients) > 0:
        items.bias_gradients[item, 0] += slope * growth
    _add_gradient(items.gradients, item, slope * growth, user)
    roots: np.float32 = inverse_root + _adagrad(items.rows, items.squares, item, scale, step, user)
    return roots


@compiled
def _draw_warp(
    user: Float32,
    margin: np.float32,
    rows: Float32,
    biases: Float32,
    low: Index,
    n: Index,
    order: Int32,
    start: Index,
    stop: Index,
    max_sampled: Index,
    counter: np.uint64,
) -> tuple[Index, Index, np.uint64]:
    """Draw from places ``low .. low + n - 1`` until one that is no positive scores above a margin.

    Returns ``(place, draws before it, counter)``, with place -1 after ``max_sampled`` draws.
    """
    for draw in range(max_sampled):
        counter += GAMMA
        prefetch(rows, low + _below(_mix(counter + DRAWS_AHEAD * GAMMA), n))
        place = low + _below(_mix(counter), n)
        if _score(user, rows, biases, place) > margin and not _holds(order, start, stop, place):
            return place, draw, counter
    return np.int64(-1), max_sampled, counter


@compiled
def _draw_bpr(
    popular: Int32,
    low: Index,
    high: Index,
    order: Int32,
    start: Index,
    stop: Index,
    counter: np.uint64,
) -> tuple[Index, np.uint64]:
    """Draw from ``popular[low:high]`` a place that is no positive; -1 if there seems to be none."""
    for _ in range(MAX_DRAWS if low < high else 0):
        counter += GAMMA
        place = np.int64(popular[low + _below(_mix(counter), high - low)])
        if not _holds(order, start, stop, place):
            return place, counter
    return np.int64(-1), counter


@compiled
def train_shard(  # noqa: C901, PLR0915  (one loop whose state stays in registers)
    items: SideState,
    users: SideState,
    shard: ShardRows,
    catalogue: Catalogue,
    scratch: Scratch,
    penalties: Float32,
    turn: Turn,
) -> tuple[int, int, float, float]:
    """Walk one turn of a shard's samples, visit by visit.

    Reads and writes the rows of the shard's users and of one part of the items, and no others:
    shards with different parts may run at the same time.

    Args:
        items: the item side, by place; rows of the turn's part are updated in place.
        users: the user side; rows of the shard's users are updated in place.
        shard: the users and their positives, arranged for this epoch.
        catalogue: the places of the items.
        scratch: overwritten.
        penalties: WARP's weight of a violation found at the first, second, ... draw; its length
            is the number of draws.
        turn: the scalars.

    Returns:
        The fields of a :class:`TurnResult`, in order.
    """
    indptr, indices, sample_weights = shard.indptr, shard.indices, shard.sample_weights
    order, visits, item_at = shard.order, shard.visits, catalogue.item_at
    user, difference = scratch.user, scratch.difference
    d = user.shape[0]
    one = np.float32(1.0)
    max_sampled = penalties.shape[0]
    n_items, n_parts = item_at.shape[0], turn.n_shards
    low = _first_of_part(turn.part, n_items, n_parts)
    n_part = _first_of_part(turn.part + 1, n_items, n_parts) - low
    rate = turn.learning_rate
    samples, violations = 0, 0
    total_loss, mean_rates = 0.0, 0.0
    # the items' true rows are the stored ones times `shrink`; `growth` is its inverse
    shrink = turn.shrink
    growth = one / shrink

    n_visits, counter = _plan_visits(shard, turn, turn.seed)
    for visit in range(n_visits):
        if visit + VISITS_AHEAD < n_visits:
            _ask_for_visit(shard, visit + VISITS_AHEAD, users.rows, users.squares)
        if visit + 1 < n_visits:
            _ask_for_item(items, order[visits[visit + 1, 1]])
        local = visits[visit, 0]
        u = shard.users[local]
        first, after = shard.parts[local, turn.part], shard.parts[local, turn.part + 1]
        user_weight = users.weights[u]
        for k in range(visits[visit, 1], visits[visit, 2]):
            for c in range(d):
                user[c] = users.rows[u, c]
            positive = np.int64(order[k])
            weight = one
            if len(sample_weights) > 0:
                start, stop = indptr[local], indptr[local + 1]
                weight = sample_weights[_place(indices, start, stop, item_at[positive])]
            samples += 1
            score = _score(user, items.rows, items.biases, positive)
            if turn.bpr:
                negative, counter = _draw_bpr(
                    catalogue.popular,
                    catalogue.popular_from[turn.part],
                    catalogue.popular_from[turn.part + 1],
                    order,
                    first,
                    after,
                    counter,
                )
                if negative < 0:
                    continue
                other = _score(user, items.rows, items.biases, negative)
                loss = weight / (one + np.exp((score - other) * shrink))
            else:
                negative, draw, counter = _draw_warp(
                    user,
                    score - growth,
                    items.rows,
                    items.biases,
                    low,
                    n_part,
                    order,
                    first,
                    after,
                    max_sampled,
                    counter,
                )
                if negative < 0:
                    continue
                loss = min(weight * penalties[draw], MAX_LOSS)
            violations += 1
            total_loss += loss

            for c in range(d):
                difference[c] = items.rows[negative, c] - items.rows[positive, c]
            roots = _step_item(items, positive, rate, -loss, growth, user)
            roots += _step_item(items, negative, rate, loss, growth, user)
            slope = loss * shrink
            step = rate * slope * user_weight * user_weight
            scale = user_weight * slope
            _add_gradient(users.gradients, u, slope, difference)
            roots += _adagrad(users.rows, users.squares, u, scale, step, difference)

            rates = (
                rate * roots
                + items.token_rates[positive]
                + items.token_rates[negative]
                + users.token_rates[u]
            )
            tokens = items.row_tokens[positive] + items.row_tokens[negative] + users.row_tokens[u]
            mean_rate = rates / ((d + 1) * tokens)
            mean_rates += mean_rate
            decay = np.float32(turn.item_alpha * turn.n_shards * mean_rate)
            shrink = max(shrink / (one + decay), MIN_SHRINK)
            growth = one / shrink
    # Not as a TurnResult: Numba would call Python to make it, and crash if a signal's handler
    # raises there.
    return samples, violations, total_loss, mean_rates
