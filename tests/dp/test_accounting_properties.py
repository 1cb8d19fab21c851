"""Epsilon moves the right way in every parameter and composition is a sum; accountants that err are caught."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accounting import epsilon, rdp
from dp.events import Composed, DiscreteGaussianSum, DpEvent, NonPrivate, PoissonSampled, Repeated

Values = Mapping[str, float]
Accountant = Callable[[Values], float]

ROUNDING = 1e-9  # relative; a bound may move the wrong way by so much, which the final rounding covers

RANGES = {
    "sensitivity": st.floats(0.5, 1e4),
    "share_variance": st.floats(0.1, 1e10),
    "shares": st.integers(1, 12),
    "dimension": st.integers(1, 100_000),
    "rate": st.one_of(st.just(1.0), st.floats(1e-4, 1.0)),
    "count": st.integers(1, 1000),
    "delta": st.floats(1e-9, 1e-3),
    "eta": st.one_of(st.just(0.0), st.floats(1e-30, 1e-14)),
}

# What makes each parameter reveal more.
DEARER: dict[str, Callable[[float], float]] = {
    "sensitivity": lambda x: x * 1.25,
    "share_variance": lambda x: x / 1.25,
    "shares": lambda x: max(1, x - 1),
    "dimension": lambda x: 2 * x,  # through tau
    "rate": lambda x: min(1.0, x * 1.25),
    "count": lambda x: x + 1,
    "delta": lambda x: x / 2,
    "eta": lambda x: 2 * x,
}

# Here each of them matters, the last digits of eta and the dimension of a coarse grid included.
TYPICAL: Values = {
    "sensitivity": 2.0, "share_variance": 0.6, "shares": 3, "dimension": 2, "rate": 0.05, "count": 40, "delta": 1e-5,
    "eta": 1e-13,
}  # fmt: skip


def ours(values: Values) -> float:
    whole = {name: int(values[name]) for name in ("shares", "dimension", "count")}
    single = DiscreteGaussianSum(
        sensitivity=values["sensitivity"],
        share_variance=values["share_variance"],
        shares=whole["shares"],
        dimension=whole["dimension"],
    )
    event = Repeated(count=whole["count"], event=PoissonSampled(rate=values["rate"], event=single))
    return epsilon(event, values["delta"], values["eta"])


def never_cheaper(accountant: Accountant, values: Values, name: str) -> bool:
    before, after = accountant(values), accountant({**values, name: DEARER[name](values[name])})
    return after >= before * (1 - ROUNDING)


def is_counted(accountant: Accountant, values: Values, name: str) -> bool:
    return accountant({**values, name: DEARER[name](values[name])}) > accountant(values) * (1 + 1e-8)


@pytest.mark.parametrize("name", DEARER)
@settings(max_examples=25, deadline=None)
@given(values=st.fixed_dictionaries(RANGES))
def test_what_reveals_more_never_costs_less(name: str, values: dict[str, float]) -> None:
    assert never_cheaper(ours, values, name)


@pytest.mark.parametrize("name", DEARER)
def test_every_parameter_counts_and_an_accountant_that_gets_one_wrong_is_caught(name: str) -> None:
    assert is_counted(ours, TYPICAL, name)

    def inverted(values: Values) -> float:
        """Takes what reveals more for what reveals less."""
        excess = values[name] / TYPICAL[name]
        return ours({**values, name: TYPICAL[name] / excess})

    def forgetful(values: Values) -> float:
        return ours({**values, name: TYPICAL[name]})

    assert not never_cheaper(inverted, TYPICAL, name)
    assert not is_counted(forgetful, TYPICAL, name)


@settings(max_examples=40, deadline=None)
@given(shares=st.integers(1, 40), variance=st.floats(0.25, 1.5), dimension=st.sampled_from([1, 100, 10_000]))
def test_a_further_share_never_raises_the_curve_even_on_a_coarse_grid(
    shares: int, variance: float, dimension: int
) -> None:
    """tau grows with every share; then fewer of them make the better bound, and that one is taken."""

    def curve(counted: int) -> np.ndarray:
        return rdp(
            DiscreteGaussianSum(sensitivity=3.0, share_variance=variance, shares=counted, dimension=dimension),
            [1.5, 2.0, 4.0, 16.0, 300.0],
        )

    assert (curve(shares + 1) <= curve(shares) * (1 + ROUNDING)).all()


def test_control_the_theorem_alone_would_charge_more_for_more_noise() -> None:
    def theorem(shares: int) -> float:
        tau = 10 * sum(math.exp(-2 * math.pi**2 * 0.25 * k / (k + 1)) for k in range(1, shares))
        return 2.0 * 9 / (2 * shares * 0.25) + tau * 100

    assert theorem(5) > theorem(4) > theorem(1)
    five = DiscreteGaussianSum(sensitivity=3.0, share_variance=0.25, shares=5, dimension=100)
    assert rdp(five, [2.0])[0] == pytest.approx(theorem(1))


SINGLES: list[DpEvent] = [
    DiscreteGaussianSum(sensitivity=100.0, share_variance=250_000.0, shares=4, dimension=100),
    DiscreteGaussianSum(sensitivity=8.0, share_variance=900.0, shares=1, dimension=59),
    DiscreteGaussianSum(sensitivity=2.0, share_variance=0.7, shares=3, dimension=2),
    PoissonSampled(
        rate=0.1, event=DiscreteGaussianSum(sensitivity=100.0, share_variance=250_000.0, shares=1, dimension=9)
    ),
]
single_events = st.sampled_from(SINGLES)
events = st.recursive(
    single_events,
    lambda inner: st.one_of(
        st.builds(lambda count, event: Repeated(count=count, event=event), st.integers(0, 20), inner),
        st.builds(lambda parts: Composed(events=tuple(parts)), st.lists(inner, max_size=4)),
    ),
    max_leaves=8,
)

Curve = Callable[[DpEvent], np.ndarray]


def is_a_sum(curve: Curve, parts: list[DpEvent], order: list[int], count: int) -> bool:
    """Order, nesting and repetition of ``parts`` make no difference to ``curve``."""
    straight = curve(Composed(events=tuple(parts)))
    first, rest = parts[0], tuple(parts[1:])
    same = [
        (Composed(events=tuple(parts[i] for i in order)), straight),
        (Composed(events=(first, Composed(events=rest))), straight),
        (Composed(events=(Composed(events=(first, *rest[:1])), *rest[1:])), straight),
        (Composed(events=tuple(Composed(events=(part,)) for part in parts)), straight),
        (Repeated(count=1, event=Composed(events=tuple(parts))), straight),
        (Composed(events=(Repeated(count=0, event=first), *parts)), straight),
        (
            Repeated(count=count, event=Composed(events=tuple(parts))),
            curve(Composed(events=tuple(Repeated(count=count, event=part) for part in parts))),
        ),
        (Composed(events=(first,) * count), curve(Repeated(count=count, event=first))),
        (
            Repeated(count=count, event=Repeated(count=3, event=first)),
            curve(Repeated(count=3 * count, event=first)),
        ),
    ]
    return all(np.allclose(curve(event), expected, rtol=1e-12, atol=0) for event, expected in same)


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(events, min_size=4, max_size=4), order=st.permutations(range(4)), count=st.integers(1, 5))
def test_composition_depends_neither_on_order_nor_on_nesting(
    parts: list[DpEvent], order: list[int], count: int
) -> None:
    assert is_a_sum(rdp, parts, order, count)


def test_control_accountants_that_do_not_add_are_caught() -> None:
    def largest(event: DpEvent) -> np.ndarray:
        """Parallel composition, which holds for disjoint records only."""
        return max((rdp(part) for part in event.events), key=np.sum) if isinstance(event, Composed) else rdp(event)

    def root(event: DpEvent) -> np.ndarray:
        """Repetition charged as its square root, as if rounds were averaged."""
        return rdp(event.event) * math.sqrt(event.count) if isinstance(event, Repeated) else rdp(event)

    def discounted(event: DpEvent) -> np.ndarray:
        """The later, the cheaper."""
        if not isinstance(event, Composed):
            return rdp(event)
        return sum((rdp(part) * 0.9**i for i, part in enumerate(event.events)), np.zeros(len(rdp(SINGLES[0]))))

    order = [3, 1, 2, 0]
    assert is_a_sum(rdp, SINGLES, order, 3)
    for broken in (largest, root, discounted):
        assert not is_a_sum(broken, SINGLES, order, 3)


def test_full_sampling_is_none_and_one_release_without_noise_spoils_the_whole() -> None:
    plain = SINGLES[0]
    assert isinstance(plain, DiscreteGaussianSum)
    assert (rdp(PoissonSampled(rate=1.0, event=plain)) == rdp(plain)).all()
    assert (rdp(PoissonSampled(rate=0.99, event=plain)) < rdp(plain)).any()  # control: that is not true of any rate
    assert epsilon(Composed(events=(plain, NonPrivate())), 1e-5) == math.inf
    assert epsilon(Composed(events=(plain, Repeated(count=0, event=NonPrivate()))), 1e-5) < math.inf


def test_nothing_released_costs_nothing() -> None:
    for nothing in (Composed(events=()), Repeated(count=0, event=SINGLES[0])):
        assert not rdp(nothing).any()
        assert epsilon(nothing, 1e-5) == 0
    assert epsilon(SINGLES[0], 1e-5) > 0  # control
