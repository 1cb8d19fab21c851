"""A server that deviates: the client names what it saw, falls silent, and knows no secret any more.

Every attack starts from an honest run up to one step. ``unchecked`` names the production check that stops it; the
control runs the same attack against a client without that check, which must answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from fedsec.errors import LocalProtocolError, RemoteProtocolError
from secagg import ClientPolicy, Identity, RoundConfig, State, kem, keys, messages, transcript, tree
from secagg import rounds as production
from secagg.client import Client
from secagg.dealing import entries_root
from tests.secagg.helpers import POLICY, STEPS, Federation, change, decode, flip, make_session
from tests.secagg.memory import frames_of_package, round_secrets, still_known

VICTIM = 0
LOW_ORDER = (
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
)
KINDS = {
    "advertise": messages.AdvertiseRequest,
    "share": messages.ShareRequest,
    "mask": messages.MaskRequest,
    "agree": messages.AgreeRequest,
    "unmask": messages.UnmaskRequest,
}


@dataclass(frozen=True)
class Attack:
    """What the server sends to the victim at ``step`` instead of the honest request, and the rule that it breaks."""

    step: str
    rule: str
    forge: Callable[[Federation, Any], bytes]
    peer: int | None = None
    unchecked: str = ""


def _resign(federation: Federation, session: bytes) -> bytes:
    signature = federation.server_identity.sign(*transcript.session(session))
    return messages.encode(messages.AdvertiseRequest(session=session, signature=signature))


def _other_session(**changes: Any) -> Callable[[Federation, Any], bytes]:
    """A session with ``changes`` that the server signs, made without the production validation."""

    def forge(federation: Federation, _: Any) -> bytes:
        fields = msgspec.structs.asdict(federation.session) | changes
        return _resign(federation, msgspec.msgpack.encode(list(fields.values())))

    return forge


def _listed(federation: Federation, entries: list[Any], sign: Callable[..., Any], *context: bytes) -> messages.Listing:
    """What a server that lies about ``entries`` signs, so that the lie is all of one piece."""
    slot = transcript.member_slot if sign is transcript.members else transcript.dealer_slot
    root, _ = tree.over_slots({entry.index: slot(entry) for entry in entries}, range(federation.n))
    signature = federation.server_identity.sign(*sign(federation.session.kid, *context, root))
    return messages.Listing(root=root, signature=signature, paths=())


def _entries(edit: Callable[[Federation, list[Any]], list[Any]]) -> Callable[[Federation, Any], bytes]:
    def forge(federation: Federation, request: Any) -> bytes:
        entries = edit(federation, list(request.entries))
        return change(request, entries=tuple(entries), listing=_listed(federation, entries, transcript.members))

    return forge


def _listing(**edit: Callable[[Federation, Any], Any]) -> Callable[[Federation, Any], bytes]:
    """The list as it is, under another root, signature or paths."""

    def forge(federation: Federation, request: Any) -> bytes:
        listing = request.listing
        for name, other in edit.items():
            listing = msgspec.structs.replace(listing, **{name: other(federation, listing)})
        return change(request, listing=listing)

    return forge


def _signed_keys(federation: Federation, index: int, **replaced: bytes) -> messages.Advertise:
    """An advertisement of a bank that works with the server."""
    entry = decode(federation.sent["advertise", index], messages.Advertise)
    entry = msgspec.structs.replace(entry, **replaced)
    public = (entry.share_key, entry.mask_key, entry.share_kem, entry.mask_kem)
    statement = transcript.advertise(federation.session.kid, index, *public)
    return msgspec.structs.replace(entry, signature=federation.identities[index].sign(*statement))


def _swap(entries: list[Any], of: int, /, **replaced: Any) -> list[Any]:
    return [msgspec.structs.replace(e, **replaced) if e.index == of else e for e in entries]


def _foreign_entry(federation: Federation, entries: list[Any]) -> list[Any]:
    """Bank 1's keys of another session, signed by it then."""
    other = Federation(changes={"round": 1}).run(until="share")
    return [decode(other.sent["advertise", 1], messages.Advertise) if e.index == 1 else e for e in entries]


