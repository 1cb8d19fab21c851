"""An account's budget as a privacy filter: caps on a grid of Renyi orders, as runs adapt to earlier ones.

Feldman & Zrnic (NeurIPS 2021, arXiv 2008.11193): at one fixed order, the sums of adaptively
chosen Renyi bounds may run up to a cap fixed beforehand, and the whole is private at that cap. Lecuyer (2021,
arXiv 2103.01379) accepts while some order of a grid stays under its cap.

Which order certifies must not itself depend on earlier results: over adaptively mixed *shapes* of curves a
filter is not free in general (Regehr et al. 2026, arXiv 2602.15815). Full-batch releases all have one shape, alpha
times a number, so one order always decides. :meth:`PrivacyFilter.pinned` fixes the order by what is known
before anything was released, the account's first reservation, and makes the filter sound for any later mix
(docs/noise.md, section 7).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dp.accounting.bounds import ORDERS
from dp.accounting.conversion import caps, check_delta, converted, eta_allowance, reduced
from fedsec.errors import ConfigError


class PrivacyFilter:
    """The caps of a budget (epsilon, delta); curves are float64 over ``ORDERS``, as :func:`rdp` returns them.

    Args:
        epsilon: what the account may spend (> 0, finite).
        delta: in (0, 1); a 2^-20 part of it is kept for statistical distances, :attr:`eta`.

    Raises:
        ConfigError: epsilon or delta is out of range.
    """

    def __init__(self, epsilon: float, delta: float) -> None:
        if not 0 < epsilon < math.inf:
            raise ConfigError(f"a budget's epsilon is positive and finite, not {epsilon}")
        check_delta(delta)
        self.epsilon = epsilon
        self.delta = delta
        self._caps = caps(epsilon, reduced(delta))

    @property
    def eta(self) -> float:
        """Total statistical distance of noise from its ideal that all runs together may have."""
        return eta_allowance(self.epsilon, self.delta)

    def pinned(self, first: NDArray[np.float64]) -> PrivacyFilter:
        """The same budget with one certifying order: that under which ``first`` fits most often.

        Args:
            first: curve of the account's whole first reservation: fixed before anything was released, so that
                the choice of the order depends on no private record.
        """
        shape = first if first.any() else np.asarray(ORDERS)
        best = int(np.argmax(self._caps / shape))
        single = PrivacyFilter(self.epsilon, self.delta)
        single._caps = np.full(len(ORDERS), -math.inf)
        single._caps[best] = self._caps[best]
        return single

    def admits(self, total: NDArray[np.float64], eta: float = 0.0) -> bool:
        """Whether releases whose curves sum to ``total``, and distances to ``eta``, stay within budget."""
        return eta <= self.eta and bool((total <= self._caps).any() or not total.any())

    def spent(self, total: NDArray[np.float64], eta: float = 0.0) -> float:
        """Epsilon of ``total`` at the filter's delta, nats: what to show; :meth:`admits` decides."""
        return converted(total, self.delta, eta)
