"""What the attempts of a plan's sums release, as events, and how far their noise is from its ideal law."""

from __future__ import annotations

import math

from fedsec_verify.formats import DiscreteGaussianSum, Plan, PlannedSum, PoissonSampled, Repeated
from fedsec_verify.noise import noise_bound, sensitivity, share_variance

ETA = 2.0**-60  # cap on the distance of a task's noise from its ideal, with which every epsilon is stated
_SAMPLER = 2.0**-112


def single_sum(planned: PlannedSum) -> DiscreteGaussianSum:
    """One opening of a planned sum's mechanism, unsampled, with the h shares counted that are surely there."""
    mechanism = planned.mechanism
    return DiscreteGaussianSum(
        sensitivity=sensitivity(mechanism),
        share_variance=float(share_variance(mechanism)),
        shares=mechanism.honest_inputs,
        dimension=mechanism.dimension,
    )


def attempt_event(planned: PlannedSum) -> Repeated:
    """What one attempt of a planned sum releases."""
    single, rate = single_sum(planned), planned.mechanism.sampling_rate
    event = single if rate == 1 else PoissonSampled(rate=rate, event=single)
    return Repeated(count=planned.openings_per_attempt, event=event)


def eta_of_attempt(planned: PlannedSum, plan: Plan) -> float:
    """Distance of one attempt's draws from ideal noise (docs/noise.md, section 2): each draw's cut tail, and 2^-112."""
    mechanism = planned.mechanism
    draws = planned.openings_per_attempt * plan.clients * mechanism.dimension
    variance = share_variance(mechanism)
    tail = 2.0 * math.exp(-(noise_bound(variance) ** 2) / (2.0 * variance))
    return draws * (tail + _SAMPLER)


def first_attempts(plan: Plan) -> dict[str, int]:
    """Number of the first attempt of each sum: they are numbered over the task, sum after sum."""
    numbers, reached = {}, 0
    for planned in plan.sums:
        numbers[planned.name] = reached
        reached += planned.attempts
    return numbers
