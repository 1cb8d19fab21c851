"""Copies of the source tree in which code may be made wrong: the tree itself is never touched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parents[2]
NEEDED = ("fedsec", "secagg", "dp", "fl_engine", "compliance", "cli", "tests", "docs", "pyproject.toml")
SECONDS = 240  # a mutant may run for ever; the slowest honest test takes a tenth of this

_LOST = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class NotApplicableError(Exception):
    """An old text of a mutant does not occur exactly once: the code has moved on, the catalogue has not."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a test run said: ``status`` is "passed", "failed", "timeout" or "broken" (it did not come to a verdict)."""

    status: str
    failed: str  # the first test that fell, as a node id, or empty
    seconds: float


@contextmanager
def workshop(source: Path = ROOT) -> Iterator[Path]:
    """A copy of ``source`` in a temporary folder, without caches, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fedsec-mutants-") as folder:
        for name in NEEDED:
            if (source / name).is_dir():
                shutil.copytree(source / name, Path(folder, name), ignore=_LOST)
            elif (source / name).exists():
                shutil.copy(source / name, folder)
        yield Path(folder)


def texts(mutant: Mutant, root: Path) -> dict[str, tuple[str, str]]:
    """For each file that ``mutant`` changes, its text and its mutated text.

    Raises:
        NotApplicableError: an old text does not occur exactly once, or nothing changes.
    """
    changed: dict[str, tuple[str, str]] = {}
    for edit in mutant.edits:
        honest = (root / edit.file).read_text("utf-8") if (root / edit.file).is_file() else ""
        before, text = changed.get(edit.file, (honest, honest))
        if text.count(edit.old) != 1:
            raise NotApplicableError(f"{mutant.name}: {text.count(edit.old)} times in {edit.file}: {edit.old!r}")
        if edit.old == edit.new:
            raise NotApplicableError(f"{mutant.name}: nothing changes")
        changed[edit.file] = (before, text.replace(edit.old, edit.new))
    return changed


@contextmanager
def mutated(mutant: Mutant, root: Path) -> Iterator[None]:
    """The copy at ``root`` with ``mutant`` applied, and as it was afterwards."""
    changed = texts(mutant, root)
    for file, (_, wrong) in changed.items():
        (root / file).write_text(wrong, "utf-8")
    try:
        yield
    finally:
        for file, (honest, _) in changed.items():
            (root / file).write_text(honest, "utf-8")


def run_tests(root: Path, selection: Sequence[str], *, seconds: float = SECONDS) -> Outcome:
    """pytest over ``selection`` in the copy at ``root``, up to the first failure."""
    with tempfile.TemporaryDirectory(prefix="fedsec-mutant-") as scratch:
        # No bytecode: a cached one is recognised by size and second, which a mutant may share with the honest code.
        # No examples kept by Hypothesis: what one mutant taught must not help against the next.
        environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": scratch,
        }
        command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
        began = time.monotonic()
        try:
            done = subprocess.run(
                [*command, *selection],
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(status="timeout", failed="", seconds=time.monotonic() - began)
    taken = time.monotonic() - began
    found = _FAILED.search(done.stdout)
    # 0: all passed, 1: a test failed; anything else (no such test, code that does not import) is no verdict.
    status = {0: "passed", 1: "failed"}.get(done.returncode, "broken")
    return Outcome(status=status, failed=found[1] if found else "", seconds=taken)
