"""What a plan's sums release and how exactly their noise is drawn: sections 2 and 3 of docs/noise.md, recomputed."""

from __future__ import annotations

import math

from fedsec_verify.formats import DiscreteGaussianSum, Mechanism, Plan, PlannedSum, PoissonSampled, Repeated

ETA = 2.0**-60  # cap on the distance of a task's noise from its ideal, with which every epsilon is stated
_CLIP_SLACK = 2.0**-20
_ROUND_UP = 1.0 + 2.0**-48
_SAMPLER = 2.0**-112


def sensitivity(mechanism: Mechanism) -> float:
    """Delta, grid units: C s (1 + 2^-20) + sqrt(d) (1 + 2 s E), rounded up; C s where contributions are whole."""
    scale = mechanism.grid_scale
    if mechanism.integral:
        return mechanism.clip * scale
    real = mechanism.clip * scale * (1.0 + _CLIP_SLACK)
    return (real + math.sqrt(mechanism.dimension) * (1.0 + 2.0 * scale * mechanism.float_error)) * _ROUND_UP


def share_variance(mechanism: Mechanism) -> int:
    """sigma^2 of a bank's share, grid units squared: (z Delta)^2 / h, rounded up."""
    return math.ceil((mechanism.noise_multiplier * sensitivity(mechanism)) ** 2 / mechanism.honest_inputs)


def noise_bound(mechanism: Mechanism) -> int:
    """T_e, grid units: 12 standard deviations, rounded up."""
    return math.isqrt(144 * share_variance(mechanism) - 1) + 1


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
    """Distance of all draws of one attempt from ideal noise: per draw its cut tail and the sampler's 2^-112."""
    mechanism = planned.mechanism
    draws = planned.openings_per_attempt * plan.clients * mechanism.dimension
    tail = 2.0 * math.exp(-(noise_bound(mechanism) ** 2) / (2.0 * share_variance(mechanism)))
    return draws * (tail + _SAMPLER)


def first_attempts(plan: Plan) -> dict[str, int]:
    """Number of the first attempt of each sum: they are numbered over the task, sum after sum."""
    numbers, reached = {}, 0
    for planned in plan.sums:
        numbers[planned.name] = reached
        reached += planned.attempts
    return numbers
