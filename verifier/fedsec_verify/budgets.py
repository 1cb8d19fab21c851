"""Whether an account's budget covered what it was charged: the privacy filter of docs/noise.md, section 7.

Unlike an epsilon, which holds at any order, a filter is a rule fixed beforehand: its orders are the documented grid,
256 an octave of alpha - 1 from 2^-5 to 2^16 with the integers to 64, and the account's first reservation picks one.
"""

from __future__ import annotations

import math

import numpy as np

from fedsec_verify.accountant import Account, price

ORDERS = np.array(
    sorted({1.0 + 2.0 ** (k / 256) for k in range(-5 * 256, 16 * 256 + 1)} | {float(k) for k in range(2, 65)})
)
_ETA_PART = 2.0**-20  # of delta, kept for statistical distances
_ROUNDING = 1e-9  # by which a cap is rounded down, and as much again for two programs' float64


def eta_allowance(epsilon: float, delta: float) -> float:
    """Total statistical distance that a budget leaves for the noise of all runs together."""
    return _ETA_PART * delta / (1.0 + math.exp(min(epsilon, 700.0)))


def admits(epsilon: float, delta: float, *, first: Account, total: Account, eta: float) -> bool:
    """Whether the budget (``epsilon``, ``delta``) covers ``total`` and ``eta``, all runs' charges and distances.

    ``first`` is the account's whole first reservation: the order at which repeating it would exhaust the budget last
    decides.
    """
    if total.unbounded or eta > eta_allowance(epsilon, delta) * (1.0 + _ROUNDING):
        return False
    caps = (epsilon - 1e-12) / (1.0 + _ROUNDING) - price(delta * (1.0 - _ETA_PART), ORDERS)
    shape = first.curve(ORDERS)
    best = int(np.argmax(caps / (shape if shape.any() else ORDERS)))
    load = float(total.curve(ORDERS[best : best + 1])[0])
    cap = float(caps[best])
    return load <= cap + _ROUNDING * (abs(cap) + epsilon)
