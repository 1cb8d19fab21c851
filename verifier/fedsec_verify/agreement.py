"""Steps 6 and 7: who was in every sum, who agreed to that, and that no attempt was made twice or left out."""

from __future__ import annotations

import math
from itertools import accumulate

import msgspec
import numpy as np

from fedsec_verify.bundle import ROUNDS, STATEMENT, Bundle, Options, round_file
from fedsec_verify.decoding import from_json
from fedsec_verify.findings import require
from fedsec_verify.formats import Plan, PlannedSum, Round
from fedsec_verify.policy import attempt_of
from fedsec_verify.steps import RECOMPUTED, Outcome
from fedsec_verify.transcripts import indices

METRICS = "metrics.jsonl"


class MetricsLine(msgspec.Struct, frozen=True, kw_only=True):
    """What these steps need of a line of metrics.jsonl."""

    release: str
    index: int
    status: str
    cohort: int
    survivors: int


def check_agreement(bundle: Bundle, _: Options) -> Outcome:
    """Step 6: U4 in U3 in U2 in U1, and for every opened sum enough of each, who signed the list of survivors."""
    plan, opened, fewest = bundle.plan, 0, math.inf
    for attempt in bundle.attempts:
        record = attempt.record
        if record is None:
            continue
        file = attempt.file
        _check_inclusion(record, file)
        if record.members_signature:
            enough = len(record.advertised) >= plan.min_survivors
            require(enough, file, f"U1 of at least {plan.min_survivors}", str(len(record.advertised)))
        if record.dealers_signature:
            enough = len(record.dealings) >= plan.min_survivors
            require(enough, file, f"U2 of at least {plan.min_survivors}", str(len(record.dealings)))
        if record.agreement_signature:
            _check_agreed(plan, record, file)
        if record.total:
            _check_opened(plan, attempt_of(plan, attempt.line.attempt), record, file)
            opened, fewest = opened + 1, min(fewest, len(record.masked))
    return Outcome(kind=RECOMPUTED, detail=f"{opened} opened sums of at least {fewest} inputs, t = {plan.threshold}")


def _check_inclusion(record: Round, file: str) -> None:
    u1, u2, u3, u4 = (
        set(indices(messages)) for messages in (record.advertised, record.dealings, record.masked, record.revealed)
    )
    signers = set(indices(record.agreed))
    require(u2 <= u1, file, "U2 within U1", str(sorted(u2 - u1)))
    require(u3 <= u2, file, "U3 within U2", str(sorted(u3 - u2)))
    require(signers <= u3, file, "signers of the agreement within U3", str(sorted(signers - u3)))
    require(u4 <= signers, file, "U4 within those who signed the agreement", str(sorted(u4 - signers)))
    convicted = record.convicted
    inside = set(convicted) <= u4 and convicted == tuple(sorted(set(convicted)))
    require(inside, file, "the convicted within U4, by rising index")


def _check_agreed(plan: Plan, record: Round, file: str) -> None:
    count = len(record.masked)
    require(count >= plan.min_survivors, file, f"at least {plan.min_survivors} survivors", str(count))
    signed = len(record.agreed)
    require(signed >= plan.threshold, file, f"at least {plan.threshold} signatures on the survivors", str(signed))


def _check_opened(plan: Plan, planned: PlannedSum | None, record: Round, file: str) -> None:
    good = len(record.revealed) - len(record.convicted)
    require(good >= plan.threshold, file, f"shares of at least {plan.threshold} banks not convicted", str(good))
    assert planned is not None  # step 4
    require(len(record.total) == 8 * planned.dimension, file, f"a sum of {planned.dimension} integers of 8 bytes")
    total = np.frombuffer(record.total, "<i8")
    bound = len(record.masked) * (planned.quantiser.saturation + planned.quantiser.noise_bound)
    inside = -bound <= int(total.min()) and int(total.max()) <= bound
    require(inside, file, f"a sum that {len(record.masked)} inputs can have, within ±{bound}")


def check_one_use(bundle: Bundle, _: Options) -> Outcome:
    """Step 7: every (task, round) once, attempts of a sum without a gap from its first, metrics.jsonl the same."""
    sums = bundle.plan.sums
    used = {planned.name: 0 for planned in sums}
    first = dict(zip(used, accumulate((planned.attempts for planned in sums), initial=0), strict=False))
    for attempt in bundle.attempts:
        line = attempt.line
        require(line.release in used, STATEMENT, "sums of the plan only", line.release)
        expected = first[line.release] + used[line.release]
        require(line.attempt == expected, STATEMENT, f"attempt {expected} next for {line.release}", str(line.attempt))
        used[line.release] += 1
    _check_course(bundle)
    kept = {round_file(attempt.line.attempt) for attempt in bundle.attempts if attempt.file}
    there = {name for name in bundle.subjects if name.startswith(f"{ROUNDS}/")}
    extra, missing = sorted(there - kept), sorted(kept - there)
    require(not extra, extra[0] if extra else "", "no file of an attempt that the statement does not list")
    require(not missing, missing[0] if missing else "", "a file of each attempt that ended")
    _check_metrics(bundle)
    return Outcome(kind=RECOMPUTED, detail=f"{_told(used)} attempts")


def _check_course(bundle: Bundle) -> None:
    """Sum after sum, each until it was opened as often as the plan aims at, and no attempt after that."""
    plan = bundle.plan
    aim = {planned.name: plan.rounds if planned.name == "training" else 1 for planned in plan.sums}
    order = list(aim)
    due = 0
    opened = dict.fromkeys(aim, 0)
    for attempt in bundle.attempts:
        line = attempt.line
        while due < len(order) and opened[order[due]] == aim[order[due]]:
            due += 1
        found = order[due] if due < len(order) else "nothing more"
        require(line.release == found, STATEMENT, f"{found} due at attempt {line.attempt}", line.release)
        opened[line.release] += line.status == "opened"
    require(opened == aim, STATEMENT, f"opened sums as the plan aims at: {_told(aim)}", _told(opened))


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _check_metrics(bundle: Bundle) -> None:
    lines = bundle.read(METRICS).splitlines()
    require(len(lines) == len(bundle.attempts), METRICS, f"{len(bundle.attempts)} attempts", str(len(lines)))
    for place, (data, attempt) in enumerate(zip(lines, bundle.attempts, strict=True)):
        said, line = from_json(data, MetricsLine, METRICS), attempt.line
        status = "opened" if line.status == "opened" else "aborted"
        same = (said.release, said.index, said.status) == (line.release, line.attempt, status)
        require(same, METRICS, f"in line {place + 1} the {status} attempt {line.attempt} of {line.release}")
        survivors = len(line.survivors) if line.status == "opened" else 0
        same = (said.cohort, said.survivors) == (len(bundle.banks), survivors)
        require(same, METRICS, f"in line {place + 1} {survivors} survivors of {len(bundle.banks)}")
