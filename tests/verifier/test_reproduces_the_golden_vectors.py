"""The verifier is another implementation of docs/protocol.md: it must reproduce the vectors, which are JSON only.

Nothing here imports the code that made them. Each comparison is repeated with one input changed, and must then fail.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedsec_verify import formats, hashing, masks
from fedsec_verify.findings import Refused
from fedsec_verify.sums import Opening, opened_words
from fedsec_verify.transcripts import check_signatures_of, places

VECTORS = Path(__file__).parents[1] / "secagg" / "vectors"
SHAMIR_PRIME = 2**256 + 297
DROPPED = 3


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def public_key(private: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


COORDINATOR = public_key(b"\xff" * 32)
BANKS = tuple(public_key(bytes([bank + 1]) * 32) for bank in range(5))


def changed(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def test_every_hash_and_key_of_the_schedule() -> None:
    told = {name: value for name, value in load("key_schedule.json").items() if not value.startswith("[")}
    known = {name: bytes.fromhex(value) for name, value in told.items()}
    zero, one, two, three = (bytes([i * 0x11]) * 32 for i in range(4))
    number, digest = hashing.number, hashing.digest

    def schedule(zero: bytes) -> dict[str, bytes]:
        private = masks.mask_key(zero)
        slots = [bytes([i]) * 32 for i in range(5)]
        return {
            "kid": digest(hashing.KID, known["session"]),
            "sid": digest(hashing.SID, known["kid"], known["round"]),
            "mask_private_key": private.private_bytes_raw(),
            "mask_public_key": private.public_key().public_bytes_raw(),
            "mask_kem_seed": masks.mask_kem_key(zero).private_bytes_raw(),
            "mask_kem_public_key": masks.mask_kem_key(zero).public_key().public_bytes_raw(),
            "hybrid_pair_key": masks.pair_stream_key(known["x25519"] + one, two, 3, 1),
            "pair_key": masks.pair_stream_key(known["x25519"], two, 1, 3),
            "pair_secret": masks.pair_secret(zero, one, 1, 3),
            "pair_commitment": digest(hashing.PAIR_COMMITMENT, one, number(1), number(3), zero),
            "self_key": masks.self_stream_key(zero, two),
            "commitment": digest(hashing.COMMITMENT, one, number(3), zero),
            "sealed_digest": digest(hashing.CIPHERTEXT, b"\x44" * 82, b"\x55" * 1088),
            "tree_root_of_five": hashing.tree_root(slots),
        }

    found = schedule(zero)
    assert found == {name: known[name] for name in found}
    control = schedule(three)
    assert {name for name in found if control[name] != known[name]} >= {"mask_public_key", "pair_secret", "self_key"}


def test_the_key_stream() -> None:
    known = load("key_stream.json")
    words = masks.stream(bytes.fromhex(known["key"]), 2**18, 32)
    assert hashlib.sha256(words.astype("<u4").tobytes()).hexdigest() == known["sha256"]
    other = masks.stream(changed(bytes.fromhex(known["key"])), 2**18, 32)
    assert hashlib.sha256(other.astype("<u4").tobytes()).hexdigest() != known["sha256"]


@pytest.mark.parametrize("row", load("packing.json"), ids=lambda row: str(row["bits"]))
def test_words_of_every_width(row: dict[str, Any]) -> None:
    data, count, bits = bytes.fromhex(row["packed"]), len(row["words"]), row["bits"]
    words = masks.unpack(data, count, bits)
    assert words is not None and words.tolist() == row["words"]
    other = masks.unpack(changed(data), count, bits)
    assert other is None or other.tolist() != row["words"]
    assert masks.unpack(data + b"\0", count, bits) is None


def test_spare_bits_are_zero() -> None:
    assert masks.unpack(b"\x01\x00", 3, 3) is not None
    assert masks.unpack(b"\x01\x80", 3, 3) is None


def decoded(vector: dict[str, Any], step: str) -> dict[int, list[Any]]:
    return {int(i): msgspec.msgpack.decode(bytes.fromhex(data)) for i, data in vector[f"replies.{step}"].items()}


def recombined(shares: dict[int, bytes]) -> bytes:
    """The seed of at least t shares: Lagrange's formula at 0."""
    total = 0
    for u, share in shares.items():
        weight = 1
        for v in shares:
            if v != u:
                weight = weight * (v + 1) * pow(v - u, -1, SHAMIR_PRIME) % SHAMIR_PRIME
        total += weight * int.from_bytes(share, "big")
    return (total % SHAMIR_PRIME).to_bytes(32, "big")


def path_of(hashes: list[bytes], position: int) -> tuple[bytes, ...]:
    if len(hashes) == 1:
        return ()
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    if position < split:
        return (*path_of(hashes[:split], position), hashing.tree_root(hashes[split:]))
    return (*path_of(hashes[split:], position - split), hashing.tree_root(hashes[:split]))


def slot(entry: list[Any]) -> bytes:
    _, ciphertext, kem, self_leaf, mask_leaf, pair = entry
    part = hashing.digest(hashing.PAIR, *pair[1:]) if pair else b""
    sealed = hashing.digest(hashing.CIPHERTEXT, ciphertext, kem)
    return hashing.digest(hashing.TREE_ENTRY, sealed, self_leaf, mask_leaf, part)


