"""A blend is a sum of standardised parts; nobody is judged by weights they had a say in."""

import numpy as np
import pytest
from scipy import sparse

from recsvc.model.blend import choosing
from recsvc.model.blend.choosing import (
    FEWEST_KNOWN,
    TERMS,
    Holdout,
    choose_weights,
    ndcg_of_settings,
    settings,
)
from recsvc.model.blend.parts import PLAIN, Parts, Weights
from recsvc.model.evaluation.evaluate import evaluate
from recsvc.model.neighbours.cooccurrence import neighbours_of
from recsvc.model.neighbours.histories import Histories
from recsvc.model.scores.factors import Factors
from recsvc.runtime.arrays import Float32
from recsvc.vocabulary import NEIGHBOUR_KINDS

N_USERS, N_ITEMS = 120, 80


def fashion(n_users: int = N_USERS) -> tuple[Parts, Holdout]:
    """Users who go from film to film along a chain; the hybrid knows nothing of it.

    The last three of each history are held out; two users have no history.
    """
    rng = np.random.default_rng(3)
    lengths = np.full(n_users, 12)
    lengths[-2:] = 0
    starts = rng.integers(0, N_ITEMS, n_users)
    chains = [
        (start + np.arange(length + 3)) % N_ITEMS
        for start, length in zip(starts, lengths, strict=True)
    ]
    trained = [chain[:length] for chain, length in zip(chains, lengths, strict=True)]
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    histories = Histories(indptr, np.concatenate(trained).astype(np.int32), N_ITEMS)
    personal = rng.standard_normal((n_users, 4)).astype(np.float32)
    personal[-2:] = 0
    parts = Parts(
        personal=Factors(personal, rng.standard_normal((N_ITEMS, 4)).astype(np.float32)),
        popularity=rng.standard_normal(N_ITEMS).astype(np.float32),
        unknown_popularity=(lengths == 0).astype(np.float32),
        histories=histories,
        neighbours={kind: neighbours_of(histories, kind) for kind in NEIGHBOUR_KINDS},
    )
    seen = sparse.lil_array((n_users, N_ITEMS), dtype=np.float32)
    test = sparse.lil_array((n_users, N_ITEMS), dtype=np.float32)
    for user, (chain, length) in enumerate(zip(chains, lengths, strict=True)):
        seen[user, chain[:length]] = 1
        test[user, chain[length:]] = 1
    return parts, Holdout(sparse.csr_array(seen), sparse.csr_array(test), seed=1, threads=2)


PARTS, HOLDOUT = fashion()


def scored(parts: Parts, weights: Weights) -> Float32:
    everyone = np.arange(len(parts.known), dtype=np.int32)
    return parts.scores(weights).scorer(144).score(everyone).copy()


class TestParts:
    def test_each_part_has_the_deviation_of_its_weight(self) -> None:
        plain = scored(PARTS, PLAIN)
        assert plain[PARTS.known].std(axis=1) == pytest.approx(1, rel=1e-4)
        near = scored(PARTS, Weights("window", 1.0, 0.5, 0.0)) - plain
        assert near[PARTS.known].std(axis=1) == pytest.approx(0.5, rel=1e-3)
        popular = scored(PARTS, Weights(popularity_weight=2.0)) - plain
        assert popular[0] == pytest.approx(2 * PARTS.popularity, abs=1e-5)

    def test_the_plain_blend_ranks_like_the_hybrid(self) -> None:
        hybrid = PARTS.personal.users @ PARTS.personal.items.T
        assert np.argsort(scored(PARTS, PLAIN)[0]).tolist() == np.argsort(hybrid[0]).tolist()

    def test_users_without_positives_get_what_the_hybrid_gives_them(self) -> None:
        for weights in (PLAIN, Weights("forward", 1.0, 1.2, 4.0)):
            assert scored(PARTS, weights)[-1] == pytest.approx(PARTS.popularity, abs=1e-6)

    def test_parts_of_the_users_may_have_weights_of_their_own(self) -> None:
        one, other = Weights("window", 1.0, 0.5, 1.0), Weights("cosine", 0.25, 1.2, 0.0)
        part = (np.arange(N_USERS) % 2).astype(np.int8)
        everyone = np.arange(N_USERS, dtype=np.int32)
        mixed = PARTS.scores_by_part([one, other], part).scorer(144).score(everyone)
        for number, weights in enumerate((one, other)):
            mine = part == number
            assert mixed[mine].tobytes() == scored(PARTS, weights)[mine].tobytes()


