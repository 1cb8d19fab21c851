"""One audit run: training as `fedsec run` does it, with canaries, seen by an auditor who knows all but their coins.

What runs is the product: the plan's weights, clipped sums, grid, rounding, noise and optimiser. In distributed mode the
sum of the h honest banks is seen after every round, all other inputs being known; in local mode every noised step of
one bank is. Masks are left out: what is summed under them is opened exactly (docs/protocol.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from compliance.audit.canaries import CanarySum
from compliance.audit.setting import LIMIT, RECORDS, AuditSetting
from dp.mechanism import SumMechanism
from dp.training.local import local_train
from fedsec.keystream import KeyStream
from fl_engine.model import initial_weights
from fl_engine.optimiser import AdamState, adam_step, released_weights

FRAUDS = 0.1
Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What the banks of an audit run do: the plan's ``mechanism``, or a broken one.

    Attributes:
        limit: magnitude in grid units that a bank's input never exceeds, noise included; None: nothing saturates so.
            With one, all other banks' ballast lies beyond it at a canary's coordinate.
    """

    mechanism: SumMechanism
    limit: int | None = None


class _Watched(SumMechanism, frozen=True, kw_only=True):
    """``inner``, with what it makes known on record."""

    inner: SumMechanism
    seen: list[NDArray[np.int64]] = msgspec.field(default_factory=list)

    def add_noise(self, values: NDArray[np.int64], *, stream: KeyStream | None = None) -> NDArray[np.int64]:
        """As ``inner`` does."""
        noised = self.inner.add_noise(values, stream=stream)
        self.seen.append(noised)
        return noised


def limit_of(mechanism: SumMechanism) -> int:
    """The saturation that is a control, grid units: one that a bank without ballast never reaches."""
    return math.isqrt(round(LIMIT**2 * mechanism.share_variance))


def scores(setting: AuditSetting, variant: Variant, inside: NDArray[np.bool_]) -> Vector:
    """Train once with the canaries that ``inside`` marks; the evidence for each being in, float64 of its shape."""
    generator = np.random.default_rng()  # of invented records, which the auditor knows
    if setting.plan.local is not None:
        return _local(setting, variant, inside, generator)
    return _distributed(setting, variant, inside, generator)


def _distributed(
    setting: AuditSetting, variant: Variant, inside: NDArray[np.bool_], generator: np.random.Generator
) -> Vector:
    plan, planned = setting.plan, msgspec.structs.replace(setting.training, mechanism=variant.mechanism)
    scale, unit = variant.mechanism.grid_scale, variant.mechanism.clip * variant.mechanism.grid_scale
    coordinates = _coordinates(setting, generator)
    parts = np.array_split(np.arange(len(coordinates)), setting.shares)
    banks = [
        _Bank(setting, generator, coordinates[part], inside[part], heavy=variant.limit is not None) for part in parts
    ]
    state = AdamState.start(initial_weights(plan.model, plan.initial_seed).astype(np.float64))
    evidence = np.zeros(len(coordinates))
    for _ in range(planned.attempts):
        weights = released_weights(state)
        opened = np.zeros(planned.dimension, dtype=np.int64)
        known = np.zeros(planned.dimension)
        for bank in banks:
            opened += plan.released(planned, bank.sum(weights, bank.features, bank.labels, bank.include))
            part = bank.sum.known.pop() * scale
            known += part if variant.limit is None else np.clip(part, -variant.limit, variant.limit)
        evidence += setting.channel.evidence((opened - known)[coordinates] / unit)
        state = adam_step(state, plan.grid(planned).dequantise(opened) / plan.denominator, plan.optimiser)
    return evidence


def _local(
    setting: AuditSetting, variant: Variant, inside: NDArray[np.bool_], generator: np.random.Generator
) -> Vector:
    plan, local = setting.plan, setting.plan.local
    assert local is not None
    mechanism = variant.mechanism
    coordinates = _coordinates(setting, generator)
    bank = _Bank(setting, generator, coordinates, inside, heavy=False)
    fields = {name: getattr(mechanism, name) for name in SumMechanism.__struct_fields__}
    watched = _Watched(**fields, inner=mechanism)
    weights = initial_weights(plan.model, plan.initial_seed).astype(np.float64)
    evidence = np.zeros(len(coordinates))
    for _ in range(setting.training.attempts):
        weights = weights + local_train(
            bank.sum,
            weights,
            bank.features,
            bank.labels,
            include=bank.include,
            mechanism=watched,
            steps=local.steps,
            learning_rate=local.learning_rate,
        )
        for noised, known in zip(watched.seen, bank.sum.known, strict=True):
            seen = (noised / mechanism.grid_scale - known)[coordinates] / mechanism.clip
            evidence += setting.channel.evidence(seen)
        watched.seen.clear()
        bank.sum.known.clear()
    return evidence


class _Bank:
    """A bank of the audit: invented records, its canaries' slots, and slots for ballast."""

    def __init__(
        self,
        setting: AuditSetting,
        generator: np.random.Generator,
        coordinates: NDArray[np.int64],
        inside: NDArray[np.bool_],
        *,
        heavy: bool,
    ) -> None:
        plan, mechanism = setting.plan, setting.training.mechanism
        slots = plan.slots[0]
        self.features = np.zeros((slots, plan.model.inputs))
        self.features[:RECORDS] = generator.normal(size=(RECORDS, plan.model.inputs))
        self.labels = np.zeros(slots)
        self.labels[:RECORDS] = generator.random(RECORDS) < FRAUDS
        self.include = np.zeros(slots, dtype=np.bool_)
        self.include[:RECORDS] = True
        self.include[RECORDS : RECORDS + len(inside)] = inside
        ballast = np.zeros(mechanism.dimension)
        if heavy:
            ballast[:] = 1.0
            ballast[coordinates] = 0.0
            ballast *= setting.ballast * mechanism.clip / np.linalg.norm(ballast)
        self.sum = CanarySum(plan.model, mechanism=mechanism, records=RECORDS, coordinates=coordinates, ballast=ballast)


def _coordinates(setting: AuditSetting, generator: np.random.Generator) -> NDArray[np.int64]:
    """A coordinate for each canary, no two alike."""
    return generator.permutation(setting.training.mechanism.dimension)[: setting.canaries]
