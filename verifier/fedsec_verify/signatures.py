"""Steps 1 and 3: who signed the run's statement, and whose keys those are."""

from __future__ import annotations

from fedsec_verify.bundle import ROSTER_FILE, RUN_PREDICATE, STATEMENT, Broken, Bundle, Options, roster_digest
from fedsec_verify.envelopes import IN_TOTO, signers
from fedsec_verify.findings import Refused, require
from fedsec_verify.hashing import is_weak, sha256
from fedsec_verify.steps import ASSUMED, RECOMPUTED, Outcome


def check_signatures(bundle: Bundle, _: Options) -> Outcome:
    """Step 1: an in-toto statement of a run, signed by the coordinator and then by at least t banks of its roster."""
    document, statement, roster = bundle.in_toto, bundle.statement, bundle.roster
    require(document.type_ == IN_TOTO, STATEMENT, f"an in-toto statement, _type {IN_TOTO}", document.type_)
    require(document.predicateType == RUN_PREDICATE, STATEMENT, f"a predicate {RUN_PREDICATE}", document.predicateType)
    keys = (roster.server, *roster.members)
    require(len(set(keys)) == len(keys), ROSTER_FILE, "no key twice")
    require(not any(is_weak(bytes.fromhex(key)) for key in keys), ROSTER_FILE, "no key under which anybody can sign")
    require(
        roster_digest(roster).hex() == statement.roster,
        ROSTER_FILE,
        f"the roster of digest {statement.roster[:16]}…, which the statement names",
    )
    require(statement.coordinator == roster.server, STATEMENT, "the coordinator's key of the roster")
    fresh = statement.report_key not in keys and not is_weak(bytes.fromhex(statement.report_key))
    require(fresh, STATEMENT, "a report key of its own")
    signed = signers(bundle.envelope, bundle.payload, STATEMENT)
    require(signed[0] == roster.server, STATEMENT, "the coordinator's signature first")
    strangers = set(signed[1:]) - set(roster.members)
    require(not strangers, STATEMENT, "signatures of the roster's banks only")
    ranks = [roster.members.index(key) for key in signed[1:]]
    require(ranks == sorted(ranks), STATEMENT, "the banks' signatures by index")
    needed, why = _needed(bundle)
    require(
        len(ranks) >= needed, STATEMENT, f"the signatures of at least {needed} banks ({why})", f"those of {len(ranks)}"
    )
    return Outcome(
        kind=RECOMPUTED,
        detail=f"run {statement.run}: signed by the coordinator and {len(ranks)} of {len(keys) - 1} banks",
    )


def _needed(bundle: Bundle) -> tuple[int, str]:
    """t of the plan that the statement names; of a plan that is not that one, nothing is believed (step 2 tells)."""
    try:
        if sha256(bundle.plan_bytes) == bundle.statement.plan.sha256:
            return bundle.plan.threshold, "the plan's threshold"
    except (Broken, Refused):
        pass
    return len(bundle.roster.members) // 2 + 1, "a majority, since the plan cannot be used"


def check_roster(bundle: Bundle, options: Options) -> Outcome:
    """Step 3: the keys are those that the auditor has from elsewhere, or else taken as they are."""
    if options.roster is None:
        return Outcome(
            kind=ASSUMED, detail="no --roster: that these keys are the banks' and the coordinator's is not shown"
        )
    roster, expected = bundle.roster, options.roster
    require(
        roster.server == expected.server, ROSTER_FILE, "the coordinator's key of --roster", roster.server[:16] + "…"
    )
    require(
        len(roster.members) == len(expected.members),
        ROSTER_FILE,
        f"the {len(expected.members)} banks of --roster",
        str(len(roster.members)),
    )
    for index, (key, other) in enumerate(zip(roster.members, expected.members, strict=True)):
        require(key == other, ROSTER_FILE, f"the key that --roster has for bank {index}", key[:16] + "…")
    return Outcome(kind=RECOMPUTED, detail=f"coordinator and {len(roster.members)} banks are those of --roster")
