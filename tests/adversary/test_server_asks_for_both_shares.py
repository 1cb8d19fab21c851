"""No way leads to both kinds of share of one bank: one list of survivors is signed, and one kind follows from it."""

from __future__ import annotations

import pytest

from fedsec.errors import RemoteProtocolError
from secagg import messages, rounds
from tests.adversary.attacks import AGREEMENTS
from tests.adversary.dishonest_server import VICTIM, assert_refused, play, play_unchecked
from tests.secagg.helpers import Federation, decode


@pytest.mark.parametrize("name", AGREEMENTS)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    play(AGREEMENTS[name])


@pytest.mark.parametrize("name", AGREEMENTS)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(AGREEMENTS[name], monkeypatch)


def _second_list() -> tuple[Federation, bytes]:
    """U3 with bank 4 was signed; now comes U3 without it."""
    federation = Federation().run(until="agree")
    federation.clients[VICTIM].agree(federation.requests[VICTIM])
    return federation, messages.encode(messages.AgreeRequest(survivors=(0, 1, 2, 3)))


def test_a_second_list_of_survivors_is_never_signed() -> None:
    federation, second = _second_list()
    error = assert_refused(federation.clients[VICTIM], second, step="agree", honest=federation.requests[VICTIM])
    assert (error.rule, error.peer) == ("once", None)


def test_control_a_client_without_memory_gives_away_both_kinds() -> None:
    """Put back to where it was, it signs both lists, and holds for bank 4 the one share and then the other."""
    federation = Federation().run(until="agree")
    client = federation.clients[VICTIM]
    before, state = client._phase, client._state
    held = []
    for survivors in ((0, 1, 2, 3, 4), (0, 1, 2, 3)):
        client._answered, client._state, client._phase = {}, state, before
        client.agree(messages.encode(messages.AgreeRequest(survivors=survivors)))
        held.append((client._phase.self_shares, client._phase.mask_shares))
    assert held[0][0][4] == before.self_shares[4]
    assert held[1][1] == (before.mask_shares[4],)


def test_no_bank_reveals_both_shares_of_a_dealer() -> None:
    """After signing U3 a client does not even hold the other kind."""
    federation = Federation(n=10).run(until="unmask", drop={"mask": (3, 8)})
    for index in set(range(10)) - {3, 8}:
        client = federation.clients[index]
        phase = client._phase
        assert federation.sent["agree", index] and isinstance(phase, rounds.Agreed)
        assert (len(phase.self_shares), len(phase.mask_shares)) == (8, 2)
        assert not set(phase.self_shares) & set(phase.mask_shares)
        reply = decode(client.unmask(federation.requests[index]), messages.Unmask)
        assert (reply.self_shares, reply.mask_shares) == (phase.self_shares, phase.mask_shares)
        assert client._phase is None


def test_an_agreement_on_another_list_than_the_signed_one_reveals_nothing() -> None:
    """Which t members are in U3 is the server's to choose; that all chose the same one is not."""
    federation = Federation().run(until="unmask")
    other = Federation().run(until="agree")
    client = other.clients[VICTIM]
    client.agree(messages.encode(messages.AgreeRequest(survivors=(0, 1, 2, 3))))  # allowed: four are enough
    with pytest.raises(RemoteProtocolError) as caught:
        client.unmask(federation.requests[VICTIM])
    assert (caught.value.rule, caught.value.peer) == ("signature", None)