def _dealings(edit: Callable[[list[Any]], list[Any]]) -> Callable[[Federation, Any], bytes]:
    def forge(federation: Federation, request: Any) -> bytes:
        dealings = edit(list(request.dealings))
        t1 = federation.clients[VICTIM]._phase.exchange.t1
        return change(request, dealings=tuple(dealings), listing=_listed(federation, dealings, transcript.dealers, t1))

    return forge


def _deliveries(edit: Callable[[list[Any]], list[Any]]) -> Callable[[Federation, Any], bytes]:
    return lambda federation, request: change(request, deliveries=tuple(edit(list(request.deliveries))))


def _first_entry(**edit: Callable[[Any], Any]) -> Callable[[Federation, Any], bytes]:
    """The first delivery with fields of its entry edited."""

    def forge(deliveries: list[Any]) -> list[Any]:
        entry = deliveries[0].entry
        replaced = {name: change_field(getattr(entry, name)) for name, change_field in edit.items()}
        return [
            msgspec.structs.replace(deliveries[0], entry=msgspec.structs.replace(entry, **replaced)),
            *deliveries[1:],
        ]

    return _deliveries(forge)


def _round(config: Callable[[Federation], bytes], *, signer: str = "server") -> Callable[[Federation, Any], bytes]:
    def forge(federation: Federation, request: Any) -> bytes:
        encoded = config(federation)
        identity = federation.server_identity if signer == "server" else federation.identities[1]
        signature = identity.sign(*transcript.round_config(federation.session.kid, encoded))
        return change(request, round_config=encoded, signature=signature)

    return forge


def _reflect(federation: Federation, request: Any) -> bytes:
    """The ciphertext that the victim made for bank 1 comes back as bank 1's for the victim."""
    own = decode(federation.sent["share", VICTIM], messages.Share).entries[1]
    first = msgspec.structs.replace(request.deliveries[0], entry=own)
    return change(request, deliveries=(first, *request.deliveries[1:]))


def _of_another_receiver(federation: Federation, request: Any) -> bytes:
    """Bank 2's delivery goes to the victim."""
    other = decode(federation.requests[2], messages.MaskRequest).deliveries
    mine = next(d for d in other if d.dealer == request.deliveries[0].dealer)
    return change(request, deliveries=(mine, *request.deliveries[1:]))


def _survivors(*indices: int) -> Callable[[Federation, Any], bytes]:
    return lambda federation, request: change(request, survivors=indices)


def _agreed(edit: Callable[[Federation, list[Any]], list[Any]]) -> Callable[[Federation, Any], bytes]:
    return lambda federation, request: change(request, agreed=tuple(edit(federation, list(request.agreed))))


def _other_survivors(federation: Federation, agreed: list[Any]) -> list[Any]:
    """Four banks that help the server sign a smaller U3 than the victim's."""
    place = federation.clients[VICTIM]._phase.place
    return [
        messages.Agree(
            index=i, signature=federation.identities[i].sign(*transcript.agree(place.sid, place.t2, i, (0, 1, 2, 3)))
        )
        for i in range(4)
    ]


def _other_transcript(federation: Federation, agreed: list[Any]) -> list[Any]:
    """The survivors' signatures under the transcript of another round."""
    place = federation.clients[VICTIM]._phase.place
    return [
        messages.Agree(
            index=i, signature=federation.identities[i].sign(*transcript.agree(place.sid, bytes(32), i, range(5)))
        )
        for i in range(5)
    ]


