"""The files of a run's evidence, below ``evidence/`` in its directory: their names, and each attempt's as it ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fl_engine.evidence.statement import sha256
from fl_engine.run_directory import RunDirectory
from secagg.evidence import RoundEvidence

FOLDER = "evidence"
STATEMENT = "evidence/statement.dsse.json"
REPORT = "evidence/report.dsse.json"
ROSTER = "evidence/roster.json"
PLAN = "evidence/plan.msgpack"
LEDGER = "evidence/ledger.json"
SBOM = "evidence/sbom.cdx.json"
ROUNDS = "evidence/rounds"
_MASKED = "evidence/masked"
_LATER = (
    "audit.json",
    "attack.json",
    "checkpoint.msgpack",
    STATEMENT,
    REPORT,
)  # written or taken away after the statement is signed
_REPORTS = ("report.html", "report.md", "report.json", "report.pdf")


def round_name(attempt: int) -> str:
    """The file of an attempt that ended."""
    return f"{ROUNDS}/{attempt:06d}.msgpack"


def masked_name(attempt: int, bank: int) -> str:
    """The file of one kept masked input."""
    return f"{_MASKED}/{attempt:06d}-{bank:03d}.bin"


class Archive:
    """Writes what an attempt leaves behind, durably, before the next one begins.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    def keep_input(self, attempt: int, bank: int, payload: memoryview) -> None:
        """Keep a masked input that was accepted; packed as it came."""
        self._directory.write(masked_name(attempt, bank), bytes(payload))

    def end(self, attempt: int, evidence: RoundEvidence) -> None:
        """Write the evidence of an attempt. Inputs of one that opened nothing prove nothing, and are not kept."""
        self._directory.write(round_name(attempt), evidence.encode())
        if not evidence.total:
            self._drop_inputs(attempt)

    def prune(self, attempts: Iterable[int]) -> None:
        """Take away what is not of one of ``attempts``: an attempt that was interrupted left no whole record."""
        whole = {f"{attempt:06d}" for attempt in attempts}
        for folder in (ROUNDS, _MASKED):
            for path in self._files(folder):
                if path.name[:6] not in whole:
                    path.unlink()

    def read(self, attempt: int) -> bytes:
        """The file of an attempt that ended."""
        return (self._directory.path / round_name(attempt)).read_bytes()

    def _drop_inputs(self, attempt: int) -> None:
        for path in self._files(_MASKED):
            if path.name[:6] == f"{attempt:06d}":
                path.unlink()

    def _files(self, folder: str) -> list[Path]:
        where = self._directory.path / folder
        return sorted(where.iterdir()) if where.is_dir() else []


def subjects_of_run(run: Path) -> dict[str, str]:
    """SHA-256 by name of every file in ``run`` that is final when its statement is signed."""
    return _digests(run, (name for name in _names(run) if not _is_later(name)))


def subjects_of_report(run: Path) -> dict[str, str]:
    """SHA-256 by name of the report's files in ``run``, and of what was sent and tested for it."""
    return _digests(
        run,
        (
            name
            for name in _names(run)
            if name in (*_REPORTS, "audit.json", "attack.json") or name.startswith("outbound/")
        ),
    )


def _is_later(name: str) -> bool:
    return name in (*_LATER, *_REPORTS) or name.startswith("outbound/")


def _names(run: Path) -> list[str]:
    return sorted(
        path.relative_to(run).as_posix()
        for path in run.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    )


def _digests(run: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: sha256((run / name).read_bytes()) for name in names}
