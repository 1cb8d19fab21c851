"""Emptying one record moves what a bank releases by at most the sensitivity that its noise was sized for.

Neighbouring data, all coins fixed: the same stochastic-rounding stream on both sides and no noise, so the difference
of the two integer vectors is exactly what the noise has to hide. Rows and weights are a dishonest party's choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dp.training.clipped_sum import ClippedGradientSum
from fedsec import rounding
from fedsec.keystream import KeyStream
from fl_engine import contribution as contribution_module
from fl_engine.contribution import Contribution
from fl_engine.data.dataset import BankData
from fl_engine.data.features import squash
from fl_engine.messages import RoundInputs
from fl_engine.model import ModelSpec, initial_weights, record_loss
from fl_engine.plan import TaskPlan
from fl_engine.planning import build_plan
from fl_engine.scaling import Standardiser, moment_sum
from fl_engine.settings import RunSettings

torch.set_num_threads(1)
SLOTS, NUMERIC, INPUTS = 60, 6, 9
MODEL = ModelSpec(inputs=INPUTS, hidden=(8, 4))
PLAN: TaskPlan = build_plan(
    RunSettings(rounds=3),
    task="task",
    slots=(SLOTS,) * 5,
    model=MODEL,
    numeric_width=NUMERIC,
    federated_evaluation=True,
)
MEANS, ONES = np.zeros(NUMERIC), np.ones(NUMERIC)


def rows(kind: str) -> NDArray[np.float32]:
    """Features as the data layer hands them on: squashed, then indicators and categories of 0 and 1."""
    generator = np.random.default_rng(3)
    raw = generator.normal(size=(SLOTS, NUMERIC))
    match kind:
        case "huge":
            raw[:] = generator.choice([1e300, -1e300, 1e308, np.inf, -np.inf], raw.shape)
        case "tiny":
            raw[:] = generator.choice([5e-324, -5e-324, 0.0], raw.shape)
        case "no numbers":
            raw[:] = np.nan
        case "all the same":
            raw[:] = 1e6
        case "one against all":
            raw[:] = -1e300
            raw[0] = 1e300
    squashed = np.concatenate([squash(raw[:, j])[0][:, None] for j in range(NUMERIC)], axis=1)
    flags = generator.integers(0, 2, (SLOTS, INPUTS - NUMERIC)).astype(np.float32)
    return np.concatenate([squashed, flags], axis=1)


ROWS = ("ordinary", "huge", "tiny", "no numbers", "all the same", "one against all")


def weights(kind: str) -> NDArray[np.float32]:
    start = initial_weights(MODEL, 1)
    generator = np.random.default_rng(4)
    with np.errstate(over="ignore"):
        match kind:
            case "huge":
                return np.full_like(start, 1e25)
            case "huge, signs mixed":
                return (generator.choice([-1e25, 1e25], len(start))).astype(np.float32)
            case "zero":
                return np.zeros_like(start)
            case "no numbers":
                return np.full_like(start, np.nan)
            case "infinite":
                return np.full_like(start, np.inf)
            case "one no number":
                start[5] = np.nan
            case "aimed at the last layer":
                start[-5:] = 3e38
    return start


WEIGHTS = (
    "ordinary",
    "huge",
    "huge, signs mixed",
    "zero",
    "no numbers",
    "infinite",
    "one no number",
    "aimed at the last layer",
)
SCALINGS = {
    "ordinary": Standardiser(means=MEANS.tobytes(), deviations=ONES.tobytes()),
    "deviations of nothing": Standardiser(means=MEANS.tobytes(), deviations=(ONES * 5e-324).tobytes()),
    "zero over zero": Standardiser(means=MEANS.tobytes(), deviations=MEANS.tobytes()),
    "no numbers": Standardiser(means=(ONES * np.nan).tobytes(), deviations=ONES.tobytes()),
    "infinite": Standardiser(means=(ONES * np.inf).tobytes(), deviations=(ONES * np.inf).tobytes()),
}


def integers(data: BankData, name: str, inputs: RoundInputs) -> NDArray[np.int64]:
    """What would get noise and masks, under one fixed stream of rounding coins."""
    planned = PLAN.sum(name)
    with np.errstate(all="ignore"):
        vector = Contribution(PLAN, index=0, data=data).vector(planned, inputs)
    return rounding.stochastic_round(
        vector,
        saturation=planned.quantiser.saturation,
        scale=planned.quantiser.scale,
        stream=KeyStream(bytes(range(32))),
    )


def worst_difference(
    name: str, *, row_kind: str = "ordinary", weight_kind: str = "ordinary", scaling: str = "ordinary"
) -> float:
    """The largest L2 distance over several emptied records."""
    features = rows(row_kind)
    labels = (np.arange(SLOTS) % 3 == 0).astype(np.uint8)
    part = name == "evaluation"
    inputs = RoundInputs(weights=weights(weight_kind).astype("<f4").tobytes(), standardiser=SCALINGS[scaling])
    coins = np.full(SLOTS, part)
    whole = integers(BankData(features=features, labels=labels, holdout=coins), name, inputs)
    worst = 0.0
    for emptied in (0, 1, SLOTS - 1):
        without = coins.copy()
        without[emptied] = not part  # not in this part: an empty slot of it
        rest = integers(BankData(features=features, labels=labels, holdout=without), name, inputs)
        worst = max(worst, float(np.linalg.norm((whole - rest).astype(np.float64))))
    return worst


def sensitivity(name: str) -> float:
    return PLAN.sum(name).mechanism.sensitivity


@pytest.mark.parametrize("row_kind", ROWS)
def test_one_record_moves_the_scaling_sum_by_at_most_its_sensitivity(row_kind: str) -> None:
    worst = worst_difference("scaling", row_kind=row_kind)
    assert 0 < worst <= sensitivity("scaling")


@pytest.mark.parametrize("weight_kind", WEIGHTS)
@pytest.mark.parametrize("row_kind", ROWS)
def test_one_record_moves_the_gradient_sum_by_at_most_its_sensitivity(row_kind: str, weight_kind: str) -> None:
    assert worst_difference("training", row_kind=row_kind, weight_kind=weight_kind) <= sensitivity("training")


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["training", "evaluation"])
def test_no_scaling_that_the_coordinator_sends_changes_that(name: str, scaling: str) -> None:
    for row_kind in ("ordinary", "huge"):
        assert worst_difference(name, row_kind=row_kind, scaling=scaling) <= sensitivity(name)


@pytest.mark.parametrize("weight_kind", WEIGHTS)
def test_one_record_moves_the_histogram_by_one_count(weight_kind: str) -> None:
    worst = worst_difference("evaluation", weight_kind=weight_kind)
    assert worst == PLAN.sum("evaluation").quantiser.scale == sensitivity("evaluation")


def test_the_bound_is_nearly_reached_so_that_the_tests_above_can_fail() -> None:
    assert worst_difference("scaling", row_kind="huge") > 0.9 * sensitivity("scaling")
    ordinary = max(
        worst_difference("training", row_kind=row_kind, weight_kind="ordinary") for row_kind in ("huge", "all the same")
    )
    assert ordinary > 0.9 * sensitivity("training")


def test_control_without_clipping_the_gradient_sum_exceeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(model: Any, loss: Any, *, clip: float) -> ClippedGradientSum:
        return ClippedGradientSum(model, loss, clip=2.0**80 + 0 * clip)

    monkeypatch.setattr(contribution_module, "ClippedGradientSum", unclipped)
    assert worst_difference("training", row_kind="one against all") > sensitivity("training")


def test_control_without_clipping_the_scaling_sum_exceeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        contribution_module,
        "moment_sum",
        lambda features, include, *, clip, entities: moment_sum(features, include, clip=1e6 + 0 * clip),
    )
    assert worst_difference("scaling", row_kind="huge") > sensitivity("scaling")


def test_control_a_record_counted_in_two_cells_exceeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    count = contribution_module.score_histogram

    def twice(*arguments: Any, **named: Any) -> NDArray[np.float64]:
        once = count(*arguments, **named)
        return once + np.roll(once, 1)

    monkeypatch.setattr(contribution_module, "score_histogram", twice)
    assert worst_difference("evaluation") > sensitivity("evaluation")


def test_the_loss_looks_at_one_record_at_a_time() -> None:
    """A loss with batch statistics in it would move every record's gradient."""
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    labels = torch.tensor([0.0, 1, 0, 1, 1, 0, 1], dtype=torch.float64)
    whole = record_loss(logits, labels)
    assert torch.equal(whole[2:5], record_loss(logits[2:5], labels[2:5]))
