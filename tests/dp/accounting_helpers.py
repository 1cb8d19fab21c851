"""Events for accounting tests: full-batch rounds and sampled steps of a given noise multiplier."""

from __future__ import annotations

from dp.events import DiscreteGaussianSum, DpEvent, PoissonSampled, Repeated

DELTA = 1e-5


def gaussian(z: float, *, shares: int = 4, counted: int | None = None) -> DiscreteGaussianSum:
    """``shares`` shares sized for noise multiplier z, of which ``counted`` count."""
    return DiscreteGaussianSum(
        sensitivity=8192.0, share_variance=(8192.0 * z) ** 2 / shares, shares=counted or shares, dimension=4000
    )


def rounds(z: float, count: int = 50, **changes: int) -> DpEvent:
    return Repeated(count=count, event=gaussian(z, **changes))


def sampled(z: float, rate: float, count: int) -> DpEvent:
    return Repeated(count=count, event=PoissonSampled(rate=rate, event=gaussian(z, shares=1)))
