"""A bank that deviates, in memory, against the production server: every bad message, and what must come of it.

The server refuses a :class:`Lie` by naming its sender and the rule, and is as it was before: the sender may still
answer rightly. A lie's control is the same message to a server without that check, which takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from fedsec.errors import RemoteProtocolError
from secagg import dealing, kem, messages, shamir, transcript
from tests.adversary.dishonest_server import LOW_ORDER, signed_keys
from tests.adversary.unchecked import leave_out_at_server
from tests.secagg.helpers import REPLIES, STEPS, Federation, change, decode, flip

BANK = 3
Edit = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True, kw_only=True)
class Lie:
    """What ``sender`` sends to the server at ``step``, made from bank 3's honest message, and the rule that it breaks.

    Attributes:
        unchecked: the rules without which the server takes it.
        last: whether all other banks have answered before.
        n, drop, changes, hybrid: as for :class:`tests.adversary.dishonest_server.Attack`.
    """

    step: str
    rule: str
    forge: Callable[[Federation, Any], bytes]
    sender: int = BANK
    unchecked: tuple[str, ...] = ()
    last: bool = False
    n: int = 5
    drop: Mapping[str, Collection[int]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    hybrid: bool = False


def stage(lie: Lie, **changes: Any) -> tuple[Federation, bytes]:
    """The federation at the lie's step, and the bytes that ``lie.sender`` sends."""
    federation = Federation(n=lie.n, changes={**changes, **lie.changes}).run(until=lie.step, drop=lie.drop)
    if lie.last:
        federation.collect(lie.step, without=(BANK,))
    return federation, lie.forge(federation, honest(federation, lie.step))


def honest(federation: Federation, step: str, index: int = BANK) -> Any:
    """What bank ``index`` answers."""
    data = federation.reply(step, index, federation.requests[index])
    federation.sent[step, index] = data
    return decode(data, REPLIES[step])


def assert_refused(federation: Federation, data: bytes, rule: str, *, sender: int = BANK) -> None:
    """The server names the sender and the rule, and its state is as before."""
    server = federation.server
    before = (server.step, server.awaited, server._sum.tobytes())
    with pytest.raises(RemoteProtocolError) as caught:
        server.receive(sender, data)
    assert (caught.value.rule, caught.value.peer) == (rule, sender)
    assert (server.step, server.awaited, server._sum.tobytes()) == before


def play(lie: Lie) -> None:
    """The lie against the production server, which then takes bank 3's honest message."""
    federation, data = stage(lie)
    assert_refused(federation, data, lie.rule, sender=lie.sender)
    federation.server.receive(BANK, federation.sent[lie.step, BANK])
    assert BANK not in federation.server.awaited


