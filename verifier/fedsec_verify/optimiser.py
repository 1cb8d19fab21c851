"""From opened sums to the next model, bit for bit as docs/optimiser.md has it; and the digest of what a round saw."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_DEVIATION = 0.1
LEAST_WEIGHT = 1.0
_INPUTS = b"fedsec/v1/inputs"


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Public constants of the server's optimiser."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class State:
    """Weights, moments (float64 ``(d,)`` each) and the powers of both decay rates after some steps."""

    weights: Floats
    first: Floats
    second: Floats
    power1: float = 1.0
    power2: float = 1.0

    @classmethod
    def start(cls, weights: NDArray[np.float32]) -> State:
        """Before the first step."""
        wide = weights.astype(np.float64)
        return cls(weights=wide, first=np.zeros_like(wide), second=np.zeros_like(wide))

    @property
    def released(self) -> NDArray[np.float32]:
        """The weights as banks and the public see them: to nearest float32, ties to even."""
        return self.weights.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Standardiser:
    """Means and deviations of the numeric features, float64 ``(k,)`` each."""

    means: Floats
    deviations: Floats

    @property
    def raw(self) -> dict[str, bytes]:
        """As a round's inputs hold them: little-endian float64."""
        return {"means": self.means.astype("<f8").tobytes(), "deviations": self.deviations.astype("<f8").tobytes()}


def dequantised(total: NDArray[np.int64], scale: float) -> Floats:
    """An opened sum in units: converted to binary64, divided by the grid's scale."""
    values: Floats = total.astype(np.float64) / scale
    return values


def standardiser(moments: Floats) -> Standardiser:
    """From the opened sum of (features, squares, weight), float64 ``(2 k + 1,)`` in units."""
    width = (len(moments) - 1) // 2
    weight = max(float(moments[-1]), LEAST_WEIGHT)
    means = moments[:width] / weight
    variances = moments[width : 2 * width] / weight - means * means
    return Standardiser(means=means, deviations=np.sqrt(np.maximum(variances, LEAST_DEVIATION * LEAST_DEVIATION)))


def step(state: State, gradient: Floats, adam: Adam) -> State:
    """One step of Adam in the order of operations that docs/optimiser.md fixes."""
    first = (adam.beta1 * state.first) + ((1.0 - adam.beta1) * gradient)
    second = (adam.beta2 * state.second) + ((1.0 - adam.beta2) * (gradient * gradient))
    power1, power2 = state.power1 * adam.beta1, state.power2 * adam.beta2
    numerator = adam.learning_rate * (first / (1.0 - power1))
    change = numerator / (np.sqrt(second / (1.0 - power2)) + adam.epsilon)
    return State(weights=state.weights - change, first=first, second=second, power1=power1, power2=power2)


def moved(state: State, update: Floats) -> State:
    """Local mode: the opened update is added, and nothing else changes."""
    return State(
        weights=state.weights + update,
        first=state.first,
        second=state.second,
        power1=state.power1,
        power2=state.power2,
    )


def inputs_digest(weights: NDArray[np.float32], scaling: Standardiser | None) -> bytes:
    """SHA-256 over the labelled, length-prefixed canonical MessagePack of what an attempt started from, 32 bytes."""
    inputs = {"weights": weights.astype("<f4").tobytes(), "standardiser": None if scaling is None else scaling.raw}
    encoded = msgspec.msgpack.encode(inputs)
    hasher = hashlib.sha256()
    for part in (_INPUTS, encoded):
        hasher.update(len(part).to_bytes(8, "big") + part)
    return hasher.digest()