@pytest.fixture(scope="module")
def whole_round() -> tuple[formats.Round, dict[int, bytes], dict[str, Any]]:
    """The round of hybrid.json, put together as a round's file is; and the masked inputs."""
    vector = load("hybrid.json")
    requests = {
        step: msgspec.msgpack.decode(bytes.fromhex(vector[f"requests.{step}"]["0"]))
        for step in ("advertise", "share", "mask", "agree", "unmask")
    }
    agreement = msgspec.msgpack.decode(bytes.fromhex(vector["agreement"]))
    shares = decoded(vector, "share")
    payloads = {bank: message[3] for bank, message in decoded(vector, "mask").items()}
    revealed = decoded(vector, "unmask")
    survivors = sorted(payloads)
    seeds = formats.Seeds(
        self_=tuple(
            (dealer, recombined({u: revealed[u][2][place] for u in revealed})) for place, dealer in enumerate(survivors)
        ),
        mask=((DROPPED, recombined({u: revealed[u][3][0] for u in revealed})),),
        pairs=tuple(
            formats.PairSecret(
                lower=min(bank, DROPPED),
                higher=max(bank, DROPPED),
                entry=msgspec.convert(shares[min(bank, DROPPED)][2][max(bank, DROPPED)], formats.Entry),
                path=path_of([slot(e) for e in shares[min(bank, DROPPED)][2]], max(bank, DROPPED)),
            )
            for bank in survivors
        ),
    )
    record = formats.Round(
        version=1,
        session=requests["advertise"][1],
        session_signature=requests["advertise"][2],
        advertised=tuple(msgspec.convert(m, formats.Advertise) for m in decoded(vector, "advertise").values()),
        members_signature=requests["share"][2][2],
        round_config=requests["mask"][1],
        round_config_signature=requests["mask"][2],
        dealings=tuple(msgspec.convert(m, formats.Dealing) for m in requests["mask"][3]),
        dealers_signature=requests["mask"][4][2],
        masked=tuple(
            formats.Masked(index=bank, digest=hashing.digest(hashing.MASKED_INPUT, message[3]), signature=message[2])
            for bank, message in decoded(vector, "mask").items()
        ),
        agreed=tuple(msgspec.convert(m, formats.Agree) for m in decoded(vector, "agree").values()),
        agreement_signature=agreement[5],
        revealed=tuple(
            formats.Revealed(
                index=bank,
                digest=hashing.digest(b"fedsec/v1/revealed", b"".join(message[2]), b"".join(message[3])),
                signature=message[4],
            )
            for bank, message in revealed.items()
        ),
        convicted=(),
        total=np.array(vector["total"], "<i8").tobytes(),
        seeds=seeds,
    )
    return record, payloads, vector


def test_every_signature_of_a_whole_round(whole_round: tuple[formats.Round, dict[int, bytes], dict[str, Any]]) -> None:
    """T1, sid and T2 are in what is signed, so signatures that hold show that these are right, too."""
    record, _, vector = whole_round
    at = places(record, len(BANKS))
    assert at.t2 == msgspec.msgpack.decode(bytes.fromhex(vector["agreement"]))[2]
    assert check_signatures_of(record, at, coordinator=COORDINATOR, banks=BANKS, file="vector") == 27
    for field in ("session_signature", "members_signature", "round_config_signature", "dealers_signature"):
        broken = msgspec.structs.replace(record, **{field: changed(getattr(record, field))})
        with pytest.raises(Refused):
            check_signatures_of(broken, at, coordinator=COORDINATOR, banks=BANKS, file="vector")
    for field in ("advertised", "dealings", "masked", "agreed", "revealed"):
        first, *rest = getattr(record, field)
        other = msgspec.structs.replace(first, signature=changed(first.signature))
        broken = msgspec.structs.replace(record, **{field: (other, *rest)})
        with pytest.raises(Refused):
            check_signatures_of(broken, at, coordinator=COORDINATOR, banks=BANKS, file="vector")
    with pytest.raises(Refused):
        check_signatures_of(record, at, coordinator=COORDINATOR, banks=BANKS[1:] + BANKS[:1], file="vector")


def test_the_sum_of_a_whole_round(whole_round: tuple[formats.Round, dict[int, bytes], dict[str, Any]]) -> None:
    record, payloads, vector = whole_round
    bits = msgspec.msgpack.decode(record.session)[5]
    count = len(vector["total"])
    assert record.seeds is not None
    opening = Opening(
        record=record, seeds=record.seeds, at=places(record, 5), clients=5, file="vector", count=count, bits=bits
    )
    total = masks.lift(opened_words(opening, payloads), bits)
    assert total.tolist() == vector["total"] == np.array(vector["inputs"])[[0, 1, 2, 4]].sum(axis=0).tolist()
    spoilt = payloads | {1: changed(payloads[1])}
    assert masks.lift(opened_words(opening, spoilt), bits).tolist() != vector["total"]
