"""Broken noise, which an audit has to notice. For audits only: an import rule keeps it out of everything else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp.mechanism import SumMechanism
from fedsec.keystream import KeyStream


class WithoutNoise(SumMechanism, frozen=True, kw_only=True):
    """A bank that adds nothing."""

    def add_noise(self, values: NDArray[np.int64], *, stream: KeyStream | None = None) -> NDArray[np.int64]:  # noqa: ARG002 (as its base has it)
        """``values`` as they are."""
        return values


class SaturatedAfterNoise(SumMechanism, frozen=True, kw_only=True):
    """A bank that saturates what it sends to ``limit`` grid units: after its noise, not before.

    Where its records' sum lies beyond, it sends the limit whatever its noise is: its share is lost, and the sum has
    less noise than was accounted for.
    """

    limit: int

    def add_noise(self, values: NDArray[np.int64], *, stream: KeyStream | None = None) -> NDArray[np.int64]:
        """``values`` with noise, each then within ``limit`` of 0."""
        return np.clip(super().add_noise(values, stream=stream), -self.limit, self.limit)


class EveryRecordEveryStep(SumMechanism, frozen=True, kw_only=True):
    """Local training that takes every record in every step, while its noise was accounted for batches by coins."""
