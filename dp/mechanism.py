"""One noised sum over banks: clip, grid, noise share and everything that follows from them.

A bank's vector goes onto an integer grid (scale s, a power of two), gets discrete Gaussian noise of its share
and is masked. ``SumMechanism`` holds the choices and derives the rest, so that the noise that is added and
the event that is accounted come from the same two numbers. Proofs: docs/noise.md, sections 1 to 3.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from dp.events import DiscreteGaussianSum, DpEvent, PoissonSampled
from dp.noise import LARGEST_VARIANCE, LOG2_DISTANCE, discrete_gaussian
from fedsec.errors import ConfigError, LocalProtocolError
from fedsec.keystream import KeyStream

# A clipped record's real L2 norm may exceed C by this factor: what clipping in floating point can lose.
CLIP_SLACK = 2.0**-20

# B: where the unit is an entity, a row's gradient is cut to B C before rows are averaged; also the most rows averaged.
ROW_CUT = 64.0

# sqrt(d) / (C s): how much of the sensitivity rounding to the grid may add.
ROUNDING_SHARE = 2.0**-7

# Counts are integers already; the finer grid makes room for noise smaller than one count, also for a share of it: of
# two hundred banks at epsilon = 1000 a share's variance is still large, so that rounding it up costs nothing.
INTEGRAL_SCALE = 4096.0

NOISE_STANDARD_DEVIATIONS = 12
LARGEST_SATURATION = 2**52  # stochastic rounding of float64 is exact up to here
LARGEST_RING_BITS = 64

_ROUND_UP = 1 + 2.0**-48


class SumMechanism(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sum over the records of at most ``clients`` banks, noised by each bank's share.

    Attributes:
        name: of the release.
        dimension: d, length of the vector (>= 1).
        clip: C, L2 bound of what a record, or an entity at one bank, contributes, in units (> 0).
        grid_scale: s, grid units per unit, a power of two.
        integral: every contribution is a vector of integers, so nothing is ever rounded.
        saturation: M_x, largest magnitude of a coordinate before noise, grid units, in [1, 2^52].
        noise_multiplier: z, standard deviation of ``honest_inputs`` shares over the sensitivity, at least (>
            0).
        honest_inputs: h, least number of honest shares in a sum that is ever opened (>= 1; 1: each bank's own
            suffices).
        clients: n, most banks in one sum (>= h).
        float_error: E, bound of the error of one coordinate of one bank's floating-point sum, in units (>=
            0).
        max_slots: most record slots of one bank (>= 1).
        sampling_rate: q, chance of a record to be in the sum, by its own coin, in (0, 1].

    Raises:
        ConfigError: a field is out of range, the noise is too large to sample or the ring would exceed 64
            bits.
    """

    name: str
    dimension: int
    clip: float
    grid_scale: float
    integral: bool
    saturation: int
    noise_multiplier: float
    honest_inputs: int
    clients: int
    float_error: float
    max_slots: int
    sampling_rate: float = 1.0

    def __post_init__(self) -> None:
        _require(self.dimension >= 1 and self.max_slots >= 1, "dimension and max_slots are at least 1")
        _require(0 < self.clip < math.inf, "the clip is positive and finite")
        _require(_is_power_of_two(self.grid_scale), "the grid scale is a power of two")
        _require(1 <= self.saturation <= LARGEST_SATURATION, "the saturation lies in [1, 2^52]")
        _require(0 < self.noise_multiplier < math.inf, "the noise multiplier is positive and finite")
        _require(1 <= self.honest_inputs <= self.clients, "honest inputs lie in [1, clients]")
        _require(0 <= self.float_error < math.inf, "the float error is finite and not negative")
        _require(0 < self.sampling_rate <= 1, "the sampling rate lies in (0, 1]")
        _require(not self.integral or self.float_error == 0, "integers are summed without error")
        noise = self.noise_multiplier * self.sensitivity
        _require(noise * noise < LARGEST_VARIANCE, "the noise is too large for the sampler")
        _require(self.ring_bits <= LARGEST_RING_BITS, "the sum does not fit a ring of 64 bits")

    @property
    def sensitivity(self) -> float:
        """Delta: L2 distance on the grid between the sums of neighbouring data under the same coins, at most.

        Emptying one unit moves the real sum by C (1 + 2^-20), its floating-point value by another 2E a
        coordinate, and stochastic rounding with shared coins adds less than 1 a coordinate; saturation adds
        nothing.
        """
        if self.integral:
            return self.clip * self.grid_scale
        real = self.clip * self.grid_scale * (1 + CLIP_SLACK)
        rounding = math.sqrt(self.dimension) * (1 + 2 * self.grid_scale * self.float_error)
        return (real + rounding) * _ROUND_UP

    @property
    def share_variance(self) -> int:
        """Parameter sigma^2 of a bank's noise: (z Delta)^2 / h rounded up, grid units squared."""
        return math.ceil((self.noise_multiplier * self.sensitivity) ** 2 / self.honest_inputs)

    @property
    def noise_bound(self) -> int:
        """T_e: noise is cut at 12 standard deviations, grid units; a draw exceeds it with chance < 2^-102."""
        return math.isqrt(NOISE_STANDARD_DEVIATIONS**2 * self.share_variance - 1) + 1

    @property
    def ring_bits(self) -> int:
        """b: least with n (M_x + T_e) <= floor((2^b - 1) / 2): the centred lift of a sum is exact."""
        return (self.clients * (self.saturation + self.noise_bound)).bit_length() + 1

    def event(self, shares: int | None = None) -> DpEvent:
        """One opening, against whom ``shares`` shares count (default: the least that is ever opened, h)."""
        single = DiscreteGaussianSum(
            sensitivity=self.sensitivity,
            share_variance=float(self.share_variance),
            shares=self.honest_inputs if shares is None else shares,
            dimension=self.dimension,
        )
        return single if self.sampling_rate == 1 else PoissonSampled(rate=self.sampling_rate, event=single)

    def add_noise(self, values: NDArray[np.int64], *, stream: KeyStream | None = None) -> NDArray[np.int64]:
        """``values`` (int64 ``(d,)``, grid units) plus one noise share, fresh from the system's entropy.

        A ``stream`` in its place is for debugging and tests: whoever knows its key can take the noise off.

        Raises:
            LocalProtocolError: the vector has another length or type, or was not saturated.
        """
        if values.shape != (self.dimension,) or values.dtype != np.int64:
            raise LocalProtocolError("noise is added to an int64 vector of the mechanism's dimension")
        if values.min() < -self.saturation or values.max() > self.saturation:
            raise LocalProtocolError("noise is added to a vector that was rounded and saturated")
        noise = discrete_gaussian(self.dimension, variance=self.share_variance, bound=self.noise_bound, stream=stream)
        noised: NDArray[np.int64] = values + noise
        return noised


