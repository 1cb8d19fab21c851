"""Shares that the server corrupts, reflects, reorders or leaves out are refused, and no bank is blamed for it."""

from __future__ import annotations

import pytest

from fedsec.errors import RemoteProtocolError
from tests.adversary.attacks_on_shares import DELIVERIES
from tests.adversary.dishonest_server import play, play_unchecked, stage
from tests.adversary.unchecked import leave_out
from tests.secagg.helpers import send


@pytest.mark.parametrize("name", DELIVERIES)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    play(DELIVERIES[name])


@pytest.mark.parametrize("name", DELIVERIES)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(DELIVERIES[name], monkeypatch)


@pytest.mark.parametrize("name", ["ciphertext-corrupted", "leaf-corrupted", "leaves-swapped", "pair-corrupted"])
def test_control_without_the_signed_tree_an_innocent_bank_is_framed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths are what tells the server's doing from a dealer's: without them the dealer would be named."""
    attack = DELIVERIES[name]
    assert attack.peer is None
    federation, forged = stage(attack)
    leave_out("delivery", monkeypatch)
    with pytest.raises(RemoteProtocolError) as caught:
        send(federation.clients[attack.victim], "mask", forged)
    assert caught.value.peer == (0 if attack.victim else 1)
