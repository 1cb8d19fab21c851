"""All traffic is recorded, and X25519 is broken one day: in the hybrid that gives no input away, without it all.

The recorder sees every byte in either direction and, later, has every X25519 private key (of both kinds, of everybody).
Its attack is written once. It is run with three sets of broken keys against the classical and the hybrid session: where
it succeeds it returns the inputs byte for byte, which shows that it is the right attack; where it fails it says at
which key. What step 4 reveals by design (b_v of survivors, a_v of dropouts) it uses like anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedsec.keystream import KeyStream
from secagg import dealing, kem, keys, masking, messages, shamir, transcript
from secagg.exchange import Private
from secagg.packing import unpack
from tests.secagg.helpers import REQUESTS, STEPS, Federation, decode

N = 6
DROPPED = 2  # sends its masked input too late: on the wire, and in no sum


@dataclass
class Recording:
    """Everything on the wire, and the private keys that were broken since."""

    requests: dict[tuple[str, int], bytes] = field(default_factory=dict)
    sent: dict[tuple[str, int], bytes] = field(default_factory=dict)
    x25519: dict[int, Private] = field(default_factory=dict)  # only the X25519 half of it is ever looked at
    kem: dict[int, Private] = field(default_factory=dict)  # only the ML-KEM half


def record(key_exchange: str) -> tuple[Federation, Recording, dict[int, Private]]:
    """A whole round with a late input, its wire, and all private keys, which no recorder has but may break."""
    federation = Federation(n=N, changes={"key_exchange": key_exchange}).start()
    wire, private = Recording(), {}
    for step in STEPS:
        wire.requests |= {(step, index): data for index, data in federation.requests.items()}
        federation.collect(step, without=(DROPPED,) if step == "mask" else ())
        if step == "advertise":
            private = {index: client._phase.private for index, client in enumerate(federation.clients)}
        if step == "mask":
            late = federation.reply("mask", DROPPED, federation.requests[DROPPED])
            federation.sent["mask", DROPPED] = late
        federation.close(step)
    wire.sent = dict(federation.sent)
    return federation, wire, private


class Attack:
    """What follows from a recording. ``opened`` and ``shut`` say, by kind of key, which it got and which not."""

    def __init__(self, federation: Federation, recording: Recording) -> None:
        # Public: session, roster and round. Nothing else of the federation is used.
        self.session, self.round = federation.session, federation.round
        self.wire = recording
        self.opened: dict[str, set[Any]] = {"share": set(), "pair": set(), "self-seed": set(), "mask-seed": set()}
        self.shut: dict[str, set[Any]] = {name: set() for name in self.opened}
        self.advertised = {i: self._sent("advertise", i) for i in range(N)}
        self.dealt = {i: self._sent("share", i).entries for i in range(N)}
        listing = decode(recording.requests["share", 0], REQUESTS["share"]).listing
        self.t1 = transcript.t1(self.session.kid, listing.root)
        listing = decode(recording.requests["mask", 0], REQUESTS["mask"]).listing
        self.t2 = transcript.t2(self.round.sid, self.t1, listing.root)

    def _sent(self, step: str, index: int) -> Any:
        kinds = {"advertise": messages.Advertise, "share": messages.Share, "mask": messages.Mask}
        return decode(self.wire.sent[step, index], {**kinds, "unmask": messages.Unmask}[step])

    def _agreed(self, u: int, v: int, kind: str) -> bytes | None:
        """The X25519 secret of u and v, if that was broken."""
        if u not in self.wire.x25519:
            return None
        return keys.agree(getattr(self.wire.x25519[u], kind), getattr(self.advertised[v], f"{kind}_key"))

    def _decapsulated(self, receiver: int, ciphertext: bytes, kind: str) -> bytes | None:
        if receiver not in self.wire.kem:
            return None
        private = getattr(self.wire.kem[receiver], f"{kind}_kem")
        return kem.decapsulate(private, ciphertext)

    def shares(self, dealer: int, receiver: int) -> tuple[bytes, bytes] | None:
        """The two shares in a ciphertext, if the key that follows from what was broken opens it."""
        entry = self.dealt[dealer][receiver]
        secret = self._agreed(dealer, receiver, "share") or bytes(32)
        if self.session.hybrid:
            secret += self._decapsulated(receiver, entry.kem, "share") or bytes(32)
        key = keys.ciphertext_key(secret, self.t1, dealer, receiver, entry.kem)
        found = keys.unseal(key, entry.ciphertext, dealing._data(self.session.kid, self.t1, dealer, receiver))
        (self.opened if found else self.shut)["share"].add((dealer, receiver))
        return (found[:33], found[33:]) if found else None

    def seeds(self) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """b_u and a_u of everybody, as far as shares on the wire, opened or revealed, give them."""
        t = self.session.threshold
        self_shares: dict[int, dict[int, bytes]] = {u: {} for u in range(N)}
        mask_shares: dict[int, dict[int, bytes]] = {u: {} for u in range(N)}
        alive = [u for u in range(N) if u != DROPPED]
        for receiver in range(N):
            for dealer in set(range(N)) - {receiver}:
                found = self.shares(dealer, receiver)
                if found:
                    self_shares[dealer][receiver], mask_shares[dealer][receiver] = found
        for responder in alive:  # by design
            answer = self._sent("unmask", responder)
            for dealer, share in zip(alive, answer.self_shares, strict=True):
                self_shares[dealer][responder] = share
            mask_shares[DROPPED][responder] = answer.mask_shares[0]
        seeds: list[dict[int, bytes]] = []
        for name, shares in (("self-seed", self_shares), ("mask-seed", mask_shares)):
            known = {}
            for dealer, found in shares.items():
                chosen = dict(sorted(found.items())[:t])
                if len(chosen) == t:
                    numbers = {i: int.from_bytes(share, "big") for i, share in chosen.items()}
                    known[dealer] = shamir.combine(numbers, shamir.weights(list(chosen))).to_bytes(32, "big")
            self.opened[name], self.shut[name] = set(known), set(range(N)) - set(known)
            seeds.append(known)
        return seeds[0], seeds[1]

    def pair_key(self, u: int, v: int, mask_seeds: dict[int, bytes]) -> bytes | None:
        """The stream key of u < v: from what was broken, or from a seed of either."""
        secret = self._agreed(u, v, "mask") or bytes(32)
        for one, other in ((u, v), (v, u)):
            if one in mask_seeds:
                private = keys.mask_private_key(mask_seeds[one])
                secret = keys.agree(private, self.advertised[other].mask_key) or secret
        if not self.session.hybrid:
            return keys.pair_key(secret, self.t2, u, v) if secret != bytes(32) else None
        pair = self.dealt[u][v].pair
        half = None
        if u in mask_seeds:
            half = kem.pair_secret(mask_seeds[u], self.t1, u, v)
        for private in (
            kem.mask_private_key(mask_seeds[v]) if v in mask_seeds else None,
            self.wire.kem[v].mask_kem if v in self.wire.kem else None,
        ):
            if private is not None:
                half = half or kem.receive(pair, kid=self.session.kid, t1=self.t1, lower=u, higher=v, private=private)
        half = half or bytes(32)  # the best guess without a key
        if kem.commit(self.session.kid, u, v, half) != pair.commitment or secret == bytes(32):
            return None
        return keys.pair_key(secret + half, self.t2, u, v)

    def inputs(self) -> dict[int, NDArray[np.int64]]:
        """Whoever's input can be unmasked alone."""
        self_seeds, mask_seeds = self.seeds()
        pair_keys: dict[tuple[int, int], bytes] = {}
        for u in range(N):
            for v in range(u + 1, N):
                key = self.pair_key(u, v, mask_seeds)
                (self.opened if key else self.shut)["pair"].add((u, v))
                if key:
                    pair_keys[u, v] = key
        found = {}
        for u in range(N):
            pairs = {v: pair_keys.get((min(u, v), max(u, v))) for v in range(N) if v != u}
            if u not in self_seeds or not all(pairs.values()):
                continue
            words = unpack(self._sent("mask", u).payload, self.session.dimension, self.session.ring_bits)
            masking.combine(
                words,
                add=[KeyStream(key) for v, key in pairs.items() if v < u],
                subtract=[
                    KeyStream(keys.self_key(self_seeds[u], self.t2)),
                    *(KeyStream(key) for v, key in pairs.items() if v > u),
                ],
            )
            found[u] = self.session.make_quantiser().lift(words)
        return found


