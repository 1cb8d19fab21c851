"""Nothing that reaches the server holds an unmasked vector, or a function of one that is easy to see."""

from __future__ import annotations

import numpy as np
import pytest

import secagg.client
from secagg import keys, messages, shamir
from secagg.packing import pack_into, packed_size, unpack, word_type
from tests.secagg.helpers import STEPS, Federation, decode
from tests.secagg.memory import reachable

DIMENSION = 4000
BITS = 24


def _leaks(federation: Federation) -> list[str]:
    """What the bytes that clients sent give away about their inputs."""
    found = []
    masked = {}
    for (step, index), data in federation.sent.items():
        vector = federation.inputs[index]
        packed = np.empty(packed_size(DIMENSION, BITS), dtype=np.uint8)
        pack_into(vector.astype(word_type(BITS)), BITS, packed)
        for form in (packed.tobytes(), vector.tobytes(), vector.astype("<i4").tobytes()):
            if form[:24] in data:
                found.append(f"the vector of {index} at {step}")
        if step == "mask":
            masked[index] = unpack(decode(data, messages.Mask).payload, DIMENSION, BITS).astype(np.int64)
    for index, words in masked.items():
        # The input is small and constant: what is left of it in the top bits, or as a common difference?
        ones = np.unpackbits(words.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]).mean()
        if abs(ones - 0.5) > 0.01:  # 96,000 fair bits: more than six standard deviations
            found.append(f"the words of {index} are not uniform")
        if len(np.unique(words - federation.inputs[index])) < DIMENSION * 0.99:
            found.append(f"one mask word serves many values of {index}")
        for other, others in masked.items():
            if other != index and np.mean((words - others) % 2**BITS == 7 * (index - other) % 2**BITS) > 0.001:
                found.append(f"{index} and {other} have one mask")
    return found


def _run() -> Federation:
    federation = Federation(changes={"dimension": DIMENSION, "ring_bits": BITS})
    federation.inputs = np.stack([np.full(DIMENSION, 7 * index, dtype=np.int64) for index in range(5)])
    return federation.run()


def test_no_message_holds_a_vector() -> None:
    federation = _run()
    assert {step for step, _ in federation.sent} == set(STEPS)
    assert not _leaks(federation)


class _Silent:
    """A key stream of zeros: masks are off."""

    def __init__(self, key: bytes) -> None:
        pass

    def read_into(self, buffer: memoryview) -> None:
        buffer[:] = bytes(len(buffer))


class _Scalar(_Silent):
    """One mask word for the whole vector, as a shipped system had it."""

    def __init__(self, key: bytes) -> None:
        self._word = key[:4]

    def read_into(self, buffer: memoryview) -> None:
        buffer[:] = self._word * (len(buffer) // 4)


@pytest.mark.parametrize("stream", [_Silent, _Scalar])
def test_control_weak_masks_are_seen(stream: type[_Silent], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secagg.client, "KeyStream", stream)
    monkeypatch.setattr(secagg.unmasking, "KeyStream", stream)
    assert _leaks(_run())


def _held(server: secagg.Server) -> int:
    """Bytes in the arrays and byte strings that the server refers to."""
    items = reachable(server)
    return sum(
        item.nbytes if isinstance(item, np.ndarray) else len(item)
        for item in items
        if isinstance(item, (np.ndarray, bytes, bytearray))
    )


def test_the_server_holds_one_vector_however_many_have_come() -> None:
    """Memory O(d): masked inputs are added, not kept. Control: keeping one would be seen."""
    federation = Federation(n=12, changes={"dimension": 100_000, "ring_bits": 32}).run(until="mask")
    before = _held(federation.server)
    federation.collect("mask")
    assert _held(federation.server) < before + 10_000
    federation.server.kept = federation.sent["mask", 0]
    assert _held(federation.server) > before + 400_000


def test_one_input_masked_in_two_rounds_gives_unrelated_words() -> None:
    """The same input twice: fresh keys, hence nothing in common."""
    first, second = _run(), _run()
    words = [unpack(decode(f.sent["mask", 0], messages.Mask).payload, DIMENSION, BITS) for f in (first, second)]
    assert np.mean(words[0] == words[1]) < 0.001


def test_t_minus_one_answers_rebuild_no_seed() -> None:
    """What fewer than t banks reveal is on no seed that was committed to; control: one more answer is."""
    federation = Federation(n=10).run()
    answers = {i: decode(federation.sent["unmask", i], messages.Unmask) for i in range(10)}
    shares = {i: int.from_bytes(answer.self_shares[0], "big") for i, answer in answers.items()}
    commitment = decode(federation.sent["share", 0], messages.Share).commitment

    def is_seed(responders: range) -> bool:
        secret = shamir.combine(shares, shamir.weights(responders))
        return secret < 2**256 and keys.commitment(federation.session.kid, 0, secret.to_bytes(32, "big")) == commitment

    assert federation.session.threshold == 7
    assert not any(is_seed(range(start, start + 6)) for start in range(5))
    assert all(is_seed(range(start, start + 7)) for start in range(4))
