"""Real vectors onto the integer grid and back, with the theorem that makes the opened sum exact.

Encoding is scale -> unbiased stochastic rounding -> saturate to ``|q| <= M_x`` -> (the caller adds integer
noise of bounded support ``|e| <= T_e``) -> mask. Nothing saturates after the noise: a saturated bank would
lose its share.

**Theorem.** If n * (M_x + T_e) <= floor((R - 1) / 2) with R = 2^b, the sum S of at most n inputs has |S| <=
floor((R - 1) / 2), hence the centred lift of S mod R is S: nothing wraps. Checked in Python integers.
"""

from __future__ import annotations

import math
from operator import index

import numpy as np
from numpy.typing import NDArray

from fedsec.errors import ConfigError, LocalProtocolError
from fedsec.keystream import KeyStream
from fedsec.rounding import stochastic_round

MAX_RING_BITS = 64
MAX_GRID = 2**53  # above it float64 has no exact integers to round to


def fits(*, clients: int, saturation: int, noise_bound: int, ring_bits: int) -> bool:
    """Whether the overflow theorem's premise holds, in Python integers even where numpy's are passed."""
    return _largest_sum(clients, saturation, noise_bound) <= ((1 << index(ring_bits)) - 1) // 2


def ring_bits_for(clients: int, saturation: int, noise_bound: int) -> int:
    """The least b in ``[1, 64]`` for which a sum of ``clients`` inputs cannot wrap.

    Raises:
        ConfigError: not even 64 bits suffice.
    """
    bits = _largest_sum(clients, saturation, noise_bound).bit_length() + 1  # least b with n (M_x + T_e) < 2^(b-1)
    if bits > MAX_RING_BITS:
        raise ConfigError("the sum does not fit a ring of 64 bits", remedy="Lower the scale or the saturation.")
    return bits


def check_range(values: NDArray[np.int64], bound: int) -> None:
    """Check that ``values`` are int64 in ``[-bound, bound]``.

    Raises:
        LocalProtocolError: it is not; a larger value could wrap the sum.
    """
    if values.dtype != np.int64:
        raise LocalProtocolError("an input is a vector of int64")
    if values.size and not (-bound <= int(values.min()) and int(values.max()) <= bound):
        raise LocalProtocolError(f"an input lies outside +-{bound} grid units and could wrap the sum")


def _largest_sum(clients: int, saturation: int, noise_bound: int) -> int:
    return index(clients) * (index(saturation) + index(noise_bound))


class Quantiser:
    """The grid of one session.

    Args:
        scale: grid units per unit, finite and > 0.
        saturation: M_x, largest magnitude before noise, ``1 <= M_x < 2**53``.
        noise_bound: T_e, largest magnitude of the noise that the caller adds, >= 0.
        clients: n, most inputs of a sum.
        ring_bits: b in ``[1, 64]``.

    Raises:
        ConfigError: a parameter is out of range, or a sum could wrap.
    """

    def __init__(self, *, scale: float, saturation: int, noise_bound: int, clients: int, ring_bits: int) -> None:
        if not (math.isfinite(scale) and scale > 0):
            raise ConfigError("the quantiser's scale is a finite number above 0")
        if not 1 <= saturation < MAX_GRID or noise_bound < 0 or clients < 1:
            raise ConfigError("the quantiser needs 1 <= saturation < 2^53, a noise bound >= 0 and clients >= 1")
        if not 1 <= ring_bits <= MAX_RING_BITS:
            raise ConfigError("ring bits are 1 to 64")
        if not fits(clients=clients, saturation=saturation, noise_bound=noise_bound, ring_bits=ring_bits):
            raise ConfigError(
                f"a sum of {clients} inputs of magnitude {saturation} + {noise_bound} can wrap in {ring_bits} bits",
                remedy="Use more ring bits, a smaller scale or a smaller saturation.",
            )
        self.scale = scale
        self.saturation = index(saturation)
        self.input_bound = index(saturation) + index(noise_bound)
        self.ring_bits = index(ring_bits)

    def quantise(self, values: NDArray[np.float64], *, stream: KeyStream | None = None) -> NDArray[np.int64]:
        """``values * scale`` stochastically rounded and saturated; shape ``(d,)``, |q| <= M_x.

        ``stream`` has the coins; fresh ones from the operating system where it is left out.

        Raises:
            ValueError: a value is NaN.
        """
        return stochastic_round(values, saturation=self.saturation, scale=self.scale, stream=stream)

    def lift(self, words: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """Ring words (low b bits count) as the integers in [-R/2, R/2) that they stand for, int64 of the same shape."""
        shift = np.uint64(MAX_RING_BITS - self.ring_bits)
        raised = words.astype(np.uint64) << shift
        return raised.view(np.int64) >> np.int64(shift)

    def dequantise(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """A sum in grid units as float64 units."""
        return total / self.scale
