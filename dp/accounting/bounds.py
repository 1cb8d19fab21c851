"""Renyi divergence bounds for every event that ``dp.events`` knows; any other is refused.

A curve is a float64 array over ``ORDERS``: entry i bounds the Renyi divergence of order ORDERS[i], in nats,
between the releases on any two neighbouring data sets, in both directions. The theorem behind each bound stands
beside the line that computes it; proofs for the mechanism as it runs are sections 4 to 6 of docs/noise.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dp.events import Composed, DiscreteGaussianSum, DpEvent, NonPrivate, PoissonSampled, Repeated
from fedsec.errors import LocalProtocolError

# 256 orders an octave of alpha - 1: whoever minimises over all real orders gets the same epsilon to one part in
# 10^6. Small integers besides, because a sampled event is bounded at integers and only interpolated between them.
ORDERS: tuple[float, ...] = tuple(
    sorted({1 + 2 ** (k / 256) for k in range(-5 * 256, 16 * 256 + 1)} | {float(order) for order in range(2, 65)})
)

# Above it a sampled event is bounded by the same event without sampling, which is valid at every order.
_LARGEST_SAMPLED_ORDER = 512

# Beyond, no bound is worth stating, and below it nothing overflows.
_LARGEST_SLOPE = 1e100

# Of one sum. An event may come from somebody else's file: its evaluation stays cheap.
_MOST_SHARES = 2**16


def rdp(event: DpEvent, orders: Sequence[float] = ORDERS) -> NDArray[np.float64]:
    """Renyi curve of ``event`` at ``orders`` (each > 1), float64 of their shape, nats.

    Raises:
        LocalProtocolError: the event is of a kind that this accountant does not know, or a field is out of
            range.
    """
    grid = np.asarray(orders, dtype=np.float64)
    if not (grid > 1).all():
        raise LocalProtocolError("Renyi orders must be above 1")
    return _curve(event, grid)


def _curve(event: DpEvent, orders: NDArray[np.float64]) -> NDArray[np.float64]:
    match event:
        case DiscreteGaussianSum():
            return _unsampled(event, orders)
        case PoissonSampled():
            _require(0 < event.rate <= 1, "a sampling rate lies in (0, 1]")
            _require(isinstance(event.event, DiscreteGaussianSum), "only discrete Gaussian sums are sampled")
            if event.rate == 1:
                return _unsampled(event.event, orders)
            return np.array(_sampled_curve(event, tuple(orders.tolist())))
        case Repeated():
            _require(isinstance(event.count, int) and 0 <= event.count <= 2**53, "a count lies in [0, 2^53]")
            once = _curve(event.event, orders)  # also where it is repeated 0 times: the unknown is refused
            # Mironov, arXiv 1702.07476v3, Proposition 1: curves of adaptive releases add up.
            return event.count * once if event.count else np.zeros(len(orders))
        case Composed():
            # The same proposition, for releases of different kinds.
            return sum((_curve(part, orders) for part in event.events), np.zeros(len(orders)))
        case NonPrivate():
            return np.full(len(orders), math.inf)
    raise LocalProtocolError(f"no privacy bound is known for an event of type {type(event).__name__}")


def gaussian_slope(event: DiscreteGaussianSum) -> float:
    """rho of the continuous Gaussian sum with this event's parameters: Delta^2 / (2 n sigma^2), nats.

    Bun & Steinke, TCC 2016, Proposition 6: the Renyi divergence of order alpha is rho alpha.

    Raises:
        LocalProtocolError: a field is out of range.
    """
    sensitivity, variance, shares = event.sensitivity, event.share_variance, event.shares
    _require(math.isfinite(sensitivity) and sensitivity > 0, "a sensitivity is positive and finite")
    _require(math.isfinite(variance) and variance > 0, "a variance is positive and finite")
    _require(isinstance(shares, int) and 1 <= shares <= _MOST_SHARES, "shares lie in [1, 2^16]")
    _require(isinstance(event.dimension, int) and event.dimension >= 1, "a dimension is at least 1")
    slope = sensitivity / variance * sensitivity / (2 * shares)
    _require(slope < _LARGEST_SLOPE, "the noise is negligible beside the sensitivity")
    _require(slope > 0, "the sensitivity is negligible beside the noise")
    return slope


def _lines(event: DiscreteGaussianSum) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(offsets, slopes)``: the divergence of every order alpha > 1 is at most offset + slope * alpha, for each pair.

    Kairouz, Liu, Steinke, arXiv 2102.06387v4, Theorem 1, in the form of their Proposition 14, first bound, for
    sigma >= 1/2: alpha * Delta^2 / (2 k sigma^2) + tau * d, where tau = 10 * sum_{j=1}^{k-1} exp(-2 pi^2 sigma^2
    j / (j + 1)). Of n shares any k make such a bound, the others being post-processing. One share has tau = 0 and
    may have any sigma (Canonne, Kamath, Steinke, arXiv 2004.00010v4). Proofs: docs/noise.md, section 4.
    """
    rho, variance = gaussian_slope(event), event.share_variance
    counted = np.arange(1, event.shares + 1 if variance >= 0.25 else 2, dtype=np.float64)
    terms = 10 * np.exp(-2 * math.pi**2 * variance * counted[:-1] / (counted[:-1] + 1))
    offsets = event.dimension * np.concatenate([[0.0], np.cumsum(terms)])
    slopes = rho * event.shares / counted
    # Fewer shares have the steeper line: it is of use only if it is the lower one where orders begin.
    useful = offsets + slopes <= offsets[-1] + slopes[-1]
    return offsets[useful], slopes[useful]


