"""Every hash, key and signed statement depends on every one of its inputs, and no two purposes on the same bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from secagg import Roster, dealing, draw, kem, keys, transcript
from secagg.encoding import fields
from secagg.messages import Advertise, Dealing, Entry, Pair

A, B, C, D, E = (bytes([i]) * 32 for i in range(1, 6))
X = b"x" * 32
SIGNATURE, OTHER_SIGNATURE = b"s" * 64, b"t" * 64


ADVERTISED = Advertise(index=1, share_key=A, mask_key=B, share_kem=C, mask_kem=D, signature=SIGNATURE)
PAIR = Pair(kem=b"k" * 1088, sealed=b"s" * 48, commitment=E)
ENTRY = Entry(ciphertext=A, kem=E, self_leaf=B, mask_leaf=C, pair=PAIR)


def _dealing(*, index: int = 1, root: bytes = A, commitment: bytes = B, signature: bytes = SIGNATURE) -> Dealing:
    return Dealing(index=index, root=root, commitment=commitment, signature=signature)


def _roster(server: bytes) -> Roster:
    return Roster(server=server, members=((0, B), (1, C)))


# Function of keyword arguments, its arguments, and another value for each.
BOUND: dict[str, tuple[Callable[..., Any], dict[str, tuple[Any, Any]]]] = {
    "t1": (
        lambda kid, **e: transcript.t1(kid, transcript.members_root([replace(ADVERTISED, **e)], 5)[0]),
        {
            "kid": (C, X),
            "index": (1, 2),
            "share_key": (A, X),
            "mask_key": (B, X),
            "share_kem": (C, X),
            "mask_kem": (D, X),
            "signature": (SIGNATURE, OTHER_SIGNATURE),
        },
    ),
    "t2": (
        lambda sid, first, **d: transcript.t2(sid, first, transcript.dealers_root([_dealing(**d)], 5)[0]),
        {
            "sid": (C, X),
            "first": (D, X),
            "index": (1, 2),
            "root": (A, X),
            "commitment": (B, X),
            "signature": (SIGNATURE, OTHER_SIGNATURE),
        },
    ),
    "members": (transcript.members, {"kid": (A, X), "root": (B, X)}),
    "dealers": (transcript.dealers, {"kid": (A, X), "first": (B, X), "root": (C, X)}),
    "session": (transcript.session, {"encoded": (A, X)}),
    "round_config": (transcript.round_config, {"kid": (A, X), "encoded": (B, X)}),
    "advertise": (
        lambda kid, index, **public: transcript.advertise(kid, index, *public.values()),
        {
            "kid": (A, X),
            "index": (1, 2),
            "share_key": (B, X),
            "mask_key": (C, X),
            "share_kem": (D, X),
            "mask_kem": (E, X),
        },
    ),
    "share": (
        transcript.share,
        {"kid": (A, X), "first": (B, X), "index": (1, 2), "root": (C, X), "commitment": (D, X)},
    ),
    "mask": (
        transcript.mask,
        {"sid": (A, X), "second": (B, X), "index": (1, 2), "payload": (memoryview(C), memoryview(X))},
    ),
    "agree": (
        transcript.agree,
        {"sid": (A, X), "second": (B, X), "index": (1, 2), "survivors": ((1, 2, 3), (1, 2, 4))},
    ),
    "unmask": (
        transcript.unmask,
        {
            "sid": (A, X),
            "second": (B, X),
            "index": (1, 2),
            "survivors": ((1, 2, 3), (1, 2)),
            "self_shares": ((C, D), (C, X)),
            "mask_shares": ((E,), (X,)),
        },
    ),
    "agreement": (transcript.agreement, {"sid": (A, X), "second": (B, X), "survivors": ((1, 2), (1, 3))}),
    "leaf": (
        dealing.leaf,
        {
            "kid": (A, X),
            "t1": (B, X),
            "dealer": (1, 2),
            "receiver": (3, 4),
            "kind": (dealing.SELF, dealing.MASK),
            "share": (C, X),
            "sealed": (D, X),
        },
    ),
    "sealed": (dealing.sealed_digest, {"ciphertext": (A, X), "kem": (B, X)}),
    "entry": (
        lambda **e: dealing.entry_hash(replace(ENTRY, **e)),
        {
            "ciphertext": (A, X),
            "kem": (E, X),
            "self_leaf": (B, X),
            "mask_leaf": (C, X),
            "pair": (PAIR, None),
        },
    ),
    "pair": (
        lambda **p: dealing.entry_hash(replace(ENTRY, ciphertext=X, pair=replace(PAIR, **p))),
        {"kem": (b"k" * 1088, b"l" * 1088), "sealed": (b"s" * 48, b"t" * 48), "commitment": (E, X)},
    ),
    "share_data": (
        dealing._data,
        {"kid": (A, X), "t1": (B, X), "sender": (1, 2), "receiver": (3, 4)},
    ),
    "mask_private_key": (lambda seed: keys.mask_private_key(seed).private_bytes_raw(), {"seed": (A, X)}),
    "ciphertext_key": (
        keys.ciphertext_key,
        {"secret": (A, X), "t1": (B, X), "sender": (1, 5), "receiver": (3, 4), "kem": (b"", X)},
    ),
    "mask_kem": (lambda seed: kem.mask_private_key(seed).private_bytes_raw(), {"seed": (A, X)}),
    "pair_secret": (kem.pair_secret, {"mask_seed": (A, X), "t1": (B, X), "lower": (1, 2), "higher": (3, 4)}),
    "pair_commitment": (kem.commit, {"kid": (A, X), "lower": (1, 2), "higher": (3, 4), "secret": (B, X)}),
    "pair_data": (
        kem._data,
        {"kid": (A, X), "t1": (B, X), "lower": (1, 2), "higher": (3, 4), "ciphertext": (C, X)},
    ),
    "draw_commitment": (
        lambda nonce, index, **r: draw._commitment(_roster(**r).digest, index, nonce),
        {"nonce": (A, X), "index": (1, 2), "server": (A, X)},
    ),
    "draw_list": (
        lambda commitments, **r: draw._list(_roster(**r).digest, commitments),
        {"commitments": ((A, B), (B, A)), "server": (A, X)},
    ),
    "draw_seed": (
        lambda nonces, **r: draw._seed(_roster(**r).digest, nonces),
        {"nonces": ((A, B), (B, A)), "server": (A, X)},
    ),
    "pair_key": (keys.pair_key, {"secret": (A, X), "t2": (B, X), "one": (1, 2), "other": (3, 4)}),
    "self_key": (keys.self_key, {"seed": (A, X), "t2": (B, X)}),
    "commitment": (keys.commitment, {"kid": (A, X), "index": (1, 2), "seed": (B, X)}),
}


def _value(name: str, **other: Any) -> bytes:
    function, arguments = BOUND[name]
    value = function(**({key: pair[0] for key, pair in arguments.items()} | other))
    return fields(*value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("name", "argument"), [(name, key) for name in BOUND for key in BOUND[name][1]])
def test_every_argument_counts(name: str, argument: str) -> None:
    assert _value(name) == _value(name)
    assert _value(name, **{argument: BOUND[name][1][argument][1]}) != _value(name)


def test_no_two_purposes_agree() -> None:
    assert len({_value(name) for name in BOUND}) == len(BOUND)


def test_control_a_function_that_ignores_an_argument_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOUND, "agree", (lambda **a: transcript.agree(**(a | {"second": A})), BOUND["agree"][1]))
    with pytest.raises(AssertionError):
        test_every_argument_counts("agree", "second")


def test_shares_of_the_two_kinds_cannot_change_places() -> None:
    base = {"sid": A, "second": B, "index": 1, "survivors": (1, 2)}
    one = transcript.unmask(**base, self_shares=(C,), mask_shares=(D, E))
    assert one != transcript.unmask(**base, self_shares=(C, D), mask_shares=(E,))


def test_order_of_the_transcript_counts() -> None:
    """Who stands in which slot is bound; in which order the server took them is not, since slots are fixed."""
    entries = [replace(ADVERTISED, index=i, share_key=bytes([i]) * 32) for i in range(3)]
    swapped = [replace(e, share_key=bytes([2 - i]) * 32) for i, e in enumerate(entries)]
    roots = {transcript.members_root(each, 5)[0] for each in (entries, swapped, entries[:2], [])}
    assert len(roots) == 4
    assert {transcript.members_root(order, 5)[0] for order in itertools.permutations(entries)} <= roots
    assert transcript.members_root(entries, 6)[0] not in roots


def test_directions_and_pairs() -> None:
    """A pair's stream key is the same at both ends; a ciphertext key is not, so a reflected ciphertext is useless."""
    assert keys.pair_key(A, B, 1, 2) == keys.pair_key(A, B, 2, 1)
    assert keys.ciphertext_key(A, B, 1, 2) != keys.ciphertext_key(A, B, 2, 1)
