"""A run's directory as an auditor reads it: files by bounded reads, the documents decoded once.

``load`` never fails on what a file holds. A document that cannot be read becomes a :class:`Fault`, and whoever asks
for it gets :class:`Broken`, which names the step that reports it; so one bad file makes one failure, and every step
that needs it is "not checked". Verify a copy that nobody else writes to: files are read more than once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from fedsec_verify import formats
from fedsec_verify.decoding import from_base64, from_json, from_msgpack
from fedsec_verify.findings import Refused, require
from fedsec_verify.hashing import ROSTER, digest, sha256

STATEMENT = "evidence/statement.dsse.json"
REPORT = "evidence/report.dsse.json"
ROSTER_FILE = "evidence/roster.json"
PLAN = "evidence/plan.msgpack"
LEDGER = "evidence/ledger.json"
SBOM = "evidence/sbom.cdx.json"
ROUNDS = "evidence/rounds"
MASKED = "evidence/masked"

RUN_PREDICATE = "urn:fedsec:evidence:run:1"

DOCUMENT_BYTES = 1 << 26  # a statement of 100,000 attempts takes some 60 MB
PLAN_BYTES = 1 << 16
ROUND_BYTES = 1 << 31  # 2^28 values of 8 bytes: the longest vector of the protocol
_CHUNK = 1 << 20

Document = TypeVar("Document")


class Broken(Exception):  # noqa: N818 (it is a verdict, no error of this program)
    """What a step needs cannot be used; ``fault`` says why, and which step reports it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault.refused))
        self.fault = fault


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A document that cannot be read: the step that reports it, and what it reports."""

    step: int
    refused: Refused


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt: its line of the statement, its file's name ("" if it was interrupted) and what is in that."""

    line: formats.AttemptLine
    file: str
    _record: formats.Round | Fault | None

    @property
    def record(self) -> formats.Round | None:
        """The round's file; None for an interrupted attempt, which has none.

        Raises:
            Broken: the file cannot be read (step 5 reports it).
        """
        return _usable(self._record)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the auditor brings along.

    Attributes:
        roster: a roster from elsewhere; ledger_key: the ledger's public key from elsewhere, 32 bytes; None: not given.
        today: "YYYY-MM-DD", to hold an expiry date against.
    """

    roster: formats.Roster | None
    ledger_key: bytes | None
    today: str


@dataclass(frozen=True)
class Bundle:
    """A finished run: the directory, and its documents, each of which may be broken."""

    path: Path

    def read(self, name: str, limit: int = DOCUMENT_BYTES) -> bytes:
        """The bytes of the file ``name``, at most ``limit``.

        Raises:
            Refused: it is not there, no regular file of the directory itself (a link), or longer.
        """
        return b"".join(self.chunks(name, limit))

    def chunks(self, name: str, limit: int) -> Iterator[bytes]:
        """The same piece by piece."""
        descriptor = self._open(name)
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            require(size <= limit, name, f"a file of at most {limit} bytes", f"one of {size}")
            left = limit
            while piece := file.read(min(_CHUNK, left + 1)):
                left -= len(piece)
                require(left >= 0, name, f"a file of at most {limit} bytes")
                yield piece

    def _open(self, name: str) -> int:
        """Open ``name`` through directories that are none of them links."""
        parts = name.split("/")
        plain = all(part not in ("", ".", "..") for part in parts) and "\\" not in name and "\0" not in name
        require(plain, name, "a path below the run's directory")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not make the verifier wait
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts[:-1]:
                inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
                os.close(folder)
                folder = inner
            descriptor = os.open(parts[-1], flags, dir_fd=folder)
        except OSError as error:
            raise Refused(name, "a regular file, reached through no link", error.strerror or "") from None
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Refused(name, "a regular file")
        return descriptor

    @cached_property
    def _envelope(self) -> formats.Envelope | Fault:
        return _decoded(1, lambda: from_json(self.read(STATEMENT), formats.Envelope, STATEMENT))

    @property
    def envelope(self) -> formats.Envelope:
        """The envelope of the run's statement, its signatures unchecked.

        Raises:
            Broken: it cannot be read (step 1).
        """
        return _usable(self._envelope)

    @cached_property
    def payload(self) -> bytes:
        """What the envelope's signatures are over (step 1)."""
        return from_base64(self.envelope.payload, STATEMENT, "a payload")

    @cached_property
    def _statement(self) -> formats.RunStatement | Fault:
        def read() -> formats.RunStatement:
            return from_json(self.payload, formats.RunStatement, STATEMENT, canonical=True)

        return _decoded(1, read)

    @property
    def statement(self) -> formats.RunPredicate:
        """What the statement says of the run.

        Raises:
            Broken: it cannot be read (step 1).
        """
        return _usable(self._statement).predicate

    @property
    def in_toto(self) -> formats.RunStatement:
        """The whole in-toto statement, with its subjects.

        Raises:
            Broken: it cannot be read (step 1).
        """
        return _usable(self._statement)

    @cached_property
    def subjects(self) -> dict[str, str]:
        """SHA-256 by name of file, of all that the statement is about."""
        return {subject.name: subject.digest.sha256 for subject in self.in_toto.subject}

    @cached_property
    def _roster(self) -> formats.Roster | Fault:
        return _decoded(1, lambda: from_json(self.read(ROSTER_FILE, 1 << 20), formats.Roster, ROSTER_FILE))

    @property
    def roster(self) -> formats.Roster:
        """Coordinator's and banks' keys.

        Raises:
            Broken: it cannot be read (step 1).
        """
        return _usable(self._roster)

    @cached_property
    def coordinator(self) -> bytes:
        """The coordinator's public key, 32 bytes."""
        return bytes.fromhex(self.roster.server)

    @cached_property
    def banks(self) -> tuple[bytes, ...]:
        """The banks' public keys by index, 32 bytes each."""
        return tuple(bytes.fromhex(key) for key in self.roster.members)

    @cached_property
    def plan_bytes(self) -> bytes:
        """evidence/plan.msgpack as it lies there."""
        return self.read(PLAN, PLAN_BYTES)

    @cached_property
    def _plan(self) -> formats.Plan | Fault:
        return _decoded(4, lambda: from_msgpack(self.plan_bytes, formats.Plan, PLAN))

    @property
    def plan(self) -> formats.Plan:
        """The plan of the task.

        Raises:
            Broken: it cannot be read (step 4).
        """
        return _usable(self._plan)

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, in the statement's order.

        Raises:
            Broken: the statement cannot be read (step 1).
        """
        return tuple(self._attempt(line) for line in self.statement.attempts)

    def _attempt(self, line: formats.AttemptLine) -> Attempt:
        if line.status == "interrupted":
            return Attempt(line=line, file="", _record=None)
        file = round_file(line.attempt)
        return Attempt(
            line=line,
            file=file,
            _record=_decoded(5, lambda: from_msgpack(self.read(file, ROUND_BYTES), formats.Round, file)),
        )

    @cached_property
    def statement_sha256(self) -> str:
        """SHA-256 of evidence/statement.dsse.json, which the report's statement names."""
        return sha256(self.read(STATEMENT))


def round_file(attempt: int) -> str:
    """The name of the file of an attempt."""
    return f"{ROUNDS}/{attempt:06d}.msgpack"


def masked_file(attempt: int, bank: int) -> str:
    """The name of the file of a bank's masked input, where it was kept."""
    return f"{MASKED}/{attempt:06d}-{bank:03d}.bin"


def roster_digest(roster: formats.Roster) -> bytes:
    """H(ROSTER, encoded roster), as every session names it."""
    members = [[index, bytes.fromhex(key)] for index, key in enumerate(roster.members)]
    return digest(ROSTER, msgspec.msgpack.encode([bytes.fromhex(roster.server), members]))


def _decoded(step: int, read: Callable[[], Document]) -> Document | Fault:
    try:
        return read()
    except Refused as refused:
        return Fault(step=step, refused=refused)
    except Broken as broken:
        return broken.fault


def _usable(document: Document | Fault) -> Document:
    if isinstance(document, Fault):
        raise Broken(document)
    return document
