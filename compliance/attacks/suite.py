"""The attacks in order, each with its control, its shield, its source and the test that holds the shield."""

from __future__ import annotations

import time
from collections.abc import Iterator

from compliance.attacks import deviations, gradients, guesses, masks, sums
from compliance.attacks.results import Attack, Outcome, Result
from compliance.attacks.setting import Setting

UPDATE, PROTOCOL, SUM = "masked update", "protocol", "opened sum"
PLAIN = "plain FedAvg: the bank's update as it is"
NAIVE = "masks that cancel, without signatures, agreement or rounds in keys; every request is answered"
NOISELESS = "the same game without noise"
MASKED = "the update is masked; only sums over enough banks open"
NOISE = "noise of the honest banks that count; the bound follows from (ε, δ)"
_HELD = frozenset({Outcome.FAILED})
_BOUNDED = frozenset({Outcome.BOUNDED, Outcome.UNTESTED})
_SEES_NO_VECTOR = "tests/secagg/test_server_sees_no_vector.py"
_NOISY = "tests/compliance/attacks/test_sums_are_bounded.py"

ATTACKS: tuple[Attack, ...] = (
    Attack(
        name="first-layer",
        title="Read a record off the first layer",
        target=UPDATE,
        how="Divides the gradient of the first layer's weights by that of its bias: for one record this is the record.",
        control=PLAIN,
        shield=MASKED,
        source="Phong et al. 2017 (ePrint 2017/715); Boenisch et al. 2021 (arXiv 2112.02918)",
        test="tests/compliance/attacks/test_updates_give_records_away.py",
        allowed=_HELD,
        carry_out=gradients.first_layer,
    ),
    Attack(
        name="gradient-inversion",
        title="Fit records to the gradient",
        target=UPDATE,
        how="Sends untrained weights, and changes two invented records until their joint gradient is the one it got.",
        control=PLAIN,
        shield=MASKED,
        source="Zhu, Liu, Han 2019 (arXiv 1906.08935); Geiping et al. 2020 (arXiv 2003.14053)",
        test="tests/compliance/attacks/test_updates_give_records_away.py",
        allowed=_HELD,
        carry_out=gradients.inversion,
    ),
    Attack(
        name="label-recovery",
        title="Tell fraud from its gradient's sign",
        target=UPDATE,
        how="The output's bias gradient is score minus label: its sign is the label, its size counts frauds.",
        control=PLAIN,
        shield=MASKED,
        source="Zhao, Mopuri, Bilen 2020 (arXiv 2001.02610)",
        test="tests/compliance/attacks/test_updates_give_records_away.py",
        allowed=_HELD,
        carry_out=guesses.label,
    ),
    Attack(
        name="membership",
        title="Tell whether a record took part",
        target=UPDATE,
        how=f"Multiplies an update on {guesses.BATCH} records with the gradient of the record in question.",
        control=PLAIN,
        shield=MASKED,
        source="Yeom et al. 2018 (arXiv 1709.01604); Nasr et al. 2019 (arXiv 1812.00910)",
        test="tests/compliance/attacks/test_updates_give_records_away.py",
        allowed=_HELD,
        carry_out=guesses.member,
    ),
    Attack(
        name="both-shares",
        title="Ask for both shares of one bank",
        target=PROTOCOL,
        how="Tells half of the banks that the victim survived, the others that it dropped out; corrupt banks help.",
        control=NAIVE,
        shield="so many banks must sign one list of survivors that there cannot be two (2t > n + c)",
        source="Bonawitz et al. 2017 (ePrint 2017/281)",
        test="tests/adversary/test_server_asks_for_both_shares.py",
        allowed=_HELD,
        carry_out=deviations.both_shares,
    ),
    Attack(
        name="roster-shrink",
        title="Ask for a sum over one or two banks",
        target=PROTOCOL,
        how="Offers a session, a list of members and a list of survivors with one or two banks in it.",
        control=NAIVE,
        shield="a bank takes part in no cohort, and opens no sum, below the threshold",
        source="Bonawitz et al. 2017 (ePrint 2017/281)",
        test="tests/adversary/test_server_shrinks_the_cohort.py",
        allowed=_HELD,
        carry_out=deviations.roster_shrink,
    ),
    Attack(
        name="split-view",
        title="Show one bank another list or model",
        target=PROTOCOL,
        how="Gives the victim alone another list of members, then another model, and asks the rest to unmask it.",
        control=NAIVE,
        shield="one transcript in every key and signature",
        source="Pasquini, Francati, Ateniese 2022 (arXiv 2111.07380)",
        test="tests/adversary/test_server_shows_two_views.py",
        allowed=_HELD,
        carry_out=deviations.split_view,
    ),
    Attack(
        name="key-swap",
        title="Put own keys in the place of banks'",
        target=PROTOCOL,
        how="Replaces one bank's keys, then everybody's, by keys of the server.",
        control=NAIVE,
        shield="every key is signed by its bank, whose public key is in the pinned roster",
        source="Bonawitz et al. 2017 (ePrint 2017/281)",
        test="tests/adversary/test_server_swaps_keys.py",
        allowed=_HELD,
        carry_out=deviations.key_swap,
    ),
    Attack(
        name="replay",
        title="Play old messages, ask twice",
        target=PROTOCOL,
        how="Sends messages of the round before, and a second, different request for a step that was answered.",
        control=NAIVE,
        shield="fresh keys every round, everything signed under it; a step is answered once",
        source="Bonawitz et al. 2017 (ePrint 2017/281)",
        test="tests/adversary/test_server_replays.py",
        allowed=_HELD,
        carry_out=deviations.replay,
    ),
    Attack(
        name="keystream-reuse",
        title="Subtract two masked updates",
        target=PROTOCOL,
        how="Where a mask is used twice, the difference of two masked updates is the difference of the updates.",
        control="mask streams without the round in their keys",
        shield="fresh secrets every round, and its transcript in every stream's key",
        source="NIST SP 800-38A, section 6.5 and appendix B",
        test=_SEES_NO_VECTOR,
        allowed=_HELD,
        carry_out=masks.keystream_reuse,
    ),
    Attack(
        name="folded-seed",
        title="Try all seeds of a short mask",
        target=PROTOCOL,
        how="Tries key after key on a masked update, all of its other streams being given away.",
        control=f"mask seeds folded to {masks.FOLDED_BITS} bits",
        shield="keys of 256 bits, never folded",
        source="exhaustive search",
        test="tests/compliance/attacks/test_masks_are_not_guessed.py",
        allowed=_HELD,
        carry_out=masks.folded_seed,
    ),
    Attack(
        name="harvest",
        title="Record now, decrypt later",
        target=PROTOCOL,
        how="Keeps all traffic until X25519 is broken, then computes the keys that rest on it alone.",
        control="X25519 alone",
        shield="a second, post-quantum key exchange, where the session has one",
        source="Mosca 2018 (IEEE Security & Privacy 16(5))",
        test="tests/compliance/attacks/test_masks_are_not_guessed.py",
        allowed=frozenset({Outcome.FAILED, Outcome.NOT_PROTECTED}),
        carry_out=masks.harvest,
    ),
    Attack(
        name="sum-membership",
        title="Membership in one opened sum",
        target=SUM,
        how="Knows every other record, and sends weights under which this one counts most.",
        control=NOISELESS,
        shield=NOISE,
        source="Yeom et al. 2018 (arXiv 1709.01604); bound: Kairouz, Oh, Viswanath 2015 (arXiv 1311.0776)",
        test=_NOISY,
        allowed=_BOUNDED,
        carry_out=sums.member_in_a_sum,
    ),
    Attack(
        name="run-membership",
        title="Membership in all training sums",
        target=SUM,
        how="The same, with the sums of all rounds put together.",
        control=NOISELESS,
        shield=NOISE,
        source="Nasr et al. 2021 (arXiv 2101.04535); bound: Kairouz, Oh, Viswanath 2015 (arXiv 1311.0776)",
        test=_NOISY,
        allowed=_BOUNDED,
        carry_out=sums.member_in_a_run,
    ),
    Attack(
        name="difference-membership",
        title="Membership by a missing bank",
        target=SUM,
        how="Subtracts two sums under the same weights, in the second of which the record's bank is missing.",
        control=NOISELESS,
        shield=NOISE,
        source="So et al. 2021 (arXiv 2106.03328); bound: Kairouz, Oh, Viswanath 2015 (arXiv 1311.0776)",
        test=_NOISY,
        allowed=_BOUNDED,
        carry_out=sums.member_by_difference,
    ),
    Attack(
        name="sum-label",
        title="A record's label from one sum",
        target=SUM,
        how="Knows all but the label, and sends weights under which the two labels are farthest apart.",
        control=NOISELESS,
        shield=NOISE,
        source="Zhao, Mopuri, Bilen 2020 (arXiv 2001.02610); bound: Kairouz, Oh, Viswanath 2015 (arXiv 1311.0776)",
        test=_NOISY,
        allowed=_BOUNDED,
        carry_out=sums.label_in_a_sum,
    ),
    Attack(
        name="sum-record",
        title="A record from one sum",
        target=SUM,
        how="Knows all but one record; divides as above, and tells which of two candidates it is.",
        control=NOISELESS,
        shield=NOISE,
        source="Boenisch et al. 2021 (arXiv 2112.02918); bound: Kairouz, Oh, Viswanath 2015 (arXiv 1311.0776)",
        test=_NOISY,
        allowed=_BOUNDED,
        carry_out=sums.record_in_a_sum,
    ),
    Attack(
        name="bank-property",
        title="Count a bank's frauds",
        target=SUM,
        how="Subtracts sums with and without the bank, again and again, under weights that count frauds.",
        control=NOISELESS,
        shield="none: noise is sized for one record, not for a bank",
        source="So et al. 2021 (arXiv 2106.03328)",
        test=_NOISY,
        allowed=frozenset({Outcome.NOT_PROTECTED}),
        carry_out=sums.bank_property,
    ),
)


def carry_out(setting: Setting, attacks: tuple[Attack, ...] = ATTACKS) -> Iterator[Result]:
    """Carry out ``attacks`` against ``setting``, one after the other; a result as each ends."""
    for attack in attacks:
        began = time.perf_counter()
        findings = attack.carry_out(setting)
        yield Result(attack=attack, findings=findings, seconds=time.perf_counter() - began)
