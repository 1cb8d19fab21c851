"""Deviations at step 2 that concern one client's shares: the server spoils them on the way, or their dealer did."""

from __future__ import annotations

import dataclasses
from typing import Any

from msgspec.structs import replace

from secagg import dealing, kem, keys, messages, shamir
from tests.adversary.dishonest_server import (
    ACCOMPLICE,
    VICTIM,
    Attack,
    deliveries,
    first_entry,
    from_accomplice,
)
from tests.secagg.helpers import Federation, change, decode, flip


def _reflect(federation: Federation, request: Any) -> bytes:
    """The ciphertext that the victim made for bank 1 comes back as bank 1's for the victim."""
    own = decode(federation.sent["share", VICTIM], messages.Share).entries[1]
    return change(request, deliveries=(replace(request.deliveries[0], entry=own), *request.deliveries[1:]))


def _of_another_receiver(federation: Federation, request: Any) -> bytes:
    """Bank 2's delivery goes to the victim."""
    other = decode(federation.requests[2], messages.MaskRequest).deliveries
    mine = next(d for d in other if d.dealer == request.deliveries[0].dealer)
    return change(request, deliveries=(mine, *request.deliveries[1:]))


def _delivered(forge: Any, *unchecked: str, hybrid: bool = False, victim: int = VICTIM) -> Attack:
    return Attack(
        step="mask",
        rule="delivery",
        forge=forge,
        unchecked=("delivery", *unchecked),
        hybrid=hybrid,
        victim=victim,
    )


# Step 2: shares corrupted, reflected, reordered, left out.
DELIVERIES = {
    "delivery-left-out": _delivered(deliveries(lambda d: d[1:]), "shares", "pair"),
    "last-delivery-left-out": _delivered(deliveries(lambda d: d[:-1])),
    "delivery-under-another-name": _delivered(
        deliveries(lambda d: [replace(d[0], dealer=2), *d[1:]]), "shares", "pair"
    ),
    "delivery-twice": _delivered(deliveries(lambda d: [d[0], *d]), "shares", "pair"),
    "deliveries-reordered": _delivered(deliveries(lambda d: [d[1], d[0], *d[2:]]), "shares", "pair"),
    "deliveries-swapped-under-right-names": _delivered(
        deliveries(lambda d: [replace(d[1], dealer=d[0].dealer), replace(d[0], dealer=d[1].dealer), *d[2:]]),
        "shares",
        "pair",
    ),
    "ciphertext-corrupted": _delivered(first_entry(ciphertext=flip), "shares"),
    "leaf-corrupted": _delivered(first_entry(self_leaf=flip), "shares"),
    "leaves-swapped": _delivered(
        deliveries(
            lambda d: [
                replace(
                    d[0], entry=replace(d[0].entry, self_leaf=d[0].entry.mask_leaf, mask_leaf=d[0].entry.self_leaf)
                ),
                *d[1:],
            ]
        ),
        "shares",
    ),
    "kem-ciphertext-corrupted": _delivered(first_entry(kem=flip), "shares", hybrid=True),
    "pair-corrupted": _delivered(
        first_entry(pair=lambda pair: replace(pair, sealed=flip(pair.sealed))), "pair", hybrid=True, victim=4
    ),
    "pair-taken-away": _delivered(first_entry(pair=lambda pair: None), "pair", hybrid=True, victim=4),
    "path-cut": _delivered(deliveries(lambda d: [replace(d[0], path=d[0].path[1:]), *d[1:]])),
    "ciphertext-reflected": _delivered(_reflect, "shares", "pair"),
    "delivery-of-another-receiver": _delivered(_of_another_receiver, "shares", "pair"),
}


def _resealed(self_share: bytes, mask_share: bytes, *, carried: bytes | None = None) -> Any:
    """Other shares than the honest ones, encrypted and committed to as if they were; beside a KEM ciphertext too."""

    def edit(federation: Federation, entry: messages.Entry) -> messages.Entry:
        kid, held = federation.session.kid, federation.clients[VICTIM]._phase.exchange
        key = held.key_from(ACCOMPLICE, entry)
        if carried is not None:
            entry = replace(entry, kem=carried)
            key = keys.ciphertext_key(held.channels[ACCOMPLICE], held.t1, ACCOMPLICE, VICTIM, carried)
        ciphertext = keys.seal(key, self_share + mask_share, dealing._data(kid, held.t1, ACCOMPLICE, VICTIM))
        leaves = [
            dealing.leaf(
                kid,
                held.t1,
                dealer=ACCOMPLICE,
                receiver=VICTIM,
                kind=kind,
                share=share,
                sealed=dealing.sealed_digest(ciphertext, entry.kem),
            )
            for kind, share in ((dealing.SELF, self_share), (dealing.MASK, mask_share))
        ]
        return replace(entry, ciphertext=ciphertext, self_leaf=leaves[0], mask_leaf=leaves[1])

    return edit


