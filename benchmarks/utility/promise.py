"""What noise and clipping cost: average precision as a share of the same pipeline without them, twice five seeds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.utility.data import dataset, ulb_path
from benchmarks.utility.pipelines import federated

SEEDS = tuple(range(1, 11))
TARGETS = {3.0: 0.95, 1.0: 0.85}


def run() -> None:
    """Print a table on the ULB rows: ten banks, h = 4 of 10, distributed mode, the defaults."""
    if ulb_path() is None:
        print("the ULB rows are not at hand: left out")
        return
    torch.set_num_threads(1)
    print(f"{'average precision, ULB, distributed':<38}" + "".join(f"{f'seed {s}':>8}" for s in SEEDS) + f"{'mean':>8}")
    plain = _row("without noise and clipping", None)
    for epsilon, target in TARGETS.items():
        shares = _row(f"epsilon = {epsilon:g}", epsilon).sum(axis=1) / plain.sum(axis=1)
        first, second = ("met" if share >= target else "NOT met" for share in shares)
        print(
            f"{'':<4}share of it: seeds 1 to 5 {shares[0]:.3f} ({first}), 6 to 10 {shares[1]:.3f} ({second}); ", end=""
        )
        print(f"target {target:g}")


def _row(name: str, epsilon: float | None) -> NDArray[np.float64]:
    """Average precision by seed, two rows of five."""
    values = [
        federated(dataset("ULB", seed), seed, epsilon=epsilon, mode="distributed").average_precision for seed in SEEDS
    ]
    found = np.array(values, dtype=np.float64)
    print(f"{name:<38}" + "".join(f"{value:>8.3f}" for value in found) + f"{found.mean():>8.3f}", flush=True)
    return found.reshape(2, -1)
