"""The numbered steps of docs/evidence.md, and the runner that carries them out in order.

A check is a function of the bundle and the options. It returns an :class:`Outcome`, or raises
:class:`fedsec_verify.findings.Refused`. A check that needs a document which an earlier step found broken is reported as
not checked; the first step that does not hold is the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fedsec_verify.bundle import Broken, Bundle, Options
from fedsec_verify.findings import Refused

Kind = Literal["recomputed", "attested", "assumed"]
RECOMPUTED: Kind = "recomputed"
ATTESTED: Kind = "attested"
ASSUMED: Kind = "assumed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check that holds says: on what it rests, and a few words."""

    kind: Kind
    detail: str


Check = Callable[[Bundle, Options], Outcome]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One row of the table: a step before it is carried out."""

    number: int
    name: str
    kind: Kind
    check: Check


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step that was carried out.

    Attributes:
        number, name: of docs/evidence.md.
        kind: what the verdict rests on; of a step that does not hold, what it would have rested on.
        ok: whether it holds.
        checked: false where what it needs is broken, so that nothing can be said.
        detail: a few words.
        file: where it does not hold, "" if in no single file; expected: what should have been there. "" if ok.
    """

    number: int
    name: str
    kind: Kind
    ok: bool
    checked: bool
    detail: str
    file: str = ""
    expected: str = ""


def carry_out(rules: Sequence[Rule], bundle: Bundle, options: Options) -> Iterator[Step]:
    """Each step in turn; hostile files end in a step that does not hold, never in an exception."""
    for rule in rules:
        yield _step(rule, bundle, options)


def _step(rule: Rule, bundle: Bundle, options: Options) -> Step:
    try:
        outcome = rule.check(bundle, options)
    except Refused as refused:
        return _failed(rule, refused)
    except Broken as broken:
        if broken.fault.step >= rule.number:
            return _failed(rule, broken.fault.refused)
        return _not_checked(rule, f"step {broken.fault.step} does not hold", broken.fault.refused.file)
    except Exception as error:
        # A case that no check foresaw must end as a verdict, and as a bad one: the files are anybody's.
        return _not_checked(rule, f"{type(error).__name__} in what this step reads", "")
    return Step(number=rule.number, name=rule.name, kind=outcome.kind, ok=True, checked=True, detail=outcome.detail)


def _failed(rule: Rule, refused: Refused) -> Step:
    return Step(
        number=rule.number,
        name=rule.name,
        kind=rule.kind,
        ok=False,
        checked=True,
        detail=f"found {refused.found}" if refused.found else "does not hold",
        file=refused.file,
        expected=refused.expected,
    )


def _not_checked(rule: Rule, why: str, file: str) -> Step:
    return Step(
        number=rule.number,
        name=rule.name,
        kind=rule.kind,
        ok=False,
        checked=False,
        detail=f"not checked: {why}",
        file=file,
        expected="files that this step can read",
    )
