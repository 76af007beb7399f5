"""The fast trainer against a plain, slow version of its formulas, and against LightFM."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recsvc.model.fast import Embeddings, schedule, train
from recsvc.model.fast.kernel import Turn, visits_of_turn
from recsvc.model.fast.schedule import EpochPlan, plan_epoch, positives_per_visit
from recsvc.model.fast.shards import assign_shards, split_positives
from recsvc.model.fast.state import all_finite
from recsvc.model.lightfm.configuration import LightfmConfiguration, Loss
from tests.model.fast.training import TINY, identity, random_positives, sides, varied, with_tokens


class SlowTrainer:
    """The formulas of docs/training.md, one number at a time, in float64."""

    MASK = 2**64 - 1
    GAMMA = 0x9E3779B97F4A7C15

    def __init__(
        self,
        items: Any,
        users: Any,
        item_features: Any,
        user_features: Any,
        positives: Any,
        weights: Any,
        hyper: LightfmConfiguration,
    ) -> None:
        self.hyper = hyper
        self.fi = item_features.toarray().astype(float)
        self.fu = user_features.toarray().astype(float)
        self.vi = np.column_stack([items.embeddings, items.biases]).astype(float)
        self.gi = np.column_stack([items.embedding_gradients, items.bias_gradients]).astype(float)
        self.vu = users.embeddings.astype(float)
        self.gu = users.embedding_gradients.astype(float)
        self.positives = positives.toarray() > 0
        self.weights = weights
        n_items, n_users = len(self.fi), len(self.fu)
        self.own_items = n_items if np.all(self.fi[:, :n_items].diagonal() != 0) else 0
        self.own_users = n_users if np.all(self.fu[:, :n_users].diagonal() != 0) else 0
        self.pseudo_items = np.ones((n_items, self.vi.shape[1]))
        self.pseudo_users = np.ones((n_users, self.vu.shape[1]))

    def mix(self, z: Any) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & self.MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & self.MASK
        return z ^ (z >> 31)

    def below(self, bits: Any, bound: Any) -> int:
        return (bits >> 32) * bound >> 32

    def draw(self, bound: Any) -> int:
        self.counter = self.counter + self.GAMMA & self.MASK
        return self.below(self.mix(self.counter), bound)

    def shuffled(self, values: Any) -> list[int]:
        values = list(values)
        for k in range(len(values)):
            other = self.draw(k + 1)
            values[k], values[other] = values[other], values[k]
        return values

    def arrange(self, seed: int, epoch: int, n_turns: int, shard_of_user: Any) -> None:
        """Shuffle the items into parts; shuffle what each user likes in each part."""
        n_items = self.positives.shape[1]
        n_shards = shard_of_user.max() + 1
        rng = np.random.default_rng([seed, epoch])
        self.item_at = rng.permutation(n_items)
        seeds = rng.integers(2**64, size=n_shards, dtype=np.uint64)
        self.seeds = rng.integers(2**64, size=(n_turns, n_shards), dtype=np.uint64)
        self.part_of = np.empty(n_items, int)
        self.part_of[self.item_at] = np.arange(n_items) * n_shards // n_items
        self.liked = {}
        for shard in range(n_shards):
            self.counter = int(seeds[shard])
            for u in np.flatnonzero(shard_of_user == shard):
                for part in range(n_shards):
                    liked = np.flatnonzero(self.positives[u] & (self.part_of == part))
                    self.liked[u, part] = self.shuffled(liked)

    def visits(self, users: Any, part: int, number: int, n_shards: int, plan: EpochPlan) -> Any:
        """Users in the order of their visits, each with the positives that a block takes."""
        visits = []
        for u in users:
            liked = self.liked[u, part]
            n, per_visit = len(liked), positives_per_visit(int(self.positives.sum()))
            n_visits = math.ceil(n / per_visit)
            mixed = self.mix(int(u * n_shards + part) * self.GAMMA & self.MASK)
            phase = self.below(mixed, plan.n_rounds)
            first, after = (
                (turn * n_visits + phase) // plan.n_rounds
                for turn in (number // n_shards, number // n_shards + 1)
            )
            for visit in range(first, after):
                low, high = visit * n // n_visits, (visit + 1) * n // n_visits
                visits.append((u, liked[low:high]))
        return self.shuffled(visits)

    def side(self, features: Any, values: Any, squares: Any, own: Any, pseudo: Any) -> Any:
        n = len(features)
        weight = features[:, :n].diagonal() if own else np.ones(n)
        shared = features[:, own:]
        rates = (shared != 0) @ (self.hyper.learning_rate / np.sqrt(squares[own:])).sum(axis=1)
        counts = (shared != 0).sum(axis=1) + 1
        return features @ values, squares[:own] if own else pseudo, weight, shared, rates, counts

    def run(self, seed: int, n_shards: int, n_blocks: int) -> None:
        shard_of_user = assign_shards(self.positives.sum(axis=1), n_shards)
        for epoch in range(1, self.hyper.epochs + 1):
            plan = plan_epoch(epoch, int(self.positives.sum()), n_shards, n_blocks)
            self.arrange(seed, epoch, plan.n_rounds * n_shards, shard_of_user)
            for turns in plan.turns_of_blocks(n_shards):
                self.block(turns, plan, shard_of_user)

    def block(  # noqa: C901, PLR0912, PLR0915  (as the formulas are written, in one piece)
        self, turns: range, plan: EpochPlan, shard_of_user: Any
    ) -> None:
        hyper = self.hyper
        ri, gi, wi, ti, rates_i, counts_i = self.side(
            self.fi, self.vi, self.gi, self.own_items, self.pseudo_items
        )
        ru, gu, wu, tu, rates_u, counts_u = self.side(
            self.fu, self.vu, self.gu, self.own_users, self.pseudo_users
        )
        n_items, width = ri.shape
        d = width - 1
        new_ri, new_gi, gradients = ri.copy(), gi.copy(), np.zeros_like(ri)
        new_ru, new_gu, user_gradients = ru.copy(), gu.copy(), np.zeros_like(ru)
        rows, squares, total_rates = new_ri, new_gi, 0.0
        n_shards = shard_of_user.max() + 1
        by_shard = np.argsort(shard_of_user, kind="stable")
        popularity = [i for u in by_shard for i in np.flatnonzero(self.positives[u])]
        for number, shard in product(turns, range(n_shards)):
            if shard == 0:
                shrink_of_turn = np.exp(-hyper.item_alpha * total_rates)
            users = np.flatnonzero(shard_of_user == shard)
            part = (shard + number) % n_shards
            drawn = [i for i in self.item_at if self.part_of[i] == part]
            popular = [i for i in popularity if self.part_of[i] == part]
            self.counter = int(self.seeds[number, shard])
            shrink = shrink_of_turn
            for u, positives in self.visits(users, part, number, n_shards, plan):
                liked = np.flatnonzero(self.positives[u])
                for positive in positives:
                    user = np.append(new_ru[u], 1.0)
                    score = user @ rows[positive] * shrink
                    negative, loss = None, 0.0
                    if hyper.loss == "bpr":
                        while negative is None:
                            candidate = popular[self.draw(len(popular))]
                            negative = None if candidate in liked else candidate
                        gap = score - user @ rows[negative] * shrink
                        loss = self.weights[u, positive] / (1 + np.exp(gap))
                    else:
                        for sampled in range(1, hyper.max_sampled + 1):
                            candidate = drawn[self.draw(len(drawn))]
                            other = user @ rows[candidate] * shrink
                            if other > score - 1 and candidate not in liked:
                                rank = max(1, (n_items - 1) // sampled)
                                loss = min(self.weights[u, positive] * np.log(rank), 10.0)
                                negative = candidate
                                break
                        if negative is None:
                            continue
                    gap = (rows[negative] - rows[positive])[:d]
                    rates = rates_i[positive] + rates_i[negative] + rates_u[u]
                    for item, sign in ((positive, -1.0), (negative, 1.0)):
                        rate = hyper.learning_rate / np.sqrt(squares[item])
                        rows[item] -= wi[item] ** 2 * rate * sign * loss / shrink * user
                        squares[item] += (wi[item] * loss * user) ** 2
                        gradients[item] += sign * loss / shrink * user
                        rates += rate.sum()
                    slope = loss * shrink * gap
                    rate = hyper.learning_rate / np.sqrt(new_gu[u])
                    new_ru[u] -= wu[u] ** 2 * rate * slope
                    new_gu[u] += (wu[u] * slope) ** 2
                    user_gradients[u] += slope
                    rates += rate.sum()
                    tokens = counts_i[positive] + counts_i[negative] + counts_u[u]
                    mean_rate = rates / (width * tokens)
                    total_rates += mean_rate
                    shrink /= 1 + hyper.item_alpha * n_shards * mean_rate
        shrink = np.exp(-hyper.item_alpha * total_rates)
        if self.own_items:
            self.vi[: self.own_items] += (new_ri - ri) / wi[:, None]
        grown = (new_gi - gi) / wi[:, None] ** 2
        gi[:] = new_gi
        self.step_tokens(self.vi, self.gi, self.own_items, ti, gradients, grown)
        self.vi *= shrink
        if self.own_users:
            self.vu[: self.own_users] += (new_ru - ru) / wu[:, None]
        grown = (new_gu - gu) / wu[:, None] ** 2
        gu[:] = new_gu
        self.step_tokens(self.vu, self.gu, self.own_users, tu, user_gradients, grown)
        self.vu *= np.exp(-hyper.user_alpha * total_rates)

    def step_tokens(
        self, values: Any, squares: Any, own: Any, shared: Any, gradients: Any, growth: Any
    ) -> None:
        squares[own:] += (shared**2).T @ growth
        step = self.hyper.learning_rate * (shared.T @ gradients) / np.sqrt(squares[own:])
        values[own:] -= step


FEATURES = {
    "identity only": (identity(12), identity(9)),
    "item tokens": (with_tokens(12, 4, 1), identity(9)),
    "weighted identity": (with_tokens(12, 4, 1, identity_value=0.4), identity(9, 0.7)),
    "item and user tokens": (with_tokens(12, 4, 1), with_tokens(9, 3, 2)),
    "no identity": (
        with_tokens(12, 7, 1, identity_block=False),
        with_tokens(9, 5, 2, identity_block=False),
    ),
}


@pytest.mark.parametrize("components", [5, 19])  # 19 are a vector and a rest
@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("loss", ["warp", "bpr"])
@pytest.mark.parametrize("name", FEATURES)
def test_training_follows_the_written_formulas(
    name: str, loss: Loss, n_blocks: int, components: int
) -> None:
    hyper = varied(TINY, loss=loss, components=components)
    assert_follows_the_formulas(*FEATURES[name], random_positives(9, 12, seed=3), hyper, n_blocks)


@pytest.mark.parametrize("large", [1, 10**6])
@pytest.mark.parametrize("loss", ["warp", "bpr"])
def test_users_with_several_visits_in_a_turn_follow_them_too(
    loss: Loss, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "LARGE", large)  # from there on a visit takes several positives
    features = with_tokens(60, 4, 1), identity(9)
    positives = random_positives(9, 60, seed=3, density=0.6)
    assert_follows_the_formulas(*features, positives, varied(TINY, loss=loss), n_blocks=3)


def assert_follows_the_formulas(
    item_features: Any,
    user_features: Any,
    positives: Any,
    hyper: LightfmConfiguration,
    n_blocks: int,
) -> None:
    weights = sp.coo_matrix(positives)
    weights.data = np.random.default_rng(4).uniform(0.5, 2.0, positives.nnz).astype(np.float32)
    items, users = sides(item_features, user_features, hyper.components)
    slow = SlowTrainer(
        items, users, item_features, user_features, positives, weights.toarray(), hyper
    )
    slow.run(seed=7, n_shards=2, n_blocks=n_blocks)

    train(
        items,
        users,
        item_features,
        user_features,
        positives,
        configuration=hyper,
        seed=7,
        threads=2,
        sample_weight=weights,
        n_shards=2,
        blocks_per_epoch=n_blocks,
    )

    close = {"rtol": 2e-3, "atol": 2e-5}
    np.testing.assert_allclose(items.embeddings, slow.vi[:, :-1], **close)
    np.testing.assert_allclose(items.biases, slow.vi[:, -1], **close)
    np.testing.assert_allclose(items.embedding_gradients, slow.gi[:, :-1], **close)
    np.testing.assert_allclose(items.bias_gradients, slow.gi[:, -1], **close)
    np.testing.assert_allclose(users.embeddings, slow.vu, **close)
    np.testing.assert_allclose(users.embedding_gradients, slow.gu, **close)


@given(
    n=st.integers(0, 200),
    n_rounds=st.integers(1, 40),
    per_visit=st.integers(1, 12),
    user=st.integers(0, 2**31 - 1),
    part=st.integers(0, 7),
)
def test_the_rounds_of_an_epoch_make_each_visit_of_a_user_to_a_part_once(
    n: int, n_rounds: int, per_visit: int, user: int, part: int
) -> None:
    taken = []
    for number in range(n_rounds):
        turn = turn_of(part=part, number=number, n_rounds=n_rounds, per_visit=per_visit)
        n_visits, first, after = visits_of_turn(n, user, turn)
        taken += range(first, after)
    assert taken == list(range(n_visits))
    assert n_visits == math.ceil(n / per_visit)


@given(
    parts=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    n_rounds=st.integers(1, 6),
    per_visit=st.integers(1, 5),
)
def test_no_turn_has_more_visits_than_there_is_room_for(
    parts: list[int], n_rounds: int, per_visit: int
) -> None:
    liked = sp.csr_matrix(np.arange(60) < np.array(parts)[:, None], dtype=np.float32)
    (shard,) = split_positives(liked, None, 1, per_visit)
    for number in range(n_rounds):
        turn = turn_of(part=0, number=number, n_rounds=n_rounds, per_visit=per_visit)
        visits = [visits_of_turn(n, user, turn) for user, n in enumerate(parts)]
        assert sum(after - first for _, first, after in visits) <= len(shard.visits)


def turn_of(*, part: int, number: int, n_rounds: int, per_visit: int) -> Turn:
    return Turn(
        seed=np.uint64(0),
        part=part,
        round=number,
        n_rounds=n_rounds,
        positives_per_visit=per_visit,
        n_shards=8,
        bpr=False,
        learning_rate=np.float32(0.1),
        item_alpha=0.0,
        shrink=np.float32(1.0),
    )


def test_blocks_grow_with_the_root_of_what_was_seen() -> None:
    plans = [plan_epoch(epoch, 90_000_000, n_shards=8) for epoch in range(1, 26)]
    blocks = np.cumsum([plan.n_blocks for plan in plans])
    expected = np.sqrt(90_000 * np.arange(1, 26))
    np.testing.assert_allclose(blocks, expected, atol=10)
    assert plan_epoch(3, 9_000_000, n_shards=4, blocks_per_epoch=37) == (10, 37)


def test_strong_regularisation_shrinks_and_stays_finite() -> None:
    strong = varied(TINY, item_alpha=30.0, epochs=3)
    items, users = (Embeddings.initial(n, 5, np.random.RandomState(1)) for n in (12, 9))
    largest = np.abs(items.embeddings).max()
    positives = sp.coo_matrix(np.tri(9, 12, dtype=np.float32))
    train(
        items, users, identity(12), identity(9), positives,
        configuration=strong, seed=1, threads=1, n_shards=2, blocks_per_epoch=1,
    )  # fmt: skip
    assert all(all_finite(array.reshape(-1)) for array in items.arrays())
    assert np.abs(items.embeddings).max() < largest


def test_a_catalogue_too_small_for_parts_is_trained_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule, "MIN_PART_ITEMS", 64)
    positives = sp.coo_matrix(np.tri(9, 10, dtype=np.float32))
    found = []
    for n_shards in (1, 8):
        items, users = (
            Embeddings.initial(n, TINY.components, np.random.RandomState(1)) for n in (10, 9)
        )
        summary = train(
            items, users, identity(10), identity(9), positives,
            configuration=TINY, seed=1, threads=2, n_shards=n_shards,
        )  # fmt: skip
        assert summary.history[0].violation_rate > 0.5
        found.append(items.embeddings.tobytes())
    assert found[0] == found[1]
