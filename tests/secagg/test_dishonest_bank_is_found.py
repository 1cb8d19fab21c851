"""A bank that deviates: refused or convicted by name, no other bank is framed, and no bad share gets into the sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from fedsec.errors import CohortError, ConfigError, LocalProtocolError, RemoteProtocolError
from secagg import Identity, Roster, RoundConfig, Server, Step, keys, messages, shamir, transcript, tree
from secagg import dealing as dealing_module
from secagg.identity import verify
from secagg.masking import add_packed
from secagg.opening import Opening
from tests.secagg.helpers import STEPS, Federation, change, decode, flip
from tests.secagg.test_active_server_is_refused import LOW_ORDER, _signed_keys

BANK = 3
KINDS = {
    "advertise": messages.Advertise,
    "share": messages.Share,
    "mask": messages.Mask,
    "agree": messages.Agree,
    "unmask": messages.Unmask,
}


def _refused(federation: Federation, data: bytes, rule: str, *, sender: int = BANK) -> None:
    """The server names the sender and the rule, and its state is as before."""
    before = (federation.server.step, federation.server.awaited, federation.server._sum.tobytes())
    with pytest.raises(RemoteProtocolError) as caught:
        federation.server.receive(sender, data)
    assert (caught.value.rule, caught.value.peer) == (rule, sender)
    assert (federation.server.step, federation.server.awaited, federation.server._sum.tobytes()) == before


def _honest(federation: Federation, step: str, index: int = BANK) -> Any:
    return decode(federation.reply(step, index, federation.requests[index]), KINDS[step])


def _sign(federation: Federation, index: int, statement: transcript.Statement) -> bytes:
    return federation.identities[index].sign(*statement)


@pytest.mark.parametrize("step", STEPS)
def test_messages_that_are_not_the_senders_own_are_refused(step: str) -> None:
    federation = Federation().run(until=step)
    message = _honest(federation, step)
    _refused(federation, change(message, signature=flip(message.signature)), "signature")
    _refused(federation, messages.encode(message), "sender", sender=1)
    _refused(federation, change(message, index=1), "sender")
    _refused(federation, change(message, index=100), "sender", sender=100)
    # As bank 1's own, which it did not sign; the empty entry of a dealing already shows whose it was.
    _refused(federation, change(message, index=1), "entries" if step == "share" else "signature", sender=1)
    _refused(federation, messages.encode(message)[:-1], "format")
    _refused(federation, messages.encode(message) + bytes(50_000), "size")
    _refused(
        federation, b"\xdc\x00" + bytes([messages.encode(message)[0] & 0xF]) + messages.encode(message)[1:], "canonical"
    )
    federation.server.receive(BANK, messages.encode(message))  # control: the message itself is taken
    assert BANK not in federation.server.awaited


@pytest.mark.parametrize("step", STEPS)
def test_a_duplicate_counts_once_and_a_change_is_refused(step: str) -> None:
    federation = Federation().run(until=step)
    federation.collect(step)
    honest = federation.sent[step, BANK]
    before = federation.server._sum.tobytes()
    federation.server.receive(BANK, honest)
    assert federation.server._sum.tobytes() == before
    _refused(federation, change(decode(honest, KINDS[step]), signature=bytes(64)), "once")


def test_messages_out_of_turn() -> None:
    federation = Federation(n=10).run()
    replay = Federation(n=10)
    with pytest.raises(LocalProtocolError):
        replay.server.receive(BANK, federation.sent["advertise", BANK])
    replay.start()
    _refused(replay, federation.sent["share", BANK], "order")
    replay = Federation(n=10).run(until="mask", drop={"share": (5,)})
    _refused(replay, federation.sent["mask", 5], "sender", sender=5)
    federation.server.receive(BANK, federation.sent["mask", BANK])  # after the end: discarded
    assert federation.server.step is Step.DONE


def test_a_late_masked_input_is_never_added() -> None:
    federation = Federation(n=10).run(until="mask")
    late = federation.reply("mask", BANK, federation.requests[BANK])
    federation.collect("mask", without=(BANK,))
    federation.close("mask")
    before = federation.server._sum.tobytes()
    federation.server.receive(BANK, late)
    assert federation.server._sum.tobytes() == before
    # Control: adding it would change the accumulator, so the comparison sees it.
    payload = decode(late, messages.Mask).payload
    add_packed(federation.server._sum, payload, federation.session.ring_bits)
    assert federation.server._sum.tobytes() != before
    federation.server._sum[:] = np.frombuffer(before, dtype=federation.server._sum.dtype)
    for step in ("agree", "unmask"):
        federation.collect(step)
        federation.close(step)
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {BANK}))
    assert federation.opened().dropped_at["mask"] == (BANK,)


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("name", ["share_key", "mask_key"])
def test_points_of_low_order_are_refused(point: bytes, name: str) -> None:
    federation = Federation().start()
    federation.sent["advertise", BANK] = federation.reply("advertise", BANK, federation.requests[BANK])
    _refused(federation, messages.encode(_signed_keys(federation, BANK, **{name: point})), "point")


def test_keys_of_another_bank_are_refused() -> None:
    federation = Federation().start()
    federation.collect("advertise", without=(BANK,))
    federation.sent["advertise", BANK] = federation.reply("advertise", BANK, federation.requests[BANK])
    taken = decode(federation.sent["advertise", 0], messages.Advertise)
    for name, key in (("mask_key", taken.mask_key), ("share_key", taken.mask_key), ("mask_key", taken.share_key)):
        _refused(federation, messages.encode(_signed_keys(federation, BANK, **{name: key})), "distinct")
    own = decode(federation.sent["advertise", BANK], messages.Advertise)
    _refused(federation, messages.encode(_signed_keys(federation, BANK, mask_key=own.share_key)), "distinct")


def _redeal(federation: Federation, edit: Callable[[list[Any]], list[Any]], **replaced: Any) -> bytes:
    """Bank 3's dealing with edited entries, properly signed by it."""
    share = _honest(federation, "share")
    entries = tuple(edit(list(share.entries)))
    root, _ = (
        tree.root_and_paths([dealing_module.entry_hash(entry) for entry in entries]) if entries else (bytes(32), [])
    )
    phase = federation.clients[BANK]._phase
    commitment = replaced.get("commitment", share.commitment)
    statement = transcript.share(federation.session.kid, phase.t1, BANK, root, commitment)
    return change(share, entries=entries, commitment=commitment, signature=_sign(federation, BANK, statement))


