"""The plan of a task: everything public that banks agree to once, before anything private is touched.

A plan fixes every sum that may ever be opened in the task, how often, and with which noise. Its length in attempts is
reserved in the ledger as a whole; the configuration of every secure-aggregation session is a function of the plan and
the attempt's number, so a bank recomputes it and refuses anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from dp.accounting import epsilon as spent_epsilon
from dp.events import Composed, DpEvent, Repeated
from dp.mechanism import SumMechanism, eta
from fedsec.keystream import KeyStream
from fl_engine.model import ModelSpec
from fl_engine.optimiser import AdamParameters
from secagg.config import PrivacyParameters, QuantiserParameters, SessionConfig
from secagg.quantiser import Quantiser

STEP_TIMEOUT_SECONDS = 60

ETA = 2.0**-60  # cap on the task's statistical distance from ideal noise; calibrated with, then checked

PLAN_CONTEXT = b"fedsec/v1/plan"
Mode = Literal["distributed", "local"]
Part = Literal["train", "holdout"]
TRAINING: Final = "train"
HOLDOUT: Final = "holdout"
RECORD: Final = "record"
ENTITY: Final = "entity at one bank"


class PlannedSum(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of sum that the task may open.

    Attributes:
        name: "scaling", "training" or "evaluation".
        part: split part whose account pays, "train" or "holdout".
        mechanism: noise and sensitivity of what is noised: the sum itself, or in local mode one training step.
        openings_per_attempt: how often the mechanism runs in an attempt (local mode: steps of a round).
        attempts: how many are reserved, spares and tries included.
        quantiser, dimension, ring_bits: of the vector that is masked.
        noised: whether a noise share is added to the vector before masking; false where the vector is private already.
    """

    name: str
    part: Part
    mechanism: SumMechanism
    openings_per_attempt: int
    attempts: int
    quantiser: QuantiserParameters
    dimension: int
    ring_bits: int
    noised: bool

    def event(self, shares: int | None = None) -> DpEvent:
        """What one attempt releases, if ``shares`` noise shares (default: those surely present) count."""
        return Repeated(count=self.openings_per_attempt, event=self.mechanism.event(shares))


