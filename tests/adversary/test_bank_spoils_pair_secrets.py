"""The post-quantum half of a pair's secret, dealt badly: its dealer is named by the receiver, or convicted at the end.

For u < v it is u that draws r_uv from a_u and sends it to v. If both are there, v looks. If v drops out before it could
look, the server opens what u sent; if u drops out, the server derives what u should have sent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from fedsec.errors import LocalProtocolError, RemoteProtocolError
from secagg import kem, keys, messages
from secagg.opening import Opening
from tests.adversary.dishonest_bank import entry_at, redealt
from tests.secagg.helpers import Federation, decode

LOWER, HIGHER = 1, 4
Spoil = Callable[[Federation, messages.Pair], messages.Pair]


def _sent_by_lower(federation: Federation, secret: bytes) -> messages.Pair:
    """``secret`` as the pair secret, sent, sealed and committed to by all rules."""
    t1 = federation.clients[LOWER]._phase.exchange.t1
    public = decode(federation.sent["advertise", HIGHER], messages.Advertise).mask_kem
    return kem.send(secret, kid=federation.session.kid, t1=t1, lower=LOWER, higher=HIGHER, public=public)


def _committed_to_another(federation: Federation, pair: messages.Pair) -> messages.Pair:
    return replace(pair, commitment=kem.commit(federation.session.kid, LOWER, HIGHER, bytes(32)))


def _sealed_under_another_secret(federation: Federation, pair: messages.Pair) -> messages.Pair:
    t1 = federation.clients[LOWER]._phase.exchange.t1
    return replace(
        pair, sealed=keys.seal(bytes(32), bytes(32), kem._data(federation.session.kid, t1, LOWER, HIGHER, pair.kem))
    )


UNREADABLE: dict[str, Spoil] = {
    "kem-ciphertext-is-garbage": lambda f, pair: replace(pair, kem=bytes(messages.KEM_CIPHERTEXT_BYTES)),
    "sealed-under-another-secret": _sealed_under_another_secret,
    "committed-to-another-secret": _committed_to_another,
    "kem-ciphertext-of-another-dealing": lambda f, pair: replace(pair, kem=_sent_by_lower(f, bytes(32)).kem),
}


def _dealt(spoil: Spoil, *, n: int = 10) -> Federation:
    """Step 1 closed, bank 1's pair part for bank 4 spoilt."""
    federation = Federation(n=n).run(until="share")
    federation.collect("share", without=(LOWER,))
    edit = entry_at(HIGHER, pair=lambda pair: spoil(federation, pair))
    federation.sent["share", LOWER] = redealt(federation, edit, dealer=LOWER)
    federation.server.receive(LOWER, federation.sent["share", LOWER])
    # The dealer masks as if nothing were wrong with what it dealt.
    federation.clients[LOWER]._phase = _with_what_it_sent(federation)
    federation.close("share")
    return federation


def _with_what_it_sent(federation: Federation) -> Any:
    """Bank 1's state, with the dealing that it really sent as its own."""
    phase = federation.clients[LOWER]._phase
    return dataclasses.replace(phase, own=federation.server._record.dealings[LOWER])


def _unmasked(federation: Federation, *, dropped: int) -> None:
    federation.collect("mask", without=(dropped,))
    federation.close("mask")
    for step in ("agree", "unmask"):
        federation.collect(step)
        if step == "agree":
            federation.close(step)


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_receiver_names_the_dealer_and_the_sum_opens_without_the_two(name: str) -> None:
    federation = _dealt(UNREADABLE[name])
    with pytest.raises(RemoteProtocolError) as caught:
        federation.clients[HIGHER].accept(federation.requests[HIGHER])
    assert (caught.value.rule, caught.value.peer) == ("pair", LOWER)
    federation.collect("mask", without=(LOWER, HIGHER))
    federation.close("mask")
    for step in ("agree", "unmask"):
        federation.collect(step)
        federation.close(step)
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {LOWER, HIGHER}))


def test_where_the_receiver_aborts_and_the_dealer_masks_the_round_is_lost_and_the_dealer_named() -> None:
    """docs/weaknesses.md, "Stopping rounds": one bad pair part is enough."""
    federation = _dealt(UNREADABLE["kem-ciphertext-is-garbage"])
    with pytest.raises(RemoteProtocolError):
        federation.clients[HIGHER].accept(federation.requests[HIGHER])
    _unmasked(federation, dropped=HIGHER)
    _convicts(federation)


def _convicts(federation: Federation) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert (caught.value.rule, caught.value.peer) == ("dealing", LOWER)
    assert federation.server.convicted == ()
    assert federation.server._sum.size == 0
    with pytest.raises(LocalProtocolError):
        federation.server.result()


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_server_convicts_the_dealer_where_the_receiver_dropped_out(name: str) -> None:
    federation = _dealt(UNREADABLE[name])
    _unmasked(federation, dropped=HIGHER)
    _convicts(federation)


def test_a_secret_that_does_not_follow_from_the_dealers_seed_convicts_it_where_it_dropped_out() -> None:
    """Bank 4 could not see it: what it got opens, and is what was committed to."""
    federation = _dealt(lambda f, pair: _sent_by_lower(f, b"r" * 32))
    _unmasked(federation, dropped=LOWER)
    _convicts(federation)


def test_control_a_secret_sent_by_all_rules_opens_whoever_drops_out() -> None:
    for dropped in (LOWER, HIGHER):
        federation = _dealt(lambda f, pair: _sent_by_lower(f, f.clients[LOWER]._phase.exchange.pair_secrets[HIGHER]))
        _unmasked(federation, dropped=dropped)
        federation.close("unmask")
        assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {dropped}))


def _opens_whatever_comes(self: Opening, survivor: int, dropped: int, seed: bytes) -> bytes:
    """The server's half without any check: what a_u gives, or what decapsulation gives, or zeros."""
    lower, higher = min(survivor, dropped), max(survivor, dropped)
    if dropped == lower:
        return kem.pair_secret(seed, self._t1, lower, higher)
    pair = self._entries[lower][higher].pair
    assert pair is not None
    arguments = {"kid": self._kid, "t1": self._t1, "lower": lower, "higher": higher}
    return kem.receive(pair, **arguments, private=kem.mask_private_key(seed)) or bytes(32)


SPOILS = UNREADABLE | {
    "committed-to-and-sealed-another": lambda f, pair: _sent_by_lower(f, b"r" * 32),
}


@pytest.mark.parametrize("name", SPOILS)
def test_control_without_the_check_the_sum_is_spoilt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the two really shared is then taken off wrongly: a sum that nobody sent, or none."""
    monkeypatch.setattr(Opening, "_post_quantum_half", _opens_whatever_comes)
    dropped = LOWER if name not in UNREADABLE else HIGHER
    federation = _dealt(SPOILS[name])
    _unmasked(federation, dropped=dropped)
    try:
        federation.close("unmask")
    except RemoteProtocolError as error:
        assert error.rule == "range"
    else:
        assert not np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {dropped}))
