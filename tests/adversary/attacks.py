"""Every deviation of a server that a single request shows, by what the server is after.

Deviations that need several requests (replays, two views, two answers) have tests of their own.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from secagg import RoundConfig, kem, keys, messages, transcript
from tests.adversary.attacks_on_shares import DEALERS, DELIVERIES
from tests.adversary.dishonest_server import (
    LOW_ORDER,
    VICTIM,
    Attack,
    agreed,
    dealings,
    entries,
    listed,
    listing,
    other_session,
    round_of,
    signed_keys,
    survivors,
    swap,
)
from tests.secagg.helpers import STEPS, Federation, change, decode, flip

KEY = keys.public_bytes(keys.private_key(b"k" * 32))
KEM_KEY = kem.public_bytes(kem.private_key(b"k" * 64))


def _session(rule: str, *unchecked: str, n: int = 5, hybrid: bool = False, **changes: Any) -> Attack:
    forge = other_session(**changes)
    return Attack(step="advertise", rule=rule, forge=forge, unchecked=unchecked, n=n, hybrid=hybrid)


# Step 0: a session that protects less.
SESSIONS = {
    "session-signed-by-nobody": Attack(
        step="advertise",
        rule="signature",
        forge=lambda f, r: change(r, signature=flip(r.signature)),
        unchecked=("signature",),
    ),
    "session-for-another-roster": _session("roster", "roster", roster_digest=bytes(32)),
    "session-with-fewer-clients-than-the-roster": _session(
        "roster", "roster", n=6, clients=5, threshold=4, corrupt=1, min_survivors=4
    ),
    "session-of-another-task": _session("policy", "policy", task="other"),
    "session-for-another-purpose": _session("policy", "policy", purpose="curiosity"),
    "session-that-claims-no-traitors": _session("policy", "policy", n=10, corrupt=0),
    "session-with-an-insecure-threshold": _session("format", "cohort", "policy", n=10, threshold=4),
    "session-with-threshold-one": _session("format", "cohort", "policy", threshold=1, min_survivors=1),
    "session-with-survivors-below-the-threshold": _session("format", "cohort", "policy", min_survivors=2),
    "session-whose-sum-wraps": _session("format", "overflow", ring_bits=13),
    "session-on-an-unknown-graph": _session("format", graph="sparse"),
    "session-on-a-sparse-graph": _session("format", "cohort", "policy", graph=["harary", 4, bytes(32)]),
    "session-against-a-weaker-adversary": _session("policy", "policy", adversary="semi-honest"),
    "session-without-the-post-quantum-half": _session("policy", "policy", hybrid=True, key_exchange="x25519"),
    "session-with-another-key-exchange": _session("format", "exchange-name", "policy", key_exchange="none"),
    "session-of-another-version": _session("format", "version", version=2),
}


def _foreign_entry(federation: Federation, items: list[Any]) -> list[Any]:
    """Bank 1's keys of another session, signed by it then."""
    changes = {"key_exchange": federation.session.key_exchange, "round": 1}
    other = Federation(changes=changes).run(until="share")
    return [decode(other.sent["advertise", 1], messages.Advertise) if e.index == 1 else e for e in items]


def _keys(rule: str, *unchecked: str, hybrid: bool = False, **replaced: bytes) -> Attack:
    """Bank 2's advertisement with keys ``replaced``, signed by it."""

    def edit(federation: Federation, items: list[Any]) -> list[Any]:
        return [*items[:2], signed_keys(federation, 2, **replaced), *items[3:]]

    return Attack(step="share", rule=rule, forge=entries(edit), unchecked=unchecked, hybrid=hybrid)


def _key_of_bank_1(name: str, *, hybrid: bool = False) -> Attack:
    forge = entries(lambda f, e: [*e[:2], signed_keys(f, 2, **{name: getattr(e[1], name)}), *e[3:]])
    return Attack(step="share", rule="distinct", forge=forge, unchecked=("distinct",), hybrid=hybrid)


def _swapped(name: str, key: bytes, *, hybrid: bool = False) -> Attack:
    forge = entries(lambda f, e: swap(e, 1, **{name: key}))
    return Attack(step="share", rule="signature", forge=forge, unchecked=("signature",), hybrid=hybrid)


def _own(name: str, value: bytes, *, hybrid: bool = False) -> Attack:
    forge = entries(lambda f, e: swap(e, VICTIM, **{name: value}))
    return Attack(step="share", rule="own-entry", forge=forge, unchecked=("own-entry", "signature"), hybrid=hybrid)


