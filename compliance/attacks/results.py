"""What an attack is, what it found, and when its verdict is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.setting import Setting
from compliance.attacks.statistics import Measured


class Outcome(Enum):
    """How an attack ended."""

    SUCCEEDED = "succeeded"
    PARTLY = "in part"  # less than was wanted, and more than chance gives
    FAILED = "failed"  # what was seen is what chance gives
    BOUNDED = "bounded"  # something may be learnt, and no more than (epsilon, delta) allows was
    UNTESTED = "cannot tell"  # the same, but so would it be without noise: the bound is not put to the test
    NOT_PROTECTED = "not protected"  # it works, and nothing was claimed against it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One attack on one target.

    Attributes:
        outcome: as measured.
        evidence: what was measured, one short sentence.
        figures: the same as numbers, by name.
        measured: of a guessing game, else None; bound: what (epsilon, delta) allows of its advantage, else None.
        best: advantage of the best possible guess in that game; None: of no such game, or not known.
        epsilon: of what was opened, at the setting's delta.
    """

    outcome: Outcome
    evidence: str
    figures: dict[str, float] = field(default_factory=dict)
    measured: Measured | None = None
    bound: float | None = None
    best: float | None = None
    epsilon: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Recovery:
    """A real record beside what an attack made of it, for a picture; each float64 of the model's inputs."""

    real: NDArray[np.float64]
    from_plain: NDArray[np.float64]
    from_fedsec: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One attack on both targets."""

    plain: Finding
    fedsec: Finding
    recovery: Recovery | None = None


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack and what has to come of it.

    Attributes:
        name: stable and short; title: for people.
        target: "masked update", "protocol" or "opened sum".
        how: what the server does; control: the unprotected target; shield: what stops or bounds it in fedsec.
        source: who published it.
        test: file that holds the shield, relative to the source tree.
        allowed: outcomes against fedsec that agree with what is claimed.
        carry_out: does it.
    """

    name: str
    title: str
    target: str
    how: str
    control: str
    shield: str
    source: str
    test: str
    allowed: frozenset[Outcome]
    carry_out: Callable[[Setting], Findings]


@dataclass(frozen=True, kw_only=True)
class Result:
    """An attack that was carried out, and whether it came out as claimed."""

    attack: Attack
    findings: Findings
    seconds: float

    @property
    def plain_as_claimed(self) -> bool:
        """The control fell. An attack that does not work on it proves nothing about fedsec."""
        return self.findings.plain.outcome is Outcome.SUCCEEDED

    @property
    def fedsec_as_claimed(self) -> bool:
        """Against fedsec nothing came out that a claim excludes; a measured advantage is not above its bound."""
        found = self.findings.fedsec
        above = found.measured is not None and found.bound is not None and found.measured.exceeds(found.bound)
        return found.outcome in self.attack.allowed and not above

    @property
    def verdict(self) -> str:
        """One or two words for a table."""
        if not self.plain_as_claimed:
            return "WRONG: the attack itself did not work"
        if not self.fedsec_as_claimed:
            return "WRONG: fedsec did not hold"
        return {
            Outcome.FAILED: "held",
            Outcome.BOUNDED: "within the bound",
            Outcome.UNTESTED: "cannot tell",
            Outcome.NOT_PROTECTED: "not protected, as stated",
        }[self.findings.fedsec.outcome]

    @property
    def right(self) -> bool:
        """Whether everything came out as claimed."""
        return self.plain_as_claimed and self.fedsec_as_claimed
