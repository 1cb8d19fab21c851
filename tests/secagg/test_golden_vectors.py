"""The code reproduces the committed vectors byte for byte: no label, salt, encoding or order changes unnoticed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from fedsec.errors import RemoteProtocolError
from secagg import keys, labels, packing
from secagg.graph import permutation
from tests.secagg import make_vectors


def _committed(name: str) -> Any:
    return json.loads((make_vectors.FOLDER / name).read_text())


@pytest.mark.parametrize("name", make_vectors.VECTORS)
def test_vectors_are_reproduced(name: str) -> None:
    assert make_vectors.VECTORS[name]() == _committed(name)


@pytest.mark.parametrize("row", _committed("packing.json"), ids=lambda row: f"{row['bits']} bits")
def test_packing_vectors_unpack(row: dict[str, Any]) -> None:
    words = packing.unpack(memoryview(bytes.fromhex(row["packed"])), len(row["words"]), row["bits"])
    assert words.tolist() == row["words"]


@pytest.mark.parametrize("name", sorted(n for n in vars(labels) if n.isupper() and n != "MESSAGE"))
def test_control_every_label_is_in_a_vector(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that is changed, or made the same as another, shows in the whole round."""
    monkeypatch.setattr(labels, name, getattr(labels, name).replace(b"/v1/", b"/v2/"))
    permutation.cache_clear()
    with contextlib.suppress(RemoteProtocolError):  # what was recorded under the old label may not open any more
        made = (make_vectors.drawn(), make_vectors.hybrid_round())
        assert made != (_committed("sparse.json"), _committed("hybrid.json"))


def test_control_a_folded_seed_or_a_missing_transcript_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two failures of shipped systems: seeds of 32 bits, keys without the transcript."""
    honest = keys.derive
    for broken in (
        lambda secret, salt, info, **k: honest(secret[:4] + bytes(28), salt, info, **k),
        lambda secret, salt, info, **k: honest(secret, None, info, **k),
    ):
        monkeypatch.setattr(keys, "derive", broken)
        assert make_vectors.key_schedule() != _committed("key_schedule.json")
        monkeypatch.undo()
