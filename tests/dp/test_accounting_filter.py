"""An account's budget as a privacy filter: what it admits stays within (epsilon, delta), whatever runs follow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from dp.accounting import ORDERS, PrivacyFilter, converted, epsilon, eta_allowance, rdp
from dp.calibration import noise_multiplier
from dp.events import Composed, DpEvent
from fedsec.errors import ConfigError
from tests.dp.accounting_helpers import DELTA, rounds, sampled

# Shapes of runs that an operator may choose between after seeing results.
RUNS: list[DpEvent] = [
    rounds(30.0), rounds(80.0, 3), rounds(12.0, 1), sampled(1.5, 0.01, 200), sampled(0.7, 0.001, 500),
    Composed(events=(rounds(100.0, 3), sampled(4.0, 0.05, 20))),
]  # fmt: skip
CURVES = [rdp(event) for event in RUNS]

Admits = Callable[[np.ndarray], bool]


def admitted(admits: Admits, choices: list[int]) -> list[int]:
    """The runs that an account takes of those that ask, one after another."""
    total, taken = np.zeros(len(ORDERS)), []
    for choice in choices:
        if admits(total + CURVES[choice]):
            total = total + CURVES[choice]
            taken.append(choice)
    return taken


def exact_delta(taken: list[int], order: int, target: float) -> mpf:
    """delta that CKS, Proposition 12, gives for ``taken`` at ``target`` and one order; sums without rounding."""
    with mp.workdps(50):
        alpha = mpf(ORDERS[order])
        rho = sum((mpf(float(CURVES[choice][order])) for choice in taken), mpf(0))
        return mp.exp((alpha - 1) * (rho - mpf(target))) * (1 - 1 / alpha) ** alpha / (alpha - 1)


def order_of(first: int, budget: PrivacyFilter) -> int:
    """The order that the first run pins: the one whose own cap that run would fill last."""
    alphas = np.array(ORDERS)
    price = np.log1p(-1 / alphas) - (math.log(budget.delta) + np.log(alphas)) / (alphas - 1)
    return int(np.argmax((budget.epsilon - price) / CURVES[first]))


@settings(max_examples=60, deadline=None)
@given(
    choices=st.lists(st.integers(0, len(RUNS) - 1), min_size=1, max_size=40),
    target=st.sampled_from([0.5, 1.0, 3.0, 8.0]),
)
def test_whatever_order_runs_are_chosen_in_the_pinned_order_alone_proves_the_budget(
    choices: list[int], target: float
) -> None:
    budget = PrivacyFilter(target, DELTA)
    taken = admitted(budget.pinned(CURVES[choices[0]]).admits, choices)
    order = order_of(choices[0], budget)
    # One order, known before the first result, proves it for every prefix; 2^-20 of delta is left for eta.
    assert exact_delta(taken, order, target) <= mpf(DELTA) * (1 - mpf(2) ** -20)
    assert budget.spent(sum((CURVES[c] for c in taken), np.zeros(len(ORDERS))), budget.eta) <= target


def test_control_the_best_order_in_hindsight_over_mixed_shapes_is_not_what_is_used() -> None:
    """It admits a mix that the pinned order does not prove: which order proves it depends on what was run."""
    budget = PrivacyFilter(2.5, DELTA)
    choices = [1] + [4] * 40  # a small full-batch run, then sampled ones of another shape
    order = order_of(1, budget)
    hindsight = admitted(budget.admits, choices)
    pinned = admitted(budget.pinned(CURVES[1]).admits, choices)
    assert exact_delta(hindsight, order, 2.5) > DELTA
    assert exact_delta(pinned, order, 2.5) <= DELTA
    assert 1 <= len(pinned) < len(hindsight)


def test_control_adding_epsilons_is_not_what_is_used() -> None:
    """Sixteen runs of a sixteenth each: a sum of epsilons would end the account there, at less than half its worth."""
    z = noise_multiplier(rounds, epsilon=3.0 / 16, delta=DELTA)
    curve = rdp(rounds(z))
    budget = PrivacyFilter(3.0, DELTA).pinned(curve)
    most = max(k for k in range(1, 2000) if budget.admits(k * curve))
    assert most > 150
    assert converted(most * curve, DELTA) <= 3.0 < converted((most + 2) * curve, DELTA)


@pytest.mark.parametrize("target", [1e-3, 0.1, 3.0, 30.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-3, 0.3])
def test_rounding_never_admits_a_total_above_the_cap(target: float, delta: float) -> None:
    """Filled to the last float64 by ten thousand additions, in 50 digits it is still below."""
    budget = PrivacyFilter(target, delta)
    shape = np.array(ORDERS)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if budget.admits(middle * shape) else (low, middle)
    if low == 0.0:  # no order of the grid is of use at this (epsilon, delta): nothing is admitted
        assert target == 1e-3
        return
    part = low * shape / 10_000 * (1 - 1e-11)
    total = np.zeros(len(ORDERS))
    for _ in range(10_000):
        total = total + part
    assert budget.admits(total)

    def least_delta(scale: float) -> mpf:
        with mp.workdps(50):
            found = []
            for k in np.flatnonzero(total <= budget._caps):
                alpha, rho = mpf(ORDERS[k]), 10_000 * mpf(float(part[k])) * scale
                found.append(mp.exp((alpha - 1) * (rho - mpf(target))) * (1 - 1 / alpha) ** alpha / (alpha - 1))
            return min(found)

    assert least_delta(1.0) + (1 + mp.exp(mpf(target))) * mpf(budget.eta) <= mpf(delta)
    # Control: it is filled; a hundred-thousandth more of everything would be too much.
    assert least_delta(1 + 1e-5) > mpf(delta) * (1 - mpf(2) ** -20)


def test_two_runs_of_three_compose_to_four_point_four_four() -> None:
    z = noise_multiplier(rounds, epsilon=3.0, delta=DELTA)
    one = rounds(z)
    two = epsilon(Composed(events=(one, one)), DELTA)
    assert two == pytest.approx(4.44, abs=0.005)
    assert PrivacyFilter(two * 1.001, DELTA).admits(2 * rdp(one))
    assert not PrivacyFilter(two * 0.999, DELTA).admits(2 * rdp(one))
    assert two < 0.75 * (3.0 + 3.0)  # control: not their sum
    # What an adversary sees who has broken everything but one bank's own share of four.
    assert epsilon(rounds(z, counted=1), DELTA) == pytest.approx(6.64, abs=0.01)


def test_an_account_admits_a_run_calibrated_to_its_budget_and_not_a_second() -> None:
    for target, delta in [(0.2, 1e-6), (1.0, 1e-5), (3.0, 1e-5), (8.0, 1e-8)]:
        budget = PrivacyFilter(target, delta)
        for build in (rounds, lambda z: sampled(z, 0.02, 200)):
            curve = rdp(build(noise_multiplier(build, epsilon=target, delta=delta, eta=2.0**-60)))
            assert budget.admits(curve, 2.0**-60)
            assert budget.pinned(curve).admits(curve)
            assert 0.97 * target <= budget.spent(curve) <= target
            assert not budget.admits(curve * 1.001)
            assert not budget.admits(curve * 2)
            assert not budget.admits(curve, 2 * budget.eta)


def test_admission_implies_the_budget() -> None:
    """Whatever is admitted converts to at most the budget, the filter's distance allowance used up included."""
    for target in (0.5, 3.0, 10.0):
        budget = PrivacyFilter(target, DELTA)
        for scale in np.geomspace(1e-3, 10, 200):
            curve = scale * np.array(ORDERS) * 0.1
            if budget.admits(curve, budget.eta):
                assert converted(curve, DELTA, budget.eta) <= target
        assert budget.eta == eta_allowance(target, DELTA)
    assert PrivacyFilter(3.0, DELTA).admits(np.zeros(len(ORDERS)))


