"""What a server sees in opened sums, played by the ten thousand: production rounding, production noise, addition.

That a sum opened by the protocol is the sum of the banks' integers, exactly, is what
``tests/adversary/test_opened_sums_are_exact.py`` holds; so games can be played on sums of integers alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.setting import Setting
from dp.mechanism import SumMechanism
from fedsec.rounding import stochastic_round

Vector = NDArray[np.float64]
GAMES = 200_000
FEWEST_GAMES = 400
CONTROL_GAMES = 4_000  # without noise, of either kind
COORDINATES = 256  # read of a sum at most, those that differ most
_DRAWS = 10_000_000  # of noise in one attack: a few seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """Two things that a sum may hold, all else being known to the server and taken off.

    Attributes:
        yes, no: float64 ``(k,)``, what is in the sum in either case, on the coordinates where they differ.
    """

    yes: Vector
    no: Vector

    @property
    def apart(self) -> float:
        """L2 distance of the two, in units."""
        return float(np.linalg.norm(self.yes - self.no))

    @classmethod
    def between(cls, yes: Vector, no: Vector) -> Question:
        """The question whether ``yes`` or ``no``, both ``(d,)``, is in a sum; only the coordinates that differ most."""
        apart = np.abs(yes - no)
        asked = apart > 1e-9 * apart.max()
        if asked.sum() > COORDINATES:
            asked = apart >= np.partition(apart, -COORDINATES)[-COORDINATES]
        return cls(yes=yes[asked], no=no[asked])

    def scores(self, seen: Vector) -> Vector:
        """The best statistic under Gaussian noise: ``seen`` ``(games, k)`` along the line from no to yes."""
        line = self.yes - self.no
        scores: Vector = seen @ (line / np.linalg.norm(line))
        return scores

    def games(self, setting: Setting, *, openings: int) -> int:
        """How many games of either kind can be played in reasonable time."""
        draws = 2 * len(self.yes) * openings * setting.shares
        return max(FEWEST_GAMES, min(GAMES, _DRAWS // draws)) // 2


def observed(setting: Setting, vector: Vector, *, games: int, openings: int = 1, shares: int | None = None) -> Vector:
    """Sums over ``openings`` opened sums that hold ``vector`` ``(k,)``, float64 ``(games, k)``, in its units.

    Args:
        shares: noise shares in each opened sum, 0 for the control; None: those that count against the target adversary.

    In a mode that samples, a record is in a sum by its own coin, from the operating system as in a bank.
    """
    size = games * len(vector)
    total = np.zeros(size, dtype=np.int64)
    coins = np.random.default_rng()
    for _ in range(openings):
        present = coins.random((games, 1)) < setting.sampling_rate
        values = np.where(present, vector, 0.0).ravel()
        total += noised(setting, rounded(setting, values), shares=setting.shares if shares is None else shares)
    return (total / setting.grid_scale).reshape(games, len(vector))


def rounded(setting: Setting, values: Vector) -> NDArray[np.int64]:
    """``values`` ``(k,)`` on the grid of the noise."""
    return stochastic_round(values, saturation=setting.saturation, scale=setting.grid_scale)


def noised(setting: Setting, values: NDArray[np.int64], *, shares: int) -> NDArray[np.int64]:
    """``values`` ``(k,)``, saturated and on the grid, with so many banks' noise, each added by the production step."""
    if not shares:
        return values
    step = noise_step(setting, len(values))
    total = step.add_noise(values)
    for _ in range(shares - 1):
        total += step.add_noise(np.zeros_like(values))
    return total


def noise_step(setting: Setting, size: int) -> SumMechanism:
    """The production noise step, with the setting's share of noise, on vectors of ``size`` coordinates.

    The attacked mechanism has another length, and its noise hangs on it; so this one, of integers with a sensitivity of
    1, is given the noise itself. The variance comes out as the setting has it: z^2 rounded up, z^2 half below it.
    """
    return SumMechanism(
        name="games",
        dimension=size,
        clip=1.0,
        grid_scale=1.0,
        integral=True,
        saturation=setting.saturation,
        noise_multiplier=math.sqrt(setting.share_variance - 0.5),
        honest_inputs=1,
        clients=1,
        float_error=0.0,
        max_slots=1,
    )
