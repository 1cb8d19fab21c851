"""A coordinator that keeps every byte it gets finds no bank's vector in them: only opened sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_engine.plan import PlannedSum
from secagg import masking
from secagg.packing import pack_into, packed_size, word_type
from tests.fl_engine.run_helpers import Finished, finished

SETTINGS = {"drop_rate": 0.2, "evaluation": "federated", "seed": 4}


def packed(values: NDArray[np.int64], bits: int) -> bytes:
    """A vector as it would look on the wire without masks."""
    words = values.astype(word_type(bits))
    if bits < 8 * words.itemsize:
        words &= words.dtype.type((1 << bits) - 1)
    out = np.zeros(packed_size(len(values), bits), dtype=np.uint8)
    pack_into(words, bits, out)
    return out.tobytes()


def transcript(run: Finished) -> bytes:
    return b"".join(data for _, data in run.record.received)


def vectors(run: Finished) -> list[tuple[PlannedSum, NDArray[np.int64]]]:
    """Every vector that any bank put under masks, opened or not."""
    found = []
    for attempt, by_bank in run.record.masked.items():
        place = run.run.plan.attempt(attempt)
        assert place is not None
        found += [(place[0], values) for values in by_bank.values()]
    return found


def seen_on_the_wire(run: Finished) -> list[bool]:
    """For every noised vector, whether the coordinator could read it off what it received."""
    received = transcript(run)
    return [packed(values, planned.ring_bits) in received for planned, values in vectors(run)]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory.mktemp("honest"), **SETTINGS)


@pytest.fixture(scope="module")
def unmasked(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The control: the same run, but no mask stream is ever added, at the banks or at the server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "combine", lambda words, *, add, subtract: None)
        return finished(tmp_path_factory.mktemp("unmasked"), **SETTINGS)


def test_no_vector_of_any_bank_or_attempt_is_in_what_the_coordinator_received(honest: Finished) -> None:
    seen = seen_on_the_wire(honest)
    assert len(seen) >= 20
    assert not any(seen)


def test_nor_is_any_vector_before_its_noise_nor_any_noise_share(honest: Finished) -> None:
    received = transcript(honest)
    for planned in honest.run.plan.sums:
        pairs = honest.record.noise[planned.name]
        assert len(pairs) >= 4
        for before, after in pairs:
            for values in (before, after - before):
                assert packed(values, planned.ring_bits) not in received
                assert values.astype("<i8").tobytes() not in received


def test_control_without_masks_the_same_search_finds_every_vector(unmasked: Finished) -> None:
    seen = seen_on_the_wire(unmasked)
    assert len(seen) >= 20
    assert all(seen)


def test_bank_messages_are_sized_by_public_facts_alone(honest: Finished) -> None:
    """No reply's length says anything about records: at one attempt and step all banks send the same number."""
    from fl_engine.messages import COUNTERSIGNED_BYTES, Countersigned, Reply, decode

    lengths: dict[tuple[int, str], set[int]] = {}
    banks = honest.run.plan.clients
    for sender, data in honest.record.received[-banks:]:  # what banks sign in the end
        assert len(decode(data, Countersigned, limit=COUNTERSIGNED_BYTES, peer=sender).signature) == 64
    for sender, data in honest.record.received[banks:-banks]:
        reply = decode(data, Reply, limit=len(data), peer=sender)
        if reply.step in ("mask", "agree", "unmask"):
            lengths.setdefault((reply.attempt, reply.step), set()).add(len(data))
    assert lengths
    assert all(len(found) == 1 for found in lengths.values())


def test_the_folder_is_left_with_nothing_but_public_files(honest: Finished) -> None:
    assert sorted(path.name for path in Path(honest.path).iterdir()) == [
        "config.toml",
        "evidence",
        "ledger-heads.json",
        "metrics.jsonl",
        "model.safetensors",
        "privacy.json",
        "summary.json",
    ]
