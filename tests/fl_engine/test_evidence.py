"""A finished run's evidence: complete, signed so that others' libraries verify it, and enough to add a sum up again."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.json_format import ParseDict, ParseError
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as InTotoStatement
from numpy.typing import NDArray
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from dp.ledger.heads import read_heads
from fedsec.errors import ConfigError
from fedsec.keystream import KeyStream
from fl_engine.evidence.archive import LEDGER, PLAN, ROSTER, SBOM, STATEMENT, masked_name, round_name
from fl_engine.evidence.statement import AttemptLine, RunPredicate, decode_run_statement
from fl_engine.messages import inputs_digest
from fl_engine.plan import TaskPlan
from fl_engine.records import RoundRecord
from fl_engine.settings import RunSettings, validated, with_expiry
from secagg import kem, keys, labels, masking
from secagg.config import SessionConfig
from secagg.encoding import digest
from secagg.evidence import RoundEvidence
from secagg.packing import word_type
from tests.fl_engine.run_helpers import Finished, finished

PERIOD = datetime.timedelta(days=90)
ONE_AT_MASK = {"drop_rate": 0.2, "seed": 24}  # in an attempt a bank dealt its shares and sent no masked input
LOST_AT_UNMASK = {"drop_rate": 0.2, "seed": 7, "rounds": 2}  # an attempt whose masked inputs came, and no sum


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory.mktemp("kept"), keep_masked_inputs=True, **ONE_AT_MASK)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory.mktemp("lost"), keep_masked_inputs=True, **LOST_AT_UNMASK)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(tmp_path_factory.mktemp("plain"), seed=24)


def envelope(run: Finished) -> Envelope:
    return Envelope.from_dict(json.loads((run.path / STATEMENT).read_bytes()))


def predicate(run: Finished) -> RunPredicate:
    return decode_run_statement(envelope(run).payload).predicate


def evidence(run: Finished, attempt: int) -> RoundEvidence:
    return RoundEvidence.decode((run.path / round_name(attempt)).read_bytes())


def roster_keys(run: Finished) -> list[SSlibKey]:
    """The coordinator's and the banks' keys, as an auditor reads them from the roster's file."""
    roster = json.loads((run.path / ROSTER).read_bytes())
    return [
        SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)), keyid=key)
        for key in (roster["server"], *roster["members"])
    ]


def test_every_file_of_the_run_is_a_subject_and_unchanged(kept: Finished, lost: Finished, plain: Finished) -> None:
    for run in (kept, lost, plain):
        subjects = {each.name: each.digest.sha256 for each in decode_run_statement(envelope(run).payload).subject}
        files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
        assert set(subjects) == files - {STATEMENT}
        assert {PLAN, LEDGER, SBOM, ROSTER, "summary.json", "model.safetensors", "privacy.json"} <= set(subjects)
        for name, expected in subjects.items():
            assert hashlib.sha256((run.path / name).read_bytes()).hexdigest() == expected
        assert list(subjects) == sorted(subjects)
        assert hashlib.sha256((run.path / "summary.json").read_bytes() + b" ").hexdigest() != subjects["summary.json"]


def test_securesystemslib_verifies_the_envelope_with_a_threshold_of_banks(kept: Finished) -> None:
    sealed = envelope(kept)
    coordinator, *banks = roster_keys(kept)
    threshold = kept.run.plan.threshold
    assert list(sealed.signatures) == [coordinator.keyid, *(bank.keyid for bank in banks)]
    assert len(sealed.verify(banks, len(banks))) == len(banks) >= threshold
    assert len(sealed.verify([coordinator], 1)) == 1
    stranger = SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key())
    with pytest.raises(VerificationError):  # control: a key of nobody in the run
        sealed.verify([stranger], 1)
    altered = Envelope(sealed.payload.replace(b'"opened"', b'"aborted"', 1), sealed.payload_type, sealed.signatures)
    with pytest.raises(VerificationError):  # control: another payload
        altered.verify(banks, threshold)
    with pytest.raises(VerificationError):  # control: too few of them
        Envelope(sealed.payload, sealed.payload_type, dict(list(sealed.signatures.items())[:threshold])).verify(
            banks, threshold
        )


def test_in_toto_reads_the_statement(kept: Finished) -> None:
    document = json.loads(envelope(kept).payload)

    def read(found: Mapping[str, object]) -> None:
        message = ParseDict(found, statement_pb2.Statement())
        InTotoStatement.copy_from_pb(message).validate()

    read(document)
    for broken in (
        {**document, "_type": "https://in-toto.io/Statement/v0"},
        {**document, "subject": []},
        {name: value for name, value in document.items() if name != "predicateType"},
        {**document, "more": 1},
    ):
        with pytest.raises((ValueError, ParseError)):
            read(broken)


