"""Canaries: record slots whose clipped gradient is C along one coordinate of its own, in gradient space.

No record has such a gradient at every weight, but the guarantee holds for any records and any weights, so the mechanism
must hide them too; nothing can be seen better (Nasr et al. 2021, arXiv 2101.04535). A canary is summed where a
record's clipped gradient would be: after clipping, before rounding, noise and everything that follows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp.mechanism import SumMechanism
from dp.training.clipped_sum import ClippedGradientSum
from fedsec.keystream import KeyStream
from fl_engine.model import ModelSpec, record_loss


class CanarySum(ClippedGradientSum):
    """The clipped sum of a bank whose slots hold records, then canaries, then ballast.

    Args:
        model: the network that the records' gradients are of.
        mechanism: of the training sum.
        coordinates: int64, the coordinate of each canary; all different.
        ballast: float64 ``(d,)``, what the ballast's slots add: records that the auditor put there and knows.

    Attributes:
        known: of every call, what is in the sum beside canaries, float64 ``(d,)``; the auditor knows it.
    """

    def __init__(
        self,
        model: ModelSpec,
        *,
        mechanism: SumMechanism,
        records: int,
        coordinates: NDArray[np.int64],
        ballast: NDArray[np.float64],
    ) -> None:
        super().__init__(model.build(), record_loss, clip=mechanism.clip, micro_batch=records)
        self._canary = mechanism.clip
        self._records = records
        self._coordinates = coordinates
        self._ballast = ballast
        self.known: list[NDArray[np.float64]] = []

    def __call__(
        self,
        weights: NDArray[np.float64] | NDArray[np.float32],
        features: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64],
        labels: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64] | NDArray[np.bool_],
        include: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """The records' clipped sum as ever, C for each canary that ``include`` marks, and the ballast."""
        real = slice(self._records)
        known = super().__call__(weights, features[real], labels[real], include[real]) + self._ballast
        self.known.append(known)
        total = known.copy()
        drawn = include[self._records :][: len(self._coordinates)]
        total[self._coordinates[drawn]] += self._canary
        return total


def coins(count: int) -> NDArray[np.bool_]:
    """``count`` fair coins of the operating system, bool ``(count,)``."""
    return (KeyStream.from_os().words(count, np.uint64) >> np.uint64(63)).astype(np.bool_)
