"""The gate: better than popularity and not worse than what is in service, beyond chance."""

import numpy as np
import pytest

from recsvc.model.evaluation.gate import (
    Decision,
    Float64,
    Incumbent,
    Mark,
    best_of,
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


def figures(hybrid: Float64 = HYBRID, popular: Float64 = POPULAR) -> dict[str, Float64]:
    return {"popular": popular, "lightfm_hybrid": hybrid}


def gate(
    hybrid: Float64 = HYBRID,
    *,
    paired: Float64 | None = None,
    stored: Float64 | None = None,
    mark: Mark | None = None,
    model: str = "lightfm_hybrid",
    named: bool = False,
    tolerance: float = TOLERANCE,
) -> Decision:
    incumbent = Incumbent(7, paired, stored) if paired is not None or stored is not None else None
    return decide(
        figures(hybrid), model, incumbent, mark, named=named, tolerance=tolerance, seed=SEED
    )


class TestTheBestOfTheLineUp:
    def test_the_largest_lower_bound_wins(self) -> None:
        assert best_of(figures()) == "lightfm_hybrid"
        assert best_of(figures(scores(0.15, seed=3))) == "popular"

    def test_a_lead_that_a_few_users_make_is_no_lead(self) -> None:
        lucky = POPULAR.copy()
        lucky[:2] += 4.0
        assert lucky.mean() > POPULAR.mean()
        assert best_of(figures(lucky)) == "popular"

    def test_of_equal_models_the_simpler_is_published(self) -> None:
        assert best_of({"popular": POPULAR, "blend": POPULAR}) == "popular"

    def test_without_users_the_simplest_is_named(self) -> None:
        assert best_of({"popular": np.empty(0), "blend": np.empty(0)}) == "popular"


class TestAgainstTheLineUp:
    def test_a_first_run_is_compared_with_every_other_model(self) -> None:
        decision = gate()
        assert decision.passed
        assert list(decision.comparisons) == ["popular"]
        assert decision.reason.startswith("lightfm_hybrid beats popular in NDCG@10: difference +0")
        assert decision.reason.endswith(", the best of the line-up.")

    def test_popularity_is_published_where_nothing_does_better_and_says_so(self) -> None:
        decision = gate(scores(0.15, seed=3), model="popular")
        assert decision.passed
        assert "popular beats lightfm_hybrid" in decision.reason

    def test_a_lead_that_chance_explains_is_not_called_a_victory(self) -> None:
        noise = np.random.default_rng(9).normal(0.0, 0.1, USERS)
        decision = gate(POPULAR + noise - noise.mean() + 0.001)
        assert decision.passed
        assert "is the best of the line-up in NDCG@10: difference to popular" in decision.reason

    @pytest.mark.parametrize("mean", [0.20, 0.10], ids=["no better", "worse"])
    def test_a_model_that_is_named_must_beat_popularity(self, mean: float) -> None:
        decision = gate(scores(mean, seed=3), paired=scores(0.01), named=True)
        assert not decision.passed
        assert "does not beat popular" in decision.reason
        assert list(decision.comparisons) == ["popular"], "nothing else matters then"

    def test_popularity_itself_may_be_named(self) -> None:
        assert gate(model="popular", named=True).passed

    def test_without_a_holdout_nothing_can_be_judged(self) -> None:
        decision = decide({}, "lightfm_hybrid", None, tolerance=TOLERANCE, seed=SEED)
        assert not decision.passed
        assert "no holdout" in decision.reason


class TestAgainstWhatIsInService:
    def test_a_loss_against_the_former_settings_is_refused_however_small_if_it_is_certain(
        self,
    ) -> None:
        decision = gate(paired=HYBRID + TOLERANCE / 10)
        assert not decision.passed
        assert "is worse than run 7" in decision.reason
        assert decision.comparisons["run 7"].high < 0

    def test_a_difference_to_the_former_settings_that_chance_explains_is_accepted(self) -> None:
        noise = np.random.default_rng(9).normal(0.001, 0.1, USERS)
        decision = gate(paired=HYBRID + noise - noise.mean() + 0.001)
        assert decision.passed
        assert decision.comparisons["run 7"].mean == pytest.approx(-0.001)
        assert "holds its own against run 7" in decision.reason

    @pytest.mark.parametrize(("lost", "passed"), [(0.0, True), (0.01, True), (0.10, False)])
    def test_on_other_data_a_night_may_lose_the_tolerance(self, lost: float, passed: bool) -> None:
        decision = gate(stored=scores(0.30 + lost, users=300, seed=4))
        assert decision.passed is passed
        assert decision.comparisons["run 7"].mean == pytest.approx(-lost)

    def test_the_tolerance_is_a_tolerance_and_not_a_licence(self) -> None:
        stored = scores(0.30 + TOLERANCE / 2, users=20_000, seed=4)
        ours = scores(0.30, users=20_000, seed=2)
        popular = scores(0.20, users=20_000)
        strict, tolerant = (
            decide(
                figures(ours, popular),
                "lightfm_hybrid",
                Incumbent(7, None, stored),
                tolerance=tolerance,
                seed=SEED,
            )
            for tolerance in (0.0, TOLERANCE)
        )
        assert (strict.passed, tolerant.passed) == (False, True)
        assert "0.0100 worse than run 7, within the allowed 0.02" in tolerant.reason

    def test_without_figures_of_the_published_run_the_line_up_decides(self) -> None:
        decision = gate(stored=np.empty(0))
        assert decision.passed
        assert list(decision.comparisons) == ["popular"]


class TestAgainstTheBestPublishedLately:
    def test_small_losses_do_not_add_up(self) -> None:
        """Each night loses less than the tolerance against the night before."""
        best, night = Mark(3, 0.30, 0.001), 0.30
        verdicts = []
        for _ in range(4):
            before, night = night, night - 0.012
            verdicts.append(
                gate(scores(night, seed=2), stored=scores(before, seed=4), mark=best).passed
            )
        assert verdicts == [True, False, False, False]

    def test_a_loss_within_the_tolerance_is_named_with_its_limit(self) -> None:
        decision = gate(mark=Mark(3, 0.315, 0.0001), tolerance=0.02)
        assert decision.passed
        assert (
            "0.0150 worse than run 3, the best published lately, within the allowed 0.02"
            in decision.reason
        )

    def test_a_loss_that_chance_explains_is_no_loss(self) -> None:
        assert gate(mark=Mark(3, 0.35, 0.1)).passed


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
