"""Golden vectors, good and bad: ``python -m tests.secagg.make_vectors`` writes them, the tests compare.

Another implementation of docs/protocol.md must reproduce them; ``vectors/README.md`` says how. The operating system's
randomness is replaced for the time of the whole rounds, here and nowhere else (:mod:`tests.secagg.determinism`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from fedsec.keystream import KeyStream
from secagg import dealing, kem, keys, messages, packing, shamir, tree
from secagg.config import CLASSICAL, HYBRID
from secagg.graph import Harary, neighbourhood, permutation
from tests.secagg.determinism import FOLDER, SMALL, VICTIM, Encapsulations, counted_randomness
from tests.secagg.helpers import STEPS, Federation, draw_seed, sparse
from tests.secagg.refusals import refusals


def key_schedule() -> dict[str, str]:
    """Every derivation on fixed inputs: bytes 00.., 11.. and so on, u = 3, v = 1."""
    zero, one, two, three = (bytes([i * 0x11]) * 32 for i in range(4))
    private = keys.mask_private_key(zero)
    other = keys.public_bytes(keys.private_key(three))
    federation = Federation()
    shared = keys.agree(private, other)
    assert shared is not None
    return {
        "roster": federation.roster.digest.hex(),
        "session": federation.session.encode().hex(),
        "kid": federation.session.kid.hex(),
        "round": federation.round.encode().hex(),
        "sid": federation.round.sid.hex(),
        "mask_private_key": private.private_bytes_raw().hex(),
        "mask_public_key": keys.public_bytes(private).hex(),
        "x25519": shared.hex(),
        "ciphertext_key": keys.ciphertext_key(shared, one, 3, 1).hex(),
        "hybrid_ciphertext_key": keys.ciphertext_key(shared + two, one, 3, 1, b"\x44" * 1088).hex(),
        "hybrid_pair_key": keys.pair_key(shared + one, two, 3, 1).hex(),
        "mask_kem_seed": kem.mask_private_key(zero).private_bytes_raw().hex(),
        "mask_kem_public_key": kem.public_bytes(kem.mask_private_key(zero)).hex(),
        "pair_secret": kem.pair_secret(zero, one, 1, 3).hex(),
        "pair_commitment": kem.commit(one, 1, 3, zero).hex(),
        "pair_key": keys.pair_key(shared, two, 3, 1).hex(),
        "self_key": keys.self_key(zero, two).hex(),
        "commitment": keys.commitment(one, 3, zero).hex(),
        "sealed": keys.seal(one, zero + two, three).hex(),
        "leaf": dealing.leaf(one, two, dealer=3, receiver=1, kind=dealing.MASK, share=bytes(33), sealed=three).hex(),
        "sealed_digest": dealing.sealed_digest(b"\x44" * 82, b"\x55" * 1088).hex(),
        "permutation_of_ten": json.dumps(list(permutation(one, 10))),
        "neighbours_of_three_of_ten": json.dumps(list(neighbourhood(Harary(degree=4, seed=one), 10, 3))),
        "tree_root_of_five": tree.root_and_paths([bytes([i]) * 32 for i in range(5)])[0].hex(),
        "shamir_weights_of_0_2_5": json.dumps(list(shamir.weights([0, 2, 5]).values())),
    }


def key_stream() -> dict[str, str]:
    """The stream of key 00 01 .. 1f: its start, and the hash of its first 2^20 bytes."""
    stream = KeyStream(bytes(range(32)))
    out = bytearray(1 << 20)
    stream.read_into(memoryview(out))
    return {"key": bytes(range(32)).hex(), "first": out[:64].hex(), "sha256": hashlib.sha256(out).hexdigest()}


def packed() -> list[dict[str, Any]]:
    """Words i * 0x9e3779b97f4a7c15 mod 2^64, i = 1 .. 9, packed at every width; bits above b are dropped."""
    rows = []
    for bits in range(1, 65):
        words = [i * 0x9E3779B97F4A7C15 % 2**64 % 2**bits for i in range(1, 10)]
        out = np.empty(packing.packed_size(len(words), bits), dtype=np.uint8)
        packing.pack_into(np.array(words, dtype=packing.word_type(bits)), bits, out)
        rows.append({"bits": bits, "words": words, "packed": out.tobytes().hex()})
    return rows


def whole_round(key_exchange: str = CLASSICAL, recorded: list[list[str]] | None = None) -> dict[str, Any]:
    """Five banks, one of which drops out before masking: every message, the agreement and the sum."""
    good: dict[str, Any] = {}
    encapsulate = Encapsulations(recorded)
    with counted_randomness(), mock.patch.object(kem, "encapsulate", encapsulate):
        federation = Federation(changes=SMALL | {"key_exchange": key_exchange}).start()
        good["inputs"] = federation.inputs.tolist()
        for step in STEPS:
            good[f"requests.{step}"] = {str(i): data.hex() for i, data in federation.requests.items()}
            federation.collect(step, without=(3,) if step == "mask" else ())
            federation.close(step)
            replies = {str(i): data.hex() for (at, i), data in federation.sent.items() if at == step}
            good[f"replies.{step}"] = replies
        good["agreement"] = messages.encode(federation.server.agreement).hex()
        good["total"] = federation.opened().total.tolist()
        good["survivors"] = list(federation.opened().survivors)
    if key_exchange == HYBRID:
        good["encapsulations"] = encapsulate.made
    return good


def hybrid_round() -> dict[str, Any]:
    """The same in the hybrid: what bank 0 gets and all that is sent; the other requests by their SHA-256.

    ``encapsulations`` are the (secret, ciphertext) of each call, in the order in which the banks answer step 1 and each
    of them goes through U1: first the one for shares, then, to a higher index, the one for masks.
    """
    path = FOLDER / "hybrid.json"
    recorded = json.loads(path.read_text())["encapsulations"] if path.exists() else None
    good = whole_round(HYBRID, recorded)
    for name in [name for name in good if name.startswith("requests.")]:
        good[name] = {
            index: data if index == str(VICTIM) else hashlib.sha256(bytes.fromhex(data)).hexdigest()
            for index, data in good[name].items()
        }
    return good


def drawn() -> dict[str, Any]:
    """A draw among twenty, in full; and a sparse round, its messages by their SHA-256. Bank 5 never comes, bank 7 sends
    no masked input."""
    silent = {"advertise": (5,), "mask": (7,)}
    with counted_randomness():
        seed, sent = draw_seed(Federation(n=20))
        federation = sparse(20, dropped=2, **SMALL)
        graph = federation.session.graph
        assert isinstance(graph, Harary)
        replies = hashlib.sha256()
        requests = hashlib.sha256()
        federation.start()
        for step in STEPS:
            for index in sorted(federation.requests):
                requests.update(federation.requests[index])
            federation.collect(step, without=silent.get(step, ()))
            for index in range(20):
                replies.update(federation.sent.get((step, index), b""))
            federation.close(step)
    return {
        "seed": seed.hex(),
        "commits": [data.hex() for data in sent["commits"]],
        "list": sent["list"].hex(),
        "reveals": [data.hex() for data in sent["reveals"]],
        "drawn": sent["drawn"].hex(),
        "order": list(permutation(seed, 20)),
        "round": {
            "session": federation.session.encode().hex(),
            "order": list(permutation(graph.seed, 20)),
            "inputs": federation.inputs.tolist(),
            "requests": requests.hexdigest(),
            "replies": replies.hexdigest(),
            "total": federation.opened().total.tolist(),
            "survivors": list(federation.opened().survivors),
        },
    }


VECTORS: dict[str, Callable[[], Any]] = {
    "key_schedule.json": key_schedule,
    "key_stream.json": key_stream,
    "packing.json": packed,
    "transcript.json": whole_round,
    "hybrid.json": hybrid_round,
    "sparse.json": drawn,
    "refusals.json": refusals,
}


def main() -> None:
    """Write all vectors."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in VECTORS.items():
        (FOLDER / name).write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main()
