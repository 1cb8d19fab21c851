"""Invented records to attack. None is real: what leaks here is nobody's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.setting import Setting
from dp.training.clipped_sum import ClippedGradientSum
from fl_engine.data.features import encode
from fl_engine.data.roles import column_named, read_labels
from fl_engine.data.synthetic import SYNTHETIC_LABEL, SYNTHETIC_SCHEMA, synthetic_columns
from fl_engine.model import ModelSpec, flatten, record_loss
from fl_engine.scaling import Standardiser, moment_sum

SEED = 20_190_621
ROWS = 12_000
FRAUD_RATE = 0.02
_UNCLIPPED = 2.0**100
_SCALING_CLIP = 8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """``features`` float64 ``(N, inputs)``, standardised; ``labels`` float64 ``(N,)``, 1 = fraud, both occur."""

    features: NDArray[np.float64]
    labels: NDArray[np.float64]

    def of(self, label: int, count: int) -> NDArray[np.float64]:
        """The first ``count`` records with that label."""
        chosen: NDArray[np.float64] = self.features[self.labels == label][:count]
        return chosen


def invented_records(setting: Setting, rows: int = ROWS, *, seed: int = SEED) -> Records:
    """``rows`` invented payments; of the same kind as ``fedsec run`` invents where the model takes such inputs."""
    if (setting.model.inputs, setting.numeric_width) == (SYNTHETIC_SCHEMA.width, SYNTHETIC_SCHEMA.numeric_width):
        return _payments(setting, rows, seed)
    generator = np.random.default_rng(seed)
    labels = generator.random(rows) < FRAUD_RATE
    labels[:2] = (True, False)
    features = generator.normal(size=(rows, setting.model.inputs))
    features[:, setting.numeric_width :] = features[:, setting.numeric_width :] > 1  # categories: 0 or 1
    features[labels] += 1.5 * generator.choice((-1.0, 0.0, 1.0), setting.model.inputs)
    return Records(features=features, labels=labels.astype(np.float64))


def update(
    setting: Setting,
    weights: NDArray[np.float32],
    features: NDArray[np.float64],
    labels: NDArray[np.float64],
    *,
    clipped: bool,
) -> NDArray[np.float64]:
    """What a bank with these records computes in a round, float64 ``(d,)``: fedsec's clipped sum, or a plain one."""
    gradient = _gradient(setting.model, setting.clip if clipped else _UNCLIPPED, min(len(labels), 1024))
    return gradient(weights, features, labels, np.ones(len(labels), dtype=np.bool_))


def counting_weights(setting: Setting, *, bias: float = -40.0) -> NDArray[np.float32]:
    """Weights that a dishonest server may send: every record's gradient says its label, and nothing else.

    All weights are 0 but the output's ``bias``, so every score is the same; at -40 it is 0, and a record adds -1 to
    one coordinate if it is a fraud, and nothing otherwise. Where the clip lets more through, or the bias is 0 and less
    would come, the last hidden layer is saturated, which repeats that in each of its units.
    """
    tensors = {name: np.zeros(shape) for name, shape in setting.model.shapes.items()}
    tensors["output.bias"] += bias
    if setting.clip > 1 or bias == 0:
        tensors[f"hidden_{len(setting.model.hidden)}.bias"] += 40.0
    return flatten(setting.model, tensors)


def telling_weights(setting: Setting, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights of the same kind, under which two frauds ``(inputs,)`` contribute the opposite of each other.

    Every unit of every hidden layer is saturated by which side of the plane halfway between the two a record is on, and
    the gradient of the output's weights, scores being 0, is minus the last layer. Only the output's bias tells nothing.
    """
    tensors = {name: np.zeros(shape) for name, shape in setting.model.shapes.items()}
    across = one - other
    across = across * (80.0 / max(float(across @ across), np.finfo(np.float64).tiny))
    tensors["hidden_1.weight"] += across
    tensors["hidden_1.bias"] -= float(across @ (one + other)) / 2
    for number in range(2, len(setting.model.hidden) + 1):
        tensors[f"hidden_{number}.weight"][:, 0] = 40.0
    tensors["output.bias"] -= 40.0
    return flatten(setting.model, tensors)


@lru_cache(maxsize=8)
def _gradient(model: ModelSpec, clip: float, rows: int) -> ClippedGradientSum:
    """Kept, as making one takes longer than using it on a record."""
    return ClippedGradientSum(model.build(), record_loss, clip=clip, micro_batch=rows)


def _payments(setting: Setting, rows: int, seed: int) -> Records:
    columns, _ = synthetic_columns(banks=5, rows=rows, seed=seed, min_rows=1)
    features = encode(columns, SYNTHETIC_SCHEMA)
    moments = moment_sum(features[:, : setting.numeric_width], np.ones(rows, dtype=np.bool_), clip=_SCALING_CLIP)
    labels = read_labels(column_named(columns, SYNTHETIC_LABEL))
    return Records(features=Standardiser.from_moments(moments).apply(features), labels=labels.astype(np.float64))
