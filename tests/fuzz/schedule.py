"""Which process fuzzes what: the inputs of ``make fuzz`` over targets and parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.fuzz import campaign, guided
from tests.fuzz.campaign import Result
from tests.fuzz.registry import TARGETS

PATIENCE = 300.0  # seconds for a thousand inputs; the slowest target takes a tenth of this
PARTS = 2  # each target's inputs are split over as many processes


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Inputs for one process."""

    target: str
    inputs: int
    seed: int
    guided: bool


def units(inputs: int, *, names: Sequence[str], seed: int, with_atheris: bool) -> list[Unit]:
    """``inputs`` over the targets ``names`` by their shares, the longest first, every last one of them."""
    total = sum(TARGETS[name].share for name in names)
    found = []
    left = inputs
    for place, name in enumerate(names):
        plan = TARGETS[name]
        mine = left if place == len(names) - 1 else inputs * plan.share // total
        left -= mine
        for part in range(PARTS):
            here = mine // PARTS + (mine % PARTS if part == 0 else 0)
            by_coverage = plan.guided and with_atheris and part == 0
            found.append(Unit(target=name, inputs=here, seed=seed + 1000 * place + part, guided=by_coverage))
    return sorted((unit for unit in found if unit.inputs), key=lambda unit: -unit.inputs)


def work(unit: Unit) -> tuple[Unit, Result, int]:
    """One unit, in a fresh process."""
    target = TARGETS[unit.target].make()
    if unit.guided:
        return unit, *guided.run(unit.target, target, unit.inputs, seed=1 + unit.seed)
    return unit, campaign.run(target, unit.inputs, seed=unit.seed, patience=PATIENCE), 0
