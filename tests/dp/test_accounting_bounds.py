"""Curves against exactly summed divergences: never below the truth, and each factor in the bound is needed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dp.accounting import ORDERS, rdp
from dp.events import Composed, DiscreteGaussianSum, PoissonSampled, Repeated
from fedsec.errors import LocalProtocolError
from tests.dp.renyi import divergence, log_masses, mixed, shifted

ROUNDING = 1 + 1e-9
ORDERS_TRIED = [1.25, 1.5, 2.0, 2.6, 3.0, 5.0, 10.5, 20.0]


def total(**changes: float) -> DiscreteGaussianSum:
    values: dict[str, float] = {"sensitivity": 100.0, "share_variance": 250_000.0, "shares": 4, "dimension": 100}
    return DiscreteGaussianSum(**(values | changes))


@pytest.mark.parametrize("variance", [0.25, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("shares", [1, 2, 3, 4])
def test_the_bound_covers_exact_divergences_of_sums_of_few_noisy_shares(variance: float, shares: int) -> None:
    masses = log_masses(variance, shares, 150)
    for shift in (1, 2, 3):
        event = total(sensitivity=float(shift), share_variance=variance, shares=shares, dimension=1)
        bounds = rdp(event, ORDERS_TRIED)
        for order, bound in zip(ORDERS_TRIED, bounds, strict=True):
            assert divergence(shifted(masses, shift), masses, order) <= bound * ROUNDING


def test_control_the_gaussian_formula_alone_would_understate_sums() -> None:
    """Without tau the bound is false: a sum of discrete Gaussians is no discrete Gaussian."""
    masses = log_masses(0.25, 2, 150)
    gaussian = 4.0 / (2 * 2 * 0.25)
    truth = divergence(shifted(masses, 1), masses, 4.0)
    assert truth > gaussian * 1.03
    assert truth <= rdp(total(sensitivity=1.0, share_variance=0.25, shares=2, dimension=1), [4.0])[0]


def test_control_a_share_that_is_not_there_would_understate() -> None:
    masses = log_masses(4.0, 2, 150)
    truth = divergence(shifted(masses, 2), masses, 5.0)
    assert truth > rdp(total(sensitivity=2.0, share_variance=4.0, shares=3, dimension=1), [5.0])[0]


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.7])
@pytest.mark.parametrize(("variance", "shares"), [(1.0, 1), (9.0, 1), (0.25, 3), (3.0, 3)])
def test_the_sampled_bound_covers_both_directions_and_is_tight(rate: float, variance: float, shares: int) -> None:
    without = log_masses(variance, shares, 400)
    for shift in (1, 3):
        with_record = mixed(without, shifted(without, shift), rate)
        event = PoissonSampled(
            rate=rate, event=total(sensitivity=float(shift), share_variance=variance, shares=shares, dimension=1)
        )
        for order, bound in zip(ORDERS_TRIED, rdp(event, ORDERS_TRIED), strict=True):
            forwards = divergence(with_record, without, order)
            backwards = divergence(without, with_record, order)
            assert backwards <= forwards * ROUNDING
            assert forwards <= bound * ROUNDING
            if order == int(order) and variance == 9.0:
                # sigma = 3 is smooth enough that nothing is lost at integers: any smaller bound would be false.
                assert forwards >= 0.999 * bound


def test_control_without_symmetry_the_backward_direction_is_the_larger() -> None:
    """The one-sided expansion rests on symmetric noise: lopsided noise breaks it."""
    xs = np.arange(-400, 401)
    lopsided = np.where(xs > 0, -xs / 0.4, xs / 8.0).astype(float)
    lopsided -= np.logaddexp.reduce(lopsided)
    with_record = mixed(lopsided, shifted(lopsided, 2), 0.3)
    mirrored = mixed(lopsided[::-1], shifted(lopsided[::-1], 2), 0.3)
    pairs = [(with_record, lopsided), (mirrored, lopsided[::-1])]
    assert any(divergence(q, p, 3.0) > divergence(p, q, 3.0) for p, q in pairs)


@pytest.mark.parametrize(("order", "rate"), [(2.0, 1e-6), (2.0, 0.3), (40.0, 1e-4), (512.0, 1e-3)])
def test_the_expansion_keeps_its_digits_where_the_whole_is_close_to_zero(order: float, rate: float) -> None:
    """Against the same sum in 80 digits."""
    from decimal import Decimal, localcontext

    slope = 1e-4
    event = total(sensitivity=math.sqrt(2 * slope), share_variance=1.0, shares=1, dimension=1)
    with localcontext() as context:
        context.prec = 80
        q, s = Decimal(rate), Decimal(event.sensitivity) ** 2 / 2
        alpha = int(order)
        whole = sum(
            math.comb(alpha, k) * q**k * (1 - q) ** (alpha - k) * (s * k * (k - 1)).exp() for k in range(alpha + 1)
        )
        exact = float(whole.ln() / (alpha - 1))
    assert rdp(PoissonSampled(rate=rate, event=event), [order])[0] == pytest.approx(exact, rel=1e-11)


def test_interpolated_and_large_orders_never_fall_below_their_neighbours_chord() -> None:
    """(alpha - 1) D_alpha must come out convex and D_alpha non-decreasing over the grid, as divergences are."""
    curve = rdp(PoissonSampled(rate=0.05, event=total(shares=1)))
    orders = np.array(ORDERS)
    assert (np.diff(curve) >= -1e-15).all()
    assert (curve <= rdp(total(shares=1)) * ROUNDING).all()
    small = orders <= 64
    moments = (curve * (orders - 1))[small]
    slopes = np.diff(moments) / np.diff(orders[small])
    assert (np.diff(slopes) >= -1e-12).all()


class Laplace:
    """An event of a kind that no bound is known for."""

    def __repr__(self) -> str:
        return "Laplace()"  # test ids must not hold addresses: parallel workers compare them


@pytest.mark.parametrize(
    "event",
    [
        Laplace(), Repeated(count=2, event=Laplace()), Composed(events=(total(), Laplace())), None,
        PoissonSampled(rate=0.5, event=Laplace()),
        PoissonSampled(rate=0.5, event=Repeated(count=2, event=total())),
        PoissonSampled(rate=0.0, event=total()), PoissonSampled(rate=1.5, event=total()),
        PoissonSampled(rate=math.nan, event=total()),
        Repeated(count=-1, event=total()), Repeated(count=0, event=Laplace()), Repeated(count=1.5, event=total()),
        total(sensitivity=0.0), total(sensitivity=-1.0), total(sensitivity=math.nan), total(sensitivity=math.inf),
        total(share_variance=0.0), total(share_variance=math.nan), total(sensitivity=1e-200),
        total(shares=0), total(shares=2.5), total(shares=2**40), total(dimension=0), total(sensitivity=1e200),
        Repeated(count=2**60, event=total()),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_not_known_is_refused_never_approximated(event: object) -> None:
    with pytest.raises(LocalProtocolError):
        rdp(event)
    assert (rdp(total()) > 0).all()  # control: the event that these are variants of is known


def test_shares_below_half_a_unit_are_bounded_as_one_of_them() -> None:
    """KLS's theorem is for sigma >= 1/2; one discrete Gaussian may be as narrow as it likes."""
    narrow = total(sensitivity=1.0, share_variance=0.2, shares=4, dimension=1)
    assert (rdp(narrow) == rdp(total(sensitivity=1.0, share_variance=0.2, shares=1, dimension=1))).all()
    masses = log_masses(0.2, 4, 150)
    for order in ORDERS_TRIED:
        assert divergence(shifted(masses, 1), masses, order) <= rdp(narrow, [order])[0]
    # Control: the Gaussian formula would be false there.
    assert any(divergence(shifted(masses, 1), masses, a) > a / (2 * 4 * 0.2) for a in (64.0, 200.0))


def test_orders_of_one_or_less_are_refused() -> None:
    with pytest.raises(LocalProtocolError):
        rdp(total(), [1.0])