def test_a_dealing_that_leaves_somebody_out_is_refused() -> None:
    for edit in (
        lambda entries: entries[:-1],
        lambda entries: [*entries, entries[-1]],
        lambda entries: [],
        lambda entries: [msgspec.structs.replace(entries[0], ciphertext=b""), *entries[1:]],
        lambda entries: [msgspec.structs.replace(entry, ciphertext=bytes(82)) for entry in entries],
    ):
        federation = Federation().run(until="share")
        _refused(federation, _redeal(federation, edit), "entries")


def test_control_an_honest_dealing_signed_again_is_taken() -> None:
    federation = Federation().run(until="share")
    federation.server.receive(BANK, _redeal(federation, lambda entries: entries))


def test_a_changed_ciphertext_breaks_the_dealers_signature() -> None:
    federation = Federation().run(until="share")
    share = _honest(federation, "share")
    bad = msgspec.structs.replace(share.entries[0], ciphertext=flip(share.entries[0].ciphertext))
    _refused(federation, change(share, entries=(bad, *share.entries[1:])), "signature")


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (lambda entry: msgspec.structs.replace(entry, ciphertext=flip(entry.ciphertext)), "ciphertext"),
        (lambda entry: msgspec.structs.replace(entry, self_leaf=flip(entry.self_leaf)), "leaf"),
        (lambda entry: msgspec.structs.replace(entry, mask_leaf=flip(entry.mask_leaf)), "leaf"),
    ],
)
def test_a_signed_ciphertext_that_does_not_open_names_its_dealer(edit: Callable[[Any], Any], rule: str) -> None:
    """The server relayed faithfully, so the receiver blames the dealer; the others go on without the two."""
    federation = Federation(n=10).run(until="share")
    federation.collect("share", without=(BANK,))
    federation.server.receive(BANK, _redeal(federation, lambda entries: [edit(entries[0]), *entries[1:]]))
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


