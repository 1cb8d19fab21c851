"""Steps 11 to 13: the ledger holds and contains the countersigned heads; the run was charged for all that it did."""

from __future__ import annotations

import math
from functools import lru_cache

from fedsec_verify.bundle import LEDGER, STATEMENT, Broken, Bundle, Fault, Options
from fedsec_verify.decoding import from_json
from fedsec_verify.findings import Refused, require
from fedsec_verify.formats import Event, NonPrivate, Plan
from fedsec_verify.ledger_entries import (
    AccountName,
    Charge,
    CountersignedHead,
    Entry,
    Extract,
    HeadsFile,
    LedgerError,
    Reserved,
    read_chain,
)
from fedsec_verify.ledger_replay import Ledger, Run
from fedsec_verify.planned import attempt_event, eta_of_attempt, first_attempts
from fedsec_verify.results import reported, summary_of
from fedsec_verify.steps import ASSUMED, RECOMPUTED, Outcome

HEADS = "ledger-heads.json"
LEDGER_STEP = 11
PUBLIC_EVALUATION = "public-evaluation"
OWN_DATA = "own data"


def check_ledger(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Step 11: chain, signatures, rules and admissions of the extract, and every countersigned head in it."""
    extract = _extract(bundle)
    entries, ledger = _replayed(extract)
    stated = bundle.statement.ledger
    require(extract.public_key == stated.public_key, LEDGER, f"the ledger {stated.public_key}", extract.public_key)
    _check_contains(entries, stated.entry, stated.hash, "the head that the statement names")
    for line in extract.heads:
        _check_head(line, extract, entries, LEDGER)
    heads = from_json(bundle.read(HEADS), HeadsFile, HEADS).heads
    parties = {bundle.roster.server, *bundle.roster.members}
    settled: set[str] = set()
    for line in heads:
        signers = _check_head(line, extract, entries, HEADS)
        if line.head.entry == stated.entry:
            settled |= signers
    banks = len(settled & set(bundle.roster.members))
    least = bundle.plan.threshold
    expected = f"the head at entry {stated.entry}, countersigned by the coordinator and by {least} banks or more"
    require(bundle.roster.server in settled and banks >= least, HEADS, expected, f"{banks} banks")
    runs = len(ledger.runs)
    return Outcome(
        kind=RECOMPUTED,
        detail=f"{len(entries)} entries, {runs} {'run' if runs == 1 else 'runs'}; the head at entry {stated.entry} is "
        f"countersigned by {len(settled & parties)} of {len(parties)} parties",
    )


def check_ledger_key(bundle: Bundle, options: Options) -> Outcome:
    """Step 12: the ledger's key is the one that the auditor has from elsewhere."""
    named = reported(LEDGER_STEP, lambda: _extract(bundle)).public_key
    if options.ledger_key is None:
        return Outcome(kind=ASSUMED, detail=f"{named} is the holder's key: compare it, or give it by --ledger-key")
    require(options.ledger_key.hex() == named, LEDGER, f"a ledger signed by {options.ledger_key.hex()}", named)
    return Outcome(kind=RECOMPUTED, detail=f"{named}, as given")


def check_charges(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Step 13: what was reserved, burnt and settled is what the plan and the attempts say."""
    plan, statement, summary = bundle.plan, bundle.statement, summary_of(bundle)
    ledger = ledger_of(bundle)
    run = ledger.runs.get(plan.task)
    if run is None:
        raise Refused(LEDGER, f"a reservation of the run {plan.task}")
    reserved = run.reserved
    same = reserved.coordinator == bundle.coordinator
    require(same, LEDGER, "a reservation that names the roster's coordinator", reserved.coordinator.hex())
    brands = (reserved.private, reserved.brands) == (statement.private, statement.brands)
    require(brands, LEDGER, f"a reservation branded {', '.join(statement.brands) or 'with nothing'}")
    _check_reservation(ledger, reserved, plan, own_data=summary.dataset == OWN_DATA)
    counts = attempts_by_sum(bundle)
    _check_events(bundle, counts)
    _check_burns(bundle, run)
    _check_settlement(run, counts)
    return Outcome(
        kind=RECOMPUTED,
        detail=", ".join(f"{name} {counts[name]} of {run.planned(name)} attempts" for name in counts)
        + " charged; every attempt with a masked input was burnt",
    )


def ledger_of(bundle: Bundle) -> Ledger:
    """The ledger as it stood at the head that the statement names.

    Raises:
        Broken: it does not hold (step 11).
    """
    try:
        return _state(_extract(bundle), bundle.statement.ledger.entry + 1)
    except LedgerError as error:
        refused = Refused(LEDGER, "a ledger that keeps its rules", str(error))
    except Refused as unreadable:
        refused = unreadable
    raise Broken(Fault(step=LEDGER_STEP, refused=refused))


def attempts_by_sum(bundle: Bundle) -> dict[str, int]:
    """How many attempts the statement has of each planned sum, in the plan's order; interrupted ones count."""
    made = [attempt.release for attempt in bundle.statement.attempts]
    return {planned.name: made.count(planned.name) for planned in bundle.plan.sums}


def _extract(bundle: Bundle) -> Extract:
    return from_json(bundle.read(LEDGER), Extract, LEDGER)


@lru_cache(maxsize=1)
def _entries(extract: Extract) -> tuple[Entry, ...]:
    return read_chain(extract)


@lru_cache(maxsize=2)
def _state(extract: Extract, until: int) -> Ledger:
    """After the first ``until`` entries; looked at, never changed."""
    return Ledger.replayed(_entries(extract)[:until], key=bytes.fromhex(extract.public_key))


def _replayed(extract: Extract) -> tuple[tuple[Entry, ...], Ledger]:
    try:
        entries = _entries(extract)
        require(len(entries) > 0, LEDGER, "entries")
        return entries, _state(extract, len(entries))
    except LedgerError as error:
        expected = "entries in public form, chained, signed by one key, that keep the ledger's rules and its budgets"
        raise Refused(LEDGER, expected, str(error)) from None


def _check_contains(entries: tuple[Entry, ...], number: int, digest: str, what: str) -> None:
    require(number < len(entries), LEDGER, f"{what}, entry {number}", f"{len(entries)} entries: the end is missing")
    found = entries[number].hash.hex()
    require(found == digest, LEDGER, f"{what}, entry {number} with the hash {digest}", found)


def _check_head(line: CountersignedHead, extract: Extract, entries: tuple[Entry, ...], file: str) -> frozenset[str]:
    try:
        signers = line.signers()
    except LedgerError as fault:
        raise Refused(file, "signatures that hold", str(fault)) from None
    head = line.head
    require(head.ledger == extract.public_key, file, f"heads of the ledger {extract.public_key}", head.ledger)
    inside = head.entry < len(entries) and entries[head.entry].hash.hex() == head.hash
    require(inside, LEDGER, f"the countersigned head at entry {head.entry} of {file}", "another entry, or none")
    return signers


def _check_reservation(ledger: Ledger, reserved: Reserved, plan: Plan, *, own_data: bool) -> None:
    """What the plan costs: each sum on its part's account; on both, where the data were split otherwise before."""
    names = {charge.account.dataset for charge in reserved.charges}
    require(len(names) == 1, LEDGER, "a reservation on one data set", f"{len(names)}")
    account = AccountName(holder="_", dataset=names.pop(), part="train")
    other_fraction = ledger.splits.get((account.holder, account.dataset), plan.holdout) != plan.holdout
    both = other_fraction or bool(ledger.layouts(account, before=reserved.run) - {reserved.layout})
    expected: dict[tuple[str, str], tuple[Event, int, float]] = {}
    for planned in plan.sums:
        for part in ("train", "holdout") if both else (planned.part,):
            expected[part, planned.name] = (attempt_event(planned), planned.attempts, eta_of_attempt(planned, plan))
    if plan.bins == 0 and own_data:
        for part in ("train", "holdout") if both else ("holdout",):
            expected[part, PUBLIC_EVALUATION] = (NonPrivate(), 1, 0.0)
    found: dict[tuple[str, str], Charge] = {
        (charge.account.part, charge.release): charge for charge in reserved.charges
    }
    missing = sorted(f"{part} {name}" for part, name in expected.keys() ^ found.keys())
    require(not missing, LEDGER, "a reservation of each planned sum on each account that pays", ", ".join(missing))
    for key, (event, count, eta) in expected.items():
        charge = found[key]
        what = f"the plan's {key[1]} on the {key[0]} account"
        require(charge.event == event, LEDGER, f"{what}: {event}", str(charge.event))
        require(charge.count == count, LEDGER, f"{what}: {count} attempts", str(charge.count))
        require(_close(charge, eta), LEDGER, f"{what}: eta {eta}", str(charge.eta))


def _close(charge: Charge, eta: float) -> bool:
    return math.isclose(charge.eta, eta, rel_tol=1e-9, abs_tol=0.0)


def _check_events(bundle: Bundle, counts: dict[str, int]) -> None:
    statement, plan = bundle.statement, bundle.plan
    stated = tuple(event.release for event in statement.events)
    require(stated == tuple(counts), STATEMENT, f"events of {', '.join(counts)}", ", ".join(stated))
    for line, planned in zip(statement.events, plan.sums, strict=True):
        what = f"{line.release}'s event"
        require(line.event == attempt_event(planned), STATEMENT, f"{what} to be the plan's")
        opened = sum(a.release == line.release and a.status == "opened" for a in statement.attempts)
        numbers = (line.part, line.planned, line.charged, line.opened)
        expected = (planned.part, planned.attempts, counts[line.release], opened)
        require(numbers == expected, STATEMENT, f"{what}: part, planned, charged, opened {expected}", str(numbers))
    deltas = (statement.delta, statement.eta) == (plan.delta, 2.0**-60)
    require(deltas, STATEMENT, f"delta {plan.delta} and eta 2^-60", f"{statement.delta}, {statement.eta}")


def _check_burns(bundle: Bundle, run: Run) -> None:
    first = first_attempts(bundle.plan)
    made: dict[str, set[int]] = {name: set() for name in first}
    masked: dict[str, set[int]] = {name: set() for name in first}
    for attempt in bundle.attempts:
        name = attempt.line.release
        ordinal = attempt.line.attempt - first.get(name, 0)
        made.setdefault(name, set()).add(ordinal)
        if attempt.record is not None and attempt.record.masked:
            masked.setdefault(name, set()).add(ordinal)
    for name in sorted(made.keys() | run.burnt.keys()):
        burnt = run.burnt.get(name, set())
        unpaid = sorted(masked.get(name, set()) - burnt)
        require(not unpaid, LEDGER, f"a burn of every attempt of {name} with a masked input", f"none of {unpaid}")
        unknown = sorted(burnt - made.get(name, set()))
        require(not unknown, STATEMENT, f"every attempt of {name} that the ledger saw burnt", f"none of {unknown}")


def _check_settlement(run: Run, counts: dict[str, int]) -> None:
    closing = None if run.settled is None else run.settled.closing
    if closing is None:
        raise Refused(LEDGER, f"the run {run.reserved.run} settled on its coordinator's statement")
    expected = dict(counts)
    if any(charge.release == PUBLIC_EVALUATION for charge in run.reserved.charges):
        expected[PUBLIC_EVALUATION] = min(1, counts.get("training", 0))
    found = closing.closing.attempts
    require(found == expected, LEDGER, f"a settlement that counts every attempt, {expected}", str(found))
