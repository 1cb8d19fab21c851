"""The server breaks the rules of the protocol to get one bank's update: five ways, each by forged messages.

The control is the naive secure aggregation of :mod:`compliance.attacks.controls.naive_masking`, against which each
way ends with the update in the server's hands. Against fedsec each ends with a refusal, and what the server has got
until then is used as far as it goes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from compliance.attacks import forgeries
from compliance.attacks.cohort import Cohort, cohort_size, new_parties, on_grid, rebuilt, without_streams
from compliance.attacks.naive_server import VICTIM, NaiveCohort
from compliance.attacks.records import invented_records, update
from compliance.attacks.results import Finding, Findings, Outcome
from compliance.attacks.setting import Setting
from compliance.attacks.statistics import FALSE_ALARM, correlation, is_correlated
from fedsec.errors import RemoteProtocolError
from secagg import keys, messages, ring_bits_for

ONE_OR_TWO = (1, 2)


def both_shares(setting: Setting) -> Findings:
    """Half of the banks hear that the victim survived, half that it dropped out; corrupt banks sign both lists."""
    inputs = first_inputs(setting)
    probe = Cohort(setting, inputs)
    honest = [index for index in range(1, probe.banks) if index not in probe.corrupt]
    most = (0, 0)
    splits = range(len(honest) + 1)
    for split in splits:
        cohort = Cohort(setting, inputs).until("agree")
        most = max(most, _ask_for_both(cohort, honest[:split], honest[split:]), key=lambda got: (min(got), max(got)))
    needed = probe.session.threshold
    got_both = min(most) >= needed
    return Findings(
        plain=_taken_from_naive(setting, NaiveCohort(setting).by_both_shares(inputs[VICTIM]), inputs[VICTIM]),
        fedsec=Finding(
            outcome=Outcome.SUCCEEDED if got_both else Outcome.FAILED,
            evidence=f"{len(splits)} ways to split the banks: at best {max(most)} shares of one kind and "
            f"{min(most)} of the other; both kinds need {needed}",
            figures={"splits": float(len(splits)), "least_kind": float(min(most)), "needed": float(needed)},
        ),
    )


def roster_shrink(setting: Setting) -> Findings:
    """A sum over one or two banks is asked for: as a session, as a list of members, as a list of survivors."""
    inputs = first_inputs(setting)
    naive = NaiveCohort(setting).by_small_cohort(inputs[VICTIM])
    refusals = []
    for size in ONE_OR_TWO:
        few = range(size)
        changes = {"clients": size, "threshold": 1, "corrupt": 0, "min_survivors": 1}
        cohort = Cohort(setting, inputs)
        refusals.append(cohort.refusal("advertise", VICTIM, forgeries.other_session(cohort, **changes)))
        cohort = Cohort(setting, inputs).until("share")
        refusals.append(cohort.refusal("share", VICTIM, forgeries.members(cohort, VICTIM, few)))
        cohort = Cohort(setting, inputs).until("agree")
        refusals.append(cohort.refusal("agree", VICTIM, forgeries.survivors(few)))
    return Findings(plain=_taken_from_naive(setting, naive, inputs[VICTIM]), fedsec=_refused(refusals))


def split_view(setting: Setting) -> Findings:
    """The victim sees another list of members, or another model, than everybody else."""
    inputs = first_inputs(setting)
    corrupt = Cohort(setting, inputs).corrupt
    naive = NaiveCohort(setting).by_small_cohort(inputs[VICTIM], helpers=corrupt)
    cohort = Cohort(setting, inputs).until("share")
    shorter = [index for index in range(cohort.banks) if index != 1]
    cohort.sent["share", VICTIM] = cohort.ask("share", VICTIM, forgeries.members(cohort, VICTIM, shorter))
    cohort.answer("share", without=(VICTIM,))
    cohort.close("share")
    lists = cohort.refusal("mask", VICTIM, cohort.asked["mask"][2])
    model, left = _other_model(setting, inputs)
    left_over = taken(left, inputs[VICTIM], bits=cohort.session.ring_bits)
    found = _refused([lists, model])
    return Findings(
        plain=_taken_from_naive(setting, naive, inputs[VICTIM]),
        fedsec=Finding(
            outcome=found.outcome if left_over.outcome is Outcome.FAILED else left_over.outcome,
            evidence=f"{found.evidence}; once its own mask is taken off: {left_over.evidence}",
            figures=found.figures | left_over.figures,
        ),
    )


def key_swap(setting: Setting) -> Findings:
    """The server puts keys of its own in place of the other banks': for masks, for shares, for both."""
    inputs = first_inputs(setting)
    naive = NaiveCohort(setting).by_swapped_keys(inputs[VICTIM])
    refusals = []
    masks, shares = ("mask_key", "mask_kem"), ("share_key", "share_kem")
    for names in (masks, shares, masks + shares):
        for swapped in ({1}, None):  # one bank's keys, and everybody's
            cohort = Cohort(setting, inputs).until("share")
            refusals.append(cohort.refusal("share", VICTIM, forgeries.with_own_keys(cohort, VICTIM, names, swapped)))
    return Findings(plain=_taken_from_naive(setting, naive, inputs[VICTIM]), fedsec=_refused(refusals))


