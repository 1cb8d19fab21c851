"""Step 4: the plan is the coordinator's, its cohort keeps sums closed to a minority, and no session departs from it.

The rules are those of docs/protocol.md ("Identities and configuration", "Graphs", "Numbers"); those of the noise are in
:mod:`fedsec_verify.noise`.
"""

from __future__ import annotations

import math

import msgspec

from fedsec_verify.bundle import PLAN, STATEMENT, Broken, Bundle, Options
from fedsec_verify.findings import require
from fedsec_verify.formats import Plan, PlannedSum
from fedsec_verify.hashing import PLAN as PLAN_LABEL
from fedsec_verify.hashing import is_signed, sha256
from fedsec_verify.noise import check_sum, sensitivity, share_variance
from fedsec_verify.steps import RECOMPUTED, Outcome

NOT_PRIVATE = "NOT PRIVATE"
KEY_EXCHANGE = "x25519+ml-kem-768"
STEP_TIMEOUT_SECONDS = 60
ETA = 2.0**-60


def check_policy(bundle: Bundle, _: Options) -> Outcome:
    """Step 4: plan, cohort, noise shares and sessions."""
    statement, data, plan = bundle.statement, bundle.plan_bytes, bundle.plan
    require(sha256(data) == statement.plan.sha256, PLAN, f"a file of SHA-256 {statement.plan.sha256[:16]}…")
    signature = bytes.fromhex(statement.plan.signature)
    require(
        is_signed(bundle.coordinator, signature, PLAN_LABEL, data), STATEMENT, "the coordinator's signature on the plan"
    )
    require(plan.task == statement.run, PLAN, f"the plan of the run {statement.run}", plan.task)
    require(plan.clients == len(bundle.banks) == len(plan.slots), PLAN, f"a plan for {len(bundle.banks)} banks")
    slots = sum(plan.slots)  # Adam hardly feels another denominator, so that step 9 need not find it
    require(
        plan.denominator == slots, PLAN, f"the slots of all banks, {slots}, as denominator", f"{plan.denominator:g}"
    )
    _check_cohort(plan)
    names = [planned.name for planned in plan.sums]
    require(len(set(names)) == len(names), PLAN, "no sum twice")
    for planned in plan.sums:
        check_sum(plan, planned)
    require(statement.delta == plan.delta and 0 < plan.delta < 1, STATEMENT, f"the plan's δ {plan.delta:g}")
    require(0 < plan.epsilon < math.inf, PLAN, "an ε above 0")
    require(0 < statement.eta <= ETA, STATEMENT, "an η of at most 2^-60")
    require(
        statement.private is not plan.insecure_deterministic_noise,
        STATEMENT,
        "private, unless the noise is deterministic",
    )
    require(
        statement.private is not (NOT_PRIVATE in statement.brands), STATEMENT, f"the brand {NOT_PRIVATE} exactly if so"
    )
    _check_sessions(bundle)
    h = plan.threshold - plan.corrupt
    return Outcome(
        kind=RECOMPUTED,
        detail=f"n = {plan.clients}, c = {plan.corrupt}, t = {plan.threshold}, h = {h}; "
        + ("private" if statement.private else "branded NOT PRIVATE"),
    )


def _check_cohort(plan: Plan) -> None:
    n, c, t, m = plan.clients, plan.corrupt, plan.threshold, plan.min_survivors
    require(n >= 5, PLAN, "at least 5 banks", str(n))
    require(2 * t > n + c, PLAN, "a threshold with 2t > n + c", f"n = {n}, c = {c}, t = {t}")
    require(t <= m <= n, PLAN, "t <= minimum of survivors <= n", f"t = {t}, minimum {m}, n = {n}")
    require(t - c >= 2, PLAN, "h = t - c of at least 2", str(t - c))


def attempt_of(plan: Plan, number: int) -> PlannedSum | None:
    """The sum that the attempt of that number is for; attempts are numbered over the task, sum after sum."""
    first = 0
    for planned in plan.sums:
        if first <= number < first + planned.attempts:
            return planned
        first += planned.attempts
    return None


def _check_sessions(bundle: Bundle) -> None:
    """Every session is the one that plan, roster and attempt's number prescribe, byte by byte."""
    roster = bytes.fromhex(bundle.statement.roster)
    for attempt in bundle.attempts:
        line = attempt.line
        planned = attempt_of(bundle.plan, line.attempt)
        require(planned is not None, STATEMENT, "attempts that the plan reserves", str(line.attempt))
        assert planned is not None
        require(
            planned.name == line.release, STATEMENT, f"attempt {line.attempt} to be of {planned.name}", line.release
        )
        try:
            record = attempt.record
        except Broken:
            continue  # step 5 reports it
        if record is not None:
            expected = session_bytes(bundle.plan, planned, line.attempt, roster)
            require(record.session == expected, attempt.file, "the session that the plan prescribes")


def session_bytes(plan: Plan, planned: PlannedSum, attempt: int, roster: bytes) -> bytes:
    """The SessionConfig of docs/protocol.md: complete graph, active server, hybrid key exchange, 60 s a step."""
    mechanism, grid = planned.mechanism, planned.quantiser
    privacy = [
        plan.mode,
        mechanism.clip,
        mechanism.noise_multiplier,
        sensitivity(mechanism),
        float(share_variance(mechanism)),
        mechanism.honest_inputs,
    ]
    return msgspec.msgpack.encode(
        [
            1,
            plan.task,
            planned.name,
            attempt,
            planned.dimension,
            planned.ring_bits,
            [grid.scale, grid.saturation, grid.noise_bound],
            privacy,
            plan.clients,
            plan.threshold,
            plan.corrupt,
            plan.min_survivors,
            ["complete"],
            "active",
            KEY_EXCHANGE,
            roster,
            STEP_TIMEOUT_SECONDS,
        ]
    )