def _dealt(rule: str, edit: Any) -> Attack:
    forge = from_accomplice(edit)
    return Attack(step="mask", rule=rule, forge=forge, peer=ACCOMPLICE, unchecked=("shares",))


def _pair(edit: Any, *, dealer: int = 1, victim: int = 4) -> Attack:
    """The pair part of a dealer below the victim, edited."""
    forge = from_accomplice(edit, dealer=dealer, victim=victim)
    return Attack(step="mask", rule="pair", forge=forge, peer=dealer, unchecked=("pair",), hybrid=True, victim=victim)


def _edit_pair(**edit: Any) -> Any:
    return lambda f, e: replace(e, pair=replace(e.pair, **{name: other(f, e.pair) for name, other in edit.items()}))


def _entry_of(federation: Federation, dealer: int, receiver: int) -> messages.Entry:
    """What ``dealer`` sent ``receiver``."""
    return decode(federation.sent["share", dealer], messages.Share).entries[receiver]


def _sealed_under_another_secret(federation: Federation, pair: messages.Pair) -> bytes:
    kid, t1 = federation.session.kid, federation.clients[VICTIM]._phase.exchange.t1
    return keys.seal(bytes(32), bytes(32), kem._data(kid, t1, 1, 4, pair.kem))


# Step 2: a bank dealt badly, and signed it. It is named, the server is not.
DEALERS = {
    "dealt-ciphertext-that-does-not-open": _dealt("ciphertext", lambda f, e: replace(e, ciphertext=flip(e.ciphertext))),
    "dealt-no-ciphertext": _dealt("ciphertext", lambda f, e: replace(e, ciphertext=b"")),
    "dealt-shares-too-short": _dealt("ciphertext", _resealed(bytes(33), bytes(32))),
    "dealt-self-leaf-of-another-share": _dealt("leaf", lambda f, e: replace(e, self_leaf=flip(e.self_leaf))),
    "dealt-mask-leaf-of-another-share": _dealt("leaf", lambda f, e: replace(e, mask_leaf=flip(e.mask_leaf))),
    "dealt-leaves-swapped": _dealt("leaf", lambda f, e: replace(e, self_leaf=e.mask_leaf, mask_leaf=e.self_leaf)),
    "dealt-self-share-outside-the-field": _dealt("leaf", _resealed(shamir.PRIME.to_bytes(33, "big"), bytes(33))),
    "dealt-mask-share-outside-the-field": _dealt("leaf", _resealed(bytes(33), b"\xff" * 33)),
    "dealt-kem-ciphertext-of-nobody": dataclasses.replace(
        _dealt("ciphertext", lambda f, e: replace(e, kem=bytes(1088))), hybrid=True
    ),
    "dealt-kem-ciphertext-cut": dataclasses.replace(
        _dealt("ciphertext", lambda f, e: replace(e, kem=e.kem[:-1])), hybrid=True
    ),
    "dealt-no-kem-ciphertext": dataclasses.replace(_dealt("ciphertext", lambda f, e: replace(e, kem=b"")), hybrid=True),
    "dealt-pair-that-is-garbage": _pair(_edit_pair(kem=lambda f, p: bytes(1088))),
    "dealt-pair-for-somebody-else": _pair(lambda f, e: replace(e, pair=_entry_of(f, 1, 3).pair)),
    "dealt-pair-sealed-under-another-secret": _pair(_edit_pair(sealed=_sealed_under_another_secret)),
    "dealt-pair-committed-to-another-secret": _pair(
        _edit_pair(commitment=lambda f, p: kem.commit(f.session.kid, 1, 4, bytes(32)))
    ),
    "dealt-no-pair": _pair(lambda f, e: replace(e, pair=None)),
    "dealt-pair-where-none-belongs": _pair(
        lambda f, e: replace(e, pair=_entry_of(f, ACCOMPLICE, 4).pair), dealer=ACCOMPLICE, victim=VICTIM
    ),
    "dealt-kem-ciphertext-in-a-classical-session": dataclasses.replace(
        _dealt("ciphertext", _resealed(bytes(33), bytes(33), carried=bytes(messages.KEM_CIPHERTEXT_BYTES))),
        changes={"key_exchange": "x25519"},
    ),
    "dealt-pair-in-a-classical-session": dataclasses.replace(
        _dealt(
            "pair", lambda f, e: replace(e, pair=messages.Pair(kem=bytes(1088), sealed=bytes(48), commitment=bytes(32)))
        ),
        unchecked=("pair",),
        changes={"key_exchange": "x25519"},
    ),
}