CLASSICAL, HYBRID = "x25519", "x25519+ml-kem-768"
EVERYBODY = set(range(N))
PAIRS = {(u, v) for u in range(N) for v in range(u + 1, N)}
BY_DESIGN = {  # what step 4 reveals to whoever is at the server, with no key broken
    "share": set(),
    "pair": {pair for pair in PAIRS if DROPPED in pair},
    "self-seed": EVERYBODY - {DROPPED},
    "mask-seed": {DROPPED},
}
EVERYTHING = {
    "share": {(u, v) for u in range(N) for v in range(N) if u != v},
    "pair": PAIRS,
    "self-seed": EVERYBODY,
    "mask-seed": EVERYBODY,
}


def _attack(key_exchange: str, *broken: str) -> tuple[Federation, Attack, dict[int, NDArray[np.int64]]]:
    federation, recording, private = record(key_exchange)
    for name in broken:
        setattr(recording, name, private)
    attack = Attack(federation, recording)
    return federation, attack, attack.inputs()


@pytest.mark.parametrize(
    ("key_exchange", "broken"),
    [(CLASSICAL, ()), (HYBRID, ()), (HYBRID, ("x25519",)), (HYBRID, ("kem",))],
    ids=["classical, nothing broken", "hybrid, nothing broken", "hybrid, X25519 broken", "hybrid, ML-KEM broken"],
)
def test_no_input_and_no_key_beyond_what_step_4_reveals(key_exchange: str, broken: tuple[str, ...]) -> None:
    """Both halves are needed at every key: of ciphertexts, of pairs, and for the seeds that hang on them."""
    _, attack, found = _attack(key_exchange, *broken)
    assert found == {}
    assert attack.opened == BY_DESIGN
    assert attack.shut == {name: EVERYTHING[name] - known for name, known in BY_DESIGN.items()}


