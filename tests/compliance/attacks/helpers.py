"""The default setting, once; and knobs that make the suite quick without changing what it does."""

from __future__ import annotations

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
from fl_engine.model import ModelSpec, initial_weights, unflatten
from secagg import masking
from tests.compliance.helpers import make_run

torch.set_num_threads(1)


@cache
def setting() -> Setting:
    return default_setting()


def attack(name: str) -> Attack:
    return next(each for each in ATTACKS if each.name == name)


def played(name: str) -> Result:
    """The attack ``name``, carried out against the default setting."""
    return Result(attack=attack(name), findings=attack(name).carry_out(setting()), seconds=0.0)


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


def finished_run(folder: Any) -> Any:
    """A finished run's directory with a model in it."""
    run = make_run(folder, rounds=3, aborted=())
    model = ModelSpec(inputs=29)
    (run / "model.safetensors").write_bytes(save(unflatten(model, initial_weights(model, 1))))
    return run


def without_noise(patch: pytest.MonkeyPatch) -> None:
    """A control: every bank forgets its noise share."""
    patch.setattr(observation, "discrete_gaussian", lambda size, **_: np.zeros(size, dtype=np.int64))


def without_masks(patch: pytest.MonkeyPatch) -> None:
    """A control: production masking that adds no stream."""
    patch.setattr(masking, "combine", lambda words, **_: None)