def sum_mechanism(
    *,
    name: str,
    dimension: int,
    clip: float,
    max_slots: int,
    clients: int,
    honest_inputs: int,
    noise_multiplier: float,
    integral: bool = False,
    sampling_rate: float = 1.0,
    row_cut: float = 1.0,
) -> SumMechanism:
    """A mechanism whose grid adds at most 1/128 to the sensitivity and which saturates no honest sum.

    Where terms may cancel before the clip, ``row_cut`` times the clip bounds what the terms of one unit add up to in
    magnitude.

    Raises:
        ConfigError: as :class:`SumMechanism`.
    """
    _require(dimension >= 1 and max_slots >= 1, "dimension and max_slots are at least 1")
    _require(0 < clip < math.inf, "the clip is positive and finite")
    scale = INTEGRAL_SCALE
    if not integral:
        scale = math.exp2(math.ceil(math.log2(math.sqrt(dimension) / (ROUNDING_SHARE * clip))))
    return SumMechanism(
        name=name,
        dimension=dimension,
        clip=clip,
        grid_scale=scale,
        integral=integral,
        saturation=max(1, min(math.ceil(max_slots * clip * scale), LARGEST_SATURATION)),
        noise_multiplier=noise_multiplier,
        honest_inputs=honest_inputs,
        clients=clients,
        float_error=0.0 if integral else reduction_error(max_slots, row_cut * clip),
        max_slots=max_slots,
        sampling_rate=sampling_rate,
    )


def reduction_error(max_slots: int, clip: float) -> float:
    """E: error of one coordinate of a float64 sum of ``max_slots`` clipped records, at most, unit of clip.

    For any order of the additions and any split into blocks, terms being single products (Higham, Accuracy
    and Stability of Numerical Algorithms, 2nd edition, section 3.1): gamma_{N+1} times the sum of magnitudes,
    where gamma_k = k u / (1 - k u), u = 2^-53, plus 2^-1022 a product for underflow.

    Raises:
        ConfigError: more slots than the bound covers (2^50).
    """
    _require(1 <= max_slots <= 2**50, "slots lie in [1, 2^50]")
    roundings = (max_slots + 1) * 2.0**-53
    gamma = roundings / (1 - roundings)
    return (gamma * max_slots * clip * (1 + CLIP_SLACK) + max_slots * 2.0**-1022) * _ROUND_UP


def log2_cut(mechanism: SumMechanism) -> float:
    """log2 of the chance that an uncut draw exceeds the noise bound: at most 2 exp(-T_e^2 / (2 sigma^2))."""
    return 1 - mechanism.noise_bound**2 / (2 * mechanism.share_variance) / math.log(2)


def eta(mechanism: SumMechanism, *, openings: int, banks: int) -> float:
    """Total statistical distance of all banks' noise in ``openings`` openings from uncut discrete Gaussians.

    Each coordinate of each share is one draw, off by its cut tail and the sampler's own distance; distances
    add up.
    """
    draws = openings * banks * mechanism.dimension
    return draws * (math.exp2(log2_cut(mechanism)) + math.exp2(LOG2_DISTANCE))


def _is_power_of_two(value: float) -> bool:
    return 0 < value < math.inf and math.frexp(value)[0] == 0.5


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ConfigError(f"a noised sum is out of range: {rule}")