# Step 1: keys that are not what a bank advertised, or are no keys.
KEYS = {
    "key-swapped": _swapped("mask_key", KEY),
    "share-key-swapped": _swapped("share_key", KEY),
    "kem-key-swapped-share_kem": _swapped("share_kem", KEM_KEY, hybrid=True),
    "kem-key-swapped-mask_kem": _swapped("mask_kem", KEM_KEY, hybrid=True),
    "keys-of-another-round": Attack(
        step="share", rule="signature", forge=entries(_foreign_entry), unchecked=("signature",)
    ),
    "own-key-changed": _own("mask_key", b"k" * 32),
    "own-kem-key-changed": _own("mask_kem", b"k" * 1184, hybrid=True),
    "own-signature-changed": _own("signature", bytes(64)),
    "own-key-left-out": Attack(
        step="share", rule="own-entry", forge=entries(lambda f, e: e[1:]), unchecked=("own-entry",), n=6
    ),
    "two-banks-with-one-key": _key_of_bank_1("mask_key"),
    "two-banks-with-one-kem-key": _key_of_bank_1("mask_kem", hybrid=True),
    **{
        f"low-order-point-{place}-{name}": _keys("point", "point", **{name: point})
        for place, point in enumerate(LOW_ORDER)
        for name in ("share_key", "mask_key")
    },
    "key-in-a-second-spelling": _keys("point", "point", mask_key=(2**255 - 19 + 9).to_bytes(32, "little")),
    "kem-key-left-out": _keys("point", "point", hybrid=True, mask_kem=b""),
    "kem-key-out-of-range": _keys("point", "point", hybrid=True, share_kem=b"\xff" * 1184),
    "kem-key-cut": _keys("point", "point", hybrid=True, share_kem=KEM_KEY[:-1]),
    "kem-key-in-a-classical-session": Attack(
        step="share",
        rule="point",
        forge=_keys("point", mask_kem=KEM_KEY).forge,
        unchecked=("point",),
        changes={"key_exchange": "x25519"},
    ),
}


def _list(step: str, rule: str, *unchecked: str, **edit: Any) -> Attack:
    return Attack(step=step, rule=rule, forge=listing(**edit), unchecked=unchecked)


def _members(edit: Any, *unchecked: str, n: int = 5) -> Attack:
    return Attack(step="share", rule="members", forge=entries(edit), unchecked=("members", *unchecked), n=n)


# Steps 1 and 2: lists that are not everybody's.
LISTS = {
    **{
        f"list-{name}-at-{step}": _list(step, rule, *unchecked, **edit)
        for step in ("share", "mask")
        for name, rule, edit, unchecked in (
            ("signed-by-nobody", "signature", {"signature": lambda f, x: flip(x.signature)}, ("signature",)),
            ("of-another-root", "signature", {"root": lambda f, x: flip(x.root)}, ("signature", "listing")),
            ("with-paths", "listing", {"paths": lambda f, x: ((),)}, ("listing",)),
        )
    },
    "signed-list-of-other-members": Attack(
        step="share",
        rule="listing",
        forge=lambda f, r: change(r, listing=listed(f, list(r.entries[:4]), transcript.members)),
        unchecked=("listing",),
    ),
    "bank-listed-twice": _members(lambda f, e: [*e[:2], *e[1:]], "distinct"),
    "banks-out-of-order": _members(lambda f, e: [*e[:-2], e[-1], e[-2]]),
    "unknown-bank": _members(lambda f, e: [*e, *swap(e[-1:], e[-1].index, index=100)], "distinct", "signature"),
    "bank-just-outside-the-roster": _members(
        lambda f, e: [*e, *swap(e[-1:], e[-1].index, index=f.n)], "distinct", "signature"
    ),
    "dealer-that-had-not-advertised": Attack(
        step="mask",
        rule="members",
        forge=dealings(lambda d: [*d, *swap(d[:1], 0, index=4)]),
        unchecked=("members", "signature", "delivery", "pair"),
        drop={"advertise": (4,)},
    ),
    "own-shares-changed": Attack(
        step="mask",
        rule="own-entry",
        forge=dealings(lambda d: swap(d, VICTIM, commitment=bytes(32))),
        unchecked=("own-entry", "signature"),
    ),
    "own-shares-left-out": Attack(
        step="mask", rule="own-entry", forge=dealings(lambda d: d[1:]), unchecked=("own-entry",)
    ),
    "commitment-changed": Attack(
        step="mask",
        rule="signature",
        forge=dealings(lambda d: swap(d, 1, commitment=bytes(32))),
        unchecked=("signature",),
    ),
    "root-changed": Attack(
        step="mask",
        rule="signature",
        forge=dealings(lambda d: swap(d, 1, root=bytes(32))),
        unchecked=("signature", "delivery"),
    ),
}


def _round(rule: str, make: Any, *unchecked: str, signer: str = "server") -> Attack:
    return Attack(step="mask", rule=rule, forge=round_of(make, signer=signer), unchecked=unchecked)


# Step 2: a round that is not this session's.
ROUNDS = {
    "round-signed-by-a-bank": _round("signature", lambda f: f.round.encode(), "signature", signer="bank"),
    "round-of-another-session": _round(
        "round", lambda f: RoundConfig(kid=bytes(32), model_digest=bytes(32), optimiser=b"").encode(), "round"
    ),
    "round-that-is-no-round": _round("format", lambda f: b"\x90"),
}