ATTACKS = {
    # Step 0: the session.
    "session-signed-by-nobody": Attack(
        "advertise", "signature", lambda f, r: change(r, signature=flip(r.signature)), unchecked="rounds.verify"
    ),
    "session-for-another-roster": Attack("advertise", "roster", _other_session(roster_digest=bytes(32))),
    "session-with-fewer-clients-than-the-roster": Attack(
        "advertise", "roster", _other_session(clients=5, threshold=4, corrupt=1, min_survivors=4)
    ),
    "session-of-another-task": Attack(
        "advertise", "policy", _other_session(task="other"), unchecked="ClientPolicy.check"
    ),
    "session-for-another-purpose": Attack(
        "advertise", "policy", _other_session(purpose="curiosity"), unchecked="ClientPolicy.check"
    ),
    "session-that-claims-no-traitors": Attack(
        "advertise", "policy", _other_session(corrupt=0), unchecked="ClientPolicy.check"
    ),
    "session-with-an-insecure-threshold": Attack(
        "advertise", "format", _other_session(threshold=4), unchecked="SessionConfig._check_cohort"
    ),
    "session-with-threshold-one": Attack(
        "advertise", "format", _other_session(threshold=1, min_survivors=1), unchecked="SessionConfig._check_cohort"
    ),
    "session-with-survivors-below-the-threshold": Attack("advertise", "format", _other_session(min_survivors=2)),
    "session-whose-sum-wraps": Attack("advertise", "format", _other_session(ring_bits=13)),
    "session-on-an-unknown-graph": Attack("advertise", "format", _other_session(graph="sparse")),
    "session-on-a-sparse-graph": Attack(
        "advertise", "format", _other_session(graph=["harary", 4, bytes(32)]), unchecked="SessionConfig._check_cohort"
    ),
    "session-against-a-weaker-adversary": Attack(
        "advertise", "policy", _other_session(adversary="semi-honest"), unchecked="ClientPolicy.check"
    ),
    "session-without-the-post-quantum-half": Attack(
        "advertise", "policy", _other_session(key_exchange="x25519"), unchecked="ClientPolicy.check"
    ),
    "session-with-another-key-exchange": Attack("advertise", "format", _other_session(key_exchange="none")),
    "session-of-another-version": Attack("advertise", "format", _other_session(version=2)),
    # Step 1: who advertised what.
    "key-swapped": Attack(
        "share",
        "signature",
        _entries(lambda f, e: _swap(e, 1, mask_key=keys.public_bytes(keys.private_key(b"k" * 32)))),
        unchecked="rounds.verify",
    ),
    "share-key-swapped": Attack(
        "share",
        "signature",
        _entries(lambda f, e: _swap(e, 1, share_key=keys.public_bytes(keys.private_key(b"k" * 32)))),
        unchecked="rounds.verify",
    ),
    "keys-of-another-round": Attack("share", "signature", _entries(_foreign_entry), unchecked="rounds.verify"),
    "own-key-changed": Attack("share", "own-entry", _entries(lambda f, e: _swap(e, VICTIM, mask_key=b"k" * 32))),
    "own-key-left-out": Attack("share", "own-entry", _entries(lambda f, e: e[1:])),
    "bank-listed-twice": Attack("share", "members", _entries(lambda f, e: [*e[:2], *e[1:]])),
    "banks-out-of-order": Attack("share", "members", _entries(lambda f, e: [*e[:-2], e[-1], e[-2]])),
    "unknown-bank": Attack("share", "members", _entries(lambda f, e: [*e, *_swap(e[-1:], e[-1].index, index=100)])),
    "bank-just-outside-the-roster": Attack(
        "share", "members", _entries(lambda f, e: [*e, *_swap(e[-1:], e[-1].index, index=f.n)])
    ),
    "cohort-below-threshold": Attack(
        "share", "members", _entries(lambda f, e: e[: f.session.threshold - 1]), unchecked="rounds._check_members"
    ),
    "two-banks-with-one-key": Attack(
        "share",
        "distinct",
        _entries(lambda f, e: [*e[:2], _signed_keys(f, 2, mask_key=e[1].mask_key), *e[3:]]),
    ),
    **{
        f"low-order-point-{place}-{name}": Attack(
            "share",
            "point",
            _entries(lambda f, e, name=name, point=point: [*e[:2], _signed_keys(f, 2, **{name: point}), *e[3:]]),
        )
        for place, point in enumerate(LOW_ORDER)
        for name in ("share_key", "mask_key")
    },
    **{
        f"kem-key-swapped-{name}": Attack(
            "share",
            "signature",
            _entries(lambda f, e, name=name: _swap(e, 1, **{name: kem.public_bytes(kem.private_key(b"k" * 64))})),
            unchecked="rounds.verify",
        )
        for name in ("share_kem", "mask_kem")
    },
    "own-kem-key-changed": Attack("share", "own-entry", _entries(lambda f, e: _swap(e, VICTIM, mask_kem=b"k" * 1184))),
    "kem-key-left-out": Attack(
        "share", "point", _entries(lambda f, e: [*e[:2], _signed_keys(f, 2, mask_kem=b""), *e[3:]])
    ),
    "kem-key-out-of-range": Attack(
        "share", "point", _entries(lambda f, e: [*e[:2], _signed_keys(f, 2, share_kem=b"\xff" * 1184), *e[3:]])
    ),
    "two-banks-with-one-kem-key": Attack(
        "share",
        "distinct",
        _entries(lambda f, e: [*e[:2], _signed_keys(f, 2, mask_kem=e[1].mask_kem), *e[3:]]),
    ),
    **{
        f"list-{name}-at-{step}": Attack(step, rule, _listing(**edit), unchecked=unchecked)
        for step in ("share", "mask")
        for name, rule, edit, unchecked in (
            ("signed-by-nobody", "signature", {"signature": lambda f, x: flip(x.signature)}, "rounds.verify"),
            ("of-another-root", "signature", {"root": lambda f, x: flip(x.root)}, "rounds._check_listing"),
            ("with-paths", "listing", {"paths": lambda f, x: ((),)}, "rounds._check_listing"),
        )
    },
    "signed-list-of-other-members": Attack(
        "share",
        "listing",
        lambda f, r: change(r, listing=_listed(f, list(r.entries[:4]), transcript.members)),
        unchecked="rounds._check_listing",
    ),
    "key-in-a-second-spelling": Attack(
        "share",
        "point",
        _entries(lambda f, e: [*e[:2], _signed_keys(f, 2, mask_key=(2**255 - 19 + 9).to_bytes(32, "little")), *e[3:]]),
    ),
    # Step 2: the round, what was dealt, what is delivered.
    "round-signed-by-a-bank": Attack(
        "mask", "signature", _round(lambda f: f.round.encode(), signer="bank"), unchecked="rounds.verify"
    ),
    "round-of-another-session": Attack(
        "mask",
        "round",
        _round(lambda f: RoundConfig(kid=bytes(32), model_digest=bytes(32), optimiser=b"").encode()),
    ),
    "round-that-is-no-round": Attack("mask", "format", _round(lambda f: b"\x90")),
    "dealers-below-threshold": Attack("mask", "members", _dealings(lambda d: d[:3]), unchecked="rounds._check_members"),
    "dealer-that-had-not-advertised": Attack("mask", "members", _dealings(lambda d: [*d, _swap(d[:1], 0, index=4)[0]])),
    "own-shares-changed": Attack("mask", "own-entry", _dealings(lambda d: _swap(d, VICTIM, commitment=bytes(32)))),
    "own-shares-left-out": Attack("mask", "members", _dealings(lambda d: d[1:])),
    "commitment-changed": Attack(
        "mask", "signature", _dealings(lambda d: _swap(d, 1, commitment=bytes(32))), unchecked="rounds.verify"
    ),
    "root-changed": Attack("mask", "signature", _dealings(lambda d: _swap(d, 1, root=bytes(32)))),
    "delivery-left-out": Attack("mask", "delivery", _deliveries(lambda d: d[1:])),
    "last-delivery-left-out": Attack("mask", "delivery", _deliveries(lambda d: d[:-1])),
    "delivery-under-another-name": Attack(
        "mask", "delivery", _deliveries(lambda d: [msgspec.structs.replace(d[0], dealer=2), *d[1:]])
    ),
    "delivery-twice": Attack("mask", "delivery", _deliveries(lambda d: [d[0], *d])),
    "deliveries-reordered": Attack("mask", "delivery", _deliveries(lambda d: [d[1], d[0], *d[2:]])),
    "deliveries-swapped-under-right-names": Attack(
        "mask",
        "delivery",
        _deliveries(
            lambda d: [
                msgspec.structs.replace(d[1], dealer=d[0].dealer),
                msgspec.structs.replace(d[0], dealer=d[1].dealer),
                *d[2:],
            ]
        ),
    ),
    "ciphertext-corrupted": Attack("mask", "delivery", _first_entry(ciphertext=flip)),
    "leaf-corrupted": Attack("mask", "delivery", _first_entry(self_leaf=flip)),
    "path-cut": Attack(
        "mask", "delivery", _deliveries(lambda d: [msgspec.structs.replace(d[0], path=d[0].path[1:]), *d[1:]])
    ),
    "ciphertext-reflected": Attack("mask", "delivery", _reflect),
    "delivery-of-another-receiver": Attack("mask", "delivery", _of_another_receiver),
    # Step 3: who survived.
    "survivors-without-the-victim": Attack("agree", "survivors", _survivors(1, 2, 3, 4)),
    "survivor-that-never-dealt": Attack("agree", "survivors", _survivors(0, 1, 2, 3, 4, 5)),
    "survivor-outside-the-roster": Attack("agree", "survivors", _survivors(0, 1, 2, 3, 4, 7)),
    "survivors-out-of-order": Attack("agree", "survivors", _survivors(0, 1, 2, 4, 3)),
    "survivor-twice": Attack("agree", "survivors", _survivors(0, 1, 2, 3, 3)),
    "survivors-below-threshold": Attack("agree", "survivors", _survivors(0, 1, 2)),
    "one-survivor": Attack("agree", "survivors", _survivors(0)),
    # Step 4: who agreed.
    "agreement-below-threshold": Attack("unmask", "agreement", _agreed(lambda f, a: a[:3])),
    "one-signature-four-times": Attack("unmask", "agreement", _agreed(lambda f, a: [a[0]] * 4)),
    "agreement-out-of-order": Attack("unmask", "agreement", _agreed(lambda f, a: a[::-1])),
    "agreement-of-a-stranger": Attack(
        "unmask", "agreement", _agreed(lambda f, a: [*a[:3], *_swap(a[3:4], 3, index=9)])
    ),
    "agreement-on-other-survivors": Attack("unmask", "signature", _agreed(_other_survivors), unchecked="rounds.verify"),
    "agreement-of-another-round": Attack("unmask", "signature", _agreed(_other_transcript), unchecked="rounds.verify"),
    "agreement-with-one-bad-signature": Attack(
        "unmask",
        "signature",
        _agreed(lambda f, a: [*a[:-1], msgspec.structs.replace(a[-1], signature=flip(a[-1].signature))]),
        unchecked="rounds.verify",
    ),
    # Any step: the bytes themselves.
    **{
        f"{name}-at-{step}": Attack(step, rule, forge)
        for step in STEPS
        for name, rule, forge in (
            ("empty-message", "format", lambda f, r: b""),
            ("truncated-message", "format", lambda f, r: messages.encode(r)[:-1]),
            ("trailing-byte", "format", lambda f, r: messages.encode(r) + b"\x00"),
            ("oversized-message", "size", lambda f, r: messages.encode(r) + bytes(50_000)),
            ("message-of-another-type", "format", lambda f, r: f.sent_or_dummy()),
            (
                "message-in-another-spelling",
                "canonical",
                lambda f, r: b"\xdc\x00" + bytes([messages.encode(r)[0] & 0x0F]) + messages.encode(r)[1:],
            ),
            (
                "message-with-one-more-field",
                "format",
                lambda f, r: bytes([messages.encode(r)[0] + 1]) + messages.encode(r)[1:] + b"\xc0",
            ),
        )
    },
}
DROPS = {"dealer-that-had-not-advertised": {"advertise": (4,)}, "own-shares-left-out": {"share": (4,)}}
DROPS["survivor-that-never-dealt"] = {"share": (5,)}
COHORT = {"session-with-an-insecure-threshold": 10, "session-that-claims-no-traitors": 10}
COHORT["survivor-that-never-dealt"] = 6
COHORT["session-with-fewer-clients-than-the-roster"] = 6


