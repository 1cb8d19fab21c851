"""The verifier's optimiser, initial weights and digests, written after the documents, are the program's to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from fedsec_verify import optimiser
from fedsec_verify.tensors import FormatError, read_tensors
from fedsec_verify.weights import initial_weights, tensor_shapes
from fl_engine import model
from fl_engine.messages import RoundInputs, inputs_digest
from fl_engine.optimiser import AdamParameters, AdamState, adam_step
from fl_engine.scaling import Standardiser

ADAM = optimiser.Adam(learning_rate=0.04, beta1=0.9, beta2=0.99, epsilon=1e-12)
SPECS = [(40, (64, 32)), (1, (1,)), (7, ()), (3, (2, 5, 4))]


def test_initial_weights_follow_from_the_seed_alone() -> None:
    for inputs, hidden in SPECS:
        for seed in (0, 1, 12345678901234567890):
            spec = model.ModelSpec(inputs=inputs, hidden=hidden)
            expected = model.initial_weights(spec, seed)
            assert initial_weights(inputs, hidden, seed).tobytes() == expected.tobytes()
            assert initial_weights(inputs, hidden, seed + 1).tobytes() != expected.tobytes()
            assert tensor_shapes(inputs, hidden) == spec.shapes


def gradients() -> np.ndarray:
    """Over many orders of magnitude, some zero."""
    generator = np.random.default_rng(11)
    values = generator.normal(size=(100, 50)) * 10.0 ** generator.integers(-12, 4, (100, 50))
    values[generator.random((100, 50)) < 0.05] = 0.0
    return values


def steps(step: Callable[[optimiser.State, np.ndarray, optimiser.Adam], optimiser.State]) -> optimiser.State:
    state = optimiser.State.start(np.linspace(-1, 1, 50, dtype=np.float32))
    for gradient in gradients():
        state = step(state, gradient, ADAM)
    return state


def test_every_step_is_the_programs_to_the_bit_and_a_fused_step_is_not() -> None:
    state = AdamState.start(np.linspace(-1, 1, 50, dtype=np.float32).astype(np.float64))
    for gradient in gradients():
        state = adam_step(state, gradient, AdamParameters(learning_rate=0.04))
    found = steps(optimiser.step)
    assert found.weights.tobytes() == state.weights.tobytes()
    assert (found.power1, found.power2) == (state.power1, state.power2)

    def wider(before: optimiser.State, gradient: np.ndarray, adam: optimiser.Adam) -> optimiser.State:
        after = optimiser.step(before, gradient, adam)
        long = np.longdouble(adam.beta1) * before.first + np.longdouble(1.0 - adam.beta1) * gradient
        return replace(after, first=long.astype(np.float64))

    assert steps(wider).first.tobytes() != found.first.tobytes(), "control: a wider format in one place shows"


def test_local_mode_adds_and_touches_no_moment() -> None:
    state = steps(optimiser.step)
    after = optimiser.moved(state, np.full(50, 0.25))
    assert after.weights.tobytes() == (state.weights + 0.25).tobytes()
    assert after.first is state.first


def test_scaling_and_the_digest_of_a_rounds_inputs_are_the_programs() -> None:
    generator = np.random.default_rng(2)
    for moments in (generator.normal(size=13) * 100, np.zeros(13), np.concatenate([np.ones(12), [-5.0]])):
        total = np.round(moments * 128).astype(np.int64)
        expected = Standardiser.from_moments(total / 128.0)
        found = optimiser.standardiser(optimiser.dequantised(total, 128.0))
        assert found.raw == {"means": expected.means, "deviations": expected.deviations}
        weights = generator.normal(size=20).astype(np.float32)
        for scaling, theirs in ((None, None), (found, expected)):
            inputs = RoundInputs(weights=weights.astype("<f4").tobytes(), standardiser=theirs)
            assert optimiser.inputs_digest(weights, scaling) == inputs_digest(inputs.encode())
        changed = weights.copy()
        changed[3] = np.nextafter(changed[3], np.float32(9))
        assert optimiser.inputs_digest(changed, found) != optimiser.inputs_digest(weights, found)


def file() -> bytes:
    """A model's file as the program writes it."""
    tensors = {"output.weight": np.arange(6, dtype=np.float32).reshape(1, 6), "output.bias": np.full(1, -3, np.float32)}
    return save(tensors, metadata={"brands": "SIMULATED KEYS"})


def rewritten(change: Callable[[dict[str, dict[str, object]]], object]) -> bytes:
    """The file with another header, its length adjusted."""
    data = file()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data[8 + length :]


def test_tensors_are_read_as_they_were_saved() -> None:
    found = read_tensors(file())
    assert found.metadata == {"brands": "SIMULATED KEYS"}
    assert found.tensors["output.weight"].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert read_tensors(rewritten(lambda header: None)).tensors.keys() == found.tensors.keys(), "control"


@pytest.mark.parametrize(
    "data",
    [
        file() + b"\0",
        file()[:-1],
        file()[:5],
        b"\xff" * 64,
        rewritten(lambda header: header["output.bias"].update(dtype="F16")),
        rewritten(lambda header: header["output.bias"].update(shape=[2])),
        rewritten(lambda header: header["output.weight"].update(data_offsets=[0, 24])),
        rewritten(lambda header: header.pop("output.bias")),
        rewritten(lambda header: header["output.bias"].update(hidden=1)),
        file().replace(b'"output.bias"', b'"output.weight"'[:13]),
    ],
    ids=["longer", "shorter", "cut", "no-file", "dtype", "shape", "overlap", "unclaimed", "field", "name-cut"],
)
def test_a_damaged_file_of_tensors_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_tensors(data)
