"""What an epsilon and a noise multiplier cost to compute, and how far the headline is above other accountants."""

from __future__ import annotations

from benchmarks.dp.timing import milliseconds
from dp.accounting import epsilon, pld_epsilon
from dp.calibration import noise_multiplier
from dp.events import DpEvent, Repeated
from dp.mechanism import sum_mechanism
from dp.prv import prv_epsilon

DIMENSION = 4000

# Noise multiplier, sampling rate, rounds.
SETTINGS = (
    (10.6, 1.0, 50), (30.0, 1.0, 50), (3.5, 1.0, 50), (1.0, 1.0, 1), (100.0, 1.0, 1000),
    (2.3, 0.05, 220), (0.9, 0.01, 200), (1.1, 0.0043, 14_000), (2.0, 0.2, 50), (4.0, 0.5, 20), (0.7, 0.002, 500),
    (1.0, 0.01, 1),
)  # fmt: skip
DELTAS = (1e-3, 1e-5, 1e-7)


def run() -> None:
    """Print milliseconds an account operation, then the headline beside PLD and PRV."""
    print(f"{'operation':<44} {'ms':>8}")
    print(f"{'epsilon of 50 full-batch rounds':<44} {milliseconds(lambda: epsilon(_rounds(10.6), 1e-5)):>8.2f}")
    calibrate = milliseconds(lambda: noise_multiplier(_rounds, epsilon=3.0, delta=1e-5))
    print(f"{'noise multiplier for them':<44} {calibrate:>8.2f}")
    print(f"\n{'z':>6} {'q':>7} {'rounds':>7} {'delta':>6} {'headline':>9} {'PLD':>8} {'PRV':>8} {'headline/PLD':>13}")
    for z, rate, count in SETTINGS:
        event = _rounds(z, rate, count)
        for delta in DELTAS:
            headline, reference, other = epsilon(event, delta), pld_epsilon(event, delta), prv_epsilon(event, delta)
            print(
                f"{z:>6g} {rate:>7g} {count:>7} {delta:>6.0e} {headline:>9.3f} {reference:>8.3f} {other:>8.3f} "
                f"{headline / reference:>13.2f}"
            )


def _rounds(z: float, rate: float = 1.0, count: int = 50) -> DpEvent:
    mechanism = sum_mechanism(
        name="training",
        dimension=DIMENSION,
        clip=1.0,
        max_slots=20_000,
        clients=10,
        honest_inputs=4 if rate == 1 else 1,
        noise_multiplier=z,
        sampling_rate=rate,
    )
    return Repeated(count=count, event=mechanism.event())