def play_unchecked(lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a server without the checks takes it; where no server could, it takes the honest message."""
    federation, data = stage(lie)
    for rule in lie.unchecked:
        leave_out_at_server(rule, monkeypatch)
    sender = lie.sender if lie.unchecked else BANK
    federation.server.receive(sender, data if lie.unchecked else federation.sent[lie.step, BANK])
    assert sender not in federation.server.awaited


# --- Forgeries, properly signed by bank 3 ----------------------------------------------------------------------------


def redealt(federation: Federation, edit: Edit, *, dealer: int = BANK, **replaced: Any) -> bytes:
    """The dealer's dealing with edited entries."""
    share = honest(federation, "share", dealer)
    edited = tuple(edit(list(share.entries)))
    root, _ = dealing.entries_root(dict(enumerate(edited)), range(federation.n))
    commitment = replaced.get("commitment", share.commitment)
    t1 = federation.clients[dealer]._phase.exchange.t1
    statement = transcript.share(federation.session.kid, t1, dealer, root, commitment)
    signature = federation.identities[dealer].sign(*statement)
    return change(share, entries=edited, commitment=commitment, signature=signature)


def remasked(federation: Federation, message: messages.Mask, payload: bytes, *, sender: int = BANK) -> bytes:
    """A masked input with another payload."""
    place = federation.clients[sender]._phase.place
    statement = transcript.mask(place.sid, place.t2, sender, memoryview(payload))
    return change(message, payload=payload, signature=federation.identities[sender].sign(*statement))


def revealed(
    federation: Federation, message: messages.Unmask, self_shares: tuple[bytes, ...], mask_shares: tuple[bytes, ...]
) -> bytes:
    """An answer to step 4 with other shares."""
    server, index = federation.server, message.index
    statement = transcript.unmask(
        server._sid, server._t2, index, server._survivors, self_shares=self_shares, mask_shares=mask_shares
    )
    signature = federation.identities[index].sign(*statement)
    return change(message, self_shares=self_shares, mask_shares=mask_shares, signature=signature)


def share_changed(federation: Federation, index: int, *, kind: str = "self_shares", place: int = 0) -> bytes:
    """Bank ``index``'s answer to step 4 with one share of ``kind`` changed."""
    message = honest(federation, "unmask", index)
    shares = {"self_shares": list(message.self_shares), "mask_shares": list(message.mask_shares)}
    shares[kind][place] = flip(shares[kind][place], 32)
    return revealed(federation, message, tuple(shares["self_shares"]), tuple(shares["mask_shares"]))


def crooked_shares(secret: str, monkeypatch: pytest.MonkeyPatch, federation: Federation) -> None:
    """Bank 3 deals consistent shares of another ``secret`` ("self", "mask") than its own, or of a "large" one."""
    split = shamir.split
    client = federation.clients[BANK]

    def crooked(value: int, **arguments: Any) -> dict[int, int]:
        is_mask = value == int.from_bytes(client._phase.mask_seed, "big")
        if secret == "large":
            return split(2**256, **arguments)  # the least field element that is no seed
        return split(value ^ 1 if is_mask == (secret == "mask") else value, **arguments)

    monkeypatch.setattr(shamir, "split", crooked)
    federation.sent["share", BANK] = client.share(federation.requests[BANK])
    monkeypatch.setattr(shamir, "split", split)
    federation.server.receive(BANK, federation.sent["share", BANK])


def entry_at(place: int, **edit: Callable[[Any], Any]) -> Edit:
    """The entry for one receiver with fields edited."""

    def forge(entries: list[Any]) -> list[Any]:
        fields = {name: other(getattr(entries[place], name)) for name, other in edit.items()}
        return [*entries[:place], replace(entries[place], **fields), *entries[place + 1 :]]

    return forge


# --- Every message that the server must refuse -----------------------------------------------------------------------


def _spelt(data: bytes) -> bytes:
    return b"\xdc\x00" + bytes([data[0] & 0x0F]) + data[1:]


def _with_one_more_field(data: bytes) -> bytes:
    return bytes([data[0] + 1]) + data[1:] + b"\xc0"


NOT_ITS_OWN: dict[str, Lie] = {
    f"{name}-at-{step}": Lie(step=step, rule=rule, forge=forge, sender=sender, unchecked=unchecked)
    for step in STEPS
    for name, rule, sender, forge, unchecked in (
        ("unsigned", "signature", BANK, lambda f, m: change(m, signature=flip(m.signature)), ("signature",)),
        ("message-of-bank-3-from-bank-1", "sender", 1, lambda f, m: messages.encode(m), ("sender",)),
        (
            "under-the-name-of-bank-1",
            "sender",
            BANK,
            lambda f, m: change(m, index=1),
            ("sender", "signature", "entries", "distinct"),
        ),
        (
            "from-outside-the-roster",
            "sender",
            100,
            lambda f, m: change(m, index=100),
            ("sender", "signature", "entries", "distinct"),
        ),
        # The empty entry of a dealing already shows whose it was.
        (
            "as-bank-1-which-did-not-sign",
            "entries" if step == "share" else "signature",
            1,
            lambda f, m: change(m, index=1),
            ("entries", "signature"),
        ),
        ("truncated", "format", BANK, lambda f, m: messages.encode(m)[:-1], ()),
        ("empty", "format", BANK, lambda f, m: b"", ()),
        ("trailing-byte", "format", BANK, lambda f, m: messages.encode(m) + b"\x00", ("decoding",)),
        ("oversized", "size", BANK, lambda f, m: messages.encode(m) + bytes(50_000), ("decoding",)),
        ("another-spelling", "canonical", BANK, lambda f, m: _spelt(messages.encode(m)), ("decoding",)),
        ("one-more-field", "format", BANK, lambda f, m: _with_one_more_field(messages.encode(m)), ("decoding",)),
    )
}


def _advertised(rule: str, *, hybrid: bool = False, **replaced: bytes) -> Lie:
    forge = lambda f, m: messages.encode(signed_keys(f, BANK, **replaced))  # noqa: E731
    return Lie(step="advertise", rule=rule, forge=forge, unchecked=(rule,), hybrid=hybrid)


def _taken(name: str, other: str, *, hybrid: bool = False) -> Lie:
    """Bank 0's key ``other`` as bank 3's ``name``; bank 0 was first."""

    def forge(federation: Federation, message: Any) -> bytes:
        key = getattr(decode(federation.sent["advertise", 0], messages.Advertise), other)
        return messages.encode(signed_keys(federation, BANK, **{name: key}))

    return Lie(step="advertise", rule="distinct", forge=forge, unchecked=("distinct",), last=True, hybrid=hybrid)


def _own_twice(name: str, other: str, *, hybrid: bool = False) -> Lie:
    forge = lambda f, m: messages.encode(signed_keys(f, BANK, **{name: getattr(m, other)}))  # noqa: E731
    return Lie(step="advertise", rule="distinct", forge=forge, unchecked=("distinct",), hybrid=hybrid)


KEM_KEY = kem.public_bytes(kem.private_key(b"k" * 64))
BAD_KEYS: dict[str, Lie] = {
    **{
        f"low-order-point-{place}-{name}": _advertised("point", **{name: point})
        for place, point in enumerate(LOW_ORDER)
        for name in ("share_key", "mask_key")
    },
    "key-in-a-second-spelling": _advertised("point", mask_key=(2**255 - 19 + 9).to_bytes(32, "little")),
    "mask-key-of-bank-0": _taken("mask_key", "mask_key"),
    "share-key-of-bank-0-as-mask-key": _taken("mask_key", "share_key"),
    "one-key-for-both-uses": _own_twice("mask_key", "share_key"),
    "kem-key-of-bank-0": _taken("mask_kem", "mask_kem", hybrid=True),
    "one-kem-key-for-both-uses": _own_twice("mask_kem", "share_kem", hybrid=True),
    "share-kem-left-out": _advertised("point", hybrid=True, share_kem=b""),
    "mask-kem-left-out": _advertised("point", hybrid=True, mask_kem=b""),
    "mask-kem-cut": _advertised("point", hybrid=True, mask_kem=KEM_KEY[:-1]),
    "share-kem-out-of-range": _advertised("point", hybrid=True, share_kem=b"\xff" * 1184),
    "mask-kem-out-of-range": _advertised("point", hybrid=True, mask_kem=b"\xff" * 1184),
    "kem-keys-in-a-classical-session": Lie(
        step="advertise",
        rule="point",
        forge=lambda f, m: messages.encode(signed_keys(f, BANK, share_kem=KEM_KEY)),
        unchecked=("point",),
        changes={"key_exchange": "x25519"},
    ),
}


def _dealt(edit: Edit, *, hybrid: bool = False, **changes: Any) -> Lie:
    forge = lambda f, m: redealt(f, edit)  # noqa: E731
    return Lie(step="share", rule="entries", forge=forge, unchecked=("entries",), hybrid=hybrid, changes=changes)


def _some_pair(_: Any) -> messages.Pair:
    return messages.Pair(kem=bytes(messages.KEM_CIPHERTEXT_BYTES), sealed=bytes(48), commitment=bytes(32))


BAD_DEALINGS: dict[str, Lie] = {
    "dealing-without-the-last": _dealt(lambda e: e[:-1]),
    "dealing-with-one-more": _dealt(lambda e: [*e, e[-1]]),
    "dealing-to-nobody": _dealt(lambda e: []),
    "dealing-with-an-empty-ciphertext": _dealt(entry_at(0, ciphertext=lambda c: b"")),
    "dealing-to-itself": _dealt(entry_at(BANK, ciphertext=lambda c: bytes(82))),
    "dealing-with-a-short-ciphertext": _dealt(entry_at(0, ciphertext=lambda c: c[:-1])),
    "dealing-without-a-kem-ciphertext": _dealt(entry_at(0, kem=lambda c: b""), hybrid=True),
    "dealing-with-a-short-kem-ciphertext": _dealt(entry_at(0, kem=lambda c: c[:-1]), hybrid=True),
    "dealing-without-a-pair": _dealt(entry_at(4, pair=lambda p: None), hybrid=True),
    "dealing-with-a-pair-for-a-lower-bank": _dealt(entry_at(0, pair=_some_pair), hybrid=True),
    "dealing-with-a-pair-for-itself": _dealt(entry_at(BANK, pair=_some_pair), hybrid=True),
    "dealing-with-a-pair-in-a-classical-session": _dealt(entry_at(4, pair=_some_pair), key_exchange="x25519"),
    "dealing-with-a-kem-ciphertext-in-a-classical-session": _dealt(
        entry_at(4, kem=lambda c: bytes(messages.KEM_CIPHERTEXT_BYTES)), key_exchange="x25519"
    ),
    "ciphertext-changed-after-signing": Lie(
        step="share",
        rule="signature",
        forge=lambda f, m: change(m, entries=tuple(entry_at(0, ciphertext=flip)(list(m.entries)))),
        unchecked=("signature",),
    ),
}


def _masked(edit: Callable[[bytes], bytes], *unchecked: str) -> Lie:
    forge = lambda f, m: remasked(f, m, edit(bytes(m.payload)))  # noqa: E731
    return Lie(step="mask", rule="payload", forge=forge, unchecked=unchecked, changes={"ring_bits": 21})


BAD_INPUTS: dict[str, Lie] = {
    "masked-input-cut": _masked(lambda p: p[:-1], "payload"),
    "masked-input-too-long": _masked(lambda p: p + b"\x00", "payload"),
    "masked-input-with-loose-bits": _masked(lambda p: p[:-1] + bytes([p[-1] | 0x80]), "payload"),
    "masked-input-empty": _masked(lambda p: b""),
    "masked-input-changed-after-signing": Lie(
        step="mask",
        rule="signature",
        forge=lambda f, m: change(m, payload=flip(bytes(m.payload))),
        unchecked=("signature",),
    ),
}


def _revealed(self_shares: Callable[[Any], Any], mask_shares: Callable[[Any], Any]) -> Lie:
    return Lie(
        step="unmask",
        rule="shares",
        forge=lambda f, m: revealed(f, m, self_shares(m), mask_shares(m)),
        unchecked=("shares",),
        drop={"mask": (4,)},
    )


OUTSIDE = shamir.PRIME.to_bytes(33, "big")
BAD_ANSWERS: dict[str, Lie] = {
    "answer-without-a-self-share": _revealed(lambda m: m.self_shares[:-1], lambda m: m.mask_shares),
    "answer-without-a-mask-share": _revealed(lambda m: m.self_shares, lambda m: ()),
    "answer-with-a-mask-share-too-many": _revealed(lambda m: m.self_shares, lambda m: m.self_shares[:2]),
    "answer-with-both-kinds-for-one-bank": _revealed(
        lambda m: (*m.self_shares, m.mask_shares[0]), lambda m: m.mask_shares
    ),
    "answer-with-a-share-outside-the-field": _revealed(
        lambda m: (OUTSIDE, *m.self_shares[1:]), lambda m: m.mask_shares
    ),
}


def _twice(step: str) -> Lie:
    """A second, different answer, after the first was taken."""

    def forge(federation: Federation, message: Any) -> bytes:
        federation.server.receive(BANK, messages.encode(message))
        return change(message, signature=bytes(64))

    return Lie(step=step, rule="once", forge=forge, unchecked=("once", "distinct", "signature"))


def _too_early(federation: Federation, message: Any) -> bytes:
    """The dealing of another session, when keys are due."""
    changes = msgspec.structs.asdict(federation.session)
    other = Federation(changes={"key_exchange": changes["key_exchange"], "round": 1}).run(until="mask")
    return other.sent["share", BANK]


OUT_OF_TURN: dict[str, Lie] = {
    **{f"second-answer-at-{step}": _twice(step) for step in STEPS},
    "dealing-before-it-was-asked": Lie(step="advertise", rule="order", forge=_too_early),
    "masked-input-of-a-bank-that-never-dealt": Lie(
        step="mask",
        rule="sender",
        sender=5,
        forge=lambda f, m: change(m, index=5),
        unchecked=("sender", "signature"),
        n=10,
        drop={"share": (5,)},
    ),
}

LIES: dict[str, Lie] = NOT_ITS_OWN | BAD_KEYS | BAD_DEALINGS | BAD_INPUTS | BAD_ANSWERS | OUT_OF_TURN
