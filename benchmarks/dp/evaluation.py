"""How far a federated evaluation is from an exact one, through the noise that banks really add.

A holdout of 50,000 records at epsilon = 3 over ten banks, h = 4; scores of several kinds of model. The histogram is
dealt to the banks, each adds its noise share, and the sum is evaluated as the coordinator does. Compared with
scikit-learn on the same scores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from fl_engine.data.dataset import public_holdout, synthetic_dataset
from fl_engine.evaluation import Estimate, exact_metrics, histogram_metrics, read_histograms, score_histogram
from fl_engine.model import ModelSpec
from fl_engine.plan import TaskPlan
from fl_engine.planning import build_plan
from fl_engine.records import Metrics
from fl_engine.settings import RunSettings

RECORDS = 50_000
BANKS = 10
REPETITIONS = 200
LARGEST_ERROR = {"roc_auc": 0.01, "average_precision": 0.03}
LEAST_COVERAGE = 0.93
Floats = NDArray[np.float64]
Scores = Callable[[np.random.Generator, int, int], tuple[Floats, Floats]]


def normal(genuine: tuple[float, float], fraud: tuple[float, float], hidden: float = 0.0) -> Scores:
    """Log-odds with normal distributions (mean, deviation) by class; a share of the fraud scores like genuine rows."""

    def draw(generator: np.random.Generator, negatives: int, positives: int) -> tuple[Floats, Floats]:
        missed = generator.random(positives) < hidden
        frauds = np.where(missed, generator.normal(*genuine, positives), generator.normal(*fraud, positives))
        return generator.normal(*genuine, negatives), frauds

    return draw


def logistic_regression() -> Scores:
    """Log-odds of a logistic regression on the synthetic banks' rows, drawn again with a little jitter."""
    rows = public_holdout(synthetic_dataset(banks=BANKS, rows=60_000, seed=1, split_key=os.urandom(32), holdout=0.9))
    half = len(rows.labels) // 2
    model = LogisticRegression(max_iter=300).fit(rows.features[:half], rows.labels[:half])
    odds, labels = model.decision_function(rows.features[half:]), rows.labels[half:]

    def draw(generator: np.random.Generator, negatives: int, positives: int) -> tuple[Floats, Floats]:
        drawn = (generator.choice(odds[labels == label], k) for label, k in ((0, negatives), (1, positives)))
        genuine, fraud = (values + generator.normal(0.0, 0.15, len(values)) for values in drawn)
        return genuine, fraud

    return draw


MODELS: dict[str, Callable[[], Scores]] = {
    "overconfident": lambda: normal((-9.6, 1.4), (-2.2, 2.8), hidden=0.03),
    "logistic regression, synthetic rows": logistic_regression,
    "certain of most fraud, blind to some": lambda: normal((-9.8, 1.6), (6.2, 0.8), hidden=0.15),
    "calibrated": lambda: normal((-5.5, 1.2), (-2.0, 2.0)),
    "weak": lambda: normal((-4.5, 0.8), (-3.4, 1.0)),
}


def evaluation_plan() -> TaskPlan:
    """The plan of a run at epsilon = 3 whose holdout is a fifth of 250,000 slots."""
    return build_plan(
        RunSettings(epsilon=3.0, delta=1e-6),
        task="benchmark",
        slots=(5 * RECORDS // BANKS,) * BANKS,
        model=ModelSpec(inputs=29),
        numeric_width=29,
        federated_evaluation=True,
    )


def evaluated(
    plan: TaskPlan, scores: Floats, labels: NDArray[np.uint8], generator: np.random.Generator
) -> tuple[Estimate, Metrics]:
    """Estimate of one evaluation, records dealt to ten banks that add their noise; figures of the bare noisy sum."""
    planned = plan.sum("evaluation")
    bank = generator.integers(BANKS, size=len(labels))
    total = np.zeros(planned.dimension, np.int64)
    for index in range(BANKS):
        counts = score_histogram(scores, labels, bank == index) * planned.mechanism.grid_scale
        total += planned.mechanism.add_noise(counts.astype(np.int64))
    opened = plan.grid(planned).dequantise(total)
    deviation = plan.noise_deviation(planned, BANKS)
    bare = read_histograms(np.maximum(opened, 0.0).reshape(1, 2, -1))[0]
    estimate = histogram_metrics(opened, noise_deviation=deviation, generator=generator)
    return estimate, Metrics(roc_auc=float(bare[0]), average_precision=float(bare[1]))


def run() -> None:
    """Print the errors of area and average precision, their bias, coverage and width, by model and frauds."""
    plan = evaluation_plan()
    planned = plan.sum("evaluation")
    generator = np.random.default_rng()
    print(
        f"federated evaluation of {RECORDS:,} held-out records, {REPETITIONS} repetitions each: epsilon 3,"
        f" h = {plan.honest_inputs} of {BANKS}, noise {plan.noise_deviation(planned, BANKS):.1f} records a cell"
    )
    print("errors against exact figures on the same scores; withheld: share of repetitions without a figure\n")
    head = f"| {'model':<37}| frauds | figure            | exact  | mean error | bias    | bias of bare sum |"
    print(head + " coverage | width  | withheld | met |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    start = time.perf_counter()
    for model, frauds in (("overconfident", 100), *((model, 500) for model in MODELS)):
        _rows(plan, model, MODELS[model](), frauds=frauds, generator=generator)
    print(f"\n{time.perf_counter() - start:.0f} s")


def _rows(plan: TaskPlan, model: str, draw: Scores, *, frauds: int, generator: np.random.Generator) -> None:
    labels = np.zeros(RECORDS, np.uint8)
    labels[-frauds:] = 1
    results = []
    for _ in range(REPETITIONS):
        scores = 1.0 / (1.0 + np.exp(-np.concatenate(draw(generator, RECORDS - frauds, frauds))))
        results.append((exact_metrics(scores, labels), *evaluated(plan, scores, labels, generator)))
    for name, largest in LARGEST_ERROR.items():
        truth = np.array([getattr(exact, name) for exact, _, _ in results])
        bounds = np.array([estimate.intervals[name] for _, estimate, _ in results])
        told = np.array([getattr(estimate.metrics, name) or np.nan for _, estimate, _ in results])
        bare = np.array([getattr(figures, name) for _, _, figures in results])
        covered = np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1]))
        withheld = float(np.isnan(told).mean())
        error, bias = (np.nan, np.nan) if withheld == 1 else (np.nanmean(abs(told - truth)), np.nanmean(told - truth))
        met = "–" if frauds < 500 else ("yes" if error <= largest and covered >= LEAST_COVERAGE else "NO")
        print(
            f"| {model:<37}| {frauds:>6} | {name:<18}| {truth.mean():.4f} | {error:>10.4f} | {bias:+.4f} |"
            f" {np.mean(bare - truth):>+16.4f} | {covered:>8.3f} | {np.diff(bounds).mean():.4f} | {withheld:>8.3f} |"
            f" {met:<3} |",
            flush=True,
        )
