"""The released model is what the opened sums say: Adam over them, or FedAvg of declared weights; and it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fl_engine import contribution
from fl_engine.model import flatten, initial_weights
from fl_engine.optimiser import AdamState, adam_step
from tests.fl_engine.run_helpers import Finished, finished


def opened_sums(run: Finished) -> list[NDArray[np.float64]]:
    plan = run.run.plan
    training = plan.sum("training")
    first = plan.first_attempt("training")
    numbers = [n for n in sorted(run.record.opened) if first <= n < first + training.attempts]
    return [run.record.opened[n].total / training.quantiser.scale for n in numbers]


def released(run: Finished) -> NDArray[np.float32]:
    return flatten(run.run.plan.model, load_file(run.path / "model.safetensors"))


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory.mktemp("distributed"), rows=3000, rounds=15, epsilon=200.0)


def test_the_model_is_adam_over_the_opened_sums_bit_for_bit(distributed: Finished) -> None:
    plan = distributed.run.plan
    state = AdamState.start(initial_weights(plan.model, plan.initial_seed).astype(np.float64))
    backwards = state
    for total in opened_sums(distributed):
        state = adam_step(state, total / sum(plan.slots), plan.optimiser)
        backwards = adam_step(backwards, -total / sum(plan.slots), plan.optimiser)
    assert released(distributed).tobytes() == state.weights.astype(np.float32).tobytes()
    assert released(distributed).tobytes() != backwards.weights.astype(np.float32).tobytes()


def test_training_lowers_the_loss_and_ranks_fraud_first(distributed: Finished) -> None:
    measured = [r.metrics for r in distributed.run.progress.records if r.metrics is not None]
    first, last = measured[0], measured[-1]
    assert first.loss is not None
    assert last.loss is not None
    assert last.roc_auc is not None
    assert last.loss < first.loss
    assert last.roc_auc > 0.7


def test_local_mode_adds_the_updates_by_declared_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def update(clipped_sum: object, weights: NDArray[np.float32], *_: object, **__: object) -> object:
        return np.full(len(weights), 0.25)

    monkeypatch.setattr(contribution, "local_train", update)
    run = finished(tmp_path, rows=1500, rounds=2, dp_mode="local")
    plan = run.run.plan
    for attempt in (n for n in run.record.masked if n >= plan.first_attempt("training")):
        for index, vector in run.record.masked[attempt].items():
            expected = 0.25 * plan.slots[index] / sum(plan.slots) * plan.sum("training").quantiser.scale
            assert np.abs(vector - expected).max() <= 1.0
    assert len(set(plan.slots)) > 1  # banks of one size would not tell weights apart
    moved = released(run).astype(np.float64) - initial_weights(plan.model, plan.initial_seed)
    assert np.allclose(moved, 0.5, atol=1e-5)  # the weights sum to one: two rounds of 0.25
