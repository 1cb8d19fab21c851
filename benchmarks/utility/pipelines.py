"""One training run each of the three pipelines; ``epsilon`` None is the same pipeline without noise and clipping."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dp.training.clipped_sum import ClippedGradientSum
from dp.training.local import ADAM_BETAS, draw_slots
from fl_engine.contribution import Contribution
from fl_engine.data.dataset import Dataset, public_holdout
from fl_engine.evaluation import exact_metrics
from fl_engine.messages import RoundInputs
from fl_engine.model import ModelSpec, initial_weights, predict, record_loss
from fl_engine.optimiser import AdamState, adam_step, released_weights
from fl_engine.plan import PlannedSum, TaskPlan
from fl_engine.planning import build_plan
from fl_engine.records import Metrics
from fl_engine.scaling import Standardiser, moment_sum
from fl_engine.settings import RunSettings

UNCLIPPED = 2.0**40
DELTA = 1e-5

Vector = NDArray[np.float64]


def federated(
    data: Dataset, seed: int, *, epsilon: float | None, mode: Literal["distributed", "local"], **settings: Any
) -> Metrics:
    """The released model of a run with ``settings``, measured exactly on the held-out records."""
    plan = build_plan(
        RunSettings(epsilon=epsilon or 3.0, delta=DELTA, seed=seed, dp_mode=mode, evaluation="public", **settings),
        task="utility",
        slots=tuple(bank.slots for bank in data.banks),
        model=ModelSpec(inputs=data.schema.width),
        numeric_width=data.schema.numeric_width,
        federated_evaluation=False,
    )
    opened = _noised(plan, data) if epsilon is not None else _plain(plan, data)
    standardiser = Standardiser.from_moments(opened(plan.sum("scaling"), RoundInputs(weights=b"", standardiser=None)))
    state = AdamState.start(initial_weights(plan.model, seed).astype(np.float64))
    for _ in range(plan.rounds):
        weights = released_weights(state)
        total = opened(
            plan.sum("training"), RoundInputs(weights=weights.astype("<f4").tobytes(), standardiser=standardiser)
        )
        if mode == "local":
            state = AdamState.start(state.weights + total)
        else:
            state = adam_step(state, total / plan.denominator, plan.optimiser)
    return measured(plan.model, released_weights(state), standardiser, data)


def central(
    data: Dataset, seed: int, *, epsilon: float | None, learning_rate: float, batch: int, epochs: int
) -> Metrics:
    """DP-SGD by Opacus as its users have it, on all records in one place: Poisson batches, Adam, PRV accountant.

    It has an advantage: exact means and variances for scaling, which cost it nothing.
    """
    features, labels, held_out = _pooled(data)
    width = data.schema.numeric_width
    standardiser = Standardiser.from_moments(moment_sum(features[:, :width], ~held_out, clip=UNCLIPPED))
    spec = ModelSpec(inputs=data.schema.width)
    network: nn.Module = spec.build()
    weights = torch.from_numpy(initial_weights(spec, seed))
    nn.utils.vector_to_parameters(weights, network.parameters())
    rows = torch.from_numpy(standardiser.apply(features)[~held_out].astype(np.float32))
    loader: Any = DataLoader(
        TensorDataset(rows, torch.from_numpy(labels[~held_out].astype(np.float32))), batch_size=batch, shuffle=True
    )
    optimiser: Any = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=ADAM_BETAS)
    trained = network
    torch.manual_seed(seed)
    if epsilon is not None:
        trained, optimiser, loader = _made_private(network, optimiser, loader, epsilon=epsilon, epochs=epochs)
    warnings.filterwarnings("ignore", message="Full backward hook")  # of Opacus, whose inputs want no gradient
    for _ in range(epochs):
        for batch_rows, batch_labels in loader:
            if len(batch_rows):
                optimiser.zero_grad()
                record_loss(trained(batch_rows), batch_labels).mean().backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    final = nn.utils.parameters_to_vector(network.parameters()).detach().numpy()
    return measured(spec, final, standardiser, data)


def measured(spec: ModelSpec, weights: NDArray[np.float32], standardiser: Standardiser, data: Dataset) -> Metrics:
    """Exact metrics on the held-out records of all banks."""
    held_out = public_holdout(data)
    return exact_metrics(predict(spec, weights, standardiser.apply(held_out.features)), held_out.labels)


def _made_private(
    network: nn.Module, optimiser: Any, loader: Any, *, epsilon: float, epochs: int
) -> tuple[nn.Module, Any, Any]:
    from opacus import PrivacyEngine

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its generator is not secure, and what its accountant rounds
        made: tuple[nn.Module, Any, Any] = PrivacyEngine(accountant="prv").make_private_with_epsilon(
            module=network,
            optimizer=optimiser,
            data_loader=loader,
            target_epsilon=epsilon,
            target_delta=DELTA,
            epochs=epochs,
            max_grad_norm=1.0,
        )
    return made


Opened = Callable[[PlannedSum, RoundInputs], Vector]


def _noised(plan: TaskPlan, data: Dataset) -> Opened:
    """Opens sums as a run does: every bank's vector, rounded, with its share of the noise."""
    banks = [Contribution(plan, index=index, data=bank) for index, bank in enumerate(data.banks)]

    def opened(planned: PlannedSum, inputs: RoundInputs) -> Vector:
        total = np.sum([plan.released(planned, bank.vector(planned, inputs)) for bank in banks], axis=0)
        values: Vector = plan.grid(planned).dequantise(total)
        return values

    return opened


def _plain(plan: TaskPlan, data: Dataset) -> Opened:
    """Opens sums of the same kind without clipping, rounding and noise."""
    gradients = ClippedGradientSum(plan.model.build(), record_loss, clip=UNCLIPPED)
    labels = [bank.labels.astype(np.float64) for bank in data.banks]

    def opened(planned: PlannedSum, inputs: RoundInputs) -> Vector:
        if inputs.standardiser is None:
            width = plan.numeric_width
            parts = [moment_sum(bank.features[:, :width], ~bank.holdout, clip=UNCLIPPED) for bank in data.banks]
            moments: Vector = np.sum(parts, axis=0)
            return moments
        weights = np.frombuffer(inputs.weights, "<f4").astype(np.float64)
        total = np.zeros(plan.model.parameters)
        for index, bank in enumerate(data.banks):
            features = inputs.standardiser.apply(bank.features)
            if plan.local is None:
                total += gradients(weights, features, labels[index], ~bank.holdout)
                continue
            current = torch.from_numpy(weights.copy())
            optimiser = torch.optim.Adam([current], lr=plan.local.learning_rate, betas=ADAM_BETAS)
            rate = planned.mechanism.sampling_rate
            for _ in range(plan.local.steps):
                drawn = draw_slots(bank.slots, rate) & ~bank.holdout
                step = gradients(current.numpy(), features, labels[index], drawn)
                current.grad = torch.from_numpy(step / (rate * bank.slots))
                optimiser.step()
            total += plan.slots[index] / sum(plan.slots) * (current.numpy() - weights)
        return total

    return opened


def _pooled(data: Dataset) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
    return (
        np.concatenate([bank.features for bank in data.banks]),
        np.concatenate([bank.labels for bank in data.banks]),
        np.concatenate([bank.holdout for bank in data.banks]),
    )