class _Federation(Federation):
    def sent_or_dummy(self) -> bytes:
        """A well-formed message, but not the one that this step expects."""
        return messages.encode(messages.Agree(index=1, signature=bytes(64)))


def _prepare(name: str) -> tuple[Federation, bytes]:
    attack = ATTACKS[name]
    federation = _Federation(n=COHORT.get(name, 5)).run(until=attack.step, drop=DROPS.get(name))
    honest = decode(federation.requests[VICTIM], KINDS[attack.step])
    return federation, attack.forge(federation, honest)


def _send(client: Client, step: str, request: bytes) -> Any:
    return client.accept(request) if step == "mask" else getattr(client, step)(request)


def assert_silent(client: Client, federation: Federation, requests: dict[str, bytes]) -> None:
    """No call, with any request that was honest, emits another byte."""
    assert client.state is State.ABORTED
    for step in STEPS:
        with pytest.raises(LocalProtocolError):
            _send(client, step, requests.get(step, federation.requests[VICTIM]))
    with pytest.raises(LocalProtocolError):
        client.mask(federation.inputs[VICTIM])


def assert_refused(federation: Federation, attack: Attack, forged: bytes) -> None:
    """The property of this file."""
    client = federation.clients[VICTIM]
    secrets = round_secrets(client)
    assert secrets or attack.step == "advertise"
    with pytest.raises(RemoteProtocolError) as caught:
        _send(client, attack.step, forged)
    assert (caught.value.rule, caught.value.peer) == (attack.rule, attack.peer)
    assert_silent(client, federation, {attack.step: federation.requests[VICTIM]})
    assert not still_known(secrets, client, caught.value, *frames_of_package(caught.value))