class TestFigures:
    def test_they_are_ndcg_at_10_by_the_usual_evaluation(self) -> None:
        users = np.flatnonzero(PARTS.known).astype(np.int32)
        figures = ndcg_of_settings(PARTS, HOLDOUT, users)
        assert figures.shape == (len(users), len(settings()))
        for place in (0, 3, 7, 60, len(settings()) - 1):
            scores = PARTS.scores(settings()[place])
            found = evaluate(scores, HOLDOUT.seen, HOLDOUT.test, ks=(10,), segments=False)
            judged, values = found.per_user("ndcg", 10)
            expected = values[np.isin(judged, users)]
            assert figures[:, place] == pytest.approx(expected, abs=1e-9), settings()[place]

    def test_every_setting_is_there_once_and_the_plain_one_first(self) -> None:
        assert settings()[0] == PLAIN
        assert len(set(settings())) == len(settings())
        assert {(each.neighbours, each.neighbour_decay) for each in settings()[6:]} == set(TERMS)


class TestChoice:
    def test_what_helps_is_chosen(self) -> None:
        chosen = choose_weights(PARTS, HOLDOUT)
        assert chosen.weights.neighbours is not None
        assert chosen.weights.neighbour_weight >= 0.7
        ours, plain = (
            evaluate(scores, HOLDOUT.seen, HOLDOUT.test, ks=(10,), segments=False)
            .per_user("ndcg", 10)[1]
            .mean()
            for scores in (chosen.scores, PARTS.scores(PLAIN))
        )
        assert ours > plain + 0.3

    def test_what_does_not_help_beyond_its_error_is_left_out(self) -> None:
        rng = np.random.default_rng(8)
        noise = sparse.random_array((N_USERS, N_ITEMS), density=0.05, rng=rng, format="csr")
        noise = sparse.csr_array(noise - noise.multiply(HOLDOUT.seen))
        noise.eliminate_zeros()
        hybrid = PARTS.scores(PLAIN)
        found = [
            choose_weights(PARTS, Holdout(HOLDOUT.seen, noise, seed, 1)).weights
            for seed in range(3)
        ]
        assert hybrid is not None
        assert all(each.neighbour_weight <= 0.4 for each in found)

    def test_few_known_users_choose_nothing(self) -> None:
        parts, holdout = fashion(FEWEST_KNOWN + 1)  # two of them are unknown
        assert parts.known.sum() == FEWEST_KNOWN - 1
        chosen = choose_weights(parts, holdout)
        assert chosen.weights == PLAIN
        assert (chosen.scores.choice < 0).all()

    def test_nobody_is_judged_by_weights_that_they_had_a_say_in(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each user has one setting that is perfect for them, and the worst for all others."""
        known = np.flatnonzero(PARTS.known)
        figures = np.zeros((len(known), len(settings())))
        figures[np.arange(len(known)), 1 + np.arange(len(known))] = 1000.0
        monkeypatch.setattr(choosing, "ndcg_of_settings", lambda *_: figures)
        chosen: list[list[Weights]] = []
        real = Parts.scores_by_part

        def spied(self: Parts, weights: list[Weights], part: object) -> object:
            chosen.append(weights)
            own = [settings()[1 + place] for place in range(len(known))]
            folds = np.asarray(part)[known]
            assert all(own[place] != weights[folds[place]] for place in range(len(known)))
            return real(self, weights, np.asarray(part, np.int8))

        monkeypatch.setattr(Parts, "scores_by_part", spied)
        choose_weights(PARTS, HOLDOUT)
        assert len(chosen) == 1

    def test_the_same_seed_chooses_the_same(self) -> None:
        one, other = (choose_weights(PARTS, HOLDOUT) for _ in range(2))
        assert one.weights == other.weights
        assert one.scores.weights.tobytes() == other.scores.weights.tobytes()