@pytest.mark.parametrize(
    ("key_exchange", "broken"),
    [(CLASSICAL, ("x25519",)), (HYBRID, ("x25519", "kem"))],
    ids=["classical, X25519 broken", "hybrid, both broken"],
)
def test_control_whoever_breaks_all_halves_reads_every_input(key_exchange: str, broken: tuple[str, ...]) -> None:
    """Also the late one, which is in no sum."""
    federation, attack, found = _attack(key_exchange, *broken)
    assert attack.opened == EVERYTHING
    assert set(found) == EVERYBODY
    for index, values in found.items():
        assert values.tobytes() == federation.inputs[index].tobytes()


@pytest.mark.parametrize("half", ["shares", "masks"])
def test_control_one_half_left_out_of_the_keys_is_found(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two broken hybrids: the KEM secret is sent, and one of the two uses leaves it out of its key."""
    if half == "shares":
        honest = keys.ciphertext_key
        monkeypatch.setattr(keys, "ciphertext_key", lambda secret, *a: honest(secret[:32], *a))
    else:
        pair_key = keys.pair_key
        monkeypatch.setattr(keys, "pair_key", lambda secret, *a: pair_key(secret[:32], *a))
        monkeypatch.setattr(kem, "commit", lambda *a: bytes(32))  # any r_uv is as good as another
    federation, attack, found = _attack(HYBRID, "x25519")
    if half == "shares":  # the seeds open, and with them everything
        assert attack.opened == EVERYTHING
        assert set(found) == EVERYBODY
    else:  # the survivors' own masks are known by design, the pairs' now too
        assert attack.opened["pair"] == PAIRS
        assert set(found) == EVERYBODY - {DROPPED}
    for index, values in found.items():
        assert values.tobytes() == federation.inputs[index].tobytes()
