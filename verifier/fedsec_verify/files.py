"""Step 2: the files that the statement is about are there, unchanged, and in evidence/ there are no others."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from fedsec_verify.bundle import (
    DOCUMENT_BYTES,
    LEDGER,
    MASKED,
    PLAN,
    REPORT,
    ROSTER_FILE,
    ROUND_BYTES,
    ROUNDS,
    SBOM,
    STATEMENT,
    Bundle,
    Options,
)
from fedsec_verify.findings import Refused, require
from fedsec_verify.steps import RECOMPUTED, Outcome

ALWAYS = (
    "config.toml",
    "ledger-heads.json",
    "metrics.jsonl",
    "model.safetensors",
    "privacy.json",
    "summary.json",
    LEDGER,
    PLAN,
    ROSTER_FILE,
    SBOM,
)
NEVER = (STATEMENT, REPORT)  # written after the subjects were listed
LATER = (  # evidence/ is walked; the others are the report's, and for step 17
    "evidence", "outbound", "report.html", "report.json", "report.md", "report.pdf", "audit.json", "attack.json"
)  # fmt: skip
TOLD = 5
VECTORS = ("model.safetensors", f"{ROUNDS}/", f"{MASKED}/")  # may be as long as a vector; all else is a document
MOST_FILES = 1_000_000


def check_files(bundle: Bundle, _: Options) -> Outcome:
    """Step 2: every subject has its digest; nothing in evidence/ is beside them."""
    names = [subject.name for subject in bundle.in_toto.subject]
    require(len(set(names)) == len(names) and names == sorted(names), STATEMENT, "subjects by name, each once")
    for name in ALWAYS:
        require(name in bundle.subjects, STATEMENT, f"{name} among the subjects")
    for name in NEVER:
        require(name not in bundle.subjects, STATEMENT, f"no subject {name}")
    kept = any(name.startswith(f"{MASKED}/") for name in names)
    require(not kept or bundle.statement.masked_inputs.kept, STATEMENT, "no masked inputs, since none were kept")
    size = 0
    for name, expected in bundle.subjects.items():
        hasher = hashlib.sha256()
        for piece in bundle.chunks(name, ROUND_BYTES if name.startswith(VECTORS) else DOCUMENT_BYTES):
            hasher.update(piece)
            size += len(piece)
        require(
            hasher.hexdigest() == expected, name, f"a file of SHA-256 {expected[:16]}…", hasher.hexdigest()[:16] + "…"
        )
    for name in _walk(bundle.path, "evidence"):
        require(name in bundle.subjects or name in NEVER, name, "no file that the statement does not name")
    rounds = sum(name.startswith(f"{ROUNDS}/") for name in names)
    detail = f"{len(names)} files, {size:,} bytes, {rounds} of them rounds"
    unsigned = _unsigned(bundle)
    if unsigned:
        more = ", …" if len(unsigned) > TOLD else ""
        detail += f"; beside them, signed by nobody: {', '.join(unsigned[:TOLD])}{more}"
    return Outcome(kind=RECOMPUTED, detail=detail)


def _unsigned(bundle: Bundle) -> list[str]:
    """What else lies in the run's directory itself: no evidence, whatever it is called."""
    known = {*bundle.subjects, *LATER}
    with os.scandir(bundle.path) as entries:
        found = sorted(entry.name for entry in itertools.islice(entries, MOST_FILES))
    return [ascii(name[:60]) for name in found if name not in known]


def _walk(root: Path, folder: str) -> Iterator[str]:
    """Every file below ``folder``, by its path from ``root``; a link or anything else that is no file is refused."""
    waiting, seen = [folder], 0
    while waiting:
        inside = waiting.pop()
        with os.scandir(root / inside) as entries:
            for entry in entries:
                name = f"{inside}/{entry.name}"
                seen += 1
                require(seen <= MOST_FILES, "evidence", f"at most {MOST_FILES} files")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                elif entry.is_file(follow_symlinks=False):
                    yield name
                else:
                    raise Refused(name, "a regular file or a folder, no link")
