"""Local mode: DP-SGD inside one bank, whose update is private on its own, whoever colludes.

After Abadi et al. (CCS 2016, arXiv 1607.00133) with the clipped sum of ``dp.training.clipped_sum`` and, in
place of Opacus' ``DPOptimizer.add_noise``, integer noise from the operating system's CSPRNG on an integer
grid: no floating-point noise and no Mersenne Twister takes part.

The event of one call, for the accountant, is::

    Repeated(count=steps, event=PoissonSampled(rate=q, event=DiscreteGaussianSum(shares=1, ...)))

with q, sensitivity and variance from the mechanism. Every declared slot, empty or not, tosses its own coin (an entity
takes the coin of its first counted slot), so what a step draws depends on coins alone; records are looked at only
inside the clipped sum, which computes every slot, drawn or not.
Adam, the division and the sum of the steps see noised integers only (post-processing).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dp.mechanism import SumMechanism
from dp.training.clipped_sum import ClippedGradientSum
from dp.training.entities import EntityRows
from dp.training.entity_sum import EntityGradientSum
from fedsec.errors import ConfigError
from fedsec.keystream import KeyStream
from fedsec.rounding import stochastic_round

ADAM_BETAS = (0.9, 0.99)


def draw_slots(slots: int, rate: float, *, stream: KeyStream | None = None) -> NDArray[np.bool_]:
    """Which slots a Poisson batch holds, bool ``(slots,)``: each by a coin of chance floor(rate 2^64) / 2^64 <= rate.

    Args:
        slots: declared slots (>= 1), empty ones included.
        rate: q in (0, 1]; 1 takes every slot.
        stream: coins, one 64-bit word a slot; a fresh OS stream where it is left out. Tests inject one.

    Raises:
        ConfigError: the rate is out of range.
    """
    if not 0.0 < rate <= 1.0:
        raise ConfigError(f"the sampling rate {rate} is not in (0, 1]")
    if rate == 1.0:
        return np.ones(slots, np.bool_)
    coins = (stream or KeyStream.from_os()).words(slots, np.uint64)
    return np.asarray(coins < np.uint64(int(rate * 2.0**64)))


def local_train(
    clipped_sum: ClippedGradientSum | EntityGradientSum,
    weights: NDArray[np.float64] | NDArray[np.float32],
    features: NDArray[np.float64],
    labels: NDArray[np.float64],
    *,
    include: NDArray[np.bool_],
    mechanism: SumMechanism,
    steps: int,
    learning_rate: float,
    entities: EntityRows | None = None,
    stream: KeyStream | None = None,
) -> NDArray[np.float64]:
    """Train ``steps`` noised steps from ``weights`` on one bank's slots; return the update, float64 ``(d,)``.

    Args:
        clipped_sum: of the bank's unit; its clip is the mechanism's.
        weights, features, labels, include: as ``clipped_sum`` takes them; ``len(features)`` is the bank's declared
            slots. Weights must be finite: they are where the optimiser starts.
        mechanism: clip, grid, noise of one share (``honest_inputs == 1``) and sampling rate of a step.
        steps: how many (>= 1); public, and what the ledger was charged for.
        learning_rate: of Adam (betas 0.9 and 0.99) on the sum divided by the expected batch, rate * slots.
        entities: those of ``clipped_sum``, whose rows are drawn together; None: each record on its own.
        stream: all coins; fresh OS streams where it is left out. Given for debugging only.

    Raises:
        ConfigError: the mechanism is not one bank's own, or weights are not finite.
    """
    slots = len(features)
    if mechanism.honest_inputs != 1:
        raise ConfigError("in local mode a bank's noise must be enough on its own: honest_inputs is 1")
    if slots > mechanism.max_slots or not np.isfinite(weights).all():
        raise ConfigError("more slots than the mechanism was sized for, or weights that are not finite")
    start = torch.from_numpy(weights.astype(np.float64))
    current = start.clone()
    optimiser = torch.optim.Adam([current], lr=learning_rate, betas=ADAM_BETAS)
    for _ in range(steps):
        # Every slot is computed, drawn or not, at its own place: a row's last bits depend on where it lies in a matrix,
        # so a batch laid out by what was drawn would let one record move the results of all after it.
        drawn = draw_slots(slots, mechanism.sampling_rate, stream=stream)
        if entities is not None:
            drawn = drawn[entities.first]
        total = clipped_sum(current.numpy(), features, labels, drawn & include)
        rounded = stochastic_round(total * mechanism.grid_scale, saturation=mechanism.saturation, stream=stream)
        noised = mechanism.add_noise(rounded, stream=stream).astype(np.float64) / mechanism.grid_scale
        current.grad = torch.from_numpy(noised / (mechanism.sampling_rate * slots))
        optimiser.step()
    update: NDArray[np.float64] = (current - start).numpy()
    return update
