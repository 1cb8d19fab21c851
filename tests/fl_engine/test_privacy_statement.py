"""The statement counts only the noise shares that are surely in every sum that may have been opened."""

from __future__ import annotations

import msgspec

from dp.statement import PrivacyStatement
from fl_engine.disclosures import DataOrigin, floating_point
from fl_engine.model import ModelSpec
from fl_engine.plan import TaskPlan
from fl_engine.planning import build_plan
from fl_engine.privacy import INTERRUPTED, privacy_statement
from fl_engine.records import RoundRecord
from fl_engine.settings import RunSettings

OPENED = RoundRecord(
    release="training",
    index=3,
    round=1,
    status="opened",
    cohort=10,
    survivors=9,
    dropped_at={},
    reason=None,
    epsilon=1.0,
    metrics=None,
    seconds=0.1,
)


def plan(delta: float | None = None, mode: str = "distributed") -> TaskPlan:
    return build_plan(
        RunSettings(rounds=2, delta=delta, dp_mode=mode),
        task="statement",
        slots=(500,) * 10,
        model=ModelSpec(inputs=4),
        numeric_width=4,
        federated_evaluation=False,
    )


def statement_of(*records: RoundRecord, delta: float | None = None) -> PrivacyStatement:
    return privacy_statement(
        plan(delta),
        begun={"scaling": 1, "training": len(records)},
        records=records,
        charged_to={"scaling": ("train",), "training": ("train",)},
        brands=(),
        outside_ledger=(),
        origin=DataOrigin(source="synthetic", schema="generated", banks="generated"),
        key_exchange="x25519+ml-kem-768",
    )


def shares(*records: RoundRecord) -> dict[str, int]:
    return {bound.name: bound.shares for bound in statement_of(*records).adversaries}


def test_a_delta_below_what_googles_accountant_can_tell_leaves_its_second_opinion_out() -> None:
    """A run at such a delta must end in a statement: it used to end without, after everything was released."""
    statement = statement_of(OPENED, delta=1e-16)
    assert statement.cross_checks == {}
    assert statement.epsilon is not None and 0 < statement.epsilon <= 3
    assert list(statement_of(OPENED).cross_checks) == ["PLD"]  # the control: at the usual delta it is told


def test_the_smallest_opened_sum_counts() -> None:
    larger = msgspec.structs.replace(OPENED, index=4, survivors=10)
    assert shares(larger, OPENED)["released-model"] == 9
    assert shares(larger, OPENED)["colluding-banks"] == 6
    assert shares(larger)["released-model"] == 10


def test_an_attempt_that_was_interrupted_may_have_opened_the_smallest_sum_that_is_allowed() -> None:
    lost = msgspec.structs.replace(OPENED, index=4, round=None, status="aborted", survivors=0, reason=INTERRUPTED)
    assert shares(OPENED, lost)["released-model"] == plan().min_survivors == 7
    aborted = msgspec.structs.replace(lost, reason="too few banks were left")
    assert shares(OPENED, aborted)["released-model"] == 9  # the control: an abort that was seen opened nothing


def test_the_server_with_corrupt_banks_faces_the_honest_shares_alone() -> None:
    assert shares(OPENED)["server-and-banks"] == plan().honest_inputs == 4
    assert shares(OPENED)["everyone-else"] == 1


def test_a_banks_optimiser_in_local_mode_is_floating_point_before_the_opening_and_is_told() -> None:
    assert "a bank's optimiser" in floating_point(plan(mode="local")).on_the_grid
    assert "to the opening there are integers only" not in floating_point(plan(mode="local")).on_the_grid
    assert "to the opening there are integers only" in floating_point(plan()).on_the_grid  # the control: there it holds
