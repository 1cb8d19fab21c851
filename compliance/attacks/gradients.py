"""Records out of updates: by one division, and by fitting an invented record to the gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compliance.attacks.cohort import seen_by_server
from compliance.attacks.records import SEED, Records, invented_records, update
from compliance.attacks.results import Finding, Findings, Outcome, Recovery
from compliance.attacks.setting import Setting
from compliance.attacks.statistics import hits_by_chance
from fl_engine.model import ModelSpec, initial_weights, record_loss, unflatten

CLOSE = 0.05  # a standardised value counts as recovered within a twentieth of a standard deviation
MOST = 0.9  # of its values right: then a record is recovered
VICTIMS = 20
_RESTARTS, _STEPS = 12, 200
_WEIGHTS_SEED = 1  # of the untrained weights
_OTHERS = 1_000  # records that were not attacked, to see what chance gives

Vector = NDArray[np.float64]  # (d,)
Matrix = NDArray[np.float64]  # (records, inputs)


def first_layer(setting: Setting) -> Findings:
    """x = dL/dW_i / dL/db_i from updates on one record each (Phong et al. 2017; Boenisch et al. 2021)."""
    victims = invented_records(setting).of(1, VICTIMS)
    plain, seen = _both(setting, [record[None] for record in victims])
    return _findings(
        setting,
        victims,
        np.array([divide(setting.model, gradient) for gradient in plain]),
        np.array([divide(setting.model, gradient) for gradient in seen]),
    )


def inversion(setting: Setting) -> Findings:
    """Two records out of one update, by descent on the distance between gradients (Zhu et al. 2019).

    The server sends untrained weights, as it may: those of a trained model make a landscape that is hard to descend.
    """
    setting = replace(setting, weights=initial_weights(setting.model, _WEIGHTS_SEED))
    victims = _unlike_pair(invented_records(setting))
    (plain,), (seen,) = _both(setting, [victims])
    found = [_matched(victims, invert(setting, target, count=len(victims))) for target in (plain, seen)]
    return _findings(setting, victims, *found)


def divide(model: ModelSpec, gradient: Vector) -> Vector:
    """The record behind ``gradient`` ``(d,)``: row i of the first layer's weights over its bias, i the largest bias."""
    scaled = gradient / max(float(np.abs(gradient).max()), np.finfo(np.float64).tiny)
    named = unflatten(model, scaled.astype(np.float32))
    weight, bias = named["hidden_1.weight"].astype(np.float64), named["hidden_1.bias"].astype(np.float64)
    row = int(np.abs(bias).argmax())
    if bias[row] == 0:
        return np.zeros(model.inputs)
    record: Vector = weight[row] / bias[row]
    return record


def invert(setting: Setting, gradient: Vector, *, count: int) -> Matrix:
    """``count`` frauds, float64 ``(count, inputs)``, whose joint gradient is as close to ``gradient`` as was found.

    L-BFGS on the squared distance, both gradients scaled to length 1, from a few random starts.
    """
    model = setting.model.build().to(torch.float64)
    parameters = list(model.parameters())
    ends = np.cumsum([parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, np.split(setting.weights.astype(np.float64), ends[:-1]), strict=True):
            parameter.copy_(torch.from_numpy(part).view_as(parameter))
    target = torch.from_numpy(gradient / max(float(np.linalg.norm(gradient)), np.finfo(np.float64).tiny))
    labels = torch.ones(count, dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    best, least = np.zeros((count, setting.model.inputs)), np.inf
    for _ in range(_RESTARTS):
        dummy = torch.randn((count, setting.model.inputs), dtype=torch.float64, generator=generator).requires_grad_()

        def distance(dummy: Tensor = dummy) -> Tensor:
            loss = record_loss(model(dummy), labels).sum()
            found = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
            apart: Tensor = ((found / found.norm() - target) ** 2).sum()
            return apart

        left = _descend(dummy, distance)
        if left < least:
            best, least = dummy.detach().numpy().copy(), left
        if least < 1e-10:
            break
    return best


def _descend(dummy: Tensor, distance: Callable[[], Tensor]) -> float:
    optimiser = torch.optim.LBFGS([dummy], max_iter=_STEPS, history_size=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = distance()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    left = float(distance().detach())
    return left if np.isfinite(left) else np.inf


def _both(setting: Setting, batches: Sequence[Matrix]) -> tuple[list[Vector], list[Vector]]:
    """The update on each batch of frauds, as plain FedAvg sends it, and as a server sees fedsec's."""
    labels = [np.ones(len(batch)) for batch in batches]
    plain, clipped = (
        [update(setting, setting.weights, x, y, clipped=clipped) for x, y in zip(batches, labels, strict=True)]
        for clipped in (False, True)
    )
    return plain, list(seen_by_server(setting, clipped))


def _unlike_pair(records: Records) -> Matrix:
    """The two frauds among the first thirty that are farthest apart."""
    frauds = records.of(1, 30)
    distances = np.linalg.norm(frauds[:, None] - frauds[None], axis=2)
    one, other = np.unravel_index(distances.argmax(), distances.shape)
    return frauds[[one, other]]


def _matched(real: Matrix, found: Matrix) -> Matrix:
    """``found`` in the order that fits ``real`` best: which record is which is no secret worth a point."""
    swapped = found[::-1]
    return found if np.linalg.norm(found - real) <= np.linalg.norm(swapped - real) else swapped


def _findings(setting: Setting, real: Matrix, from_plain: Matrix, from_fedsec: Matrix) -> Findings:
    frauds = invented_records(setting).of(1, _OTHERS)
    others = frauds[[not (record == real).all(axis=1).any() for record in frauds]]
    return Findings(
        plain=_finding(real, from_plain, others),
        fedsec=_finding(real, from_fedsec, others),
        recovery=Recovery(real=real[0], from_plain=from_plain[0], from_fedsec=from_fedsec[0]),
    )


def _finding(real: Matrix, found: Matrix, others: Matrix) -> Finding:
    """Whether records were recovered: half of them; fewer, or more values than fit records not sought; or nothing."""
    right = np.abs(found - real) <= CLOSE
    records, values = int((right.mean(axis=1) >= MOST).sum()), int(right.sum())
    by_chance, most = hits_by_chance(found, others, close=CLOSE)
    outcome = Outcome.PARTLY if records or values > most else Outcome.FAILED
    errors = np.linalg.norm(found - real, axis=1) / np.linalg.norm(real, axis=1)
    error = float(np.median(errors))
    return Finding(
        outcome=Outcome.SUCCEEDED if 2 * records >= len(real) else outcome,
        evidence=f"{records} of {len(real)} records, relative error {_percent(error)}; {values:,} of {real.size:,} "
        f"values right, by chance {by_chance:,.0f}",
        figures={
            "records": float(len(real)),
            "recovered": float(records),
            "median_relative_error": error,
            "values": float(real.size),
            "values_right": float(values),
            "values_right_by_chance": by_chance,
        },
    )


def _percent(share: float) -> str:
    if share < 0.001:
        return "below 0.1 %"
    return "above 1,000 %" if share > 10 else f"{100 * share:.0f} %"