def test_full_batch_accounts_are_decided_by_one_order_whatever_they_spend() -> None:
    """Why a grid of orders costs nothing there: curves of one shape never change the order that certifies."""
    budget = PrivacyFilter(3.0, DELTA)
    pinned = budget.pinned(rdp(rounds(1000.0, 1)))
    assert budget.pinned(np.zeros(len(ORDERS))).admits(rdp(rounds(10.6)))
    for scale in np.geomspace(0.1, 2, 100):
        curve = rdp(rounds(10.6)) * scale
        assert pinned.admits(curve) == budget.admits(curve)


def test_a_pinned_account_refuses_a_mix_that_only_another_order_would_certify() -> None:
    budget = PrivacyFilter(3.0, DELTA)
    first = rdp(rounds(40.0))
    spiky = rdp(sampled(noise_multiplier(lambda z: sampled(z, 0.001, 5000), epsilon=2.6, delta=DELTA), 0.001, 5000))
    assert budget.admits(first + spiky)
    assert not budget.pinned(first).admits(first + spiky)


@pytest.mark.parametrize(("target", "delta"), [(0.0, DELTA), (math.inf, DELTA), (math.nan, DELTA), (1.0, 0.0)])
def test_budgets_out_of_range_are_refused(target: float, delta: float) -> None:
    with pytest.raises(ConfigError):
        PrivacyFilter(target, delta)