@pytest.mark.parametrize("name", ATTACKS)
def test_refused_named_silent_and_forgotten(name: str) -> None:
    federation, forged = _prepare(name)
    assert_refused(federation, ATTACKS[name], forged)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.unchecked])
def test_control_without_the_check_the_attack_is_answered(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, forged = _prepare(name)
    blind: dict[str, tuple[Any, str, Any]] = {
        "rounds.verify": (production, "verify", lambda *a: True),
        "rounds._check_members": (production, "_check_members", lambda *a, **k: None),
        "rounds._check_listing": (production, "_check_listing", lambda *a, **k: None),
        "ClientPolicy.check": (ClientPolicy, "check", lambda *a: None),
        "SessionConfig._check_cohort": (type(federation.session), "_check_cohort", lambda *a: None),
    }
    monkeypatch.setattr(*blind[ATTACKS[name].unchecked])
    if "threshold" in name or "sparse" in name:  # the policy would decline it as well
        monkeypatch.setattr(*blind["ClientPolicy.check"])
    if name.startswith("dealers-below"):
        request = decode(federation.requests[VICTIM], messages.MaskRequest)
        forged = _dealings(lambda d: d[:3])(federation, request)
        forged = change(decode(forged, messages.MaskRequest), deliveries=request.deliveries[:2])
    _send(federation.clients[VICTIM], ATTACKS[name].step, forged)


@pytest.mark.parametrize("step", STEPS)
def test_control_the_honest_request_is_answered(step: str) -> None:
    federation = Federation().run(until=step)
    _send(federation.clients[VICTIM], step, federation.requests[VICTIM])


def test_control_a_client_that_forgets_to_forget_is_found() -> None:
    class Forgetful(Client):
        def abort(self) -> None:
            self._state = State.ABORTED

    federation = Federation()
    federation.clients[VICTIM] = Forgetful(
        index=VICTIM, identity=federation.identities[VICTIM], roster=federation.roster, policy=POLICY
    )
    federation.run(until="agree")
    with pytest.raises(AssertionError, match="still_known"):
        assert_refused(
            federation, ATTACKS["one-survivor"], _survivors(0)(federation, messages.AgreeRequest(survivors=()))
        )


def test_control_a_traceback_would_keep_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    federation, forged = _prepare("low-order-point-0-mask_key")
    client = federation.clients[VICTIM]
    secrets = round_secrets(client)
    with pytest.raises(RemoteProtocolError) as caught:
        client._share(forged)  # without the wrapper that cuts the traceback
    client.abort()
    assert still_known(secrets, *frames_of_package(caught.value))


@pytest.mark.parametrize("step", STEPS)
def test_replay_gets_the_same_bytes_and_a_changed_request_aborts(step: str) -> None:
    federation = Federation().run(until=step)
    client, request = federation.clients[VICTIM], federation.requests[VICTIM]
    first = federation.reply(step, VICTIM, request)
    state = client.state
    assert federation.reply(step, VICTIM, request) == first
    assert client.state is state
    secrets = round_secrets(client)
    with pytest.raises(RemoteProtocolError) as caught:
        _send(client, step, request + b"\x00")
    assert caught.value.rule == "once"
    assert_silent(client, federation, {step: request})
    assert not still_known(secrets, client, caught.value, *frames_of_package(caught.value))


def test_a_second_list_of_survivors_is_never_signed() -> None:
    """The way to both kinds of share: U3 with bank 4, then U3 without it."""
    federation = Federation().run(until="agree")
    client = federation.clients[VICTIM]
    client.agree(federation.requests[VICTIM])
    with pytest.raises(RemoteProtocolError) as caught:
        client.agree(messages.encode(messages.AgreeRequest(survivors=(0, 1, 2, 3))))
    assert caught.value.rule == "once"


def test_fewer_survivors_than_the_session_promised_are_refused_even_above_the_threshold() -> None:
    federation = Federation(changes={"min_survivors": 5}).run(until="agree")
    assert federation.session.threshold == 4
    forged = messages.encode(messages.AgreeRequest(survivors=(0, 1, 2, 3)))
    assert_refused(federation, Attack("agree", "survivors", lambda f, r: b""), forged)
    control = Federation().run(until="agree")  # where 4 were promised, 4 are enough
    control.clients[VICTIM].agree(forged)


def test_no_bank_reveals_both_shares_of_a_dealer() -> None:
    """After signing U3 a client does not even hold the other kind."""
    federation = Federation(n=10).run(until="unmask", drop={"mask": (3, 8)})
    for index in set(range(10)) - {3, 8}:
        client = federation.clients[index]
        before = federation.sent["agree", index]
        phase = client._phase
        assert before and isinstance(phase, production.Agreed)
        assert (len(phase.self_shares), len(phase.mask_shares)) == (8, 2)
        assert not set(phase.self_shares) & set(phase.mask_shares)
        reply = decode(client.unmask(federation.requests[index]), messages.Unmask)
        assert (reply.self_shares, reply.mask_shares) == (phase.self_shares, phase.mask_shares)
        assert client._phase is None


def test_two_lists_of_members_for_two_banks_end_before_a_mask() -> None:
    """Bank 0 hears of U1 = {0..4}, bank 1 of U1 = {0..3}: their transcripts part, and so do their shares."""
    federation = Federation().run(until="share")
    entries = decode(federation.requests[0], messages.ShareRequest).entries
    listing = _listed(federation, list(entries[:4]), transcript.members)
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
        listing=_listed(federation, dealings, transcript.dealers, federation.clients[VICTIM]._phase.exchange.t1),
        deliveries=deliveries,
    )
    assert_refused(federation, Attack("mask", "signature", lambda f, r: b""), messages.encode(request))


