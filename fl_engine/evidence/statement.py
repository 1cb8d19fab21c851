"""The two statements of a run as types: in-toto statements (in-toto.io/Statement/v1) with predicates of our own.

Encoded as JSON with sorted keys. What is signed is the encoding, so a reader decodes it, encodes it again and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Generic, Literal, Self, TypeVar

import msgspec
from cryptography.hazmat.primitives import hashes

from dp.events import DpEvent
from fedsec.errors import ConfigError
from secagg.evidence import RoundEvidence

TYPE: Final = "https://in-toto.io/Statement/v1"
RUN_PREDICATE: Final = "urn:fedsec:evidence:run:1"
REPORT_PREDICATE: Final = "urn:fedsec:evidence:report:1"

Status = Literal["opened", "aborted", "interrupted"]
Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Hex64 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
NotReached = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{64})?\Z")]  # empty where it was not


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts of a statement have in common: exactly their fields."""


class Sha256(Part, frozen=True, kw_only=True):
    """Digest of a file's bytes."""

    sha256: Hex32


class Subject(Part, frozen=True, kw_only=True):
    """A file that the statement is about: path relative to the run's directory, with "/"."""

    name: str
    digest: Sha256


class SignedPlan(Part, frozen=True, kw_only=True):
    """SHA-256 of the plan's bytes, and the coordinator's signature on them in its offer."""

    sha256: Hex32
    signature: Hex64


class AttemptLine(Part, frozen=True, kw_only=True):
    """One attempt at opening one sum.

    Attributes:
        attempt: its number in the plan; each is used once.
        release: "scaling", "training" or "evaluation"; reason: of an abort or an interruption, naming no bank.
        kid, t1, sid, t2: of its session (docs/protocol.md); empty where not reached.
        members, dealers, survivors, responders: U1 to U4 by index; empty where not reached. convicted: of U4.
        before: digest of the RoundInputs that it started from; after: of those that hold after it.
        total: SHA-256 of the opened sum, int64 little-endian; empty unless opened.
    """

    attempt: Annotated[int, msgspec.Meta(ge=0)]
    release: str
    status: Status
    reason: str | None
    kid: NotReached = ""
    t1: NotReached = ""
    sid: NotReached = ""
    t2: NotReached = ""
    members: tuple[int, ...] = ()
    dealers: tuple[int, ...] = ()
    survivors: tuple[int, ...] = ()
    responders: tuple[int, ...] = ()
    convicted: tuple[int, ...] = ()
    before: Hex32
    after: Hex32
    total: NotReached = ""

    @classmethod
    def of(
        cls, evidence: RoundEvidence, *, attempt: int, release: str, reason: str | None, before: str, after: str
    ) -> Self:
        """The line of an attempt that ended, from its evidence.

        Raises:
            ConfigError: the evidence holds no session, or no round configuration where one was reached.
        """
        places = evidence.places()
        return cls(
            attempt=attempt,
            release=release,
            status="opened" if evidence.total else "aborted",
            reason=reason,
            kid=places.kid.hex(),
            t1=places.t1.hex(),
            sid=places.sid.hex(),
            t2=places.t2.hex(),
            members=evidence.members,
            dealers=evidence.dealers,
            survivors=evidence.survivors,
            responders=evidence.responders,
            convicted=evidence.convicted,
            before=before,
            after=after,
            total=sha256(evidence.total) if evidence.total else "",
        )


class EventLine(Part, frozen=True, kw_only=True):
    """A kind of sum: the privacy event of ONE attempt, and how many were planned, charged and opened."""

    release: str
    part: Literal["train", "holdout"]
    event: DpEvent
    planned: int
    charged: int
    opened: int


class LedgerPlace(Part, frozen=True, kw_only=True):
    """The ledger's signing key, and its last entry after the run was settled."""

    public_key: Hex32
    entry: int
    hash: Hex32


class MaskedInputs(Part, frozen=True, kw_only=True):
    """Whether masked inputs were kept, and until which day (ISO 8601)."""

    kept: bool
    expires: Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d{2}-\d{2}\Z")] | None


class Software(Part, frozen=True, kw_only=True):
    """Python's version, and the digest of fedsec's own source (:func:`fl_engine.evidence.software.source_digest`)."""

    python: str
    source: Hex32


class RunPredicate(Part, frozen=True, kw_only=True):
    """What the coordinator says, and banks confirm, of a run; the fields are those of docs/evidence.md."""

    version: Literal[1] = 1
    run: str
    made: str
    fedsec: str
    brands: tuple[str, ...]
    private: bool
    roster: Hex32
    coordinator: Hex32
    report_key: Hex32
    plan: SignedPlan
    attempts: tuple[AttemptLine, ...]
    events: tuple[EventLine, ...]
    delta: float
    eta: float
    ledger: LedgerPlace
    masked_inputs: MaskedInputs
    software: Software


class ReportPredicate(Part, frozen=True, kw_only=True):
    """Which statement a report is about, by the SHA-256 of its envelope's file, and who wrote its narrative."""

    version: Literal[1] = 1
    run: str
    statement: Hex32
    writer: Literal["openai", "offline"]
    made: str


Predicate = TypeVar("Predicate", RunPredicate, ReportPredicate)


class Statement(
    Part, Generic[Predicate], frozen=True, kw_only=True, rename={"type": "_type", "predicate_type": "predicateType"}
):
    """An in-toto statement; subjects by rising name."""

    type: Literal["https://in-toto.io/Statement/v1"] = TYPE
    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: Predicate

    def encode(self) -> bytes:
        """The payload of its envelope."""
        return _ENCODER.encode(self)


def run_statement(predicate: RunPredicate, digests: Mapping[str, str]) -> Statement[RunPredicate]:
    """The statement of a run about the files ``digests``, SHA-256 in hex by name."""
    return Statement(subject=_subjects(digests), predicate_type=RUN_PREDICATE, predicate=predicate)


def report_statement(predicate: ReportPredicate, digests: Mapping[str, str]) -> Statement[ReportPredicate]:
    """The statement of a report about the files ``digests``."""
    return Statement(subject=_subjects(digests), predicate_type=REPORT_PREDICATE, predicate=predicate)


def decode_run_statement(payload: bytes) -> Statement[RunPredicate]:
    """The run's statement in ``payload``.

    Raises:
        ConfigError: it is none, or in another spelling than :meth:`Statement.encode` has.
    """
    try:
        found = msgspec.json.decode(payload, type=Statement[RunPredicate])
    except (msgspec.MsgspecError, ConfigError, ValueError, RecursionError):
        raise ConfigError("the payload is no statement of a run") from None
    if found.predicate_type != RUN_PREDICATE or found.encode() != payload:
        raise ConfigError("the statement is of another kind, or in another spelling")
    return found


def sha256(data: bytes) -> str:
    """SHA-256 (FIPS 180-4) in lower-case hex."""
    hasher = hashes.Hash(hashes.SHA256())
    hasher.update(data)
    return hasher.finalize().hex()


def _subjects(digests: Mapping[str, str]) -> tuple[Subject, ...]:
    return tuple(Subject(name=name, digest=Sha256(sha256=digests[name])) for name in sorted(digests))


_ENCODER = msgspec.json.Encoder(order="sorted")
