"""What opened sums give is within what (epsilon, delta) allows; without noise it is not, and that is noticed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from compliance.attacks import observation, sums
from compliance.attacks.observation import Question, observed
from compliance.attacks.records import invented_records, telling_weights, update
from compliance.attacks.results import Outcome
from compliance.attacks.setting import Setting
from compliance.attacks.statistics import (
    CONFIDENCE,
    advantage,
    advantage_bound,
    area_under_curve,
    best_advantage,
    gap_of_advantage,
    of_guesses,
)
from tests.compliance.attacks.helpers import (
    hurry,
    local_setting,
    played,
    setting,
    with_part_of_the_noise,
    without_noise,
)

NAMES = ("sum-membership", "run-membership", "difference-membership", "sum-label", "sum-record")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_the_measured_advantage_is_within_the_bound(name: str) -> None:
    result = played(name)
    found = result.findings.fedsec
    assert result.findings.plain.outcome is Outcome.SUCCEEDED
    assert found.outcome is Outcome.BOUNDED
    assert found.measured is not None and found.bound is not None
    assert found.measured.low <= found.bound < 1
    assert result.right


@pytest.mark.parametrize("name", NAMES)
def test_control_without_noise_it_is_above_the_bound_and_the_verdict_is_wrong(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_noise(monkeypatch)
    result = played(name)
    assert result.findings.fedsec.outcome is Outcome.SUCCEEDED
    assert result.verdict.startswith("WRONG: fedsec")


def test_control_half_of_the_noise_is_noticed_in_the_row_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "GAMES", 20_000)
    whole = played("run-membership")
    assert whole.right
    assert 0.5 < whole.findings.fedsec.figures["noise_cut_noticed"] < 0.7
    with_part_of_the_noise(monkeypatch, 0.5)
    assert played("run-membership").verdict.startswith("WRONG: fedsec")


def test_the_smallest_cut_that_is_said_to_show_does_show_and_a_smaller_one_need_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observation, "GAMES", 20_000)
    cut = played("run-membership").findings.fedsec.figures["noise_cut_noticed"]
    with monkeypatch.context() as patch:
        with_part_of_the_noise(patch, 0.9 * cut)
        assert not played("run-membership").right
    with_part_of_the_noise(monkeypatch, 1.15 * cut)
    assert played("run-membership").right


def test_the_noise_is_added_by_the_production_step_with_the_settings_own_share() -> None:
    for each in (setting(), local_setting()):
        step = observation.noise_step(each, 3)
        assert (step.share_variance, step.noise_bound) == (each.share_variance, each.noise_bound)
        assert step.saturation == each.saturation


ONE_STEP = ("sum-membership", "difference-membership", "sum-label", "sum-record")


@pytest.mark.parametrize("name", ONE_STEP)
@pytest.mark.parametrize("noisy", [True, False])
def test_where_records_are_sampled_and_no_noise_would_be_within_the_bound_too_it_cannot_tell(
    name: str, noisy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not noisy:
        without_noise(monkeypatch)
    result = played(name, local_setting())
    assert result.findings.fedsec.bound == pytest.approx(local_setting().sampling_rate)
    assert result.findings.plain.figures["advantage"] < 0.1  # the control has the coins too
    assert result.findings.fedsec.outcome is Outcome.UNTESTED
    assert result.verdict == "cannot tell"


def test_in_local_mode_the_row_of_the_run_is_tested_and_without_noise_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert played("run-membership", local_setting()).verdict == "within the bound"
    without_noise(monkeypatch)
    assert played("run-membership", local_setting()).verdict.startswith("WRONG: fedsec")


def test_a_bound_that_says_nothing_is_not_said_to_be_kept() -> None:
    """A hundredth of the noise, stated and drawn: every guess is allowed."""
    loose = replace(
        setting(), share_variance=setting().share_variance // 10_000, noise_bound=setting().noise_bound // 100
    )
    result = played("sum-membership", loose)
    assert result.findings.fedsec.bound is not None and result.findings.fedsec.bound > 0.99
    assert result.verdict == "cannot tell"


def test_the_bound_is_the_least_over_all_deltas_and_above_the_best_guess() -> None:
    for openings, moved in ((1, 1.0), (setting().openings, 1.0), (1, 2.0)):
        at_one = advantage_bound(setting().spent(openings=openings, moved=moved), setting().delta)
        least = setting().advantage_bound(openings=openings, moved=moved)
        gap = moved * setting().sensitivity * math.sqrt(openings) / _deviation()
        assert best_advantage(gap) < least < at_one / 2
    assert local_setting().advantage_bound(openings=1) == pytest.approx(0.05)


def test_best_advantage_and_its_gap_are_each_others_inverse() -> None:
    for apart in (0.1, 1.0, 3.0):
        assert best_advantage(apart) == pytest.approx(2 * stats.norm.cdf(apart / 2) - 1)
        assert gap_of_advantage(best_advantage(apart)) == pytest.approx(apart)


def test_two_candidates_are_as_far_apart_as_two_clipped_records_can_be() -> None:
    one, other = invented_records(setting()).of(1, 2)
    parts = [
        update(setting(), weights, record[None], np.ones(1), clipped=True)
        for weights in (telling_weights(setting(), one, other), setting().weights)
        for record in (one, other)
    ]
    assert 1.95 < np.linalg.norm(parts[0] - parts[1]) <= 2.001
    assert np.linalg.norm(parts[2] - parts[3]) < 1.95  # the control: the model's own weights


def test_in_one_sum_the_attack_is_as_good_as_the_noise_lets_it_be() -> None:
    """Two Gaussians 1/z deviations apart: the best advantage is 2 Phi(1/2z) - 1. A weak attack would prove little."""
    best = 2 * stats.norm.cdf(setting().clip * setting().grid_scale / _deviation() / 2) - 1
    found = played("run-membership").findings.fedsec
    rounds = 2 * stats.norm.cdf(math.sqrt(setting().openings) * stats.norm.ppf((1 + best) / 2)) - 1
    assert found.measured is not None
    assert found.measured.low <= rounds <= found.measured.high
    assert found.best == pytest.approx(rounds, rel=1e-3)


def test_the_noise_that_is_drawn_is_that_of_the_counted_shares() -> None:
    seen = observed(setting(), np.zeros(1), games=20_000).ravel() * setting().grid_scale
    assert seen.std() == pytest.approx(_deviation(), rel=0.03)
    fewer = observed(setting(), np.zeros(1), games=20_000, shares=1).ravel() * setting().grid_scale
    assert fewer.std() != pytest.approx(_deviation(), rel=0.03)


def test_epsilon_of_all_openings_is_what_the_setting_states_less_the_scaling() -> None:
    spent = setting().spent(openings=setting().openings)
    assert 0.98 * setting().epsilon < spent < setting().epsilon
    assert setting().spent() < setting().spent(openings=2) < spent
    assert setting().spent(moved=2.0) > 2 * setting().spent()


def test_a_banks_frauds_show_through_the_noise_and_are_said_not_to_be_protected() -> None:
    result = played("bank-property")
    figures = result.findings.fedsec.figures
    assert result.findings.plain.outcome is Outcome.SUCCEEDED
    assert result.findings.fedsec.outcome is Outcome.NOT_PROTECTED
    assert abs(figures["estimate"] - figures["true"]) < 6 * figures["deviation"]
    assert figures["signal_to_noise"] > 3
    assert result.right
    one_fraud = setting().share_variance * 9  # five honest banks' shares, then four
    assert figures["deviation_of_one"] == pytest.approx(math.sqrt(one_fraud) / setting().grid_scale, rel=1e-3)


@pytest.mark.parametrize("against", [setting, local_setting])
def test_a_count_is_off_by_as_much_as_it_says(against: Callable[[], Setting]) -> None:
    drawn = [played("bank-property", against()).findings.fedsec.figures for _ in range(20)]
    off = [(each["estimate"] - each["true"]) / each["deviation"] for each in drawn]
    assert 0.5 < np.std(off) < 1.8


def test_control_a_count_that_misses_makes_its_verdict_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "rounded", lambda _, values: np.zeros(len(values), dtype=np.int64))
    assert played("bank-property").verdict.startswith("WRONG: the attack itself")


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.3, 1e-5), (1.0, 0.01), (3.0, 1e-5), (8.0, 0.1)])
def test_the_bound_is_the_most_that_the_definition_of_privacy_allows(epsilon: float, delta: float) -> None:
    """The largest TPR - FPR under the four inequalities of the definition, by linear programming."""
    grown = math.exp(epsilon)
    rows = [[1, -grown], [-grown, 1], [-1, grown], [grown, -1]]
    limits = [delta, delta, delta + grown - 1, delta + grown - 1]
    best = optimize.linprog([-1, 1], A_ub=rows, b_ub=limits, bounds=[(0, 1), (0, 1)])
    assert advantage_bound(epsilon, delta) == pytest.approx(-best.fun, abs=1e-7)


def test_control_a_smaller_delta_or_epsilon_is_not_the_same_bound() -> None:
    assert advantage_bound(1.0, 0.01) > advantage_bound(1.0, 0.0) > advantage_bound(0.9, 0.0)
    assert advantage_bound(math.inf, 0.0) == 1


def test_intervals_are_clopper_and_pearsons() -> None:
    yes = np.arange(100) < 37
    found = of_guesses(yes, np.zeros(80, dtype=bool))
    level = 1 - (1 - CONFIDENCE) / 2
    exact = stats.binomtest(37, 100).proportion_ci(level, "exact")
    none = stats.binomtest(0, 80).proportion_ci(level, "exact")
    assert found.advantage == pytest.approx(0.37)
    assert found.low == pytest.approx(exact.low - none.high)
    assert found.high == pytest.approx(exact.high)


def test_a_guess_of_nothing_is_by_chance_and_a_good_one_is_not() -> None:
    generator = np.random.default_rng(7)
    same = [generator.normal(size=2_000) for _ in range(2)]
    assert advantage(*same).by_chance
    assert not advantage(same[0] + 1, same[1]).by_chance
    assert area_under_curve(same[0] + 1, same[1]) == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.03)


def test_a_threshold_is_not_measured_on_the_games_that_it_was_tuned_on() -> None:
    """Tuned and measured on the same few games, noise looks like an advantage."""
    generator = np.random.default_rng(8)
    found = [advantage(generator.normal(size=20), generator.normal(size=20)).advantage for _ in range(300)]
    assert abs(np.mean(found)) < 0.05
    tuned = [_tuned(generator.normal(size=10), generator.normal(size=10)) for _ in range(300)]
    assert np.mean(tuned) > 0.2


def test_a_question_reads_only_where_its_answers_differ() -> None:
    question = Question.between(np.array([1.0, 5.0, -2.0]), np.array([1.0, 5.0, 3.0]))
    assert question.yes.tolist() == [-2.0] and question.no.tolist() == [3.0]
    wide = Question.between(np.arange(1.0, 1000.0), np.zeros(999))
    assert len(wide.yes) == observation.COORDINATES
    assert wide.yes.min() == 999 - observation.COORDINATES + 1


def _deviation() -> float:
    return math.sqrt(setting().share_variance * setting().shares)


def _tuned(inside: np.ndarray, outside: np.ndarray) -> float:
    return max(float((inside > cut).mean() - (outside > cut).mean()) for cut in np.concatenate([inside, outside]))
