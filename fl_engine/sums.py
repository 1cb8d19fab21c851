"""What each planned sum has to be, given the public facts of a plan: the coordinator builds by it, a bank checks by it.

A stated epsilon follows from a mechanism. It is true only if the grid, the noise, the clip and the sampling that a bank
really applies are that mechanism's, so a bank does not take a plan's word for any of them.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from dp.mechanism import ROW_CUT, SumMechanism, sum_mechanism
from fedsec.errors import ConfigError
from fl_engine.evaluation import BINS
from fl_engine.model import ModelSpec
from fl_engine.plan import HOLDOUT, TRAINING, LocalTraining, Part, PlannedSum, TaskPlan
from secagg.config import QuantiserParameters
from secagg.quantiser import ring_bits_for

DELTA_GRID_SCALE = 2.0**24  # grid units per unit of a weight, for updates that are private before they are masked
DELTA_SATURATION = 2**27
LARGEST_LEARNING_RATE = 1024.0  # beyond any use; with it local training that starts from float32 weights stays finite


class Sums:
    """Builds the sums of one task.

    Args:
        slots: declared record slots of each bank, by index.
        honest_inputs: h of the cohort.
        local: of local mode, where a bank's own noise has to suffice; else None.
        unit_rows: m, the most rows of an entity that count, where entities are the unit; None: records are.
    """

    def __init__(
        self,
        *,
        slots: tuple[int, ...],
        honest_inputs: int,
        local: LocalTraining | None,
        unit_rows: int | None = None,
    ) -> None:
        self._local = local
        self._unit_rows = unit_rows
        self._mechanism = partial(
            sum_mechanism, max_slots=max(slots), clients=len(slots), honest_inputs=1 if local else honest_inputs
        )

    def whole(self, noise_multiplier: float) -> SumMechanism:
        """A single number, opened once: what a whole budget could be spent on."""
        return self._mechanism(name="whole", dimension=1, clip=1.0, noise_multiplier=noise_multiplier)

    def scaling(self, *, numeric_width: int, clip: float, noise_multiplier: float, attempts: int) -> PlannedSum:
        """Clipped moments of the training records."""
        mechanism = self._mechanism(
            name="scaling", dimension=2 * numeric_width + 1, clip=clip, noise_multiplier=noise_multiplier
        )
        return _noised(mechanism, part=TRAINING, attempts=attempts)

    def training(
        self, *, model: ModelSpec, clip: float, noise_multiplier: float, sampling_rate: float, attempts: int
    ) -> PlannedSum:
        """Clipped gradients of all training units; in local mode updates, each of them private already."""
        mechanism = self._mechanism(
            name="training",
            dimension=model.parameters,
            clip=clip,
            noise_multiplier=noise_multiplier,
            sampling_rate=sampling_rate,
            row_cut=1.0 if self._unit_rows is None else ROW_CUT,
        )
        if self._local is None:
            return _noised(mechanism, part=TRAINING, attempts=attempts)
        return PlannedSum(
            name=mechanism.name,
            part=TRAINING,
            mechanism=mechanism,
            openings_per_attempt=self._local.steps,
            attempts=attempts,
            quantiser=QuantiserParameters(scale=DELTA_GRID_SCALE, saturation=DELTA_SATURATION, noise_bound=0),
            dimension=mechanism.dimension,
            ring_bits=ring_bits_for(mechanism.clients, DELTA_SATURATION, 0),
            noised=False,
        )

    def evaluation(self, *, bins: int, noise_multiplier: float, attempts: int) -> PlannedSum:
        """Held-out records by class and score: one record adds 1 to one of ``2 * bins`` cells, an entity at most m."""
        mechanism = self._mechanism(
            name="evaluation",
            dimension=2 * bins,
            clip=float(self._unit_rows or 1),
            noise_multiplier=noise_multiplier,
            integral=True,
        )
        return _noised(mechanism, part=HOLDOUT, attempts=attempts)


def is_sound(plan: TaskPlan) -> bool:
    """Whether every sum of ``plan`` is the one that its own noise multiplier and the plan's public facts prescribe.

    And whether the plan's other numbers can be worked with, so that an accepted plan never fails at a bank after an
    attempt was charged.
    """
    names = ("scaling", "training", "evaluation") if plan.bins else ("scaling", "training")
    if tuple(planned.name for planned in plan.sums) != names or len(plan.slots) != plan.clients:
        return False
    if not _is_workable(plan):
        return False
    training = plan.sum("training").mechanism
    if (plan.local is not None) != (plan.mode == "local") or (plan.local is None and training.sampling_rate != 1.0):
        return False
    try:
        sums = Sums(slots=plan.slots, honest_inputs=plan.honest_inputs, local=plan.local, unit_rows=plan.unit_rows)
        return all(planned == _prescribed(sums, plan, planned) for planned in plan.sums)
    except (ConfigError, ValueError, ArithmeticError):  # out of every range: nothing that could be built
        return False


def _is_workable(plan: TaskPlan) -> bool:
    adam, local = plan.optimiser, plan.local
    return (
        plan.version == 1
        and 0 <= plan.initial_seed < 2**64  # eight bytes, where coins are drawn from it
        and min(plan.slots) >= 1
        and 0 <= plan.numeric_width <= plan.model.inputs
        and plan.bins in (0, BINS)  # a bank's grid of scores is fixed
        and 0 < plan.denominator < math.inf
        and (plan.unit_rows is None or 1 <= plan.unit_rows <= ROW_CUT)
        and 0 < adam.learning_rate <= LARGEST_LEARNING_RATE
        and 0 <= adam.beta1 < 1
        and 0 <= adam.beta2 < 1
        and 0 < adam.epsilon < math.inf
        and (local is None or (local.steps >= 1 and 0 < local.learning_rate <= LARGEST_LEARNING_RATE))
    )


def _prescribed(sums: Sums, plan: TaskPlan, planned: PlannedSum) -> PlannedSum:
    mechanism = planned.mechanism
    free: dict[str, Any] = {"noise_multiplier": mechanism.noise_multiplier, "attempts": max(1, planned.attempts)}
    if planned.name == "scaling":
        return sums.scaling(numeric_width=plan.numeric_width, clip=mechanism.clip, **free)
    if planned.name == "evaluation":
        return sums.evaluation(bins=plan.bins, **free)
    return sums.training(model=plan.model, clip=mechanism.clip, sampling_rate=mechanism.sampling_rate, **free)


def _noised(mechanism: SumMechanism, *, part: Part, attempts: int) -> PlannedSum:
    """A sum that every bank adds its noise share to before masking."""
    return PlannedSum(
        name=mechanism.name,
        part=part,
        mechanism=mechanism,
        openings_per_attempt=1,
        attempts=attempts,
        quantiser=QuantiserParameters(
            scale=mechanism.grid_scale, saturation=mechanism.saturation, noise_bound=mechanism.noise_bound
        ),
        dimension=mechanism.dimension,
        ring_bits=mechanism.ring_bits,
        noised=True,
    )
