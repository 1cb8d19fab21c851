"""The privacy statement of a run, from its plan and what was attempted: nothing else goes into it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from dp.accounting import epsilon, pld_epsilon
from dp.adversaries import adversary_bounds
from dp.events import Composed, DpEvent, Repeated
from dp.statement import (
    FORMAT,
    FRAMEWORK,
    AdversaryBound,
    CohortParameters,
    MechanismParameters,
    PrivacyStatement,
    Release,
)
from fl_engine import disclosures
from fl_engine.disclosures import DataOrigin, release_name
from fl_engine.plan import ENTITY, ETA, RECORD, Part, PlannedSum, TaskPlan
from fl_engine.records import RoundRecord

INTERRUPTED = "the run was interrupted; whether the sum was opened is not known"
CONSERVATIVE = 1.0  # this project's line: docs/privacy.md, "Whose line is ε ≤ 1"
ACCOUNTANT = "fedsec zCDP and Renyi accountant, version 1"
_CONVERSION = "conversion by Canonne, Kamath, Steinke 2020 (arXiv 2004.00010), Proposition 12"
THEOREMS = {
    "distributed": "sums of discrete Gaussians by Kairouz, Liu, Steinke 2021 (arXiv 2102.06387), proved again in "
    "docs/noise.md, section 4; adaptive Renyi composition (Mironov 2017); " + _CONVERSION,
    "local": "discrete Gaussian by Canonne, Kamath, Steinke 2020; Poisson sampling as proved in docs/noise.md, "
    "section 5; adaptive Renyi composition (Mironov 2017); " + _CONVERSION,
}
MECHANISMS = {
    RECORD: {
        "scaling": "clipped feature moments of the training records, rounded to a grid, plus discrete Gaussian noise",
        "training": "per-record gradients, clipped and summed, rounded to a grid, plus discrete Gaussian noise",
        "evaluation": "held-out records counted by class and score, plus discrete Gaussian noise",
    },
    ENTITY: {
        "scaling": "feature moments averaged over an entity's training records and clipped, rounded to a grid, plus "
        "discrete Gaussian noise",
        "training": "gradients averaged over an entity's records, clipped and summed, rounded to a grid, plus discrete "
        "Gaussian noise",
        "evaluation": "held-out records, of an entity a bounded number, counted by class and score, plus discrete "
        "Gaussian noise",
    },
}
PROTECTS = {
    RECORD: "Neighbouring data differ in one record, replaced by an empty slot. A person with several records is "
    "protected less: each record on its own.",
    ENTITY: "Neighbouring data differ in all rows of one entity at one bank, replaced by empty slots: whether it is a "
    "customer there, and all that its rows say. Of an entity at most {rows} count in a sum, chosen without looking at "
    "them. An entity with rows at k banks can move a sum k times as far and is protected less in that measure. Two "
    "versions of an entity's rows, with and without one of them, can be twice as far apart as either and empty slots.",
}
_VOIDS_BY_UNIT = {
    RECORD: (
        "several records of one person, where the person is to be protected: the unit is one record",
        "records edited between runs: an edited record tosses a new coin and may change its part of the split",
    ),
    ENTITY: (
        "one person under several names in the unit column, where the person is to be protected: each name is a unit",
        "entities renamed between runs: under another name an entity tosses a new coin and may change its part of the "
        "split",
    ),
}
_VOIDS = (
    "more than the stated number of corrupt banks, or a threshold of shares in one hand",
    "a bank that does not clip, or adds less noise than its share: nobody outside it can see that",
    "the same records in another data set or at another bank, charged to another account",
    "runs on the same records that were charged to another ledger",
    "a copy of the ledger rolled back, or one machine's state restored while a round was open",
)
SIMULATED = (
    "one process held every key of this run: it shows how banks would work together and protects none from its operator"
)


def privacy_statement(
    plan: TaskPlan,
    *,
    begun: Mapping[str, int],
    records: Sequence[RoundRecord],
    charged_to: Mapping[str, tuple[Part, ...]],
    brands: tuple[str, ...],
    outside_ledger: tuple[str, ...],
    origin: DataOrigin,
    key_exchange: str,
) -> PrivacyStatement:
    """What may be claimed of a run.

    Args:
        plan: as agreed.
        begun: attempts charged, by the sum's name.
        records: one per attempt.
        charged_to: split parts whose accounts paid, by the sum's name.
        brands: upper-case warnings.
        outside_ledger: releases that no account paid for; empty where there is none.
        origin: how the records came.
        key_exchange: of the run's sessions.

    Raises:
        IncompleteStatementError: something that the statement has to say is not known.
    """
    private = not plan.insecure_deterministic_noise
    opened = [record for record in records if record.status == "opened"]
    # A sum may have been opened in an attempt that was interrupted: by how many is then known by the plan alone.
    known = all(record.reason != INTERRUPTED for record in records)
    least = min((record.survivors for record in opened), default=plan.min_survivors) if known else plan.min_survivors
    spent = _epsilon(plan, begun) if private else None
    planned = {s.name: s.attempts for s in plan.sums}
    return PrivacyStatement(
        version=FORMAT,
        framework=FRAMEWORK,
        private=private,
        brands=brands,
        epsilon=spent,
        planned_epsilon=_epsilon(plan, planned) if private else None,
        delta=plan.delta,
        eta=ETA,  # the cap that every epsilon here is computed with, not the smaller sum: it can be recomputed
        unit=RECORD if plan.unit_rows is None else ENTITY,
        unit_rows=plan.unit_rows,
        protects=PROTECTS[plan.unit].format(rows="1 row" if plan.unit_rows == 1 else f"{plan.unit_rows} rows"),
        neighbours="zero-out",
        mode=plan.mode,
        query_model=disclosures.QUERY_MODEL,
        adversaries=_bounds(plan, begun, least),
        accountant=ACCOUNTANT,
        theorem=THEOREMS[plan.mode],
        proofs=disclosures.proofs(plan),
        cross_checks=_cross_checks(plan, begun) if private else {},
        cohort=CohortParameters(
            clients=plan.clients,
            corrupt=plan.corrupt,
            threshold=plan.threshold,
            honest_inputs=plan.honest_inputs,
            min_survivors=plan.min_survivors,
        ),
        parameters=tuple(_parameters(planned_sum) for planned_sum in plan.sums),
        slots=sum(plan.slots),
        releases=tuple(
            Release(
                name=release_name(s),
                account=s.part,
                charged_to=charged_to[s.name],
                mechanism=MECHANISMS[plan.unit][s.name],
                event=s.event(),
                planned=s.attempts,
                opened=sum(record.release == s.name for record in opened),
                charged=begun[s.name],
            )
            for s in plan.sums
        ),
        preparation=disclosures.preparation(plan, origin),
        sampling=disclosures.sampling(plan),
        noise=disclosures.noise(plan),
        floating_point=disclosures.floating_point(plan),
        side_channels=disclosures.SIDE_CHANNELS,
        key_exchange=key_exchange,  # type: ignore[arg-type]  # the statement checks that it is one of the two
        constants=disclosures.constants(plan),
        data_exposure=disclosures.data_exposure(plan, origin),
        bias=disclosures.BIAS,
        noise_against_banks=_noise_against_banks(plan, least),
        outside_ledger=outside_ledger,
        voids=(SIMULATED, *voids(plan.unit)),
        conservative=spent is not None and spent <= CONSERVATIVE,
    )


def voids(unit: str) -> tuple[str, ...]:
    """What would void a claim for units of this kind, beyond what holds for simulated keys."""
    return (*_VOIDS[:2], *_VOIDS_BY_UNIT[unit], *_VOIDS[2:])


def _parts(plan: TaskPlan) -> set[str]:
    return {s.part for s in plan.sums}


def _spent_event(plan: TaskPlan, begun: Mapping[str, int], part: str, shares: int | None) -> DpEvent:
    sums = [s for s in plan.sums if s.part == part]
    return Composed(events=tuple(Repeated(count=begun[s.name], event=s.event(shares)) for s in sums))


def _bounds(plan: TaskPlan, begun: Mapping[str, int], survivors: int) -> tuple[AdversaryBound, ...]:
    """What holds against each adversary, at least ``survivors`` inputs being in every opened sum."""
    bounds = adversary_bounds(
        lambda shares: [_spent_event(plan, begun, part, shares) for part in _parts(plan)],
        mode=plan.mode,
        corrupt=plan.corrupt,
        honest_inputs=plan.honest_inputs,
        min_survivors=survivors,
        delta=plan.delta,
        eta=ETA,
    )
    if plan.insecure_deterministic_noise:  # whoever knows the seed takes the noise off
        return tuple(msgspec.structs.replace(bound, epsilon=None) for bound in bounds)
    return bounds


def _epsilon(plan: TaskPlan, begun: Mapping[str, int]) -> float:
    """The larger of what the split parts' accounts spent: a record, or an entity, is in one part only."""
    return max(epsilon(_spent_event(plan, begun, part, None), plan.delta, ETA) for part in _parts(plan))


