"""How good the joint model is: exactly on a public holdout, or from one noised histogram over all banks.

In the federated form a bank counts its held-out records by class and by score, between public log-odds; one record adds
1 to one of 2 x BINS cells, so its L2 sensitivity is 1. All figures come from the opened noisy sum. Read off as it
stands, the sum would give a wrong average precision: noise puts genuine records where none are, at the top. So

1. histograms that may be behind the sum are drawn (:mod:`fl_engine.denoising`), and each is read: within a bin
   the logarithm of the density is taken as piecewise linear, so that bins make no ties;
2. the figures are means over the draws, less what the same steps are off by on sums simulated from the mean
   histogram (parametric bootstrap, Efron & Tibshirani 1993, section 10.6);
3. an interval of 95 % holds 98 % of the draws, shifted alike, and as much of the simulated figures' spread, since some
   bias is always left. It is for what an exact evaluation of the same held-out records would have shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from fl_engine.denoising import posterior_draws
from fl_engine.records import Metrics

# Log-odds of a score; beyond the outermost two it counts in the last bin. Every empty bin adds noise, so they are wide
# where genuine records are; 0, a score of 0.5, is one of them, for accuracy.
EDGES: Final = np.array([-14, -11, -9, -7.5, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3.5, 5, 6.5, 8], np.float64)
BINS: Final = len(EDGES) - 1
HALF: Final = int(np.searchsorted(EDGES, 0.0))
TINY = 1e-12
DRAWS = 400
SIMULATIONS = 24
SIMULATION_DRAWS = 80
TAIL = 0.01  # of the draws, to each side: more than 95 % are kept, as some bias is always left
STRETCH = 2.33  # the same for a normal distribution
FINE = 8  # parts of a bin
TOO_WIDE = 0.25  # a figure whose interval is wider is withheld: the holdout is too small for the noise
SEEN = 2.0  # standard deviations of the noise that the frauds must exceed to be seen at all
STATED = (
    4.0  # standard deviations that they must exceed for their share to be told: noise then moves it by less than half
)
NAMES: Final = ("roc_auc", "average_precision", "accuracy", "calibration_error", "best_f1", "best_f1_threshold")

Floats = NDArray[np.float64]
_WIDTHS: Final = np.diff(EDGES)
_CENTRES: Final = (EDGES[1:] + EDGES[:-1]) / 2.0
_POINTS: Final = (EDGES[:-1, None] + _WIDTHS[:, None] * (np.arange(FINE) + 0.5) / FINE).ravel()
_LOWER: Final = (EDGES[:-1, None] + _WIDTHS[:, None] * np.arange(FINE) / FINE).ravel()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a noisy histogram says.

    Attributes:
        metrics: a figure whose interval, before it is cut to [0, 1], is wider than :data:`TOO_WIDE` is None.
        intervals: 95 %, by the figure's name, for every figure of :data:`NAMES`.
    """

    metrics: Metrics
    intervals: dict[str, tuple[float, float]]


def exact_metrics(scores: Floats, labels: NDArray[np.uint8]) -> Metrics:
    """Metrics of ``scores`` (float64[N], probabilities) against ``labels`` (0 or 1); accuracy at 0.5.

    The calibration error is the expected one over the bins of :data:`EDGES` (Naeini et al., AAAI 2015): the share of
    records by which predicted and true frauds differ, bin by bin. Where only one class was held out, or nothing,
    what cannot be measured is None.
    """
    if not len(labels):
        return Metrics()
    cut = np.clip(scores, TINY, 1.0 - TINY)
    excess = np.bincount(_bins(scores), weights=labels - scores)
    always = Metrics(
        loss=float(-np.mean(np.where(labels == 1, np.log(cut), np.log1p(-cut)))),
        accuracy=float(np.mean((scores >= 0.5) == (labels == 1))),
        calibration_error=float(np.clip(np.abs(excess).sum() / len(labels), 0.0, 1.0)),
    )
    if labels.min() == labels.max():
        return always
    precision, recall, thresholds = sk.precision_recall_curve(labels, scores)
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, TINY)
    best = int(np.argmax(f1[:-1]))
    return Metrics(
        loss=always.loss,
        roc_auc=float(sk.roc_auc_score(labels, scores)),
        average_precision=float(sk.average_precision_score(labels, scores)),
        accuracy=always.accuracy,
        calibration_error=always.calibration_error,
        best_f1=float(f1[best]),
        best_f1_threshold=float(thresholds[best]),
    )


def score_histogram(
    scores: Floats, labels: NDArray[np.uint8], include: NDArray[np.bool_] | NDArray[np.float64]
) -> Floats:
    """Counts by class and score of the rows that ``include`` marks (or weighs): float64[2 * BINS].

    Genuine first, low scores first. A score that is not finite (weights are the coordinator's) counts as 0.
    """
    cells = _bins(scores) + BINS * labels.astype(np.int64)
    return np.bincount(cells, weights=include.astype(np.float64), minlength=2 * BINS).astype(np.float64)