def test_two_models_end_before_a_share_is_revealed() -> None:
    """Two models make two transcripts: the masks do not cancel, and no U3 gets t signatures that a client accepts."""
    federation = Federation().run(until="mask")
    for index, request in list(federation.requests.items()):
        if index < 2:
            other = RoundConfig(kid=federation.session.kid, model_digest=b"x" * 32, optimiser=b"")
            honest = decode(request, messages.MaskRequest)
            federation.requests[index] = _round(lambda f, other=other: other.encode())(federation, honest)
        federation.sent["mask", index] = federation.reply("mask", index, federation.requests[index])
    place = [client._phase.place for client in federation.clients]
    assert place[0].t2 == place[1].t2 != place[2].t2 == place[3].t2
    agree = messages.encode(messages.AgreeRequest(survivors=(0, 1, 2, 3, 4)))
    agreed = tuple(decode(client.agree(agree), messages.Agree) for client in federation.clients)
    forged = messages.encode(messages.UnmaskRequest(agreed=agreed))
    assert_refused(federation, Attack("unmask", "signature", lambda f, r: b""), forged)


def test_control_one_model_for_all_opens() -> None:
    federation = Federation().run()
    assert (federation.opened().total == federation.plain_sum(range(5))).all()


def test_a_round_with_another_cohort_gets_no_second_mask() -> None:
    """A client that masked for U2 is asked again with a smaller U2."""
    federation = Federation().run(until="mask")
    honest = decode(federation.requests[VICTIM], messages.MaskRequest)
    federation.reply("mask", VICTIM, federation.requests[VICTIM])
    smaller = change(honest, dealings=honest.dealings[:4], deliveries=honest.deliveries[:3])
    assert_refused(federation, Attack("mask", "once", lambda f, r: b""), smaller)


