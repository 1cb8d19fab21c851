"""What an epsilon and a noise multiplier cost to compute."""

from __future__ import annotations

from benchmarks.dp.timing import milliseconds
from dp.accounting import epsilon
from dp.calibration import noise_multiplier
from dp.events import DpEvent, Repeated
from dp.mechanism import sum_mechanism

DIMENSION = 4000


def run() -> None:
    """Print milliseconds an account operation."""
    print(f"{'operation':<44} {'ms':>8}")
    print(f"{'epsilon of 50 full-batch rounds':<44} {milliseconds(lambda: epsilon(_rounds(10.6), 1e-5)):>8.2f}")
    calibrate = milliseconds(lambda: noise_multiplier(_rounds, epsilon=3.0, delta=1e-5))
    print(f"{'noise multiplier for them':<44} {calibrate:>8.2f}")


def _rounds(z: float) -> DpEvent:
    mechanism = sum_mechanism(
        name="training",
        dimension=DIMENSION,
        clip=1.0,
        max_slots=20_000,
        clients=10,
        honest_inputs=4,
        noise_multiplier=z,
    )
    return Repeated(count=50, event=mechanism.event())