def histogram_metrics(histogram: Floats, *, noise_deviation: float, generator: np.random.Generator) -> Estimate:
    """Figures and intervals from an opened histogram, float64[2 * BINS].

    Args:
        histogram: counts of :func:`score_histogram` plus noise.
        noise_deviation: of the noise in a cell, records (> 0).
        generator: of the draws; from the system's entropy in a run.

    Returns:
        Every figure has an interval; where no fraud can be told from noise, it is everything and no figure is given.
    """
    observed = histogram.reshape(2, BINS)
    if observed.sum(axis=1).min() < SEEN * noise_deviation * np.sqrt(BINS):
        return Estimate(metrics=Metrics(), intervals=dict.fromkeys(NAMES, (0.0, 1.0)))

    def draws(of: Floats, number: int) -> Floats:
        return posterior_draws(of, EDGES, noise_deviation=noise_deviation, draws=number, generator=generator)

    drawn = draws(observed, DRAWS)
    read = read_histograms(drawn)
    likely = drawn.mean(axis=0)
    counts = generator.poisson(likely, (SIMULATIONS, 2, BINS))
    again = counts + generator.normal(0.0, noise_deviation, counts.shape)
    simulated = np.stack([read_histograms(draws(sums, SIMULATION_DRAWS)).mean(axis=0) for sums in again])
    off = simulated.mean(axis=0) - read_histograms(likely[None])[0]
    centre = read.mean(axis=0) - off
    strays = STRETCH * simulated.std(axis=0, ddof=1)
    low = np.minimum(np.quantile(read, TAIL, axis=0) - off, centre - strays)
    high = np.maximum(np.quantile(read, 1.0 - TAIL, axis=0) - off, centre + strays)
    known = high - low <= TOO_WIDE  # before the cut: an interval that ends at 1 looks narrower than it is
    low, high = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
    figures = np.clip(centre, 0.0, 1.0)
    intervals = {name: (float(low[at]), float(high[at])) for at, name in enumerate(NAMES)}
    told = {name: float(figures[at]) for at, name in enumerate(NAMES) if known[at]}
    return Estimate(metrics=Metrics(**told), intervals=intervals)


def read_histograms(histograms: Floats) -> Floats:
    """Figures of noiseless histograms, float64[draws, 2, BINS], none negative: float64[draws, figures of NAMES]."""
    fine = _interpolated(np.maximum(histograms, TINY))
    genuine, fraud = fine[:, 0, ::-1], fine[:, 1, ::-1]  # high scores first
    negatives, positives = genuine.sum(axis=1), fraud.sum(axis=1)
    found, alarms = np.cumsum(fraud, axis=1), np.cumsum(genuine, axis=1)
    halfway, false = found - fraud / 2.0, alarms - genuine / 2.0
    total = negatives + positives
    right = histograms[:, 1, HALF:].sum(axis=1) + histograms[:, 0, :HALF].sum(axis=1)
    f1 = 2.0 * found / (found + alarms + positives[:, None])
    predicted = (fine.sum(axis=1) / (1.0 + np.exp(-_POINTS))).reshape(len(fine), BINS, FINE).sum(axis=2)
    figures = (
        (genuine * halfway).sum(axis=1) / (negatives * positives),
        (fraud * halfway / (halfway + false)).sum(axis=1) / positives,
        right / total,
        np.abs(histograms[:, 1] - predicted).sum(axis=1) / total,
        f1.max(axis=1),
        1.0 / (1.0 + np.exp(-_LOWER[::-1][np.argmax(f1, axis=1)])),
    )
    return np.stack(figures, axis=1)


def fraud_share(histogram: Floats, *, noise_deviation: float) -> float | None:
    """Share of fraud among the records that a (noisy) histogram, float64[2 * BINS], counts; None: too few to tell.

    ``noise_deviation`` is that of the noise in a cell, records (>= 0). Frauds or genuine records that do not exceed
    :data:`STATED` deviations of their total's noise may be noise alone, and a share of them would be taken for one.

    Counts below zero stay in the sums: cutting each at zero would turn symmetric noise into records that are not there.
    """
    genuine, fraud = histogram.reshape(2, -1).sum(axis=1)
    least = max(1.0, STATED * noise_deviation * np.sqrt(BINS))
    return float(fraud / (genuine + fraud)) if min(genuine, fraud) >= least else None


def _bins(scores: Floats) -> NDArray[np.int64]:
    cut = np.clip(np.nan_to_num(scores, nan=0.0), TINY, 1.0 - TINY)
    places: NDArray[np.int64] = np.searchsorted(EDGES[1:-1], np.log(cut) - np.log1p(-cut), side="right")
    return places


def _interpolated(histograms: Floats) -> Floats:
    """Counts in FINE parts of each bin: log density linear between centres of bins, every bin's count kept."""
    density = np.log(histograms / _WIDTHS)
    left = np.clip(np.searchsorted(_CENTRES, _POINTS) - 1, 0, BINS - 2)
    weight = (_POINTS - _CENTRES[left]) / (_CENTRES[left + 1] - _CENTRES[left])
    parts = density[..., left] * (1.0 - weight) + density[..., left + 1] * weight
    parts = parts.reshape(*histograms.shape, FINE)
    parts = np.exp(parts - parts.max(axis=-1, keepdims=True))
    parts *= histograms[..., None] / parts.sum(axis=-1, keepdims=True)
    flat: Floats = parts.reshape(*histograms.shape[:-1], BINS * FINE)
    return flat
