"""From a Renyi curve to (epsilon, delta), with the samplers' statistical distance taken out of delta."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dp.accounting.bounds import ORDERS, rdp
from dp.events import DpEvent
from fedsec.errors import ConfigError

# Every epsilon is rounded up by this factor and then by this much: float64 in curve and conversion loses less. The
# second is for what is small beside the numbers that it is the difference of, and for terms that vanish in float64.
ROUND_UP = 1 + 1e-9
ROUND_UP_BY = 1e-12

# The search for an epsilon that also pays for eta goes on by at least this factor, so that it always ends.
_STRIDE = 1 + 1e-6

# Part of delta that an account keeps for statistical distances: 2^-20 of delta costs less than 1e-6 in
# epsilon.
_ETA_PART = 2.0**-20


def epsilon(event: DpEvent, delta: float, eta: float = 0.0) -> float:
    """Least epsilon that the bounds prove for ``event`` at ``delta``, nats; ``inf`` where they prove none.

    Args:
        event: what was released.
        delta: in (0, 1).
        eta: total statistical distance between the noise as drawn and the noise as accounted, over the whole
            event.

    Raises:
        ConfigError: delta is not in (0, 1), or eta is negative.
        LocalProtocolError: the event is unknown or out of range.
    """
    return converted(rdp(event), delta, eta)


def converted(curve: NDArray[np.float64], delta: float, eta: float = 0.0, orders: Sequence[float] = ORDERS) -> float:
    """Least epsilon, over the grid, with ``delta_of(curve, epsilon) + (1 + e^epsilon) * eta <= delta``.

    ``delta_of`` is Canonne, Kamath, Steinke, arXiv 2004.00010v4, Proposition 12; the term with eta: docs/noise.md,
    section 2.
    """
    check_delta(delta)
    if not eta >= 0:
        raise ConfigError("eta must not be negative")
    value = _least(curve, delta, orders) if curve.any() else 0.0
    # The right-hand side shrinks as epsilon grows: iterate upwards to the least solution.
    while True:
        claimed = value * ROUND_UP + ROUND_UP_BY if curve.any() else 0.0
        left = delta - (1 + math.exp(min(claimed, 700.0))) * eta
        if left <= 0:
            return math.inf
        needed = _least(curve, left, orders) if curve.any() else 0.0
        if needed <= claimed:
            return claimed
        value = needed * _STRIDE


def caps(epsilon: float, delta: float, orders: Sequence[float] = ORDERS) -> NDArray[np.float64]:
    """Largest divergence at each order that gives (epsilon, delta); negative where the order is of no use.

    Rounded down by as much as :func:`converted` rounds up.
    """
    return (epsilon - ROUND_UP_BY) / ROUND_UP - _price(delta, orders)


def eta_allowance(epsilon: float, delta: float) -> float:
    """Total statistical distance that a budget (epsilon, delta) sets aside for all runs together."""
    return _ETA_PART * delta / (1 + math.exp(min(epsilon, 700.0)))


def reduced(delta: float) -> float:
    """What is left of ``delta`` after :func:`eta_allowance` at any epsilon."""
    return delta * (1 - _ETA_PART)


def check_delta(delta: float) -> None:
    """Raise :class:`ConfigError` unless ``delta`` lies strictly between 0 and 1."""
    if not 0 < delta < 1:
        raise ConfigError(f"delta must lie between 0 and 1, not {delta}", remedy="Choose delta below 1 / records.")


def _least(curve: NDArray[np.float64], delta: float, orders: Sequence[float]) -> float:
    return max(0.0, float((curve + _price(delta, orders)).min()))


def _price(delta: float, orders: Sequence[float]) -> NDArray[np.float64]:
    """What an order adds to its divergence, solved for epsilon: log(1 - 1/alpha) - log(delta alpha) / (alpha - 1).

    Canonne, Kamath, Steinke, arXiv 2004.00010v4, Proposition 12.
    """
    alpha = np.asarray(orders, dtype=np.float64)
    return np.log1p(-1 / alpha) - (math.log(delta) + np.log(alpha)) / (alpha - 1)
