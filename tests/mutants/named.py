"""The named mutants, each against the one test that claims to notice it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.workshop import ROOT, NotApplicableError, Outcome, mutated, run_tests, workshop


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``status``: "killed", "alive", "does not apply", "broken" (the test came to no verdict) or "timeout"."""

    mutant: Mutant
    status: str
    by: str
    seconds: float


def controls(killers: Iterable[str]) -> tuple[str, ...]:
    """What must pass in the honest code: each named test once, a parametrised one with all its cases."""
    return tuple(sorted({killer.partition("[")[0] for killer in killers}))


def judge(mutant: Mutant, root: Path) -> Verdict:
    """Apply ``mutant`` in the copy at ``root`` and ask its test."""
    try:
        with mutated(mutant, root):
            outcome = run_tests(root, [mutant.killer])
    except NotApplicableError as problem:
        return Verdict(mutant=mutant, status="does not apply", by=str(problem), seconds=0.0)
    status = {"passed": "alive", "failed": "killed"}.get(outcome.status, outcome.status)
    return Verdict(mutant=mutant, status=status, by=outcome.failed, seconds=outcome.seconds)


def run(
    mutants: Sequence[Mutant],
    *,
    workers: int = 2,
    source: Path = ROOT,
    tell: Callable[[Verdict], None] = lambda _: None,
) -> tuple[Outcome, list[Verdict]]:
    """The outcome of the honest code on all named tests, and a verdict for each mutant."""
    with ExitStack() as stack:
        copies: queue.Queue[Path] = queue.Queue()
        for _ in range(workers):
            copies.put(stack.enter_context(workshop(source)))

        def in_a_copy(mutant: Mutant) -> Verdict:
            copy = copies.get()
            try:
                verdict = judge(mutant, copy)
            finally:
                copies.put(copy)
            tell(verdict)
            return verdict

        first = copies.get()
        honest = run_tests(first, controls(mutant.killer for mutant in mutants))
        copies.put(first)
        with ThreadPoolExecutor(workers) as pool:
            return honest, list(pool.map(in_a_copy, mutants))
