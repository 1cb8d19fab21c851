"""What an audit found, as it is kept in ``audit.json``: parameters and counts, no name."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import msgspec

from fedsec.errors import ConfigError

FILE = "audit.json"
NOT_PRIVATE = "NOT PRIVATE (debug control)"


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A broken variant that was audited as the product was.

    Attributes:
        name: stable short name; title: for people.
        lower_bound: of the variant's ε; None: the variant was not played.
        canaries, guesses, correct: what it follows from.
        expected: whether an audit of this size surely notices it.
        noticed: whether the lower bound is above the claim.
    """

    name: str
    title: str
    lower_bound: float | None
    canaries: int
    guesses: int
    correct: int
    expected: bool
    noticed: bool


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One audit.

    Attributes:
        fedsec: version; run: identifier of the run whose settings were audited, None: of no run.
        private: False where a broken variant was audited on purpose.
        mode: "distributed" or "local"; clients, honest_inputs: n and h.
        noise_multiplier, sampling_rate, clip, dimension: of the training mechanism; openings: how often it ran.
        unit: whose contribution a canary stands for: "record" or "entity at one bank".
        claimed_epsilon: what the plan reserves for one; delta: of it and of the lower bound.
        lower_bound: of ε, with confidence ``confidence``.
        canaries, guesses, correct: m, r and v, over all ``runs`` audit runs.
        noise_noticed: an audit of this size notices noise cut to this part of itself, with chance 0.999.
        controls: what was audited besides.
        seconds: wall-clock.
    """

    version: int = 1
    fedsec: str
    run: str | None
    private: bool
    mode: str
    clients: int
    honest_inputs: int
    noise_multiplier: float
    sampling_rate: float
    clip: float
    dimension: int
    openings: int
    unit: str
    claimed_epsilon: float
    delta: float
    lower_bound: float
    confidence: float
    canaries: int
    guesses: int
    correct: int
    runs: int
    noise_noticed: float
    controls: tuple[ControlRecord, ...]
    seconds: float

    @property
    def disproved(self) -> bool:
        """Whether the lower bound is above the claim."""
        return self.lower_bound > self.claimed_epsilon

    @property
    def missed(self) -> tuple[ControlRecord, ...]:
        """Controls that should have been noticed and were not: the audit itself did not work."""
        return tuple(control for control in self.controls if control.expected and not control.noticed)

    @property
    def ok(self) -> bool:
        """Whether nothing was found, by an audit that works."""
        return not self.disproved and not self.missed


def write_record(path: Path, record: AuditRecord) -> None:
    """Write ``record`` to ``path``: whole, or not at all.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def read_record(path: Path) -> AuditRecord:
    """The audit in the file ``path``.

    Raises:
        ConfigError: it is damaged, or from another version.
        OSError: it cannot be read.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=AuditRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        record = None
    if record is None or not 0 <= record.lower_bound < math.inf or not 0 < record.confidence < 1:
        raise ConfigError(
            f"{path} is damaged or from another version of fedsec", remedy="Delete it, and make the audit again."
        )
    return record
