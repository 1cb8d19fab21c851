"""A dealer of shares that do not open, or that give another seed than it committed to, is named, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest

from fedsec.errors import LocalProtocolError, RemoteProtocolError
from secagg import Step, kem, keys
from secagg.opening import Opening
from tests.adversary.attacks_on_shares import DEALERS
from tests.adversary.dishonest_bank import BANK, Edit, crooked_shares, entry_at, redealt
from tests.adversary.dishonest_server import play, play_unchecked
from tests.secagg.helpers import Federation, flip


@pytest.mark.parametrize("name", DEALERS)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    """With a server that helps the dealer: whatever the tree says, the dealer signed it."""
    play(DEALERS[name])


@pytest.mark.parametrize("name", DEALERS)
def test_control_without_its_checks_a_client_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_unchecked(DEALERS[name], monkeypatch)


def test_control_an_honest_dealing_signed_again_is_taken() -> None:
    federation = Federation().run(until="share")
    federation.server.receive(BANK, redealt(federation, lambda entries: entries))
    assert BANK not in federation.server.awaited


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (entry_at(0, ciphertext=flip), "ciphertext"),
        (entry_at(0, kem=lambda _: bytes(1088)), "ciphertext"),
        (entry_at(0, self_leaf=flip), "leaf"),
        (entry_at(0, mask_leaf=flip), "leaf"),
    ],
)
def test_the_receiver_names_the_dealer_and_the_others_go_on(edit: Edit, rule: str) -> None:
    """The server relayed faithfully; without the two of them the sum opens."""
    federation = Federation(n=10).run(until="share")
    federation.collect("share", without=(BANK,))
    federation.server.receive(BANK, redealt(federation, edit))
    federation.close("share")
    with pytest.raises(RemoteProtocolError) as caught:
        federation.clients[0].accept(federation.requests[0])
    assert (caught.value.rule, caught.value.peer) == (rule, BANK)
    federation.collect("mask", without=(0, BANK))
    federation.close("mask")
    for step in ("agree", "unmask"):
        federation.collect(step)
        federation.close(step)
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {0, BANK}))


def _go_on(federation: Federation, *, dropped: tuple[int, ...] = ()) -> None:
    """From step 1, where bank 3 has dealt, to the end of step 4, which is left open."""
    federation.collect("share", without=(BANK,))
    federation.close("share")
    federation.collect("mask", without=dropped)
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask")


def _is_convicted(federation: Federation) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert (caught.value.rule, caught.value.peer) == ("dealing", BANK)
    assert federation.server.convicted == ()
    assert federation.server.step is Step.FAILED
    assert federation.server._sum.size == 0
    with pytest.raises(LocalProtocolError):
        federation.server.result()


@pytest.mark.parametrize("secret", ["self", "mask", "large"])
def test_a_dealer_of_another_seed_is_named_and_nobody_else(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(n=10).run(until="share")
    crooked_shares(secret, monkeypatch, federation)
    _go_on(federation, dropped=(BANK,) if secret == "mask" else ())
    _is_convicted(federation)
    with pytest.raises(LocalProtocolError):
        federation.server.advance()
    federation.server.receive(BANK, federation.sent["share", BANK])  # silently discarded


def test_control_a_wrong_seed_that_nobody_needs_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks are lazy: the mask seed of a survivor is never rebuilt."""
    federation = Federation(n=10).run(until="share")
    crooked_shares("mask", monkeypatch, federation)
    _go_on(federation)
    federation.close("unmask")
    assert np.array_equal(federation.opened().total, federation.plain_sum(range(10)))


def _with_mask_key_of_another_seed(which: str, monkeypatch: pytest.MonkeyPatch) -> Federation:
    """Bank 3's advertised mask key of one kind is of another seed than the other, and than the a_v that it deals."""
    federation = Federation(n=10).start()
    module = {"mask_key": keys, "mask_kem": kem}[which]
    honest = module.mask_private_key
    monkeypatch.setattr(module, "mask_private_key", lambda seed: honest(flip(seed)))
    federation.sent["advertise", BANK] = federation.reply("advertise", BANK, federation.requests[BANK])
    monkeypatch.setattr(module, "mask_private_key", honest)
    federation.server.receive(BANK, federation.sent["advertise", BANK])
    federation.collect("advertise", without=(BANK,))
    federation.close("advertise")
    federation.collect("share", without=())
    return federation


@pytest.mark.parametrize("which", ["mask_key", "mask_kem"])
def test_a_seed_that_gives_one_mask_key_but_not_the_other_convicts_its_dealer(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = _with_mask_key_of_another_seed(which, monkeypatch)
    federation.close("share")
    federation.collect("mask", without=(BANK,))
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask")
    _is_convicted(federation)


def test_control_without_the_kem_key_an_innocent_dealer_would_be_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the X25519 key enough, what lower banks sent to bank 3 would not open, and the first of them be blamed."""
    federation = _with_mask_key_of_another_seed("mask_kem", monkeypatch)
    federation.close("share")
    federation.collect("mask", without=(BANK,))
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask")
    monkeypatch.setattr(
        Opening,
        "_is_mask_seed",
        lambda self, dealer, seed: keys.public_bytes(keys.mask_private_key(seed)) == self._advertised[dealer].mask_key,
    )
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert (caught.value.rule, caught.value.peer) == ("dealing", 0)
