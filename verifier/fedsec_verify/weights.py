"""The model before round 1: docs/optimiser.md, "Initial weights". Nothing here depends on a record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

OUTPUT_BIAS = -3.0
_LABEL = b"fedsec/v1/initial-weights"


def initial_weights(inputs: int, hidden: Sequence[int], seed: int) -> NDArray[np.float32]:
    """The flat vector float32 ``(d,)`` of a perceptron with ``inputs`` features, ``hidden`` layers and one logit."""
    key = hashlib.sha256(_LABEL + str(seed).encode("ascii")).digest()
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    parts = []
    for fan_in, fan_out in pairwise((inputs, *hidden, 1)):
        words = np.frombuffer(stream.update(bytes(4 * fan_in * fan_out)), "<u4").astype(np.float64)
        parts += [((words + 0.5) / 2.0**31 - 1.0) * math.sqrt(3.0 / fan_in), np.zeros(fan_out)]
    parts[-1] = np.full(1, OUTPUT_BIAS)
    return np.concatenate(parts).astype(np.float32)


def tensor_shapes(inputs: int, hidden: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released tensors, in the order of the flat vector."""
    names = [*(f"hidden_{number}" for number in range(1, len(hidden) + 1)), "output"]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (fan_in, fan_out) in zip(names, pairwise((inputs, *hidden, 1)), strict=True):
        shapes[f"{name}.weight"] = (fan_out, fan_in)
        shapes[f"{name}.bias"] = (fan_out,)
    return shapes
