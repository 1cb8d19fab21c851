"""A second opinion: Google's privacy-loss-distribution accountant on the continuous analogue. Information only.

It never enters a guarantee: it is about real Gaussian noise, not about the integers that were released. Our bound
must never be below it; without sampling it is at most 1.15 times as large wherever epsilon >= 1200 delta
(docs/noise.md, section 8). The PRV accountant of Opacus is in ``dp.prv``, because Opacus needs torch.
"""

from __future__ import annotations

import math
from collections import Counter

from dp.accounting.bounds import gaussian_slope
from dp.accounting.conversion import epsilon
from dp.events import Composed, DiscreteGaussianSum, DpEvent, PoissonSampled, Repeated
from fedsec.errors import LocalProtocolError

# Steps in which Google's accountant counts privacy loss: fine beside epsilon, and few whatever epsilon is.
_STEP_PART = 1e-4
_SMALLEST_STEP, _LARGEST_STEP = 1e-5, 1e-2


def continuous_analogue(event: DpEvent) -> Counter[tuple[float, float]]:
    """How often each ``(noise multiplier, sampling rate)`` of a real Gaussian mechanism stands for ``event``.

    All full-batch releases fold into one, exactly: Gaussians compose as inverse squares of their noise
    multipliers.

    Raises:
        LocalProtocolError: the event is of an unknown kind.
    """
    slope, sampled = _parts(event, 1)
    if slope > 0:
        sampled[(1 / math.sqrt(2 * slope), 1.0)] += 1
    return sampled


def pld_epsilon(event: DpEvent, delta: float) -> float:
    """Epsilon at ``delta`` of the continuous analogue by Google's PLD accountant (dp-accounting 0.6), nats.

    An upper bound too: losses are rounded up to a grid whose step is about epsilon / 10^4.

    Raises:
        LocalProtocolError: the event is of an unknown kind.
    """
    from dp_accounting import dp_event
    from dp_accounting.pld import pld_privacy_accountant

    step = min(max(_STEP_PART * epsilon(event, delta), _SMALLEST_STEP), _LARGEST_STEP)
    accountant = pld_privacy_accountant.PLDAccountant(value_discretization_interval=step)
    for (noise_multiplier, rate), count in continuous_analogue(event).items():
        single = dp_event.GaussianDpEvent(noise_multiplier)
        accountant.compose(single if rate == 1 else dp_event.PoissonSampledDpEvent(rate, single), count)
    return float(accountant.get_epsilon(delta))


def _parts(event: DpEvent, count: int) -> tuple[float, Counter[tuple[float, float]]]:
    match event:
        case DiscreteGaussianSum():
            return count * gaussian_slope(event), Counter()
        case PoissonSampled() if event.rate == 1:
            return _parts(event.event, count)
        case PoissonSampled():
            noise_multiplier = 1 / math.sqrt(2 * gaussian_slope(event.event))
            return 0.0, Counter({(noise_multiplier, event.rate): count})
        case Repeated():
            return _parts(event.event, count * event.count)
        case Composed():
            slope, sampled = 0.0, Counter[tuple[float, float]]()
            for part in event.events:
                more, others = _parts(part, count)
                slope += more
                sampled.update(others)
            return slope, sampled
    raise LocalProtocolError(f"no continuous analogue is known for an event of type {type(event).__name__}")
