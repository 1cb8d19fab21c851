"""Two banks that are shown different lists, keys or models end before a share is revealed."""

from __future__ import annotations

import pytest

from secagg import RoundConfig, messages, transcript
from secagg.dealing import entries_root
from tests.adversary.attacks import LISTS, ROUNDS
from tests.adversary.dishonest_server import (
    ACCOMPLICE,
    VICTIM,
    assert_refused,
    dealings,
    listed,
    play,
    play_unchecked,
    round_of,
    swap,
)
from tests.adversary.unchecked import leave_out
from tests.secagg.helpers import Federation, decode

ATTACKS = LISTS | ROUNDS


@pytest.mark.parametrize("name", ATTACKS)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    play(ATTACKS[name])


@pytest.mark.parametrize("name", ATTACKS)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(ATTACKS[name], monkeypatch)


def test_two_lists_of_members_for_two_banks_end_before_a_mask() -> None:
    """Bank 0 hears of U1 = {0..4}, bank 1 of U1 = {0..3}: their transcripts part, and so do their shares."""
    federation = Federation().run(until="share")
    entries = decode(federation.requests[0], messages.ShareRequest).entries
    listing = listed(federation, list(entries[:4]), transcript.members)
    short = messages.encode(messages.ShareRequest(entries=entries[:4], listing=listing))
    federation.requests = {i: federation.requests[i] if i in (0, 4) else short for i in range(5)}
    shares = {i: decode(federation.clients[i].share(federation.requests[i]), messages.Share) for i in range(5)}
    dealings, paths = [], {}
    for i, share in shares.items():
        members = range(len(share.entries))
        root, paths[i] = entries_root(dict(zip(members, share.entries, strict=True)), range(5))
        dealings.append(messages.Dealing(index=i, root=root, commitment=share.commitment, signature=share.signature))
    deliveries = tuple(messages.Delivery(dealer=i, entry=shares[i].entries[0], path=paths[i][0]) for i in range(1, 5))
    encoded = federation.round.encode()
    request = messages.MaskRequest(
        round_config=encoded,
        signature=federation.server_identity.sign(*transcript.round_config(federation.session.kid, encoded)),
        dealings=tuple(dealings),
        listing=listed(federation, dealings, transcript.dealers, federation.clients[VICTIM]._phase.exchange.t1),
        deliveries=deliveries,
    )
    forged, honest = messages.encode(request), federation.requests[VICTIM]
    error = assert_refused(federation.clients[VICTIM], forged, step="mask", honest=honest)
    assert (error.rule, error.peer) == ("signature", None)


def _two_models() -> tuple[Federation, bytes]:
    """Banks 0 and 1 mask for one model, the others for another; all of them sign one list of survivors."""
    federation = Federation().run(until="mask")
    for index, request in list(federation.requests.items()):
        if index < 2:
            other = RoundConfig(kid=federation.session.kid, model_digest=b"x" * 32, optimiser=b"")
            honest = decode(request, messages.MaskRequest)
            federation.requests[index] = round_of(lambda f, other=other: other.encode())(federation, honest)
        federation.sent["mask", index] = federation.reply("mask", index, federation.requests[index])
    place = [client._phase.place for client in federation.clients]
    assert place[0].t2 == place[1].t2 != place[2].t2 == place[3].t2
    agree = messages.encode(messages.AgreeRequest(survivors=(0, 1, 2, 3, 4)))
    agreed = tuple(decode(client.agree(agree), messages.Agree) for client in federation.clients)
    return federation, messages.encode(messages.UnmaskRequest(agreed=agreed))


def test_two_models_end_before_a_share_is_revealed() -> None:
    """Two models make two transcripts: the masks do not cancel, and no U3 gets t signatures that a client accepts."""
    federation, forged = _two_models()
    error = assert_refused(federation.clients[VICTIM], forged, step="unmask", honest=federation.requests[VICTIM])
    assert (error.rule, error.peer) == ("signature", None)


def test_two_commitments_of_one_dealer_end_before_a_share_is_revealed() -> None:
    """Bank 3 signs two commitments to its b, and the server shows either to some: their transcripts part."""
    federation = Federation().run(until="mask")
    kid, t1 = federation.session.kid, federation.clients[VICTIM]._phase.exchange.t1

    def another(items: list[messages.Dealing]) -> list[messages.Dealing]:
        statement = transcript.share(kid, t1, ACCOMPLICE, items[ACCOMPLICE].root, bytes(32))
        signature = federation.identities[ACCOMPLICE].sign(*statement)
        return swap(items, ACCOMPLICE, commitment=bytes(32), signature=signature)

    for index in (0, 1):
        honest = decode(federation.requests[index], messages.MaskRequest)
        federation.requests[index] = dealings(another)(federation, honest)
    for index, request in federation.requests.items():
        federation.reply("mask", index, request)
    place = [client._phase.place for client in federation.clients]
    assert place[0].t2 == place[1].t2 != place[2].t2 == place[3].t2
    agree = messages.encode(messages.AgreeRequest(survivors=(0, 1, 2, 3, 4)))
    agreed = tuple(decode(client.agree(agree), messages.Agree) for client in federation.clients)
    forged = messages.encode(messages.UnmaskRequest(agreed=agreed))
    error = assert_refused(federation.clients[VICTIM], forged, step="unmask", honest=federation.requests[VICTIM])
    assert (error.rule, error.peer) == ("signature", None)


def test_control_a_client_that_checks_no_signature_reveals_shares_for_two_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    federation, forged = _two_models()
    leave_out("signature", monkeypatch)
    assert federation.clients[VICTIM].unmask(forged)


def test_control_one_model_for_all_opens() -> None:
    federation = Federation().run()
    assert (federation.opened().total == federation.plain_sum(range(5))).all()
