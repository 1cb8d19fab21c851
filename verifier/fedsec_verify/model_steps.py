"""Steps 9 and 10: every model of the run recomputed from the opened sums; the released one is the last of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgspec
import numpy as np

from fedsec_verify.bundle import PLAN, STATEMENT, Attempt, Bundle, Options
from fedsec_verify.decoding import from_json, from_msgpack
from fedsec_verify.findings import Refused, require
from fedsec_verify.formats import Exact, Model, Plan, PlannedSum, RoundConfig
from fedsec_verify.optimiser import Adam, Standardiser, State, dequantised, inputs_digest, moved, standardiser, step
from fedsec_verify.results import reported
from fedsec_verify.steps import RECOMPUTED, Outcome
from fedsec_verify.tensors import FormatError, read_tensors
from fedsec_verify.weights import initial_weights, tensor_shapes

MODEL = "model.safetensors"
MODELS_STEP = 9


class ScalingCard(Exact, frozen=True):
    """The standardiser in the model's metadata, base64 of little-endian float64."""

    means: bytes
    deviations: bytes


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Where the recomputation ends, and how many training rounds it took."""

    state: State
    scaling: Standardiser | None
    rounds: int


def check_models(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Step 9: initial weights, standardiser and each next model are those that docs/optimiser.md prescribes."""
    replay = replayed(bundle)
    return Outcome(
        kind=RECOMPUTED,
        detail=f"{replay.rounds} training rounds from the seed on, {len(bundle.attempts)} attempts' model digests",
    )


def check_released_model(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Step 10: model.safetensors holds the last weights as float32, and the standardiser that goes with them."""
    plan = bundle.plan
    replay = reported(MODELS_STEP, lambda: replayed(bundle))
    try:
        found = read_tensors(bundle.read(MODEL))
    except FormatError as error:
        raise Refused(MODEL, "float32 tensors in safetensors' format, and no byte more", str(error)) from None
    shapes = tensor_shapes(plan.model.inputs, plan.model.hidden)
    stored = {name: tensor.shape for name, tensor in found.tensors.items()}
    require(stored == shapes, MODEL, f"the tensors {shapes}", str(stored))
    flat = np.concatenate([found.tensors[name].ravel() for name in shapes])
    expected = replay.state.released
    other = int(np.count_nonzero(flat.view(np.uint32) != expected.astype("<f4").view(np.uint32)))
    require(other == 0, MODEL, "the weights after the last opened sum, to the bit", f"{other} of {len(flat)} differ")
    _check_metadata(found.metadata, bundle, replay)
    return Outcome(kind=RECOMPUTED, detail=f"{len(flat)} weights are those after round {replay.rounds}, to the bit")


def replayed(bundle: Bundle) -> Replay:
    """All models of the run, from the seed and the opened sums.

    Raises:
        Refused: a digest in the statement or in a round's file is not that of the model that was recomputed.
    """
    plan = bundle.plan
    state, scaling, rounds = (
        State.start(initial_weights(plan.model.inputs, plan.model.hidden, plan.initial_seed)),
        None,
        0,
    )
    sums = {planned.name: planned for planned in plan.sums}
    slots = sum(plan.slots)  # a change of scale alone is next to invisible behind Adam, so the models would not show it
    require(plan.denominator == slots, PLAN, f"the denominator {slots}, all declared slots", str(plan.denominator))
    for attempt in bundle.attempts:
        where = attempt.file or STATEMENT
        number = attempt.line.attempt
        before = inputs_digest(state.released, scaling)
        _check_digest(attempt.line.before, before, where, f"attempt {number} to start from the model before it")
        _check_config(attempt, before)
        if attempt.line.status == "opened":
            planned = sums.get(attempt.line.release)
            if planned is None:
                raise Refused(PLAN, f"a sum named {attempt.line.release}")
            values = _opened(attempt, planned)
            if planned.name == "scaling":
                scaling = standardiser(values)
            elif planned.name == "training":
                state, rounds = _trained(state, values, plan), rounds + 1
        _check_digest(
            attempt.line.after,
            inputs_digest(state.released, scaling),
            where,
            f"the model after attempt {number} to follow from its sum",
        )
    require(rounds <= plan.rounds, STATEMENT, f"at most {plan.rounds} opened training rounds", str(rounds))
    return Replay(state=state, scaling=scaling, rounds=rounds)


def _trained(state: State, values: np.ndarray, plan: Plan) -> State:
    if plan.local is not None:
        return moved(state, values)
    adam = plan.optimiser
    constants = Adam(learning_rate=adam.learning_rate, beta1=adam.beta1, beta2=adam.beta2, epsilon=adam.epsilon)
    return step(state, values / plan.denominator, constants)


def _opened(attempt: Attempt, planned: PlannedSum) -> np.ndarray:
    record = attempt.record
    data = b"" if record is None else record.total
    expected = f"a sum of {planned.dimension} numbers of 8 bytes"
    require(len(data) == 8 * planned.dimension, attempt.file, expected, f"{len(data)} bytes")
    values = dequantised(np.frombuffer(data, "<i8"), planned.quantiser.scale)
    require(bool(np.isfinite(values).all()), attempt.file, "finite values")
    return values


def _check_config(attempt: Attempt, before: bytes) -> None:
    record = attempt.record
    if record is not None and record.round_config:
        config = from_msgpack(record.round_config, RoundConfig, attempt.file)
        expected = "its signed round configuration to name the model before it"
        _check_digest(config.model_digest.hex(), before, attempt.file, expected)


def _check_digest(stated: str, recomputed: bytes, file: str, expected: str) -> None:
    require(stated == recomputed.hex(), file, f"{expected}, {recomputed.hex()}", stated)


def _check_metadata(metadata: dict[str, str], bundle: Bundle, replay: Replay) -> None:
    names = {"schema", "standardiser", "model", "brands"}
    require(metadata.keys() == names, MODEL, f"the metadata {sorted(names)}", str(sorted(metadata)))
    model = from_json(metadata["model"].encode(), Model, MODEL)
    require(model == bundle.plan.model, MODEL, "the plan's model in the metadata")
    brands = ", ".join(bundle.statement.brands)
    require(metadata["brands"] == brands, MODEL, f"the brands {brands!r} in the metadata", repr(metadata["brands"]))
    text = metadata["standardiser"]
    if replay.scaling is None:
        require(text == "", MODEL, "no standardiser, since no scaling sum was opened")
        return
    raw = replay.scaling.raw
    expected = {name: base64.b64encode(value).decode() for name, value in raw.items()}
    found = from_json(text.encode(), ScalingCard, MODEL)
    same = (found.means, found.deviations) == (raw["means"], raw["deviations"])
    require(same, MODEL, f"the standardiser of the opened scaling sum, {msgspec.json.encode(expected).decode()[:60]}…")