def _cross_checks(plan: TaskPlan, begun: Mapping[str, int]) -> dict[str, float]:
    """Google's PLD accountant on the continuous analogue; information only.

    It cuts off about 1e-15 of probability, so at a smaller delta it knows no finite epsilon, and is left out.
    """
    value = max(pld_epsilon(_spent_event(plan, begun, part, None), plan.delta) for part in _parts(plan))
    return {"PLD": value} if math.isfinite(value) else {}


def _parameters(planned: PlannedSum) -> MechanismParameters:
    mechanism = planned.mechanism
    return MechanismParameters(
        name=release_name(planned),
        noise_multiplier=mechanism.noise_multiplier,
        sampling_rate=mechanism.sampling_rate,
        clip=mechanism.clip,
        grid_scale=mechanism.grid_scale,
        sensitivity=mechanism.sensitivity,
        share_variance=float(mechanism.share_variance),
        dimension=mechanism.dimension,
        saturation=mechanism.saturation,
        noise_bound=mechanism.noise_bound,
        ring_bits=planned.ring_bits,
    )


def _noise_against_banks(plan: TaskPlan, survivors: int) -> str:
    """How the noise in a round compares with what a whole bank contributes: banks are not protected as units."""
    training = plan.sum("training")
    mean = sum(plan.slots) // plan.clients
    held = f"records, {mean:,} on average, can add up to one clip each"
    if plan.unit_rows is not None:
        held = f"entities, together {mean:,} records on average, can add up to one clip each"
    if plan.mode == "local":
        deviation = training.mechanism.noise_multiplier
        return (
            f"Banks are not protected as units: a bank adds noise of {deviation:.1f} clips a coordinate "
            f"to each of its steps, while its {held}."
        )
    deviation = plan.noise_deviation(training, survivors)
    return (
        f"Banks are not protected as units: the noise of a round has a standard deviation of {deviation:.1f} clips "
        f"a coordinate, while a bank's {held}."
    )
