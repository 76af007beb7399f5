"""The gate: better than popularity and not worse than what is in service, beyond chance."""

import numpy as np
import pytest

from recsvc.model.evaluation.gate import (
    Decision,
    Float64,
    Incumbent,
    decide,
    paired_difference,
    two_sample_difference,
)

USERS = 400
SEED = 5
TOLERANCE = 0.02


def scores(mean: float, *, users: int = USERS, seed: int = 1) -> Float64:
    """NDCG of users who differ much from each other."""
    spread: Float64 = np.random.default_rng(seed).uniform(-0.1, 0.1, users)
    spread += mean - float(spread.mean())
    return spread


POPULAR = scores(0.20)
HYBRID = scores(0.30, seed=2)


def gate(
    hybrid: Float64 = HYBRID,
    *,
    paired: Float64 | None = None,
    stored: Float64 | None = None,
) -> Decision:
    incumbent = Incumbent(7, paired, stored) if paired is not None or stored is not None else None
    return decide(hybrid, POPULAR, incumbent, tolerance=TOLERANCE, seed=SEED)


def test_a_first_run_need_only_beat_popularity() -> None:
    decision = gate()
    assert decision.passed
    assert list(decision.comparisons) == ["popular"]
    assert "beats popular" in decision.reason


@pytest.mark.parametrize("mean", [0.20, 0.10], ids=["no better", "worse"])
def test_what_does_not_beat_popularity_is_refused(mean: float) -> None:
    decision = gate(scores(mean, seed=3), paired=scores(0.01))
    assert not decision.passed
    assert "does not beat popular" in decision.reason
    assert list(decision.comparisons) == ["popular"], "nothing else matters then"


def test_a_lead_that_a_few_users_make_is_no_lead() -> None:
    lucky = POPULAR.copy()
    lucky[0] += 1.0
    assert lucky.mean() > POPULAR.mean()
    assert not gate(lucky).passed


def test_a_loss_against_the_former_settings_is_refused_however_small_if_it_is_certain() -> None:
    decision = gate(paired=HYBRID + TOLERANCE / 10)
    assert not decision.passed
    assert "is worse than run 7" in decision.reason
    assert decision.comparisons["run 7"].high < 0


def test_a_difference_to_the_former_settings_that_chance_explains_is_accepted() -> None:
    noise = np.random.default_rng(9).normal(0.001, 0.1, USERS)
    decision = gate(paired=HYBRID + noise - noise.mean() + 0.001)
    assert decision.passed
    assert decision.comparisons["run 7"].mean == pytest.approx(-0.001)
    assert "holds its own against run 7" in decision.reason


@pytest.mark.parametrize(("lost", "passed"), [(0.0, True), (0.01, True), (0.10, False)])
def test_on_other_data_a_night_may_lose_the_tolerance(lost: float, passed: bool) -> None:
    decision = gate(stored=scores(0.30 + lost, users=300, seed=4))
    assert decision.passed is passed
    assert decision.comparisons["run 7"].mean == pytest.approx(-lost)


def test_the_tolerance_is_a_tolerance_and_not_a_licence() -> None:
    stored = scores(0.30 + TOLERANCE / 2, users=20_000, seed=4)
    ours = scores(0.30, users=20_000, seed=2)
    popular = scores(0.20, users=20_000)
    strict = decide(ours, popular, Incumbent(7, None, stored), tolerance=0.0, seed=SEED)
    tolerant = decide(ours, popular, Incumbent(7, None, stored), tolerance=TOLERANCE, seed=SEED)
    assert (strict.passed, tolerant.passed) == (False, True)


def test_without_figures_of_the_published_run_popularity_decides() -> None:
    decision = gate(stored=np.empty(0))
    assert decision.passed
    assert list(decision.comparisons) == ["popular"]


def test_without_a_holdout_nothing_can_be_judged() -> None:
    nobody = np.empty(0)
    decision = decide(nobody, nobody, None, tolerance=TOLERANCE, seed=SEED)
    assert not decision.passed
    assert "no holdout" in decision.reason


def test_pairs_tell_apart_what_two_samples_cannot() -> None:
    better = POPULAR + 0.005
    assert paired_difference(better, POPULAR, SEED).low > 0
    assert two_sample_difference(better, POPULAR, SEED).low < 0


def test_the_interval_is_that_of_the_mean() -> None:
    """Of a mean of n values the bootstrap interval is 1.96 standard errors to each side."""
    differences = np.random.default_rng(8).normal(0.02, 0.1, USERS)
    interval = paired_difference(POPULAR + differences, POPULAR, SEED)
    half = 1.96 * differences.std() / np.sqrt(USERS)
    assert interval.mean == pytest.approx(differences.mean())
    assert interval.low == pytest.approx(interval.mean - half, abs=half / 5)
    assert interval.high == pytest.approx(interval.mean + half, abs=half / 5)


def test_the_same_seed_gives_the_same_decision() -> None:
    assert gate(paired=scores(0.3)).document() == gate(paired=scores(0.3)).document()


def test_the_document_holds_the_intervals() -> None:
    document = gate(paired=scores(0.25)).document()
    assert document["passed"] is True
    for name in ("popular", "run 7"):
        comparison = document["comparisons"][name]
        assert comparison["ci_low"] < comparison["mean"] < comparison["ci_high"]
