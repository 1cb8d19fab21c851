"""The sampler reproduces the committed vectors: what it takes from its stream, and in which order, is fixed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dp import noise
from fedsec.keystream import KeyStream
from tests.dp import make_vectors


def committed() -> list[dict[str, object]]:
    return json.loads(make_vectors.PATH.read_text())


def test_known_streams_give_known_noise() -> None:
    assert make_vectors.sampled() == committed()


def test_control_another_use_of_the_stream_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of another size, one coin more, signs turned, a word left out: each changes the vectors."""
    honest_words, honest_propose = KeyStream.words, noise._propose

    def leaves_one_out(self: KeyStream, count: int, dtype: type[np.unsignedinteger]) -> np.ndarray:
        return honest_words(self, count + 1, dtype)[1:]

    for owner, name, broken in (
        (noise, "_TILE", noise._TILE * 2),
        (noise, "_PLACES", noise._PLACES + 1),
        (noise, "_propose", lambda *arguments: -honest_propose(*arguments)),
        (KeyStream, "words", leaves_one_out),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            assert make_vectors.sampled() != committed()