@pytest.mark.parametrize(
    ("shares", "rule"),
    [
        ((bytes(33), bytes(33)), ""),  # control: canonical shares of anything are accepted here
        ((bytes(33), bytes(32)), "ciphertext"),
        ((shamir.PRIME.to_bytes(33, "big"), bytes(33)), "leaf"),
        ((bytes(33), b"\xff" * 33), "leaf"),
    ],
)
def test_signed_shares_outside_the_field_name_their_dealer(shares: tuple[bytes, bytes], rule: str) -> None:
    """A dealer that works with the server: ciphertext, leaves, tree and signature all fit, the shares do not."""
    federation = Federation().run(until="mask")
    request = decode(federation.requests[0], messages.MaskRequest)
    kid, phase = federation.session.kid, federation.clients[0]._phase
    key = keys.ciphertext_key(phase.channels[BANK], phase.t1, BANK, 0)
    ciphertext = keys.seal(key, b"".join(shares), dealing_module._data(kid, phase.t1, BANK, 0))
    leaves = [
        dealing_module.leaf(kid, phase.t1, dealer=BANK, receiver=0, kind=kind, share=share, ciphertext=ciphertext)
        for kind, share in zip((dealing_module.SELF, dealing_module.MASK), shares, strict=True)
    ]
    entry = messages.Entry(ciphertext=ciphertext, self_leaf=leaves[0], mask_leaf=leaves[1])
    others = decode(federation.sent["share", BANK], messages.Share).entries[1:]
    root, paths = tree.root_and_paths([dealing_module.entry_hash(each) for each in (entry, *others)])
    dealings = list(request.dealings)
    statement = transcript.share(kid, phase.t1, BANK, root, dealings[BANK].commitment)
    signature = _sign(federation, BANK, statement)
    dealings[BANK] = msgspec.structs.replace(dealings[BANK], root=root, signature=signature)
    deliveries = [
        messages.Delivery(dealer=BANK, entry=entry, path=paths[0]) if each.dealer == BANK else each
        for each in request.deliveries
    ]
    forged = change(request, dealings=tuple(dealings), deliveries=tuple(deliveries))
    if not rule:
        federation.clients[0].accept(forged)
        return
    with pytest.raises(RemoteProtocolError) as caught:
        federation.clients[0].accept(forged)
    assert (caught.value.rule, caught.value.peer) == (rule, BANK)


def test_masked_inputs_of_another_length_or_with_loose_bits_are_refused() -> None:
    federation = Federation(changes={"ring_bits": 21}).run(until="mask")
    message = _honest(federation, "mask")
    place = federation.clients[BANK]._phase.place
    payload = bytes(message.payload)
    assert len(payload) * 8 > 7 * 21  # there are padding bits to spoil
    for bad in (payload[:-1], payload + b"\x00", payload[:-1] + bytes([payload[-1] | 0x80]), b""):
        statement = transcript.mask(place.sid, place.t2, BANK, memoryview(bad))
        _refused(federation, change(message, payload=bad, signature=_sign(federation, BANK, statement)), "payload")
    _refused(federation, change(message, payload=flip(payload)), "signature")


@pytest.mark.parametrize("more", [0x40, 0xC0])
def test_values_out_of_range_cannot_pass_as_a_sum(more: int) -> None:
    """Masks hide who sent a huge value; that the sum is impossible is seen, and nothing is opened."""
    federation = Federation().run(until="mask")
    federation.collect("mask", without=(BANK,))
    message = _honest(federation, "mask")
    place = federation.clients[BANK]._phase.place
    shifted = bytearray(message.payload)
    shifted[2] = (shifted[2] + more) % 256  # 2^22 more or less in the first of the 24-bit values
    statement = transcript.mask(place.sid, place.t2, BANK, memoryview(shifted))
    federation.server.receive(
        BANK, change(message, payload=bytes(shifted), signature=_sign(federation, BANK, statement))
    )
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask")
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert (caught.value.rule, caught.value.peer) == ("range", None)
    with pytest.raises(LocalProtocolError):
        federation.server.result()