def replay(setting: Setting) -> Findings:
    """Messages of an earlier round once more, and a second answer to a step of this one."""
    inputs = first_inputs(setting)
    parties = new_parties(cohort_size(setting))
    old = Cohort(setting, inputs, parties=parties).to_the_end()
    refusals = []
    for step in ("share", "mask", "unmask"):
        cohort = Cohort(setting, inputs, parties=parties, round=1).until(step)
        refusals.append(cohort.refusal(step, VICTIM, old.asked[step][VICTIM]))
    for step in ("mask", "agree", "unmask"):
        cohort = Cohort(setting, inputs, parties=parties, round=1).until(step)
        forged = _another_request(cohort, step)
        cohort.ask(step, VICTIM, cohort.asked[step][VICTIM])
        refusals.append(cohort.refusal(step, VICTIM, forged))
    naive = NaiveCohort(setting).by_second_answer(inputs[VICTIM])
    return Findings(plain=_taken_from_naive(setting, naive, inputs[VICTIM]), fedsec=_refused(refusals))


def _another_request(cohort: Cohort, step: str) -> bytes:
    """A request for ``step`` that the victim could have been sent instead of the one that it gets."""
    if step == "mask":
        return forgeries.other_model(cohort, VICTIM, b"x" * 32)
    if step == "agree":
        return forgeries.survivors(range(cohort.banks - 1))
    signed = [cohort.sent["agree", index] for index in range(cohort.banks)]
    return forgeries.agreement(cohort, cohort.place(1), signed, range(cohort.banks))


def _ask_for_both(cohort: Cohort, told_alive: Sequence[int], told_dropped: Sequence[int]) -> tuple[int, int]:
    """How many shares of b and of a of the victim come together."""
    everybody = set(range(cohort.banks))
    groups = (([VICTIM, *told_alive], everybody), (list(told_dropped), everybody - {VICTIM}))
    place = cohort.place(VICTIM)
    counts = []
    for kind, (group, listed) in enumerate(groups):
        got = {index for index in cohort.corrupt if VICTIM in cohort.held_shares(index)[kind]}
        signatures = [cohort.ask("agree", index, forgeries.survivors(listed)) for index in group]
        for index in group:
            proof = forgeries.agreement(cohort, place, signatures, listed)
            try:
                reply = msgspec.msgpack.decode(cohort.ask("unmask", index, proof), type=messages.Unmask)
            except RemoteProtocolError:
                continue
            got |= {index} if (reply.self_shares, reply.mask_shares)[kind] else set()
        counts.append(len(got))
    return counts[0], counts[1]


