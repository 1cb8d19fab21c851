"""``python -m tests.verifier``: edits of a finished run, and which step found each."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.verifier.cases import tampered
from tests.verifier.runs import make_runs
from tests.verifier.tampers import TAMPERS


def main() -> int:
    """Print the table; 0 if every edit was found at its step."""
    found = right = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = make_runs(folder)
        print(f"{'step':>4}  {'found at':<22}  edit")
        for tamper in TAMPERS:
            failed = tampered(tamper, runs.kept if tamper.kept else runs.plain, folder)
            told = "NOT FOUND" if failed is None else f"{failed.number} {failed.name}"
            found += failed is not None
            right += failed is not None and failed.number == tamper.step
            print(f"{tamper.step:>4}  {told:<22}  {tamper.name}")
    print(f"{len(TAMPERS)} edits tried, {found} found, {right} at the right step")
    return 0 if right == len(TAMPERS) else 1


if __name__ == "__main__":
    sys.exit(main())