def test_policy_terms_are_each_enforced() -> None:
    federation = Federation(n=10)
    accepted = ClientPolicy(
        tasks=frozenset({"task"}),
        purposes=frozenset({"training"}),
        modes=frozenset({"distributed"}),
        min_clients=10,
        min_corrupt=3,
        max_corrupt=3,
        min_honest_inputs=4,
        min_noise_multiplier=1.0,
        max_dimension=7,
    )
    accepted.check(federation.session)
    for name, value in (
        ("tasks", frozenset()),
        ("purposes", frozenset()),
        ("modes", frozenset({"local"})),
        ("min_clients", 11),
        ("min_corrupt", 4),
        ("max_corrupt", 2),
        ("min_honest_inputs", 5),
        ("min_noise_multiplier", 1.1),
        ("max_dimension", 6),
        ("key_exchanges", frozenset({"x25519"})),
        ("adversaries", frozenset({"semi-honest"})),
    ):
        fields = {field: getattr(accepted, field) for field in accepted.__dataclass_fields__}
        with pytest.raises(RemoteProtocolError) as caught:
            ClientPolicy(**(fields | {name: value})).check(federation.session)
        assert caught.value.rule == "policy", name


def test_a_server_with_another_key_is_nobody() -> None:
    federation = Federation()
    impostor = Identity.from_private_bytes(b"\xee" * 32)
    encoded = make_session(federation.roster).encode()
    request = messages.AdvertiseRequest(session=encoded, signature=impostor.sign(*transcript.session(encoded)))
    federation.requests = {VICTIM: b""}
    assert_refused(federation, Attack("advertise", "signature", lambda f, r: b""), messages.encode(request))