def test_each_attempt_has_one_line_and_each_that_ended_its_file(kept: Finished, lost: Finished) -> None:
    for run in (kept, lost):
        records = [
            msgspec.json.decode(line, type=RoundRecord)
            for line in (run.path / "metrics.jsonl").read_bytes().splitlines()
        ]
        lines = predicate(run).attempts
        assert [(line.attempt, line.release, line.status, line.reason) for line in lines] == [
            (record.index, record.release, record.status, record.reason) for record in records
        ]
        assert {path.name for path in (run.path / "evidence/rounds").iterdir()} == {
            f"{line.attempt:06d}.msgpack" for line in lines
        }
        for line in lines:
            found = evidence(run, line.attempt)
            told = {name: getattr(line, name) for name in ("attempt", "release", "reason", "before", "after")}
            assert line == AttemptLine.of(found, **told)
            assert line != AttemptLine.of(msgspec.structs.replace(found, total=b"1"), **told)
    assert any(line.status == "aborted" and line.survivors for line in predicate(lost).attempts)
    assert any(set(line.dealers) > set(line.survivors) > set() for line in predicate(kept).attempts)


def test_models_are_chained_and_the_last_is_the_one_that_is_released(kept: Finished) -> None:
    lines, plan = predicate(kept).attempts, kept.run.plan
    assert all(before.after == after.before for before, after in pairwise(lines))
    assert [line.before != line.after for line in lines] == [line.status == "opened" for line in lines]
    assert lines[-1].after == inputs_digest(kept.run.progress.inputs().encode()).hex()
    assert msgspec.msgpack.decode((kept.path / PLAN).read_bytes(), type=TaskPlan) == plan
    assert predicate(kept).plan.sha256 == hashlib.sha256((kept.path / PLAN).read_bytes()).hexdigest()


def test_the_ledgers_heads_are_signed_by_the_roster_of_the_statement(kept: Finished) -> None:
    heads = read_heads(kept.path / "ledger-heads.json")
    keys_of = {key.keyid for key in roster_keys(kept)}
    assert len(heads) == 2 and all({each.signer for each in head.countersigned} == keys_of for head in heads)
    stated = predicate(kept).ledger
    assert (stated.entry, stated.hash) == (heads[-1].head.entry, heads[-1].head.hash)
    assert stated.hash != heads[0].head.hash


def test_a_rounds_file_has_one_spelling(kept: Finished) -> None:
    """Written down field by field, by hand: names, order and types are the format."""
    attempt = predicate(kept).attempts[1].attempt
    data = (kept.path / round_name(attempt)).read_bytes()
    loose = msgspec.msgpack.decode(data)
    assert list(loose) == [
        "version", "session", "session_signature", "advertised", "members_signature", "round_config",
        "round_config_signature", "dealings", "dealers_signature", "masked", "agreed", "agreement_signature",
        "revealed", "convicted", "total", "seeds",
    ]  # fmt: skip
    assert [loose[name][0][0] for name in ("advertised", "dealings", "masked", "agreed", "revealed")] == [
        "advertise", "dealing", "masked", "agree", "revealed"
    ]  # fmt: skip
    assert list(loose["seeds"]) == ["self", "mask", "pairs"] and list(loose["seeds"]["pairs"][0]) == [
        "lower", "higher", "entry", "path"
    ]  # fmt: skip
    assert msgspec.msgpack.encode(loose) == data == RoundEvidence.decode(data).encode()
    swapped = {**loose, "masked": loose["masked"][::-1]}
    reordered = dict(reversed(loose.items()))
    for other in (swapped, reordered, {**loose, "version": 2}, {**loose, "more": 1}):
        with pytest.raises(ConfigError):
            RoundEvidence.decode(msgspec.msgpack.encode(other))
    for other_data in (data + b"\xc0", data[:-1], b""):
        with pytest.raises(ConfigError):
            RoundEvidence.decode(other_data)