class LocalTraining(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bank's part of a round in local mode: ``steps`` of Adam on Poisson batches of rate q, public constants all."""

    steps: int
    learning_rate: float


class TaskPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole task; signed by the coordinator, checked by each bank against its policy before round 0.

    Attributes:
        task: identifier of the run.
        slots: declared record slots of each bank, by index.
        rounds: opened training rounds aimed at.
        denominator: public constant that a gradient sum is divided by (records, > 0).
        bins: of each class's score histogram; 0 where evaluation is public.
        local: present in local mode.
        unit_rows: m, the most rows of an entity that count, where the unit is an entity at one bank; None: a record.
        insecure_deterministic_noise: every coin follows from ``initial_seed``, for debugging: NOT PRIVATE.
    """

    version: int = 1
    task: str
    mode: Mode
    epsilon: float
    delta: float
    clients: int
    corrupt: int
    threshold: int
    min_survivors: int
    slots: tuple[int, ...]
    numeric_width: int
    holdout: float
    model: ModelSpec
    initial_seed: int
    rounds: int
    optimiser: AdamParameters
    denominator: float
    bins: int
    local: LocalTraining | None
    unit_rows: int | None
    sums: tuple[PlannedSum, ...]
    insecure_deterministic_noise: bool = False

    def sum(self, name: str) -> PlannedSum:
        """The planned sum of that name."""
        return next(planned for planned in self.sums if planned.name == name)

    @property
    def unit(self) -> str:
        """Whose contribution the guarantee hides: "record" or "entity at one bank"."""
        return RECORD if self.unit_rows is None else ENTITY

    @property
    def honest_inputs(self) -> int:
        """h = t - c, the least number of honest inputs in a sum that is ever opened."""
        return self.threshold - self.corrupt

    def first_attempt(self, name: str) -> int:
        """Number of the first attempt of the sum ``name``: attempts are numbered over the task, sum after sum."""
        names = [s.name for s in self.sums]
        return sum(s.attempts for s in self.sums[: names.index(name)])

    def attempt(self, number: int) -> tuple[PlannedSum, int] | None:
        """Which sum the attempt ``number`` is for, and its ordinal in it from 0; None if there is none."""
        for planned in self.sums:
            ordinal = number - self.first_attempt(planned.name)
            if 0 <= ordinal < planned.attempts:
                return planned, ordinal
        return None

    def account_event(self, part: str, shares: int | None = None) -> DpEvent:
        """Everything reserved for a split part's account."""
        return Composed(
            events=tuple(Repeated(count=s.attempts, event=s.event(shares)) for s in self.sums if s.part == part)
        )

    @property
    def eta(self) -> float:
        """Statistical distance of all draws of the task from the ideal noise, all banks and attempts."""
        return math.fsum(
            eta(s.mechanism, openings=s.attempts * s.openings_per_attempt, banks=self.clients) for s in self.sums
        )

    def planned_epsilon(self, part: str) -> float:
        """What the part's account is asked for, at the plan's delta, against the server with c banks."""
        return spent_epsilon(self.account_event(part), self.delta, ETA)

    def spent_epsilon(self, part: str, begun: Mapping[str, int]) -> float:
        """What the part's account has spent once ``begun`` attempts of each sum, by its name, were made."""
        sums = [planned for planned in self.sums if planned.part == part]
        event = Composed(events=tuple(Repeated(count=begun[s.name], event=s.event()) for s in sums))
        return spent_epsilon(event, self.delta, ETA)

    def grid(self, planned: PlannedSum) -> Quantiser:
        """The integer grid of a planned sum."""
        return Quantiser(
            scale=planned.quantiser.scale,
            saturation=planned.quantiser.saturation,
            noise_bound=planned.quantiser.noise_bound,
            clients=self.clients,
            ring_bits=planned.ring_bits,
        )

    def released(
        self, planned: PlannedSum, values: NDArray[np.float64], *, coins: KeyStream | None = None
    ) -> NDArray[np.int64]:
        """What a bank masks for ``planned``, int64 ``(d,)``: its vector on the grid, with its share of the noise.

        ``coins`` are for debugging; the operating system's where they are left out.
        """
        grid = self.grid(planned).quantise(values, stream=coins)
        return planned.mechanism.add_noise(grid, stream=coins) if planned.noised else grid

    def noise_deviation(self, planned: PlannedSum, survivors: int) -> float:
        """Standard deviation of the noise in an opened sum of ``survivors`` inputs, in the quantiser's units."""
        return math.sqrt(planned.mechanism.share_variance * survivors) / planned.mechanism.grid_scale

    def within_budget(self) -> bool:
        """Whether every account's reservation, recomputed, stays within the plan's own epsilon and eta."""
        parts = {planned.part for planned in self.sums}
        return self.eta <= ETA and all(self.planned_epsilon(part) <= self.epsilon for part in parts)

    def session(self, planned: PlannedSum, attempt: int, roster_digest: bytes) -> SessionConfig:
        """The session in which the attempt of that number opens ``planned``."""
        mechanism = planned.mechanism
        return SessionConfig(
            task=self.task,
            purpose=planned.name,
            round=attempt,
            dimension=planned.dimension,
            ring_bits=planned.ring_bits,
            quantiser=planned.quantiser,
            privacy=PrivacyParameters(
                mode=self.mode,
                clip=mechanism.clip,
                noise_multiplier=mechanism.noise_multiplier,
                sensitivity=mechanism.sensitivity,
                share_variance=float(mechanism.share_variance),
                honest_inputs=mechanism.honest_inputs,
            ),
            clients=self.clients,
            threshold=self.threshold,
            corrupt=self.corrupt,
            min_survivors=self.min_survivors,
            roster_digest=roster_digest,
            step_timeout_seconds=STEP_TIMEOUT_SECONDS,
        )
