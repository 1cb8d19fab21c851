"""How a plan is made: cohort, attempts, and the noise that keeps every account within its epsilon."""

from __future__ import annotations

import math
from functools import partial

from scipy import stats

from dp.calibration import noise_multiplier
from dp.events import Composed, DpEvent, Repeated
from fedsec.errors import ConfigError
from fl_engine.evaluation import BINS
from fl_engine.model import ModelSpec
from fl_engine.optimiser import AdamParameters
from fl_engine.plan import ETA, LocalTraining, PlannedSum, TaskPlan
from fl_engine.settings import RunSettings
from fl_engine.sums import Sums
from secagg.config import default_corrupt, threshold

# Public constants, chosen once on the synthetic banks and the ULB rows (docs/benchmarks.md), never on a user's data.
ROUNDS = {"distributed": 30, "local": 10}
LEARNING_RATE = {"distributed": 0.04, "local": 0.01}
TRIES = 3  # attempts reserved for each one-shot sum: an aborted one is charged
SCALING_SHARE = 0.03  # of the training account's zCDP budget
SCALING_CLIP = 8.0
STEPS_PER_EPOCH = 20  # of local mode: every record is in a batch with chance 1/20
MOST_ABORTS = 0.5  # share of the rounds that may abort before a drop rate is called hopeless
ABORT_CHANCE = 1e-4  # that the spare rounds do not suffice at the declared drop rate
LARGEST_DEFAULT_DELTA = 1e-5


def build_plan(
    settings: RunSettings,
    *,
    task: str,
    slots: tuple[int, ...],
    model: ModelSpec,
    numeric_width: int,
    federated_evaluation: bool,
) -> TaskPlan:
    """Calibrate the noise of every sum so that each account of the task stays within ``settings.epsilon``.

    Args:
        settings: the public settings.
        task: identifier of the run.
        slots: declared record slots of each bank, by index.
        model: the network; its first ``numeric_width`` inputs are standardised.
        numeric_width: how many.
        federated_evaluation: whether a noised histogram of the holdout is opened at the end.

    Raises:
        ConfigError: the cohort is too small for an honest majority, delta is too large, or no noise reaches epsilon.
    """
    mode, n = settings.dp_mode, len(slots)
    c, t = _cohort(n, settings.max_corrupt)
    delta = _delta(settings.delta, sum(slots))
    rounds = settings.rounds or ROUNDS[mode]
    learning_rate = settings.learning_rate or LEARNING_RATE[mode]
    local: LocalTraining | None = None
    rate = 1.0
    if mode == "local":
        local = LocalTraining(steps=settings.local_epochs * STEPS_PER_EPOCH, learning_rate=learning_rate)
        rate = 1.0 / STEPS_PER_EPOCH
    noised = Sums(slots=slots, honest_inputs=t - c, local=local, unit_rows=settings.unit_rows)
    calibrated = partial(noise_multiplier, epsilon=settings.epsilon, delta=delta, eta=ETA)
    whole_budget = calibrated(lambda z: noised.whole(z).event())
    scaling = noised.scaling(
        numeric_width=numeric_width,
        clip=SCALING_CLIP,
        noise_multiplier=whole_budget * math.sqrt(TRIES / SCALING_SHARE),
        attempts=TRIES,
    )
    attempts = rounds + spare_rounds(rounds, n=n, t=t, drop_rate=settings.drop_rate)

    def training(z: float) -> PlannedSum:
        return noised.training(
            model=model, clip=settings.clip, noise_multiplier=z, sampling_rate=rate, attempts=attempts
        )

    def histogram(z: float) -> PlannedSum:
        return noised.evaluation(bins=BINS, noise_multiplier=z, attempts=TRIES)

    sums = [scaling, training(calibrated(lambda z: _all_attempts(scaling, training(z))))]
    if federated_evaluation:
        sums.append(histogram(calibrated(lambda z: _all_attempts(histogram(z)))))
    return TaskPlan(
        task=task,
        mode=mode,
        epsilon=settings.epsilon,
        delta=delta,
        clients=n,
        corrupt=c,
        threshold=t,
        min_survivors=t,
        slots=slots,
        numeric_width=numeric_width,
        holdout=settings.holdout,
        model=model,
        initial_seed=settings.seed,
        rounds=rounds,
        optimiser=AdamParameters(learning_rate=learning_rate),
        denominator=float(sum(slots)),
        bins=BINS if federated_evaluation else 0,
        local=local,
        unit_rows=settings.unit_rows,
        sums=tuple(sums),
        insecure_deterministic_noise=settings.insecure_deterministic_noise,
    )


def spare_rounds(rounds: int, *, n: int, t: int, drop_rate: float) -> int:
    """Attempts reserved beyond ``rounds`` so that they fail to suffice with chance <= 1e-4; at least 1."""
    abort = float(stats.binom.cdf(t - 1, n, 1.0 - drop_rate))
    if abort >= MOST_ABORTS:
        raise ConfigError(
            f"--drop-rate: with {drop_rate:g} more than {MOST_ABORTS:.0%} of the rounds would find fewer "
            f"than the {t} of {n} banks needed",
            remedy="Lower it, or use more banks or a smaller --max-corrupt.",
        )
    spare = 1
    while stats.nbinom.sf(spare, rounds, 1.0 - abort) > ABORT_CHANCE:
        spare += 1
    return spare


def _delta(asked: float | None, slots: int) -> float:
    """The run's delta: what was asked for, else 1e-5, or less where that is not below one over the slots."""
    largest = 10.0 ** math.floor(-math.log10(slots + 1))
    if asked is None:
        return min(LARGEST_DEFAULT_DELTA, largest)
    if asked >= 1.0 / slots:
        raise ConfigError(
            f"--delta {asked:g} is not below 1/{slots:,}, one over the number of records: "
            "it would permit revealing one outright",
            remedy=f"Use at most {largest:g}.",
        )
    return asked


def _cohort(n: int, max_corrupt: int | None) -> tuple[int, int]:
    """c and t for n banks."""
    c = default_corrupt(n) if max_corrupt is None else max_corrupt
    t = threshold(n, c)
    if t > n or t - c < 2:
        raise ConfigError(
            f"--max-corrupt: {n} banks cannot hold against {c} corrupt ones",
            remedy=f"Use at most {default_corrupt(n)}, the default for {n} banks.",
        )
    return c, t


def _all_attempts(*sums: PlannedSum) -> DpEvent:
    return Composed(events=tuple(Repeated(count=s.attempts, event=s.event()) for s in sums))
