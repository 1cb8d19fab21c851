"""mutmut's mutants over all of ``secagg``: each is killed by a test, or survivors.toml says why it may live.

The tests are those of ``tests/secagg`` and ``tests/adversary`` that take less than seconds and are no controls
(``[tool.mutmut]`` in pyproject.toml).

mutmut numbers its mutants anew whenever a function changes, so a survivor is known by its file, its old and its new
lines. An explanation that no survivor needs any more is named, and is to be deleted.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.workshop import workshop

SURVIVORS = Path(__file__).with_name("survivors.toml")
KILLED, LIVES = (1, 3), (0,)  # exit codes of pytest, as mutmut keeps them
TIMEOUT = (24, -24, 36, 152, 255)


@dataclass(frozen=True, kw_only=True)
class Survivor:
    """A mutant that no test noticed: in ``file``, the lines ``old`` became ``new`` (stripped, joined by a space)."""

    name: str
    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why mutants may live: those of ``file`` whose change is ``old`` to ``new``, or fits the pattern ``change``."""

    reason: str
    file: str = ""
    old: str = ""
    new: str = ""
    change: str = ""

    def covers(self, survivor: Survivor) -> bool:
        """Whether this is about ``survivor``."""
        if self.file and self.file != survivor.file:
            return False
        if self.change:
            return re.fullmatch(self.change, f"{survivor.old} -> {survivor.new}") is not None
        return (self.old, self.new) == (survivor.old, survivor.new)


def read(path: Path = SURVIVORS) -> tuple[Explanation, ...]:
    """The explanations on file.

    Raises:
        TypeError: an entry has an unknown key or no reason.
    """
    return tuple(Explanation(**entry) for entry in tomllib.loads(path.read_text("utf-8"))["survivor"])


def parse(name: str, diff: str) -> Survivor:
    """The survivor that mutmut's unified ``diff`` shows."""
    lines = diff.splitlines()
    (file,) = (line[4:].strip() for line in lines if line.startswith("--- "))
    sides = [
        " ".join(line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(sign * 3))
        for sign in "-+"
    ]
    return Survivor(name=name, file=file, old=sides[0], new=sides[1])


def _results(copy: Path) -> dict[str, int | None]:
    """Exit code by mutant, as mutmut left it; ``None`` where it did not come to it."""
    codes: dict[str, int | None] = {}
    for meta in sorted((copy / "mutants" / "secagg").glob("*.meta")):
        codes.update(json.loads(meta.read_text("utf-8"))["exit_code_by_key"])
    return codes


def _survivors(copy: Path, names: Sequence[str]) -> Iterator[Survivor]:
    for name in names:
        shown = subprocess.run(
            [sys.executable, "-m", "mutmut", "show", name], cwd=copy, capture_output=True, text=True, check=True
        )
        yield parse(name, shown.stdout)


def report(codes: dict[str, int | None], survivors: Sequence[Survivor], explained: Sequence[Explanation]) -> list[str]:
    """Print the score; the names of the survivors that nothing explains."""
    counts = Counter(
        "killed" if code in KILLED else "survived" if code in LIVES else "timeout" if code in TIMEOUT else "other"
        for code in codes.values()
    )
    unexplained = [s for s in survivors if not any(each.covers(s) for each in explained)]
    for survivor in unexplained:
        print(f"alive: {survivor.name} in {survivor.file}\n    - {survivor.old}\n    + {survivor.new}")
    for each in explained:
        if not any(each.covers(survivor) for survivor in survivors):
            print(f"explains nothing: {each.file} {each.change or each.new}")
    noticed = counts["killed"] + counts["timeout"]
    print(
        f"{noticed} of {len(codes)} mutants noticed ({100 * noticed / max(1, len(codes)):.1f} %),"
        f" {counts['timeout']} of them by running too long;"
        f" {counts['survived']} alive, {counts['survived'] - len(unexplained)} of them explained;"
        f" {counts['other']} without a verdict"
    )
    return [survivor.name for survivor in unexplained]


def run(files: Sequence[str], *, workers: int = 2) -> int:
    """Run mutmut over ``files`` (all of ``secagg`` by default) in a copy; 0 if every survivor is explained."""
    if importlib.util.find_spec("mutmut") is None:
        print("mutmut is not installed: pip install -e '.[mutation]'", file=sys.stderr)
        return 2
    patterns = [file.removesuffix(".py").replace("/", ".") + ".x*" for file in files]
    with workshop() as copy:
        log = copy / "mutmut.log"
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(workers), *patterns]
        with log.open("wb") as output:
            done = subprocess.run(command, cwd=copy, stdout=output, stderr=subprocess.STDOUT, check=False)
        codes = {name: code for name, code in _results(copy).items() if code is not None}
        if done.returncode or not codes:
            print(log.read_text("utf-8", "replace")[-3000:], file=sys.stderr)
            return 2
        survivors = list(_survivors(copy, [name for name, code in codes.items() if code in LIVES]))
    unexplained = report(codes, survivors, read())
    return int(bool(unexplained) or any(code not in (*KILLED, *LIVES, *TIMEOUT) for code in codes.values()))
