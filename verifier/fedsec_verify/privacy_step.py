"""Step 15: whatever privacy.json says in figures and fixed words follows from plan, attempts and ledger.

Its sentences (what an adversary sees, what would void the claim) are the run's word; the epsilons are step 14's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fedsec_verify.bundle import Bundle, Options
from fedsec_verify.epsilon_step import shares_by_adversary, worst
from fedsec_verify.findings import require
from fedsec_verify.formats import Plan, PlannedSum
from fedsec_verify.ledger_steps import OWN_DATA, attempts_by_sum, ledger_of
from fedsec_verify.noise import noise_bound, share_variance
from fedsec_verify.planned import ETA, attempt_event, single_sum
from fedsec_verify.policy import KEY_EXCHANGE
from fedsec_verify.results import PRIVACY, Constant, Privacy, privacy_of, summary_of
from fedsec_verify.steps import RECOMPUTED, Outcome

NOT_PRIVATE = "NOT PRIVATE"
RECORD, ENTITY = "record", "entity at one bank"
CONSERVATIVE = 1.0
STANDARD_DEVIATIONS = 12


def check_privacy_statement(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Parameters, unit, cohort, releases and brands equal the plan's, the attempts' and the ledger's."""
    plan, privacy, statement = bundle.plan, privacy_of(bundle), bundle.statement
    private = not plan.insecure_deterministic_noise
    counts = attempts_by_sum(bundle)
    spent = worst(plan, counts)
    expected: dict[str, Any] = {
        "private": private,
        "brands": statement.brands,
        "delta": plan.delta,
        "eta": ETA,
        "unit": RECORD if plan.unit_rows is None else ENTITY,
        "unit_rows": plan.unit_rows,
        "neighbours": "zero-out",
        "mode": plan.mode,
        "slots": sum(plan.slots),
        "key_exchange": KEY_EXCHANGE,
        "conservative": private and spent <= CONSERVATIVE,
    }
    for name, value in expected.items():
        found = getattr(privacy, name)
        require(found == value, PRIVACY, f"{name}: {value!r}", repr(found))
    branded = NOT_PRIVATE in statement.brands
    require(branded != private, PRIVACY, f"the brand {NOT_PRIVATE} exactly where the noise can be taken off")
    _check_cohort(plan, privacy)
    _check_parameters(plan, privacy)
    _check_releases(bundle, privacy, counts)
    _check_training(bundle, privacy)
    _check_constants(plan, privacy)
    exposed = plan.bins == 0
    require(
        bool(privacy.outside_ledger) or not exposed,
        PRIVACY,
        "the public evaluation among the releases outside the ledger",
    )
    require({proof.release for proof in privacy.proofs} == set(counts), PRIVACY, "proofs for each release")
    return Outcome(
        kind=RECOMPUTED,
        detail=f"unit {privacy.unit}, {len(privacy.parameters)} mechanisms, {len(privacy.outside_ledger)} releases "
        "outside the ledger; the sentences are the run's word",
    )


def _check_cohort(plan: Plan, privacy: Privacy) -> None:
    found = msgspec.structs.asdict(privacy.cohort)
    expected = {
        "clients": plan.clients,
        "corrupt": plan.corrupt,
        "threshold": plan.threshold,
        "honest_inputs": plan.threshold - plan.corrupt,
        "min_survivors": plan.min_survivors,
    }
    require(found == expected, PRIVACY, f"the plan's cohort {expected}", str(found))


def _check_parameters(plan: Plan, privacy: Privacy) -> None:
    names = [line.name for line in privacy.parameters]
    expected_names = [planned.name for planned in plan.sums]
    require(names == expected_names, PRIVACY, f"parameters of {', '.join(expected_names)}", ", ".join(names))
    for line, planned in zip(privacy.parameters, plan.sums, strict=True):
        for name, value in _parameters(planned).items():
            found = getattr(line, name)
            require(found == value, PRIVACY, f"{line.name}'s {name}: {value!r}", repr(found))