# All steps: fewer than the session promised.
SHRUNK = {
    "cohort-below-threshold": _members(lambda f, e: e[: f.session.threshold - 1]),
    "dealers-below-threshold": Attack(
        step="mask",
        rule="members",
        forge=dealings(lambda d: d[:3]),
        unchecked=("members", "delivery"),
    ),
    "survivors-below-threshold": Attack(
        step="agree", rule="survivors", forge=survivors(0, 1, 2), unchecked=("survivors",)
    ),
    "survivors-below-the-minimum": Attack(
        step="agree",
        rule="survivors",
        forge=survivors(0, 1, 2, 3),
        unchecked=("survivors",),
        changes={"min_survivors": 5},
    ),
    "one-survivor": Attack(step="agree", rule="survivors", forge=survivors(0), unchecked=("survivors",)),
    "agreement-below-threshold": Attack(
        step="unmask", rule="agreement", forge=agreed(lambda f, a: a[:3]), unchecked=("agreement",)
    ),
    "agreement-of-nobody": Attack(
        step="unmask", rule="agreement", forge=agreed(lambda f, a: []), unchecked=("agreement",)
    ),
}


def _signed(federation: Federation, place_t2: bytes, indices: Any, banks: Any) -> list[Any]:
    """What ``banks`` sign of the survivors ``indices`` under the transcript ``place_t2``."""
    sid = federation.round.sid
    return [
        messages.Agree(index=i, signature=federation.identities[i].sign(*transcript.agree(sid, place_t2, i, indices)))
        for i in banks
    ]


def _agreement(rule: str, edit: Any, *unchecked: str) -> Attack:
    return Attack(step="unmask", rule=rule, forge=agreed(edit), unchecked=unchecked)


def _alive(*indices: int, n: int = 5, **drop: Any) -> Attack:
    return Attack(step="agree", rule="survivors", forge=survivors(*indices), unchecked=("survivors",), n=n, drop=drop)


def _t2(federation: Federation) -> bytes:
    return federation.clients[VICTIM]._phase.place.t2


# Steps 3 and 4: the way to both kinds of share of one bank leads over two lists of survivors.
AGREEMENTS = {
    "survivors-without-the-victim": _alive(1, 2, 3, 4),
    "survivor-that-never-dealt": _alive(0, 1, 2, 3, 4, 5, n=6, share=(5,)),
    "survivor-outside-the-roster": _alive(0, 1, 2, 3, 4, 7),
    "survivors-out-of-order": _alive(0, 1, 2, 4, 3),
    "survivor-twice": _alive(0, 1, 2, 3, 3),
    "one-signature-four-times": _agreement("agreement", lambda f, a: [a[0]] * 4, "agreement"),
    "agreement-out-of-order": _agreement("agreement", lambda f, a: a[::-1], "agreement"),
    "agreement-of-a-stranger": _agreement(
        "agreement", lambda f, a: [*a[:3], *swap(a[3:4], 3, index=9)], "agreement", "signature"
    ),
    # Four banks that help the server sign a smaller U3 than the victim's, and signatures of another round.
    "agreement-on-other-survivors": _agreement(
        "signature", lambda f, a: _signed(f, _t2(f), (0, 1, 2, 3), range(4)), "signature"
    ),
    "agreement-of-another-round": _agreement(
        "signature", lambda f, a: _signed(f, bytes(32), range(5), range(5)), "signature"
    ),
    "agreement-with-one-bad-signature": _agreement(
        "signature", lambda f, a: [*a[:-1], replace(a[-1], signature=flip(a[-1].signature))], "signature"
    ),
}


def _bytes(step: str, rule: str, forge: Any, *unchecked: str) -> Attack:
    return Attack(step=step, rule=rule, forge=forge, unchecked=unchecked)


def _header(data: bytes, more: int = 0) -> bytes:
    return bytes([data[0] + more]) + data[1:]


OVERSIZE = 50_000

# Any step: the bytes themselves.
MALFORMED = {
    f"{name}-at-{step}": _bytes(step, rule, forge, *unchecked)
    for step in STEPS
    for name, rule, forge, unchecked in (
        ("empty-message", "format", lambda f, r: b"", ()),
        ("truncated-message", "format", lambda f, r: messages.encode(r)[:-1], ()),
        ("trailing-byte", "format", lambda f, r: messages.encode(r) + b"\x00", ("decoding",)),
        ("oversized-message", "size", lambda f, r: messages.encode(r) + bytes(OVERSIZE), ("decoding",)),
        (
            "message-of-another-type",
            "format",
            lambda f, r: messages.encode(messages.Agree(index=1, signature=bytes(64))),
            (),
        ),
        (
            "message-in-another-spelling",
            "canonical",
            lambda f, r: b"\xdc\x00" + bytes([messages.encode(r)[0] & 0x0F]) + messages.encode(r)[1:],
            ("decoding",),
        ),
        (
            "message-with-one-more-field",
            "format",
            lambda f, r: _header(messages.encode(r), more=1) + b"\xc0",
            ("decoding",),
        ),
    )
}

ATTACKS: dict[str, Attack] = SESSIONS | KEYS | LISTS | ROUNDS | SHRUNK | DELIVERIES | DEALERS | AGREEMENTS | MALFORMED
