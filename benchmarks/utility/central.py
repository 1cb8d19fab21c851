"""Distributed noise beside central DP-SGD at the same epsilon, both tuned with the same effort.

Each pipeline gets a grid of twelve settings, tried on three splits that are used for nothing else; the setting with the
best mean average precision goes on to five other splits.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch

from benchmarks.utility.data import dataset, ulb_path
from benchmarks.utility.pipelines import central, federated
from fl_engine.records import Metrics

EPSILON = 3.0
TUNING = (101, 102, 103)
SEEDS = (1, 2, 3, 4, 5)
DISTRIBUTED = [
    {"learning_rate": rate, "rounds": rounds} for rate, rounds in product((0.02, 0.03, 0.04, 0.06), (20, 30, 50))
]
CENTRAL = [
    {"learning_rate": rate, "batch": batch, "epochs": epochs}
    for rate, batch, epochs in product((0.002, 0.005, 0.01), (512, 2048), (10, 20))
]


def run() -> None:
    """Print both grids, then the chosen settings on five fresh splits."""
    if ulb_path() is None:
        print("the ULB rows are not at hand: left out")
        return
    torch.set_num_threads(1)
    chosen = {name: _tuned(name, grid) for name, grid in (("distributed", DISTRIBUTED), ("central", CENTRAL))}
    found = {name: _precisions(name, setting, SEEDS) for name, setting in chosen.items()}
    print(
        f"\n{'average precision, epsilon = 3, ULB':<38}" + "".join(f"{f'seed {s}':>8}" for s in SEEDS) + f"{'mean':>8}"
    )
    for name, values in found.items():
        print(f"{name:<38}" + "".join(f"{value:>8.3f}" for value in values) + f"{values.mean():>8.3f}")
    difference = found["distributed"] - found["central"]
    error = difference.std(ddof=1) / np.sqrt(len(SEEDS))
    print(f"distributed - central: {difference.mean():+.4f}, standard error {error:.4f}")


def _tuned(name: str, grid: list[dict[str, Any]]) -> dict[str, Any]:
    means = []
    for setting in grid:
        means.append(float(_precisions(name, setting, TUNING).mean()))
        print(f"{name:<12} {setting} {means[-1]:.4f}", flush=True)
    return grid[int(np.argmax(means))]


def _precisions(name: str, setting: dict[str, Any], seeds: tuple[int, ...]) -> Any:
    return np.array([_trained(name, setting, seed).average_precision for seed in seeds], dtype=np.float64)


def _trained(name: str, setting: dict[str, Any], seed: int) -> Metrics:
    data = dataset("ULB", seed)
    if name == "central":
        return central(data, seed, epsilon=EPSILON, **setting)
    return federated(data, seed, epsilon=EPSILON, mode="distributed", **setting)
