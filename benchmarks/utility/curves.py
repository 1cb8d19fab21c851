"""Average precision and AUC against epsilon, three seeds: distributed, local and central, as tables and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.utility.data import dataset, ulb_path
from benchmarks.utility.pipelines import central, federated
from fl_engine.data.dataset import Dataset
from fl_engine.records import Metrics

EPSILONS: tuple[float | None, ...] = (0.5, 1.0, 3.0, 8.0, None)
SEEDS = (1, 2, 3)
PIPELINES = ("distributed", "local", "central")
CENTRAL: dict[str, Any] = {"learning_rate": 0.005, "batch": 512, "epochs": 20}
PICTURE = Path("docs/images/utility.png")
_COLOURS = {"distributed": "#0072b2", "local": "#d55e00", "central": "#009e73"}  # told apart by the colour-blind, too
_MARKS = {"distributed": "o", "local": "s", "central": "^"}

Found = dict[tuple[str, str], NDArray[np.float64]]


def run() -> None:
    """Print a table for each data set and write the picture."""
    torch.set_num_threads(1)
    names = [name for name in ("ULB", "synthetic") if name != "ULB" or ulb_path() is not None]
    found = {name: _measure(name) for name in names}
    _draw(found)
    print(f"\npicture: {PICTURE}")


def _measure(name: str) -> Found:
    print(f"\n{name}, mean of {len(SEEDS)} seeds (smallest to largest)")
    print(f"{'':<13}" + "".join(f"{_label(epsilon):>28}" for epsilon in EPSILONS))
    found: Found = {}
    for pipeline in PIPELINES:
        runs = [[_trained(pipeline, dataset(name, seed), seed, epsilon) for seed in SEEDS] for epsilon in EPSILONS]
        for figure, short in (("average_precision", "AP"), ("roc_auc", "AUC")):
            values = np.array([[getattr(run, figure) for run in row] for row in runs], dtype=np.float64)
            found[pipeline, short] = values
            cells = (f"{row.mean():.3f} ({row.min():.3f} to {row.max():.3f})" for row in values)
            print(
                f"{pipeline if short == 'AP' else '':<13}" + "".join(f"{f'{short} {cell}':>28}" for cell in cells),
                flush=True,
            )
    return found


def _trained(pipeline: str, data: Dataset, seed: int, epsilon: float | None) -> Metrics:
    if pipeline == "central":
        return central(data, seed, epsilon=epsilon, **CENTRAL)
    return federated(data, seed, epsilon=epsilon, mode="local" if pipeline == "local" else "distributed")


def _label(epsilon: float | None) -> str:
    return "no noise, no clip" if epsilon is None else f"epsilon = {epsilon:g}"


def _draw(found: dict[str, Found]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    places = np.arange(len(EPSILONS))
    figure, axes = plt.subplots(2, len(found), figsize=(4.6 * len(found), 6.4), sharex=True, squeeze=False)
    for column, (name, values) in enumerate(found.items()):
        for row, (short, title) in enumerate((("AP", "average precision"), ("AUC", "ROC AUC"))):
            axis = axes[row][column]
            for shift, pipeline in enumerate(PIPELINES):
                runs = values[pipeline, short]
                mean = runs.mean(axis=1)
                spread = np.abs(np.stack([runs.min(axis=1), runs.max(axis=1)]) - mean)
                axis.errorbar(
                    places + 0.08 * (shift - 1),
                    mean,
                    yerr=spread,
                    marker=_MARKS[pipeline],
                    color=_COLOURS[pipeline],
                    capsize=3,
                    label=pipeline,
                )
            axis.set_title(f"{name}: {title}" if row == 0 else title, fontsize=10)
            axis.grid(alpha=0.3)
            axis.set_xticks(places, ["∞" if epsilon is None else f"{epsilon:g}" for epsilon in EPSILONS])
    for axis in axes[1]:
        axis.set_xlabel("ε (∞: neither noise nor clipping)")
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)
