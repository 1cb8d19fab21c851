"""The privacy statement of a run: never a bare epsilon, always whose, against whom, of what unit, by which theorem."""

from __future__ import annotations

import msgspec

from dp.events import DpEvent


class AdversaryBound(msgspec.Struct, frozen=True, kw_only=True):
    """What the guarantee is against one adversary.

    Attributes:
        name: stable short name: "released-model", "colluding-banks", "server-and-banks" or "everyone-else".
        sees: one sentence, what this adversary observes.
        shares: how many noise shares count against it.
        epsilon: the bound at the statement's delta; ``inf`` never appears, ``None`` means no guarantee.
        target: whether this is the adversary that ``--epsilon`` was calibrated for.
    """

    name: str
    sees: str
    shares: int
    epsilon: float | None
    target: bool = False


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what left the banks and which account paid.

    Attributes:
        name: "scaling", "training" or "evaluation".
        account: the split part whose records it reads.
        charged_to: the parts whose accounts paid: both, where the data were split otherwise before.
        mechanism: one sentence.
        event: a single opening; ``planned`` of them were reserved, ``opened`` gave a sum, ``charged`` were paid for.
    """

    name: str
    account: str
    charged_to: tuple[str, ...]
    mechanism: str
    event: DpEvent
    planned: int
    opened: int
    charged: int


class MechanismParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Originals from which a third party repeats the conversion, for one release.

    Attributes:
        name: of the release that they belong to.
        noise_multiplier: z, ratio of the counted noise's standard deviation to the sensitivity.
        sampling_rate: q; 1.0 for full batches.
        clip: C, L2 bound of one unit's contribution before scaling.
        grid_scale: s, grid units per unit.
        sensitivity: Delta on the grid, after rounding.
        share_variance: sigma^2 of a bank's noise share, grid units squared.
        dimension: length of the vector.
        saturation: M_x; noise_bound: T_e; ring_bits: b.
    """

    name: str
    noise_multiplier: float
    sampling_rate: float
    clip: float
    grid_scale: float
    sensitivity: float
    share_variance: float
    dimension: int
    saturation: int
    noise_bound: int
    ring_bits: int


class CohortParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Who took part: n, c, t, h of docs/protocol.md, and the enforced minimum of survivors."""

    clients: int
    corrupt: int
    threshold: int
    honest_inputs: int
    min_survivors: int


class PrivacyStatement(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``privacy.json`` holds and that every shown epsilon is accompanied by.

    Attributes:
        private: False where the run is branded NOT PRIVATE.
        brands: upper-case warnings, e.g. "SIMULATED KEYS".
        epsilon: what this run spent (the larger of its accounts), against the target adversary, at ``delta``; holds
            only where ``private``.
        planned_epsilon: what was reserved for it before anything was released; never exceeded.
        delta: of every epsilon here.
        eta: at least the summed statistical distance of the sampler and cut tails; enters every epsilon here as
            delta + (1 + e^epsilon) * eta.
        unit: "record" or "entity at one bank".
        unit_rows: m, the most rows of an entity that count in a sum; None where the unit is a record.
        protects: one or more sentences, what neighbouring data differ in and what follows for a person.
        neighbours: the neighbouring relation, "zero-out".
        mode: "distributed" or "local".
        adversaries: one bound each.
        accountant: name and version; theorem: source of the headline bound.
        cross_checks: other accountants' epsilon for the continuous analogue, by name; information only.
        parameters: originals for each release; slots: declared record slots over all banks.
        noise_against_banks: sentence with the noise's standard deviation beside bank sizes: banks are not protected.
        outside_ledger: releases that no account paid for, each one sentence; empty if none.
        voids: what would void the claim, each one sentence.
        conservative: whether epsilon <= 1, which this project calls conservative.
    """

    version: int = 1
    private: bool
    brands: tuple[str, ...]
    epsilon: float
    planned_epsilon: float
    delta: float
    eta: float
    unit: str
    unit_rows: int | None
    protects: str
    neighbours: str
    mode: str
    adversaries: tuple[AdversaryBound, ...]
    accountant: str
    theorem: str
    cross_checks: dict[str, float]
    cohort: CohortParameters
    parameters: tuple[MechanismParameters, ...]
    slots: int
    releases: tuple[Release, ...]
    noise_against_banks: str
    outside_ledger: tuple[str, ...]
    voids: tuple[str, ...]
    conservative: bool