def _lie(federation: Federation, index: int, *, kind: str = "self_shares", place: int = 0) -> bytes:
    """An answer to step 4 with one share changed, properly signed."""
    message = _honest(federation, "unmask", index)
    shares = {"self_shares": list(message.self_shares), "mask_shares": list(message.mask_shares)}
    shares[kind][place] = flip(shares[kind][place], 32)
    client = federation.server
    statement = transcript.unmask(client._sid, client._t2, index, client._survivors, **shares)
    return change(
        message,
        self_shares=tuple(shares["self_shares"]),
        mask_shares=tuple(shares["mask_shares"]),
        signature=_sign(federation, index, statement),
    )


@pytest.mark.parametrize("kind", ["self_shares", "mask_shares"])
@pytest.mark.parametrize("liars", [(0,), (0, 4), (9,)])
def test_a_bad_share_names_its_responder_and_the_sum_survives(kind: str, liars: tuple[int, ...]) -> None:
    federation = Federation(n=10).run(until="unmask", drop={"mask": (5,)})
    for index in liars:
        federation.server.receive(index, _lie(federation, index, kind=kind))
    federation.collect("unmask", without=liars)
    federation.close("unmask")
    assert np.array_equal(federation.opened().total, federation.plain_sum(set(range(10)) - {5}))
    # A liar is only looked at where its share is used: t = 7 of the lowest indices are.
    expected = tuple(liar for liar in liars if liar != 9)
    assert federation.server.convicted == expected == federation.opened().dropped_at["unmask"]


def test_control_without_the_check_a_bad_share_spoils_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Opening, "_is_self_seed", lambda *a: True)
    federation = Federation(n=10).run(until="unmask")
    federation.server.receive(0, _lie(federation, 0))
    federation.collect("unmask", without=(0,))
    try:
        federation.close("unmask")
    except RemoteProtocolError as error:
        assert error.rule == "range"
    else:
        assert not np.array_equal(federation.opened().total, federation.plain_sum(range(10)))


def test_too_many_bad_shares_open_nothing_and_all_are_named() -> None:
    federation = Federation(n=10).run(until="unmask")
    for index in range(4):
        federation.server.receive(index, _lie(federation, index))
    federation.collect("unmask", without=range(4))
    with pytest.raises(CohortError) as caught:
        federation.close("unmask")
    assert (caught.value.survivors, caught.value.needed, caught.value.step) == (6, 7, "unmask")
    assert federation.server.convicted == (0, 1, 2, 3)


def test_shares_missing_or_outside_the_field_are_refused() -> None:
    federation = Federation().run(until="unmask", drop={"mask": (4,)})
    message = _honest(federation, "unmask")
    server = federation.server
    outside = shamir.PRIME.to_bytes(33, "big")
    for self_shares, mask_shares in (
        (message.self_shares[:-1], message.mask_shares),
        (message.self_shares, ()),
        (message.self_shares, message.self_shares[:2]),
        ((outside, *message.self_shares[1:]), message.mask_shares),
    ):
        statement = transcript.unmask(
            server._sid, server._t2, BANK, server._survivors, self_shares=self_shares, mask_shares=mask_shares
        )
        data = change(
            message, self_shares=self_shares, mask_shares=mask_shares, signature=_sign(federation, BANK, statement)
        )
        _refused(federation, data, "shares")


