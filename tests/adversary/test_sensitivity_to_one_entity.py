"""Emptying all 500 rows of one customer moves what its bank releases by at most the sensitivity of the noise.

As ``test_sensitivity_of_released_integers`` for single records: all coins fixed, no noise, so the difference of the two
integer vectors is exactly what the noise has to hide. The customer's rows are emptied as the neighbouring relation
says: nothing is left of them but slots. Rows, weights and scaling are a dishonest party's choice.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dp.mechanism import SumMechanism
from dp.training import entity_sum
from dp.training.entities import EMPTY, EntityRows
from fedsec import rounding
from fedsec.keystream import KeyStream
from fl_engine import contribution as contribution_module
from fl_engine.contribution import Contribution
from fl_engine.data.dataset import BankData
from fl_engine.data.features import squash
from fl_engine.messages import RoundInputs
from fl_engine.plan import TaskPlan
from fl_engine.planning import build_plan
from fl_engine.settings import RunSettings
from tests.adversary.test_sensitivity_of_released_integers import (
    INPUTS,
    MODEL,
    NUMERIC,
    SCALINGS,
    WEIGHTS,
    weights,
)

torch.set_num_threads(1)
SLOTS, CUSTOMER, OF_CUSTOMER, UNIT_ROWS = 620, 7, 500, 8
ENTITIES = np.where(np.arange(SLOTS) % 31 < 25, CUSTOMER, 100 + np.arange(SLOTS) // 11)
SUMS = ("scaling", "training", "evaluation")
ROWS = ("ordinary", "huge", "all the same", "no numbers", "the customer's cancel", "the customer against all")


def plan_for(**settings: Any) -> TaskPlan:
    return build_plan(
        RunSettings(rounds=3, **settings),
        task="task",
        slots=(SLOTS,) * 5,
        model=MODEL,
        numeric_width=NUMERIC,
        federated_evaluation=True,
    )


PLAN = plan_for(unit_rows=UNIT_ROWS)
RECORD_PLAN = plan_for()
LOCAL_PLAN = plan_for(unit_rows=UNIT_ROWS, dp_mode="local")


def bank(kind: str, *, held_out: bool) -> BankData:
    """A bank all of whose rows are in one part; ``kind`` says what they are."""
    generator = np.random.default_rng(3)
    raw = generator.normal(size=(SLOTS, NUMERIC))
    of_customer = ENTITIES == CUSTOMER
    labels = (np.arange(SLOTS) % 3 == 0).astype(np.uint8)
    match kind:
        case "huge":
            raw[:] = generator.choice([1e300, -1e300, np.inf, -np.inf], raw.shape)
        case "all the same":
            raw[:] = 1e6
            labels[:] = 1
        case "no numbers":
            raw[:] = np.nan
        case "the customer's cancel":
            raw[of_customer] = 1e6 * np.where(np.arange(OF_CUSTOMER) % 2, 1.0, -1.0)[:, None]
        case "the customer against all":
            raw[:] = -1e300
            raw[of_customer] = 1e300
            labels[of_customer] = 1
    squashed = np.concatenate([squash(raw[:, j])[0][:, None] for j in range(NUMERIC)], axis=1)
    flags = (generator.integers(0, 2, (SLOTS, INPUTS - NUMERIC)) if kind == "ordinary" else np.ones((SLOTS, 3))).astype(
        np.float32
    )
    return BankData(
        features=np.concatenate([squashed, flags], axis=1),
        labels=labels,
        holdout=np.full(SLOTS, held_out),
        entities=ENTITIES,
    )


def without_customer(data: BankData, *, held_out: bool) -> BankData:
    """All rows of the customer replaced by empty slots; under records as units, by slots of the other part."""
    gone = ENTITIES == CUSTOMER
    if data.entities is None:
        return dataclasses.replace(data, holdout=np.where(gone, not held_out, data.holdout))
    return BankData(
        features=np.where(gone[:, None], 0.0, data.features).astype(np.float32),
        labels=np.where(gone, 0, data.labels).astype(np.uint8),
        holdout=np.where(gone, False, data.holdout),
        entities=np.where(gone, EMPTY, ENTITIES),
    )


def integers(plan: TaskPlan, data: BankData, name: str, inputs: RoundInputs) -> NDArray[np.int64]:
    """What would get noise and masks, under one fixed stream of rounding coins."""
    planned = plan.sum(name)
    with np.errstate(all="ignore"):
        vector = Contribution(plan, index=0, data=data).vector(planned, inputs)
    return rounding.stochastic_round(
        vector,
        saturation=planned.quantiser.saturation,
        scale=planned.quantiser.scale,
        stream=KeyStream(bytes(range(32))),
    )


def move(
    name: str,
    rows: str = "ordinary",
    weight_kind: str = "ordinary",
    scaling: str = "ordinary",
    *,
    plan: TaskPlan = PLAN,
) -> float:
    """The L2 distance of the integers with and without the customer, over the sensitivity that noise was sized for."""
    held_out = name == "evaluation"
    data = bank(rows, held_out=held_out)
    if plan.unit_rows is None:
        data = dataclasses.replace(data, entities=None)
    inputs = RoundInputs(weights=weights(weight_kind).astype("<f4").tobytes(), standardiser=SCALINGS[scaling])
    whole, rest = (integers(plan, each, name, inputs) for each in (data, without_customer(data, held_out=held_out)))
    return float(np.linalg.norm((whole - rest).astype(np.float64))) / plan.sum(name).mechanism.sensitivity


@pytest.mark.parametrize("rows", ROWS)
def test_one_entity_moves_the_scaling_sum_by_at_most_its_sensitivity(rows: str) -> None:
    assert 0 < move("scaling", rows) <= 1


@pytest.mark.parametrize("weight_kind", WEIGHTS)
@pytest.mark.parametrize("rows", ROWS)
def test_one_entity_moves_the_gradient_sum_by_at_most_its_sensitivity(rows: str, weight_kind: str) -> None:
    assert move("training", rows, weight_kind) <= 1


@pytest.mark.parametrize("weight_kind", WEIGHTS)
@pytest.mark.parametrize("rows", ["ordinary", "all the same"])
def test_one_entity_moves_the_histogram_by_at_most_the_rows_that_count(rows: str, weight_kind: str) -> None:
    assert 0 < move("evaluation", rows, weight_kind) <= 1


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["training", "evaluation"])
def test_no_scaling_that_the_coordinator_sends_changes_that(name: str, scaling: str) -> None:
    for rows in ("ordinary", "huge"):
        assert move(name, rows, scaling=scaling) <= 1


def test_the_bounds_are_nearly_reached_so_that_the_tests_above_can_fail() -> None:
    assert (ENTITIES == CUSTOMER).sum() == OF_CUSTOMER
    assert len(np.unique(ENTITIES)) == 30
    assert move("scaling", "the customer against all") > 0.9
    assert move("training", "the customer against all") > 0.9
    assert move("evaluation", "all the same") == 1  # eight rows in one cell: exactly what the noise is sized for


@pytest.mark.parametrize("name", SUMS)
def test_control_with_records_as_units_the_same_customer_moves_every_sum_much_further(name: str) -> None:
    assert move(name, "the customer against all", plan=RECORD_PLAN) > 10


@pytest.mark.parametrize("name", SUMS)
def test_control_were_each_row_an_entity_of_its_own_the_bound_would_break(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = EntityRows.choose
    monkeypatch.setattr(
        contribution_module.EntityRows,
        "choose",
        lambda entities, *, most: choose(np.where(entities == EMPTY, EMPTY, np.arange(SLOTS)), most=most),
    )
    assert move(name, "the customer against all") > 5


def test_control_without_the_clip_the_gradient_sum_exceeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = entity_sum.EntityGradientSum
    monkeypatch.setattr(
        contribution_module,
        "EntityGradientSum",
        lambda model, loss, rows, *, clip: genuine(model, loss, rows, clip=2.0**80 + 0 * clip),
    )
    assert move("training", "the customer against all") > 1


def local_move(monkeypatch: pytest.MonkeyPatch, plan: TaskPlan, *, rows: str, weight_kind: str) -> float:
    """How far the customer moves the integers of a step in local mode, over their sensitivity; equal coins."""
    released: list[NDArray[np.int64]] = []

    def keep(_mechanism: SumMechanism, values: NDArray[np.int64], **_: object) -> NDArray[np.int64]:
        released.append(values)
        return values

    data = bank(rows, held_out=False)
    if plan.unit_rows is None:
        data = dataclasses.replace(data, entities=None)
    steps = plan.local.steps  # of the first only: later ones start from what the first released
    inputs = RoundInputs(weights=weights(weight_kind).astype("<f4").tobytes(), standardiser=SCALINGS["ordinary"])
    with monkeypatch.context() as patch:
        patch.setattr(SumMechanism, "add_noise", keep)
        for each in (data, without_customer(data, held_out=False)):
            counter = itertools.count()
            patch.setattr(KeyStream, "from_os", classmethod(lambda cls, c=counter: cls(next(c).to_bytes(32, "big"))))
            Contribution(plan, index=0, data=each).vector(plan.sum("training"), inputs)
    assert len(released) == 2 * steps
    distance = np.linalg.norm((released[0] - released[steps]).astype(np.float64))
    return float(distance) / plan.sum("training").mechanism.sensitivity


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of local mode that draws every second slot, the customer's first one among them."""
    from dp.training import local

    monkeypatch.setattr(local, "draw_slots", lambda slots, _rate, **_: np.arange(slots) % 2 == FIRST % 2)


FIRST = int(np.flatnonzero(EntityRows.choose(ENTITIES, most=UNIT_ROWS).leads & (ENTITIES == CUSTOMER))[0])


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("weight_kind", ["ordinary", "huge", "huge, signs mixed", "zero", "aimed at the last layer"])
def test_one_entity_moves_a_step_of_local_mode_by_at_most_its_sensitivity(
    weight_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows in ("ordinary", "the customer against all"):
        assert local_move(monkeypatch, LOCAL_PLAN, rows=rows, weight_kind=weight_kind) <= 1


@pytest.mark.usefixtures("drawn")
def test_control_with_records_as_units_it_moves_a_step_of_local_mode_much_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = plan_for(dp_mode="local")
    told = {"rows": "the customer against all", "weight_kind": "ordinary"}
    assert local_move(monkeypatch, LOCAL_PLAN, **told) > 0.9  # it is drawn
    assert local_move(monkeypatch, record, **told) > 10
