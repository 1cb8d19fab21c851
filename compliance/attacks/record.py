"""How attacks on a run ended, as ``attack.json`` keeps it for the run's report: titles, outcomes, verdicts, no name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from fedsec.errors import ConfigError

FILE = "attack.json"
NOT_PROTECTED, UNTESTED = "not protected", "cannot tell"  # outcomes, as results.Outcome has them; that imports torch


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one attack ended.

    Attributes:
        name: stable and short; title: for people; target: "masked update", "protocol" or "opened sum".
        plain, fedsec: outcome against the unprotected control and against fedsec, in words.
        evidence: what was measured against fedsec, one short sentence.
        verdict: in words; right: whether everything came out as claimed.
    """

    name: str
    title: str
    target: str
    plain: str
    fedsec: str
    evidence: str
    verdict: str
    right: bool


class AttackRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One suite of attacks on a run's parameters and model.

    Attributes:
        fedsec: version; made: UTC, "2026-03-14 10:15 UTC".
        run: its identifier; privacy: SHA-256 of its ``privacy.json``, 64 hex digits.
        verdicts: one for each attack, in the order in which they were played.
    """

    version: int = 1
    fedsec: str
    made: str
    run: str
    privacy: str
    verdicts: tuple[Verdict, ...]

    @property
    def wrong(self) -> tuple[Verdict, ...]:
        """Attacks that did not end as claimed."""
        return tuple(verdict for verdict in self.verdicts if not verdict.right)

    @property
    def unprotected(self) -> tuple[Verdict, ...]:
        """Attacks that work against fedsec too, as it says: nothing is claimed against them."""
        return tuple(verdict for verdict in self.verdicts if verdict.fedsec == NOT_PROTECTED)

    @property
    def untold(self) -> tuple[Verdict, ...]:
        """Attacks whose bound is so wide that they tell nothing about the noise."""
        return tuple(verdict for verdict in self.verdicts if verdict.fedsec == UNTESTED)


def write_attacks(path: Path, record: AttackRecord) -> None:
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


def read_attacks(path: Path, *, run: str, privacy: str) -> AttackRecord:
    """The record in the file ``path``, which must be of ``run`` with the ``privacy.json`` of this digest.

    Raises:
        ConfigError: it is damaged, from another version, or of another run.
        OSError: it cannot be read.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=AttackRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        record = None
    if record is None or record.version != 1:
        raise ConfigError(
            f"{path} is damaged or from another version of fedsec", remedy="Delete it, and play the attacks again."
        )
    if (record.run, record.privacy) != (run, privacy):
        raise ConfigError(
            f"{path} is about attacks on another run, or on another privacy.json of it",
            remedy="Delete it, and play the attacks again with `fedsec attack RUN`.",
        )
    return record