def recomputed(run: Finished, attempt: int, change: Mapping[int, int] | None = None) -> NDArray[np.int64]:
    """The sum, from the kept masked inputs and seeds alone; ``change`` flips a bit of a bank's file."""
    found = evidence(run, attempt)
    session = msgspec.msgpack.decode(found.session, type=SessionConfig)
    places, seeds = found.places(), found.seeds
    assert seeds is not None
    words = masking.zeros(session.dimension, word_type(session.ring_bits))
    for masked in found.masked:
        packed = bytearray((run.path / masked_name(attempt, masked.index)).read_bytes())
        for bank, place in (change or {}).items():
            packed[place] ^= bank == masked.index
        masking.add_packed(words, memoryview(packed), session.ring_bits)
    subtract = [KeyStream(keys.self_key(seed, places.t2)) for _, seed in seeds.own]
    add = []
    advertised = {entry.index: entry for entry in found.advertised}
    committed = {(pair.lower, pair.higher): pair.entry.pair for pair in seeds.pairs}
    for dropped, seed in seeds.mask:
        for survivor in found.survivors:
            secret = keys.agree(keys.mask_private_key(seed), advertised[survivor].mask_key)
            assert secret is not None
            lower, higher = sorted((survivor, dropped))
            pair = committed[lower, higher]
            assert pair is not None
            half: bytes | None = kem.pair_secret(seed, places.t1, lower, higher)
            if dropped == higher:
                private = kem.mask_private_key(seed)
                half = kem.receive(pair, kid=places.kid, t1=places.t1, lower=lower, higher=higher, private=private)
            assert half is not None
            assert kem.commit(places.kid, lower, higher, half) == pair.commitment
            stream = KeyStream(keys.pair_key(secret + half, places.t2, survivor, dropped))
            (subtract if dropped > survivor else add).append(stream)
    masking.combine(words, add=add, subtract=subtract)
    return session.make_quantiser().lift(words)


def test_a_third_party_adds_up_the_kept_inputs_to_the_opened_sum(kept: Finished) -> None:
    with_dropout = 0
    for line in predicate(kept).attempts:
        found, opened = evidence(kept, line.attempt), kept.record.opened[line.attempt].total
        assert found.seeds is not None
        assert np.frombuffer(found.total, "<i8").tolist() == opened.tolist()
        assert np.array_equal(recomputed(kept, line.attempt), opened)
        assert not np.array_equal(recomputed(kept, line.attempt, {line.survivors[0]: 0}), opened)  # control
        for masked in found.masked:
            packed = (kept.path / masked_name(line.attempt, masked.index)).read_bytes()
            assert digest(labels.MASKED_INPUT, packed) == masked.digest
        with_dropout += bool(found.seeds.pairs)
    assert with_dropout == 1


def test_only_what_is_asked_for_is_kept_and_only_of_opened_sums(
    plain: Finished, kept: Finished, lost: Finished
) -> None:
    assert not (plain.path / "evidence/masked").exists()
    assert all(evidence(plain, line.attempt).seeds is None for line in predicate(plain).attempts)
    for run in (kept, lost):
        files = {path.name for path in (run.path / "evidence/masked").iterdir()}
        expected = {
            f"{line.attempt:06d}-{bank:03d}.bin"
            for line in predicate(run).attempts
            if line.status == "opened"
            for bank in line.survivors
        }
        assert files == expected
    lines = predicate(lost).attempts
    assert {evidence(lost, line.attempt).seeds is None for line in lines if line.status == "aborted"} == {True}
    assert {evidence(lost, line.attempt).seeds is None for line in lines if line.status == "opened"} == {False}
    day = (datetime.datetime.now(datetime.UTC) + PERIOD).date()
    told = predicate(kept).masked_inputs
    assert told.kept and told.expires in (day.isoformat(), (day - datetime.timedelta(days=1)).isoformat())
    assert predicate(plain).masked_inputs == msgspec.structs.replace(told, kept=False, expires=None)


def test_kept_inputs_have_a_day_that_is_still_to_come() -> None:
    today = datetime.date(2026, 3, 1)
    for given, until in (
        ({}, None),
        ({"keep_masked_inputs": True}, today + PERIOD),
        ({"keep_masked_inputs": True, "keep_masked_inputs_until": "2026-03-02"}, datetime.date(2026, 3, 2)),
    ):
        assert with_expiry(validated(RunSettings, given), today=today).keep_masked_inputs_until == until
    for day in ("2026-03-01", "2020-01-01"):
        past = validated(RunSettings, {"keep_masked_inputs": True, "keep_masked_inputs_until": day})
        with pytest.raises(ConfigError, match="is past"):
            with_expiry(past, today=today)
    for wrong in (
        {"keep_masked_inputs_until": "2026-03-02"},
        {"keep_masked_inputs": True, "keep_masked_inputs_until": "soon"},
    ):
        with pytest.raises(ConfigError, match="keep-masked-inputs-until"):
            validated(RunSettings, wrong)


def test_a_run_that_is_not_private_says_so(tmp_path: Path, plain: Finished) -> None:
    branded = finished(tmp_path, insecure_deterministic_noise=True, rounds=1)
    assert predicate(branded).private is False and "NOT PRIVATE" in predicate(branded).brands
    assert predicate(plain).private is True and predicate(plain).brands == ("SIMULATED KEYS",)
