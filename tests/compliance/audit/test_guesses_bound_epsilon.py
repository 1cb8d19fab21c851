"""The bound from right guesses: exact numbers, its direction, and that randomised response is never overstated."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from compliance.audit.guessing import Guesses, guess
from compliance.audit.power import Channel, design, perfect


def exact_p_value(guesses: Guesses, odds: int, delta: Fraction) -> Fraction:
    """Theorem 5.2 in rationals, for e^ε = ``odds``, written out term by term."""
    m, r, v = guesses.canaries, guesses.made, guesses.correct
    right = Fraction(odds, odds + 1)

    def mass(k: int) -> Fraction:
        return math.comb(r, k) * right**k * (1 - right) ** (r - k)

    tail = sum((mass(k) for k in range(v, r + 1)), Fraction(0))
    most = max(sum((mass(k) for k in range(v - i, v)), Fraction(0)) / i for i in range(1, v + 1))
    return min(Fraction(1), tail + 2 * m * delta * most)


@pytest.mark.parametrize("made", [(100, 40, 38), (1_000, 60, 59), (120, 120, 95), (50, 10, 3)])
@pytest.mark.parametrize("odds", [1, 3, 20])
@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 100_000), Fraction(1, 1_000)])
def test_the_p_value_is_the_theorems(made: tuple[int, int, int], odds: int, delta: Fraction) -> None:
    guesses = Guesses(canaries=made[0], made=made[1], correct=made[2])
    expected = float(exact_p_value(guesses, odds, delta))
    assert guesses.p_value(math.log(odds), float(delta)) == pytest.approx(expected, rel=1e-9, abs=1e-14)
    one_less = Guesses(canaries=made[0], made=made[1], correct=made[2] - 1)  # the control: another count, another value
    if 1e-12 < expected < 0.99:
        assert one_less.p_value(math.log(odds), float(delta)) != pytest.approx(expected, rel=1e-9)


def test_all_guesses_right_give_the_closed_form() -> None:
    """With delta = 0, r right of r: q^r = 0.05, ε = log(q / (1 - q)), as in the paper's section on pure DP."""
    for made in (10, 100, 2_000):
        q = 0.05 ** (1 / made)
        bound = Guesses(canaries=made, made=made, correct=made).lower_bound(delta=0.0, confidence=0.95)
        assert bound == pytest.approx(math.log(q / (1 - q)), abs=1e-6)
        assert bound != pytest.approx(math.log(q / (1 - q)) + 0.01, abs=1e-6)


def test_a_bound_grows_with_right_guesses_and_shrinks_with_delta_and_confidence() -> None:
    def bound(correct: int, delta: float = 1e-5, confidence: float = 0.95) -> float:
        return Guesses(canaries=10_000, made=500, correct=correct).lower_bound(delta=delta, confidence=confidence)

    bounds = [bound(correct) for correct in range(250, 501, 10)]
    assert bounds == sorted(bounds) and bounds[0] == 0 and bounds[-1] > 4
    assert bound(480, delta=0.0) > bound(480) > bound(480, delta=1e-4)
    assert bound(480, confidence=0.5) > bound(480) > bound(480, confidence=0.999999)


def test_randomised_response_is_not_overstated_and_no_response_is() -> None:
    """A mechanism of ε exactly: each coin told truly with chance e^ε / (1 + e^ε). False alarms: 1e-7."""
    generator = np.random.default_rng()
    canaries, epsilon, confidence = 200_000, 1.5, 1 - 1e-7
    inside = generator.random(canaries) < 0.5
    truly = generator.random(canaries) < 1 / (1 + math.exp(-epsilon))
    told = np.where(truly, inside, ~inside)
    scores = told + 0.1 * generator.random(canaries)
    found = guess(scores, inside, guesses=20_000, both_ends=True).lower_bound(delta=0.0, confidence=confidence)
    assert 1.2 < found <= epsilon
    bare = guess(inside + 0.1 * generator.random(canaries), inside, guesses=20_000, both_ends=True)
    assert bare.lower_bound(delta=0.0, confidence=confidence) > 5 > epsilon


def test_guesses_are_made_at_both_ends_or_at_the_top() -> None:
    scores = np.array([5.0, -4.0, 3.0, -2.0, 1.0, 0.0])
    inside = np.array([True, False, True, True, False, False])
    assert guess(scores, inside, guesses=4, both_ends=True) == Guesses(canaries=6, made=4, correct=3)
    assert guess(scores, inside, guesses=2, both_ends=False) == Guesses(canaries=6, made=2, correct=2)
    assert guess(-scores, inside, guesses=4, both_ends=True) == Guesses(canaries=6, made=4, correct=1)


@pytest.mark.parametrize(
    "channel", [Channel(openings=51, rate=1.0, deviation=10.9), Channel(openings=60, rate=0.05, deviation=1.1)]
)
def test_the_expected_accuracy_is_what_simulated_auditors_reach(channel: Channel) -> None:
    """Within six standard errors of a simulation of 100,000 canaries; with other noise it is not."""
    generator = np.random.default_rng()
    inside = generator.random(100_000) < 0.5
    scores = np.zeros(len(inside))
    for _ in range(channel.openings):
        drawn = inside & (generator.random(len(inside)) < channel.rate)
        scores += channel.evidence(drawn + 0.6 * channel.deviation * generator.normal(size=len(inside)))
    found = guess(scores, inside, guesses=4_000, both_ends=channel.both_ends)
    reached, error = found.correct / found.made, 6 * (0.25 / found.made) ** 0.5
    assert abs(reached - channel.accuracy(0.04, noise=0.6)) < error
    assert abs(reached - channel.accuracy(0.04, noise=2.0)) > error


def test_a_design_notices_more_with_more_canaries_and_nothing_where_delta_forbids() -> None:
    channel = Channel(openings=51, rate=1.0, deviation=10.9)

    def noticed(canaries: int, epsilon: float = 3.0) -> float:
        made = design(channel, canaries=canaries, epsilon=epsilon, delta=1e-5, confidence=0.95)
        return 0.0 if made is None else made.noticed

    assert 0 < noticed(5_000) < noticed(20_000) < noticed(100_000) < 1
    assert noticed(40) == 0 == noticed(100_000, epsilon=9.0)
    assert perfect(4_000).p_value(3.0, 1e-5) < 0.05 < perfect(40).p_value(3.0, 1e-5)
