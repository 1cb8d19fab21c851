"""What a named mutant is: edits that make one claim false, and the test that says it would notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Edit:
    """``old``, which occurs once in ``file`` (relative to the repository), becomes ``new``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """Edits that make ``claim`` false; ``killer`` is a pytest node id that claims to notice."""

    name: str
    claim: str
    edits: tuple[Edit, ...]
    killer: str


def mutant(name: str, claim: str, killer: str, file: str, old: str, new: str) -> Mutant:
    """A mutant of one edit."""
    return Mutant(name=name, claim=claim, killer=killer, edits=(Edit(file=file, old=old, new=new),))