def _parameters(planned: PlannedSum) -> dict[str, Any]:
    mechanism = planned.mechanism
    single = single_sum(planned)
    return {
        "noise_multiplier": mechanism.noise_multiplier,
        "sampling_rate": mechanism.sampling_rate,
        "clip": mechanism.clip,
        "grid_scale": mechanism.grid_scale,
        "sensitivity": single.sensitivity,
        "share_variance": single.share_variance,
        "dimension": mechanism.dimension,
        "saturation": mechanism.saturation,
        "noise_bound": noise_bound(share_variance(mechanism)),
        "ring_bits": planned.ring_bits,
    }


def _check_releases(bundle: Bundle, privacy: Privacy, counts: dict[str, int]) -> None:
    plan, ledger = bundle.plan, ledger_of(bundle)
    charges = ledger.runs[plan.task].reserved.charges
    names = [line.name for line in privacy.releases]
    require(names == list(counts), PRIVACY, f"releases {', '.join(counts)}", ", ".join(names))
    for line, planned in zip(privacy.releases, plan.sums, strict=True):
        opened = sum(a.release == line.name and a.status == "opened" for a in bundle.statement.attempts)
        expected = {
            "account": planned.part,
            "charged_to": tuple(charge.account.part for charge in charges if charge.release == line.name),
            "event": attempt_event(planned),
            "planned": planned.attempts,
            "opened": opened,
            "charged": counts[line.name],
        }
        for name, value in expected.items():
            found = getattr(line, name)
            require(found == value, PRIVACY, f"{line.name}'s {name}: {value!r}", repr(found))


def _check_training(bundle: Bundle, privacy: Privacy) -> None:
    """Sampling, noise and the sentence on whole banks, as far as they are figures."""
    plan = bundle.plan
    training = next(planned for planned in plan.sums if planned.name == "training")
    rate = training.mechanism.sampling_rate
    sampling = (privacy.sampling.scheme, privacy.sampling.rate, privacy.sampling.amplification)
    expected = ("full batches", 1.0, False) if rate == 1 else ("Poisson batches", rate, True)
    require(sampling == expected, PRIVACY, f"sampling {expected}", str(sampling))
    noise = (privacy.noise.repeatable, privacy.noise.cut)
    drawn = (plan.insecure_deterministic_noise, float(STANDARD_DEVIATIONS))
    require(noise == drawn, PRIVACY, f"noise repeatable and cut: {drawn}", str(noise))
    deviation = training.mechanism.noise_multiplier
    if plan.mode == "distributed":
        least = shares_by_adversary(bundle)["released-model"]
        deviation = (share_variance(training.mechanism) * least) ** 0.5 / training.mechanism.grid_scale
    told = f"{deviation:.1f} clips" in privacy.noise_against_banks
    require(told, PRIVACY, f"noise against banks of {deviation:.1f} clips", privacy.noise_against_banks)
    own = summary_of(bundle).dataset == OWN_DATA
    invented = "invented" in privacy.data_exposure.get("records", "")
    require(invented != own, PRIVACY, "records invented exactly where summary.json says that the data are synthetic")


def _check_constants(plan: Plan, privacy: Privacy) -> None:
    found: dict[str, Constant] = {constant.name: constant for constant in privacy.constants}
    rate = plan.optimiser.learning_rate if plan.local is None else plan.local.learning_rate
    training = next(planned for planned in plan.sums if planned.name == "training")
    expected: dict[str, float | str] = {
        "rounds": float(plan.rounds),
        "learning rate": rate,
        "clip": training.mechanism.clip,
        "layers of the network and their initial bias": " – ".join(
            str(width) for width in (plan.model.inputs, *plan.model.hidden, 1)
        ),
        "target ε": plan.epsilon,
        "share of the records that is held out": plan.holdout,
    }
    for name, value in expected.items():
        constant = found.get(name)
        same = constant is not None and constant.value == value
        require(same, PRIVACY, f"the constant {name!r}: {value}", "none" if constant is None else str(constant.value))
