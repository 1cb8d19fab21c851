"""A finished run to tamper with, and what an insider can do who holds every key of it.

The keys of the simulated banks and of the coordinator are noted while the run makes them; nothing else of the run is
replaced. An outsider edits files only. An insider also signs again: so the edit that it makes is found by the step that
understands it, or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedsec_verify import bundle as names
from fedsec_verify import formats, hashing
from fedsec_verify.bundle import Bundle, Options
from fedsec_verify.envelopes import PAYLOAD_TYPE, pre_authentication
from fedsec_verify.policy import attempt_of, session_bytes
from fedsec_verify.steps import Step, carry_out
from fedsec_verify.table import STEPS
from fedsec_verify.transcripts import Places, indices, places

Keys = dict[str, Ed25519PrivateKey]  # private halves by hex of the public one


@dataclass(frozen=True, kw_only=True)
class Case:
    """A copy of a run.

    Attributes:
        path: the copy; other: another run of the same settings, never changed.
        keys: of all who signed anything in either run.
    """

    path: Path
    other: Path
    keys: Keys

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def flip(self, name: str, at: int = -1) -> None:
        """Flip a bit of the byte ``at``."""
        data = bytearray(self.read(name))
        data[at] ^= 1
        self.write(name, bytes(data))

    # JSON and msgpack, edited in place

    def edit_json(self, name: str, edit: Callable[[Any], None]) -> None:
        document = json.loads(self.read(name))
        edit(document)
        self.write(name, json.dumps(document).encode())

    def edit_statement(self, edit: Callable[[Any], None], name: str = names.STATEMENT) -> None:
        """Change what is signed, and leave the signatures as they are."""

        def change(envelope: Any) -> None:
            payload = json.loads(base64.b64decode(envelope["payload"]))
            edit(payload)
            envelope["payload"] = base64.b64encode(msgspec.json.encode(payload, order="sorted")).decode()

        self.edit_json(name, change)

    def statement(self, name: str = names.STATEMENT) -> Any:
        return json.loads(base64.b64decode(json.loads(self.read(name))["payload"]))

    def edit_round(self, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change a round's file, messages as lists."""
        record = msgspec.msgpack.decode(self.read(name))
        edit(record)
        self.write(name, msgspec.msgpack.encode(record))

    def edit_plan(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the plan, and have the coordinator sign it."""
        plan = msgspec.msgpack.decode(self.read(names.PLAN))
        edit(plan)
        data = msgspec.msgpack.encode(plan)
        self.write(names.PLAN, data)
        signature = self.coordinator.sign(hashing.fields(hashing.PLAN, data))

        def refer(statement: Any) -> None:
            statement["predicate"]["plan"] = {"sha256": hashing.sha256(data), "signature": signature.hex()}

        self.edit_statement(refer)

    def follow_plan(self) -> None:
        """Have every round run under the plan as it now is: sessions, and all signatures, anew."""
        plan = msgspec.msgpack.decode(self.read(names.PLAN), type=formats.Plan)
        roster = bytes.fromhex(self.statement()["predicate"]["roster"])
        for line in self.statement()["predicate"]["attempts"]:
            name, planned = names.round_file(line["attempt"]), attempt_of(plan, line["attempt"])
            record = msgspec.msgpack.decode(self.read(name))
            assert planned is not None
            record["session"] = session_bytes(plan, planned, line["attempt"], roster)
            if record["round_config"]:
                config = msgspec.msgpack.decode(record["round_config"])
                config[0] = hashing.digest(hashing.KID, record["session"])
                record["round_config"] = msgspec.msgpack.encode(config)
            self.write(name, msgspec.msgpack.encode(record))
            self.resign_round(line["attempt"])

    # Signing again

    @property
    def coordinator(self) -> Ed25519PrivateKey:
        return self.keys[self.roster()["server"]]

    def bank(self, index: int) -> Ed25519PrivateKey:
        return self.keys[self.roster()["members"][index]]

    def roster(self) -> Any:
        return json.loads(self.read(names.ROSTER_FILE))

    def sign(self, name: str, *, signers: list[Ed25519PrivateKey] | None = None) -> None:
        """Sign an envelope again: by those who had, or by ``signers``."""
        envelope = json.loads(self.read(name))
        payload = base64.b64decode(envelope["payload"])
        keys = signers or [self.keys[signature["keyid"]] for signature in envelope["signatures"]]
        envelope["signatures"] = [
            {
                "keyid": key.public_key().public_bytes_raw().hex(),
                "sig": base64.b64encode(key.sign(pre_authentication(PAYLOAD_TYPE, payload))).decode(),
            }
            for key in keys
        ]
        self.write(name, json.dumps(envelope).encode())

    def reseal(self) -> None:
        """All digests as the files now are, the statement signed again by all of its signers, the report's after it."""

        def digests(statement: Any) -> None:
            for subject in statement["subject"]:
                file = self.path / subject["name"]
                if file.is_file():
                    subject["digest"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()

        self.edit_statement(digests)
        self.sign(names.STATEMENT)
        self.reseal_report()

    def reseal_report(self) -> None:
        """The report's statement over this run's statement and the report's files as they now are."""

        def refer(statement: Any) -> None:
            statement["predicate"]["statement"] = hashing.sha256(self.read(names.STATEMENT))
            for subject in statement["subject"]:
                file = self.path / subject["name"]
                if file.is_file():
                    subject["digest"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()

        if (self.path / names.REPORT).exists():
            self.edit_statement(refer, names.REPORT)
            self.sign(names.REPORT)

    def drop(self, name: str) -> None:
        """Take a file away and out of the subjects."""
        (self.path / name).unlink()

        def forget(statement: Any) -> None:
            statement["subject"] = [subject for subject in statement["subject"] if subject["name"] != name]

        self.edit_statement(forget)

    def line(self, statement: Any, attempt: int) -> Any:
        """The line of an attempt in a statement."""
        return next(line for line in statement["predicate"]["attempts"] if line["attempt"] == attempt)

    def attempts(self, status: str = "opened", release: str = "training") -> list[int]:
        """Numbers of the attempts of a release that ended so."""
        lines = self.statement()["predicate"]["attempts"]
        return [line["attempt"] for line in lines if (line["status"], line["release"]) == (status, release)]

    def resign_round(self, attempt: int) -> None:
        """What an insider with all keys makes of a changed round: every signature anew, the line as the file."""
        name = names.round_file(attempt)
        record = msgspec.msgpack.decode(self.read(name), type=formats.Round)
        replace = msgspec.structs.replace
        kid = hashing.digest(hashing.KID, record.session)

        def coordinator(context: bytes, *parts: bytes) -> bytes:
            return self.coordinator.sign(hashing.fields(context, *parts))

        def bank(message: Any, context: bytes, *parts: bytes) -> Any:
            return replace(message, signature=self.bank(message.index).sign(hashing.fields(context, *parts)))

        def number(message: Any) -> bytes:
            return hashing.number(message.index)

        clients = len(self.roster()["members"])
        record = replace(
            record,
            session_signature=coordinator(hashing.SIGN_SESSION, record.session),
            advertised=tuple(
                bank(m, hashing.SIGN_ADVERTISE, kid, number(m), m.share_key, m.mask_key, m.share_kem, m.mask_kem)
                for m in record.advertised
            ),
        )
        if record.members_signature:
            members = hashing.slots_root({m.index: _member(m) for m in record.advertised}, clients)
            record = replace(record, members_signature=coordinator(hashing.SIGN_MEMBERS, kid, members))
        at = places(record, clients)
        record = replace(
            record,
            dealings=tuple(
                bank(m, hashing.SIGN_SHARE, kid, at.t1, number(m), m.root, m.commitment) for m in record.dealings
            ),
        )
        if record.dealers_signature:
            dealers = hashing.slots_root({m.index: _dealer(m) for m in record.dealings}, clients)
            record = replace(
                record,
                dealers_signature=coordinator(hashing.SIGN_DEALERS, kid, at.t1, dealers),
                round_config_signature=coordinator(hashing.SIGN_ROUND, kid, record.round_config),
            )
        at = places(record, clients)
        survivors = hashing.numbers(indices(record.masked))
        where = (at.sid, at.t2)
        record = replace(
            record,
            masked=tuple(bank(m, hashing.SIGN_MASK, *where, number(m), m.digest) for m in record.masked),
            agreed=tuple(bank(m, hashing.SIGN_AGREE, *where, number(m), survivors) for m in record.agreed),
            revealed=tuple(
                bank(m, hashing.SIGN_UNMASK, *where, number(m), survivors, m.digest) for m in record.revealed
            ),
        )
        if record.agreement_signature:
            record = replace(record, agreement_signature=coordinator(hashing.SIGN_AGREEMENT, *where, survivors))
        self.write(name, msgspec.msgpack.encode(record))
        self.edit_statement(lambda statement: self.line(statement, attempt).update(_line(record, at)))


def _member(m: formats.Advertise) -> bytes:
    public = (m.share_key, m.mask_key, m.share_kem, m.mask_kem)
    return hashing.digest(hashing.MEMBER, hashing.number(m.index), *public, m.signature)


def _dealer(m: formats.Dealing) -> bytes:
    return hashing.digest(hashing.DEALER, hashing.number(m.index), m.root, m.commitment, m.signature)


def _line(record: formats.Round, at: Places) -> dict[str, Any]:
    return {
        "kid": at.kid.hex(),
        "t1": at.t1.hex(),
        "sid": at.sid.hex(),
        "t2": at.t2.hex(),
        "members": indices(record.advertised) if at.t1 else (),
        "dealers": indices(record.dealings) if at.t2 else (),
        "survivors": indices(record.masked) if record.agreement_signature else (),
        "responders": indices(record.revealed),
        "convicted": record.convicted,
        "total": hashing.sha256(record.total) if record.total else "",
    }


@dataclass(frozen=True, kw_only=True)
class Tamper:
    """One edit.

    Attributes:
        name: what is done, a few words.
        step: the number of the step that has to be the first that does not hold.
        edit: does it.
        kept: whether it is done to the run whose masked inputs were kept.
        expected: part of what the step has to say it expected: which of its rules found the edit.
        options: makes the auditor's options of the untouched case.
    """

    name: str
    step: int
    edit: Callable[[Case], None]
    kept: bool = False
    expected: str = ""
    options: Callable[[Case], Options] | None = None


NOTHING_GIVEN = Options(roster=None, ledger_key=None, today="2026-01-01")


def verified(path: Path, options: Options = NOTHING_GIVEN) -> list[Step]:
    """All steps of the run at ``path``."""
    return list(carry_out(STEPS, Bundle(path), options))


def first_failed(path: Path, options: Options = NOTHING_GIVEN) -> Step | None:
    """The verdict on the run at ``path``; the steps after it are not carried out."""
    return next((step for step in carry_out(STEPS, Bundle(path), options) if not step.ok), None)


def tampered(tamper: Tamper, case: Case, folder: Path) -> Step | None:
    """The verdict on a copy of ``case`` in ``folder`` after the edit."""
    copy = folder / "run"
    shutil.copytree(case.path, copy, symlinks=True)
    options = tamper.options(case) if tamper.options else NOTHING_GIVEN
    tamper.edit(Case(path=copy, other=case.other, keys=case.keys))
    try:
        return first_failed(copy, options)
    finally:
        shutil.rmtree(copy)
