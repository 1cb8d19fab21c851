"""The default setting, once; and knobs that make the suite quick without changing what it does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from compliance.attacks import guesses, masks, observation
from compliance.attacks.results import Attack, Finding, Findings, Outcome, Result
from compliance.attacks.setting import Setting, default_setting
from compliance.attacks.suite import ATTACKS
from dp.mechanism import SumMechanism
from fl_engine.model import ModelSpec, initial_weights, unflatten
from fl_engine.sums import DELTA_GRID_SCALE, DELTA_SATURATION
from secagg import QuantiserParameters, masking
from tests.compliance.helpers import make_run

torch.set_num_threads(1)


@cache
def setting() -> Setting:
    return default_setting()


@cache
def local_setting() -> Setting:
    """A setting in local mode, of 60 noised steps on a twentieth of the records each: a small real run's."""
    return replace(
        setting(),
        mode="local",
        shares=1,
        sampling_rate=0.05,
        openings=60,
        share_variance=337_310_719,
        noise_bound=220_393,
        quantiser=QuantiserParameters(scale=DELTA_GRID_SCALE, saturation=DELTA_SATURATION, noise_bound=0),
    )


def attack(name: str) -> Attack:
    return next(each for each in ATTACKS if each.name == name)


def played(name: str, against: Setting | None = None) -> Result:
    """The attack ``name``, carried out against a setting, by default the default one."""
    return Result(attack=attack(name), findings=attack(name).carry_out(against or setting()), seconds=0.0)


def result(**changes: Any) -> Result:
    """A result in which the control fell and fedsec held, with ``changes`` to the finding on fedsec."""
    found = {"outcome": Outcome.FAILED, "evidence": "nothing", **changes}
    plain = Finding(outcome=Outcome.SUCCEEDED, evidence="everything")
    return Result(attack=attack("key-swap"), findings=Findings(plain=plain, fedsec=Finding(**found)), seconds=0.1)


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Fewer games and a shorter seed."""
    patch.setattr(guesses, "GAMES", 80)
    patch.setattr(guesses, "PLAIN_GAMES", 400)
    patch.setattr(masks, "FOLDED_BITS", 12)
    patch.setattr(masks, "TRIES", 1 << 10)
    patch.setattr(observation, "GAMES", 4_000)


def finished_run(folder: Any, *, mode: str = "distributed") -> Any:
    """A finished run's directory with a model in it, of less ε than its config.toml asks for."""
    run = make_run(folder, rounds=3, aborted=(), epsilon=1.9, mode=mode)
    model = ModelSpec(inputs=29)
    (run / "model.safetensors").write_bytes(save(unflatten(model, initial_weights(model, 1))))
    return run


def without_noise(patch: pytest.MonkeyPatch) -> None:
    """A control: the production step that adds a bank's noise returns its input."""
    patch.setattr(SumMechanism, "add_noise", lambda _, values, **__: values.copy())


def with_part_of_the_noise(patch: pytest.MonkeyPatch, part: float) -> None:
    """A control: the production step adds ``part`` of the noise."""
    whole = SumMechanism.add_noise

    def add(mechanism: SumMechanism, values: np.ndarray, **_: object) -> np.ndarray:
        return values + np.rint(part * whole(mechanism, np.zeros_like(values))).astype(np.int64)

    patch.setattr(SumMechanism, "add_noise", add)


def without_masks(patch: pytest.MonkeyPatch) -> None:
    """A control: production masking that adds no stream."""
    patch.setattr(masking, "combine", lambda words, **_: None)