def _other_model(setting: Setting, inputs: NDArray[np.int64]) -> tuple[str, NDArray[np.int64]]:
    """The victim alone is sent another model. How it ends, and what is left of its masked input in the server's hands.

    The others take the victim for a survivor, so they give away the seed of its own mask. The streams that it shares
    with them stay: their keys are bound to a transcript in which no t banks agree.
    """
    cohort = Cohort(setting, inputs).until("mask")
    cohort.answer("mask", without=(VICTIM,))
    cohort.sent["mask", VICTIM] = cohort.ask("mask", VICTIM, forgeries.other_model(cohort, VICTIM, b"x" * 32))
    everybody = range(cohort.banks)
    place, alone = cohort.place(1), cohort.place(VICTIM)
    honest = [index for index in everybody if index not in cohort.corrupt]
    signed = {index: cohort.ask("agree", index, forgeries.survivors(everybody)) for index in honest}
    others = [signed[index] for index in honest if index != VICTIM]
    shares = {index: cohort.held_shares(index)[0][VICTIM] for index in cohort.corrupt}
    for index in honest[1:]:
        proof = forgeries.agreement(cohort, place, others, everybody)
        reply = msgspec.msgpack.decode(cohort.ask("unmask", index, proof), type=messages.Unmask)
        shares[index] = reply.self_shares[VICTIM]
    own = keys.self_key(rebuilt(shares), alone.t2)
    left = without_streams(cohort.masked(VICTIM), VICTIM, self_key=own, pair_keys={})
    end = cohort.refusal("unmask", VICTIM, forgeries.agreement(cohort, alone, others, everybody))
    return end, cohort.lift(left)


def first_inputs(setting: Setting) -> NDArray[np.int64]:
    """The banks' updates at the setting's model, on the grid and without noise: only the protocol protects them."""
    parts = _parts(setting)
    return np.array([on_grid(setting, update(setting, setting.weights, x, y, clipped=True)) for x, y in parts])


def first_records(setting: Setting) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The victim's invented records: features and labels."""
    return _parts(setting)[VICTIM]


def taken(found: NDArray[np.int64], real: NDArray[np.int64], *, bits: int, what: str = "the update") -> Finding:
    """How much of the victim's vector a server has in its hands: all of it, a part, or what chance gives.

    Chance, if ``found`` is uniform in a ring of so many ``bits``: a number is right once in 2^bits, and the vectors do
    not correlate.
    """
    right = int((found == real).sum())
    seen, truth = found.astype(np.float64), real.astype(np.float64)
    leaks = stats.binom.sf(right - 1, len(real), 2.0**-bits) < FALSE_ALARM or is_correlated(seen, truth)
    fits = correlation(seen, truth)
    return Finding(
        outcome=Outcome.SUCCEEDED if right == len(real) else Outcome.PARTLY if leaks else Outcome.FAILED,
        evidence=f"{right:,} of {len(real):,} numbers of {what}, correlation {fits:.2f}",
        figures={"numbers": float(len(real)), "right": float(right), "correlation": fits},
    )


def _taken_from_naive(setting: Setting, found: NDArray[np.int64], real: NDArray[np.int64]) -> Finding:
    grid = setting.quantiser
    return taken(found, real, bits=ring_bits_for(cohort_size(setting), grid.saturation, grid.noise_bound))


def _parts(setting: Setting) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    records = invented_records(setting, 1_000)
    rows = np.array_split(np.arange(len(records.labels)), cohort_size(setting))
    return [(records.features[part], records.labels[part]) for part in rows]


def _refused(refusals: Sequence[str]) -> Finding:
    """Every try has to end with a refusal; "" is an answer."""
    answered = refusals.count("")
    rules = ", ".join(sorted({rule for rule in refusals if rule}))
    tries = f"{len(refusals)} {'try' if len(refusals) == 1 else 'tries'}"
    return Finding(
        outcome=Outcome.SUCCEEDED if answered else Outcome.FAILED,
        evidence=f"{tries}, {answered} answered (rules: {rules})",
        figures={"tries": float(len(refusals)), "answered": float(answered)},
    )