def _with_dealer_of(secret: str, monkeypatch: pytest.MonkeyPatch, federation: Federation) -> None:
    """Bank 3 deals consistent shares of something else than what it committed to."""
    honest = shamir.split
    client = federation.clients[BANK]

    def crooked(value: int, **arguments: Any) -> dict[int, int]:
        is_mask = value == int.from_bytes(client._phase.mask_seed, "big")
        if secret == "large":
            return honest(2**256, **arguments)  # the least field element that is no seed
        return honest(value ^ 1 if is_mask == (secret == "mask") else value, **arguments)

    request = federation.requests[BANK]
    monkeypatch.setattr(shamir, "split", crooked)
    federation.sent["share", BANK] = client.share(request)
    monkeypatch.setattr(shamir, "split", honest)
    federation.server.receive(BANK, federation.sent["share", BANK])


@pytest.mark.parametrize("secret", ["self", "mask", "large"])
def test_a_dealer_of_wrong_shares_is_named_and_nobody_else(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(n=10).run(until="share")
    _with_dealer_of(secret, monkeypatch, federation)
    federation.collect("share", without=(BANK,))
    federation.close("share")
    silent = (BANK,) if secret == "mask" else ()
    federation.collect("mask", without=silent)
    federation.close("mask")
    federation.collect("agree")
    federation.close("agree")
    federation.collect("unmask")
    with pytest.raises(RemoteProtocolError) as caught:
        federation.close("unmask")
    assert (caught.value.rule, caught.value.peer) == ("dealing", BANK)
    assert federation.server.convicted == ()
    assert federation.server.step is Step.FAILED
    with pytest.raises(LocalProtocolError):
        federation.server.advance()
    federation.server.receive(BANK, federation.sent["share", BANK])  # silently discarded


def test_a_wrong_seed_that_nobody_needs_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks are lazy: the mask seed of a survivor is never rebuilt."""
    federation = Federation(n=10).run(until="share")
    _with_dealer_of("mask", monkeypatch, federation)
    federation.collect("share", without=(BANK,))
    federation.close("share")
    for step in ("mask", "agree", "unmask"):
        federation.collect(step)
        federation.close(step)
    assert np.array_equal(federation.opened().total, federation.plain_sum(range(10)))


def test_the_agreement_is_signed_by_server_and_banks() -> None:
    federation = Federation().run(until="unmask", drop={"agree": (2,)})
    agreement = federation.server.agreement
    statement = transcript.agreement(agreement.sid, agreement.transcript, agreement.survivors)
    assert verify(federation.roster.server, agreement.signature, *statement)
    assert [agree.index for agree in agreement.agreed] == [0, 1, 3, 4]
    for agree in agreement.agreed:
        signed = transcript.agree(agreement.sid, agreement.transcript, agree.index, agreement.survivors)
        assert verify(federation.roster.public_key(agree.index), agree.signature, *signed)
        wrong = transcript.agree(agreement.sid, agreement.transcript, agree.index, agreement.survivors[1:])
        assert not verify(federation.roster.public_key(agree.index), agree.signature, *wrong)


def test_the_server_cannot_be_misused() -> None:
    federation = Federation()
    server = federation.server
    for illegal in (server.advance, server.result, lambda: server.agreement):
        with pytest.raises(LocalProtocolError):
            illegal()
    federation.start()
    with pytest.raises(LocalProtocolError):
        server.open()
    with pytest.raises(LocalProtocolError):
        server.advance(federation.round)
    federation.collect("advertise")
    federation.close("advertise")
    federation.collect("share")
    with pytest.raises(LocalProtocolError):
        server.advance()
    with pytest.raises(LocalProtocolError):
        server.advance(RoundConfig(kid=bytes(32), model_digest=bytes(32), optimiser=b""))
    assert server.step is Step.SHARE
    federation.close("share")  # control: the right call goes on from the unchanged state
    other = Roster(server=keys.public_bytes(keys.private_key(bytes(32))), members=federation.roster.members)
    session, server_identity = federation.session, federation.server_identity
    for identity, roster, config in (
        (Identity.generate(), federation.roster, session),
        (server_identity, other, session),
        (server_identity, federation.roster, msgspec.structs.replace(session, roster_digest=bytes(32))),
        (server_identity, federation.roster, msgspec.structs.replace(session, clients=6)),
    ):
        with pytest.raises(ConfigError):
            Server(identity=identity, roster=roster, session=config)
