"""The second accountant: epsilon from events, by the theorems of docs/noise.md and by no code of fedsec.

What is shared with the first accountant are the proved bounds of sections 4 to 6. How they are evaluated is not: the
divergences are functions of a real order, folded together as straight lines and sampled terms; binomial coefficients
come from the gamma function; the best order is searched for among all real ones by golden sections; and what the
statistical distance eta costs is found by bisection. Nothing is rounded up, so this epsilon is never the larger of the
two by more than float64 loses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedsec_verify.events import check_in_range
from fedsec_verify.formats import Composed, DiscreteGaussianSum, Event, NonPrivate, PoissonSampled, Repeated

Floats = NDArray[np.float64]

_LARGEST_SAMPLED_ORDER = 512  # above it a sampled sum is bounded by the same sum without sampling
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_SECTIONS = 60
_CANDIDATES = 4
_COARSE = 1.0 + np.exp(np.linspace(math.log(2.0**-5), math.log(2.0**16), 641))
_INTEGERS = np.arange(2.0, _LARGEST_SAMPLED_ORDER + 1)
_ORDERS = np.unique(np.concatenate([_COARSE, _INTEGERS]))


def epsilon(event: Event, delta: float, eta: float = 0.0) -> float:
    """Least epsilon at ``delta`` that section 6 proves for ``event``, nats; infinite where it proves none.

    ``delta`` lies in (0, 1); ``eta`` (>= 0) is the distance of all noise from its ideal law.
    """
    return Account().plus(event).epsilon(delta, eta)


class Account:
    """What several events come to together: a Renyi curve that can be asked for any order above 1.

    ``unbounded`` is set where something was released without noise.
    """

    def __init__(self) -> None:
        self._terms: Counter[DiscreteGaussianSum | PoissonSampled] = Counter()
        self.unbounded = False

    def plus(self, event: Event, count: int = 1) -> Account:
        """This account, with ``count`` (>= 0) openings of ``event`` on top.

        Raises:
            OutOfRangeError: the event is none that could be accounted for.
        """
        check_in_range(event)
        if count:
            match event:
                case DiscreteGaussianSum() | PoissonSampled():
                    self._terms[event] += count
                case Repeated():
                    self.plus(event.event, count * event.count)
                case Composed():
                    for part in event.events:
                        self.plus(part, count)
                case NonPrivate():
                    self.unbounded = True
        return self

    def add(self, other: Account, count: int = 1) -> None:
        """Put ``count`` times what ``other`` holds on top."""
        if count:
            self.unbounded = self.unbounded or other.unbounded
            for event, times in other._terms.items():
                self._terms[event] += times * count

    def curve(self, orders: Floats) -> Floats:
        """Bound of the Renyi divergence at each of ``orders`` (each > 1), nats."""
        total = np.zeros(len(orders))
        for event, count in self._terms.items():
            total += count * _divergence(event, orders)
        return total

    def epsilon(self, delta: float, eta: float = 0.0) -> float:
        """Least epsilon with delta(epsilon) + (1 + e^epsilon) eta <= ``delta``."""
        if self.unbounded:
            return math.inf
        if not self._terms:
            return 0.0 if 2.0 * eta <= delta else math.inf
        low = _least(self.curve, delta)
        if not eta or not math.isfinite(low):
            return low
        high = math.log(max(delta / eta - 1.0, 1.0))  # beyond it nothing of delta is left

        def pays(value: float) -> bool:
            left = delta - (1.0 + math.exp(value)) * eta
            return left > 0 and _least(self.curve, left) <= value

        if low < high and pays(low * (1.0 + 1e-12)):
            return low * (1.0 + 1e-12)
        # "pays" may hold in the middle only: towards both ends either too little or nothing is left.
        step = (high - low) / 64
        start = next((low + step * k for k in range(1, 64) if step > 0 and pays(low + step * k)), math.inf)
        if not math.isfinite(start):
            return math.inf
        good, bad = start, start - step
        while good - bad > 1e-13 * good:
            middle = (good + bad) / 2.0
            good, bad = (middle, bad) if pays(middle) else (good, middle)
        return good


def price(delta: float, orders: Floats) -> Floats:
    """What an order adds to its divergence: Canonne, Kamath, Steinke 2020, Proposition 12, solved for epsilon."""
    log_ratio: Floats = np.log1p(-1.0 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1.0)
    return log_ratio


def _least(curve: Callable[[Floats], Floats], delta: float) -> float:
    """Minimum of curve + price over the real orders, by a coarse look and golden sections around its best places."""

    def value(orders: Floats) -> Floats:
        total: Floats = curve(orders) + price(delta, orders)
        return total

    seen = value(_ORDERS)
    best = np.argsort(seen, kind="stable")[:_CANDIDATES]
    low = np.log(_ORDERS[np.maximum(best - 1, 0)] - 1.0)
    high = np.log(_ORDERS[np.minimum(best + 1, len(_ORDERS) - 1)] - 1.0)
    # The curve of a sampled sum has a kink at each integer, which may lie between two orders: halves apart.
    middle = np.log(_ORDERS[best] - 1.0)
    low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    least = float(seen.min())
    for _ in range(_SECTIONS):
        inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        at_inner, at_outer = value(1.0 + np.exp(inner)), value(1.0 + np.exp(outer))
        least = min(least, float(at_inner.min()), float(at_outer.min()))
        left = at_inner <= at_outer
        low, high = np.where(left, low, inner), np.where(left, outer, high)
    return max(0.0, least)


def _divergence(event: DiscreteGaussianSum | PoissonSampled, orders: Floats) -> Floats:
    if isinstance(event, DiscreteGaussianSum):
        return _of_sum(event, orders)
    if event.rate == 1:
        return _of_sum(event.event, orders)
    plain = _of_sum(event.event, orders)
    moments = _sampled_moments(event)
    below = np.floor(orders).astype(np.int64)
    inside = np.ceil(orders) <= _LARGEST_SAMPLED_ORDER
    at = np.where(inside, below, 1)
    share = np.where(inside, orders - at, 0.0)
    chord = (1.0 - share) * moments[at] + share * moments[np.minimum(at + 1, _LARGEST_SAMPLED_ORDER)]
    return np.where(inside, np.minimum(plain, chord / (orders - 1.0)), plain)


def _of_sum(event: DiscreteGaussianSum, orders: Floats) -> Floats:
    """Section 4: the least over k <= n shares of alpha Delta^2 / (2 k sigma^2) + tau(k) d; below sigma = 1/2, k = 1."""
    offsets, slopes = _lines(event)
    least: Floats = np.min(offsets[:, None] + slopes[:, None] * orders[None, :], axis=0)
    return least


@lru_cache(maxsize=1024)
def _lines(event: DiscreteGaussianSum) -> tuple[Floats, Floats]:
    variance = event.share_variance
    ratio = event.sensitivity / math.sqrt(variance)
    rho = ratio * ratio / 2.0
    offsets, slopes, tau = [0.0], [rho], 0.0
    for k in range(2, event.shares + 1 if variance >= 0.25 else 2):
        tau += 10.0 * math.exp(-2.0 * math.pi**2 * variance * (k - 1) / k)
        if tau == 0.0:  # nothing is paid for a further share, so all of them count
            return np.array([0.0]), np.array([rho / event.shares])
        offsets.append(tau * event.dimension)
        slopes.append(rho / k)
    return np.array(offsets), np.array(slopes)


@lru_cache(maxsize=256)
def _sampled_moments(event: PoissonSampled) -> Floats:
    """Section 5: bounds of log E[(M/P)^alpha] at the integers alpha = 0 to 512; 0 at 0 and 1."""
    q = event.rate
    ells = np.arange(2, _LARGEST_SAMPLED_ORDER + 1)
    growth = (ells - 1.0) * _of_sum(event.event, ells.astype(np.float64))
    small = np.log(np.maximum(np.expm1(np.minimum(growth, 1.0)), 5e-324))
    gain = np.where(growth > 1.0, growth + np.log1p(-np.exp(-np.maximum(growth, 1.0))), small)
    gamma = np.array([math.lgamma(k + 1.0) for k in range(_LARGEST_SAMPLED_ORDER + 1)])
    moments = np.zeros(_LARGEST_SAMPLED_ORDER + 1)
    for alpha in range(2, _LARGEST_SAMPLED_ORDER + 1):
        used = ells[: alpha - 1]
        weight = gamma[alpha] - gamma[used] - gamma[alpha - used] + used * math.log(q) + (alpha - used) * math.log1p(-q)
        terms = weight + gain[: alpha - 1]
        top = float(terms.max())
        log_sum = top + math.log(math.fsum(np.exp(terms - top)))
        moments[alpha] = log_sum + math.log1p(math.exp(-log_sum)) if log_sum > 0 else math.log1p(math.exp(log_sum))
    return moments
