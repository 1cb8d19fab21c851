"""Plans as ``fedsec run`` makes them spend 0.97 to 1.00 of ``--epsilon`` if every attempt is made."""

from __future__ import annotations

import math

import msgspec
import pytest

from dp.accounting import PrivacyFilter, rdp
from fl_engine.model import ModelSpec
from fl_engine.plan import ETA, HOLDOUT, TRAINING, TaskPlan
from fl_engine.planning import build_plan
from fl_engine.settings import RunSettings

PARTS = (TRAINING, HOLDOUT)
LARGEST = math.log(1e-5 / ETA)  # about 30: what eta leaves of delta at that epsilon is nothing


def plan(slots: int = 6000, **settings: object) -> TaskPlan:
    asked = RunSettings.model_validate({"banks": 10, "delta": 1e-5, **settings})
    return build_plan(
        asked,
        task="plan",
        slots=(slots,) * asked.banks,
        model=ModelSpec(inputs=29),
        numeric_width=29,
        federated_evaluation=True,
    )


def quieter(made: TaskPlan, by: float) -> TaskPlan:
    """The plan with ``by`` times the noise of every sum."""
    sums = tuple(
        msgspec.structs.replace(
            s, mechanism=msgspec.structs.replace(s.mechanism, noise_multiplier=by * s.mechanism.noise_multiplier)
        )
        for s in made.sums
    )
    return msgspec.structs.replace(made, sums=sums)


def spends_its_target(made: TaskPlan) -> bool:
    """All attempts made: three of scaling, all rounds and spare ones, three of evaluation."""
    return all(0.97 * made.epsilon <= made.planned_epsilon(part) <= made.epsilon for part in PARTS)


GRID = [
    {"epsilon": epsilon, **changes}
    for epsilon in (0.02, 0.3, 1.0, 3.0, 10.0, 28.0)
    for changes in (
        {},
        {"drop_rate": 0.2, "rounds": 200},
        {"banks": 5, "rounds": 1},
        {"banks": 200, "slots": 300},
        {"banks": 7, "max_corrupt": 1, "delta": 1e-6, "rounds": 1000, "clip": 0.1},
        {"dp_mode": "local"},
        {"dp_mode": "local", "rounds": 1, "local_epochs": 3, "drop_rate": 0.1},
    )
    if not (epsilon == 28.0 and changes.get("delta"))  # eta leaves no such epsilon at that delta
]


@pytest.mark.parametrize("settings", GRID, ids=str)
def test_a_plan_spends_97_to_100_percent_if_every_attempt_is_made(settings: dict[str, object]) -> None:
    made = plan(**settings)
    assert spends_its_target(made)
    assert made.within_budget()
    for part in PARTS:
        # What was calibrated for is what an account of that very budget takes, once.
        curve = rdp(made.account_event(part))
        budget = PrivacyFilter(made.epsilon, made.delta)
        assert budget.pinned(curve).admits(curve, made.eta)
        assert not budget.admits(2 * curve, made.eta)
    # Controls: a little less noise overspends, a little more leaves more than 3 % unused.
    assert not spends_its_target(quieter(made, 0.97))
    assert not spends_its_target(quieter(made, 1.05))


def fraction(made: TaskPlan, part: str) -> float:
    """Of the target, if nothing is aborted: one opening of each one-shot sum and no spare round."""
    begun = {s.name: 1 for s in made.sums} | {"training": made.rounds}
    return made.spent_epsilon(part, begun) / made.epsilon


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 3.0, 10.0])
def test_a_run_without_aborts_spends_less_because_tries_and_spares_are_reserved(epsilon: float) -> None:
    """Stated as spent beside planned, and given back by settling."""
    assert 0.96 <= fraction(plan(epsilon=epsilon), TRAINING) <= 0.98  # one spare round beside thirty
    assert 0.91 <= fraction(plan(epsilon=epsilon, dp_mode="local"), TRAINING) <= 0.96
    # The histogram is tried up to three times, so one opening is a third of what was reserved, in rho.
    assert 0.51 <= fraction(plan(epsilon=epsilon), HOLDOUT) <= 0.57
    # Control: more declared dropouts reserve more spare rounds, of which such a run makes none.
    assert fraction(plan(epsilon=epsilon, drop_rate=0.25), TRAINING) < 0.96


def test_beyond_what_the_statistical_distance_permits_a_plan_stays_below_its_target() -> None:
    """(1 + e^epsilon) eta reaches delta at epsilon = 30: asking for more changes nothing, and nothing is overspent."""
    asked_much, asked_more = plan(epsilon=40.0), plan(epsilon=1000.0)
    for part in PARTS:
        assert LARGEST - 1.5 < asked_much.planned_epsilon(part) < LARGEST
        assert asked_more.planned_epsilon(part) == pytest.approx(asked_much.planned_epsilon(part), rel=0.01)
    assert asked_more.within_budget()
    assert not spends_its_target(asked_much)  # control for the grid, which ends before
