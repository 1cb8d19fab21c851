"""What a planned sum's noise has to be, from docs/noise.md (sections 2 and 3) and docs/protocol.md ("Numbers").

That a bank added the noise is nobody's to see (step 20); that what it agreed to add is enough is arithmetic.
"""

from __future__ import annotations

import math
from itertools import pairwise

from fedsec_verify.bundle import PLAN
from fedsec_verify.findings import require
from fedsec_verify.formats import Mechanism, Plan, PlannedSum

ROW_CUT = 64.0  # B: where an entity is the unit, its rows' gradients are cut to B C before they are averaged
_CLIP_SLACK, _ROUND_UP = 2.0**-20, 1 + 2.0**-48
_ARITHMETIC = 1 - 1e-9  # for the float arithmetic of whoever sized it


def check_sum(plan: Plan, planned: PlannedSum) -> None:
    """The noise that h banks add is z times the sensitivity, and neither it nor the sum can leave the ring."""
    mechanism, grid = planned.mechanism, planned.quantiser
    what = f"for the sum {planned.name} "
    require(mechanism.name == planned.name and mechanism.clients == plan.clients, PLAN, what + "a mechanism of its own")
    _check_vector(plan, planned, what)
    numbers = (mechanism.clip, mechanism.grid_scale, mechanism.noise_multiplier, grid.scale)
    require(all(0 < value < math.inf for value in numbers), PLAN, what + "finite numbers above 0")
    require(
        0 <= mechanism.float_error < math.inf and 0 < mechanism.sampling_rate <= 1, PLAN, what + "an error and a rate"
    )
    counted = plan.threshold - plan.corrupt if plan.mode == "distributed" else 1
    require(mechanism.honest_inputs == counted, PLAN, what + f"noise that counts on {counted} shares")
    require(planned.noised or plan.mode == "local", PLAN, what + "noise in every input")
    delta, variance = sensitivity(mechanism), share_variance(mechanism)
    require(delta >= mechanism.clip * mechanism.grid_scale, PLAN, what + "a sensitivity of at least C s")
    noise = mechanism.noise_multiplier * delta
    require(
        variance >= 1 and variance * counted >= noise * noise * _ARITHMETIC, PLAN, what + "shares that give z times Δ"
    )
    if planned.noised:
        same = (grid.scale, grid.saturation, planned.dimension) == (
            mechanism.grid_scale,
            mechanism.saturation,
            mechanism.dimension,
        )
        require(same, PLAN, what + "the grid of its mechanism")
        require(grid.noise_bound == noise_bound(variance), PLAN, what + "room for 12 deviations of a share")
    largest = plan.clients * (grid.saturation + grid.noise_bound)
    require(largest <= (2**planned.ring_bits - 1) // 2, PLAN, what + "a ring in which no sum wraps")


def sensitivity(mechanism: Mechanism) -> float:
    """Delta on the grid (docs/noise.md, section 3), rounded up."""
    scaled = mechanism.clip * mechanism.grid_scale
    if mechanism.integral:
        return scaled
    rounding = math.sqrt(mechanism.dimension) * (1 + 2 * mechanism.grid_scale * mechanism.float_error)
    return (scaled * (1 + _CLIP_SLACK) + rounding) * _ROUND_UP


def share_variance(mechanism: Mechanism) -> int:
    """sigma^2 of one bank's noise: (z Delta)^2 / h, rounded up to an integer."""
    return math.ceil((mechanism.noise_multiplier * sensitivity(mechanism)) ** 2 / mechanism.honest_inputs)


def noise_bound(variance: int) -> int:
    """T_e = ceil(12 sigma)."""
    return math.isqrt(144 * variance - 1) + 1


def _check_vector(plan: Plan, planned: PlannedSum, what: str) -> None:
    """What is summed: how long it is, whether it is counted or computed, and what its floating-point error may be."""
    mechanism = planned.mechanism
    widths = (plan.model.inputs, *plan.model.hidden, 1)
    dimensions = {
        "scaling": 2 * plan.numeric_width + 1,
        "training": sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths)),
        "evaluation": 2 * plan.bins,
    }
    require(planned.name in dimensions, PLAN, "sums for scaling, training and evaluation only", planned.name)
    length = dimensions[planned.name]
    require(
        planned.dimension == mechanism.dimension == length, PLAN, what + f"vectors of {length}", str(planned.dimension)
    )
    require(mechanism.max_slots == max(plan.slots), PLAN, what + "the slots of the largest bank")
    require(mechanism.integral is (planned.name == "evaluation"), PLAN, what + "counts where it counts")
    if mechanism.integral:
        require(mechanism.clip == (plan.unit_rows or 1), PLAN, what + "a record that moves one count")
        return
    cut = ROW_CUT if planned.name == "training" and plan.unit_rows is not None else 1.0
    error = reduction_error(mechanism.max_slots, cut * mechanism.clip)
    require(mechanism.float_error >= error * _ARITHMETIC, PLAN, what + f"an error bound of at least {error:.3g}")


def reduction_error(slots: int, clip: float) -> float:
    """E (docs/noise.md, section 3, point 2): error of one coordinate of a float64 sum over ``slots`` records."""
    roundings = (slots + 1) * 2.0**-53
    gamma = roundings / (1 - roundings)
    return (gamma * slots * clip * (1 + _CLIP_SLACK) + slots * 2.0**-1022) * _ROUND_UP