def _unsampled(event: DiscreteGaussianSum, orders: NDArray[np.float64]) -> NDArray[np.float64]:
    curve = np.full(len(orders), math.inf)
    for offset, slope in zip(*_lines(event), strict=True):
        curve = np.minimum(curve, offset + slope * orders)
    return curve


@lru_cache(maxsize=256)
def _sampled_curve(event: PoissonSampled, orders: tuple[float, ...]) -> tuple[float, ...]:
    """Curve of a Poisson sampled event.

    Integer orders by the binomial expansion (Zhu & Wang, ICML 2019; Mironov, Talwar, Zhang, arXiv 1908.10530,
    section 3.3), which covers both directions because the noise is symmetric: proof in docs/noise.md, section 5.
    Between integers (alpha - 1) * D_alpha is convex in alpha, so the chord is an upper bound. It is never above
    the event without sampling: Renyi divergence is quasi-convex (van Erven & Harremoes, arXiv 1206.2459v2, Theorem
    13).
    """
    alphas = np.asarray(orders)
    largest = min(_LARGEST_SAMPLED_ORDER, math.ceil(alphas.max()))
    moments = _log_moments(event, largest)
    curve = _unsampled(event.event, alphas)
    inside = np.ceil(alphas) <= largest
    within = alphas[inside]
    below = np.floor(within)
    share = within - below
    chord = (1 - share) * moments[below.astype(int)] + share * moments[np.ceil(within).astype(int)]
    curve[inside] = np.minimum(curve[inside], chord / (within - 1))
    return tuple(curve.tolist())


def _log_moments(event: PoissonSampled, largest: int) -> NDArray[np.float64]:
    """Bound of log E[(M/P)^alpha] at the integers 0 to ``largest``.

    log(1 + sum_{l>=2} C(alpha, l) q^l (1-q)^(alpha-l) (exp((l-1) eps(l)) - 1)): the binomial weights sum to
    one, so taking the one out leaves only positive terms and loses no digits where the whole is close to
    zero.
    """
    ells = np.arange(2, largest + 1, dtype=np.float64)
    growth = (ells - 1) * _unsampled(event.event, ells)
    log_gain = growth + np.log(-np.expm1(-growth))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])
    moments = np.zeros(largest + 1)
    for order in range(2, largest + 1):
        part = slice(0, order - 1)
        log_weight = (
            log_factorial[order]
            - log_factorial[2 : order + 1]
            - log_factorial[order - 2 :: -1]
            + ells[part] * math.log(event.rate)
            + (order - ells[part]) * math.log1p(-event.rate)
        )
        terms = log_weight + log_gain[part]
        top = terms.max()
        moments[order] = np.logaddexp(0.0, top + math.log(np.exp(terms - top).sum()))
    return moments


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise LocalProtocolError(f"a privacy event is out of range: {rule}")
