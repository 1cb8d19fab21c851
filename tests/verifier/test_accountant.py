"""The verifier's accountant, written apart, agrees with the first one and is never above what that states."""

from __future__ import annotations

import math
import random

import msgspec
import pytest

import dp.events as first
from dp.accounting import epsilon as stated_epsilon
from fedsec_verify import accountant, formats
from fedsec_verify.budgets import admits
from fedsec_verify.epsilon_step import check_stated
from fedsec_verify.events import OutOfRangeError, with_shares
from fedsec_verify.findings import Refused

SETTINGS = 200


def random_event(draw: random.Random) -> first.Composed:
    """A plan of one to three kinds of sums, full batches and Poisson batches, coarse grids among them."""
    parts = []
    for _ in range(draw.randint(1, 3)):
        sensitivity, shares = 10 ** draw.uniform(-1, 5), draw.randint(1, 50)
        variance = (10 ** draw.uniform(-0.5, 2.0) * sensitivity) ** 2 / shares
        single = first.DiscreteGaussianSum(
            sensitivity=sensitivity,
            share_variance=float(max(1, math.ceil(variance))) if draw.random() < 0.7 else variance,
            shares=shares,
            dimension=draw.choice([1, 100, 5_000, 10**6]),
        )
        sampled = first.PoissonSampled(rate=10 ** draw.uniform(-3, 0), event=single)
        event = single if draw.random() < 0.6 else sampled
        parts.append(first.Repeated(count=draw.choice([1, 3, 30, 300]), event=event))
    return first.Composed(events=tuple(parts))


def read(event: first.DpEvent) -> formats.Event:
    """The event as the verifier reads it from a file."""
    return msgspec.json.decode(msgspec.json.encode(event), type=formats.Event)


def noisier(event: formats.Event, factor: float) -> formats.Event:
    """The event with its sensitivities multiplied: a claim about other noise than was drawn."""
    match event:
        case formats.DiscreteGaussianSum():
            return msgspec.structs.replace(event, sensitivity=event.sensitivity * factor)
        case formats.PoissonSampled() | formats.Repeated():
            return msgspec.structs.replace(event, event=noisier(event.event, factor))
        case formats.Composed():
            return formats.Composed(events=tuple(noisier(part, factor) for part in event.events))
    return event


def test_two_accountants_agree_on_two_hundred_plans_and_a_tenth_more_noise_would_show() -> None:
    draw, told, noticed = random.Random(20260101), 0, 0
    for _ in range(SETTINGS):
        event, delta, eta = random_event(draw), 10 ** -draw.uniform(3, 9), draw.choice([0.0, 2.0**-60])
        stated = stated_epsilon(event, delta, eta)
        recomputed = accountant.epsilon(read(event), delta, eta)
        if math.isinf(stated):
            assert math.isinf(recomputed)
            continue
        told += 1
        check_stated(stated, recomputed, "privacy.json", "epsilon")
        assert recomputed <= stated * (1 + 1e-9) + 1e-12
        assert stated <= recomputed * 1.01
        other = accountant.epsilon(noisier(read(event), 1.1), delta, eta)
        try:
            check_stated(stated, other, "privacy.json", "epsilon")
        except Refused:
            noticed += 1
    assert told > 100
    assert noticed > 0.95 * told, "control: only where an epsilon is next to nothing a tenth of it is too"


@pytest.mark.parametrize("factor", [0.999, 1.001, 0.0, math.inf])
def test_an_epsilon_that_was_changed_is_another_number(factor: float) -> None:
    check_stated(2.5, 2.5, "privacy.json", "epsilon")
    with pytest.raises(Refused, match="epsilon"):
        check_stated(2.5 * factor if factor else None, 2.5, "privacy.json", "epsilon")


def test_a_small_epsilon_of_sampled_batches_is_no_other_number_for_the_first_accountants_grid() -> None:
    """Its grid has no whole orders above 64, where the best order of such an event lies: 1.4e-4 are lost."""
    once = first.DiscreteGaussianSum(sensitivity=0.128261, share_variance=0.477602, shares=50, dimension=34)
    event = first.PoissonSampled(rate=0.05, event=once)
    stated, recomputed = stated_epsilon(event, 1e-14), accountant.epsilon(read(event), 1e-14)
    assert recomputed * (1 + 1e-4) + 1e-4 < stated, "the case is one that a finer rule would refuse"
    check_stated(stated, recomputed, "privacy.json", "epsilon")
    with pytest.raises(Refused, match="epsilon"):  # the control: a hundredth more is another number
        check_stated(stated * 1.01, recomputed, "privacy.json", "epsilon")


def test_no_bound_is_stated_as_none_and_as_nothing_else() -> None:
    check_stated(None, math.inf, "privacy.json", "epsilon")
    with pytest.raises(Refused, match="no bound"):
        check_stated(3.0, math.inf, "privacy.json", "epsilon")


@pytest.mark.parametrize("field, value", [("sensitivity", -1.0), ("share_variance", 0.0), ("shares", 10**7)])
def test_an_event_that_no_mechanism_has_is_refused(field: str, value: float) -> None:
    event = read(first.DiscreteGaussianSum(sensitivity=1.0, share_variance=9.0, shares=3, dimension=1))
    assert accountant.epsilon(event, 1e-5) > 0
    with pytest.raises(OutOfRangeError):
        accountant.epsilon(msgspec.structs.replace(event, **{field: value}), 1e-5)


def test_fewer_shares_cost_more_and_a_release_without_noise_has_no_bound() -> None:
    event = read(random_event(random.Random(3)))
    assert accountant.epsilon(with_shares(event, 1), 1e-5) > accountant.epsilon(with_shares(event, 40), 1e-5)
    assert math.isinf(accountant.epsilon(formats.Composed(events=(event, formats.NonPrivate())), 1e-5))
    assert accountant.epsilon(formats.Repeated(count=0, event=formats.NonPrivate()), 1e-5) == 0.0


def test_a_budget_admits_what_the_ledgers_filter_admits() -> None:
    from dp.accounting import PrivacyFilter, rdp

    draw, verdicts = random.Random(5), set()
    for _ in range(60):
        begun, more = random_event(draw), random_event(draw)
        delta = 10 ** -draw.uniform(4, 8)
        whole = first.Composed(events=(begun, more))
        whole_epsilon = stated_epsilon(whole, delta)
        if not 0.01 < whole_epsilon < 20:
            continue
        for factor in (0.5, 0.99, 1.05, 3.0):
            budget = whole_epsilon * factor
            ledgers = PrivacyFilter(budget, delta).pinned(rdp(begun)).admits(rdp(whole))
            account = accountant.Account().plus(read(begun))
            total = accountant.Account().plus(read(whole))
            assert admits(budget, delta, first=account, total=total, eta=0.0) == ledgers
            assert not admits(budget, delta, first=account, total=total, eta=1.0)
            verdicts.add((factor < 1, ledgers))
    assert (True, False) in verdicts, "a budget below what was spent refuses"
    assert (False, True) in verdicts, "one above it admits"
