"""Whatever lies in a run's directory, the verifier ends with a verdict, in bounded time, and reads nothing outside."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fedsec_verify import bundle as names
from fedsec_verify import formats
from fedsec_verify.bundle import Bundle, Options
from fedsec_verify.decoding import from_base64, from_hex, from_json, from_msgpack
from fedsec_verify.findings import Refused
from fedsec_verify.hashing import sha256
from fedsec_verify.steps import RECOMPUTED, Outcome, Rule, carry_out
from fedsec_verify.table import STEPS
from tests.verifier.cases import Case, first_failed, verified
from tests.verifier.runs import Runs

OPTIONS = Options(roster=None, ledger_key=None, today="2026-01-01")


@pytest.fixture
def case(runs: Runs, tmp_path: Path) -> Case:
    """A copy to spoil."""
    path = tmp_path / "run"
    shutil.copytree(runs.plain.path, path)
    return Case(path=path, other=runs.plain.other, keys=runs.plain.keys)


def covered(path: Path) -> list[str]:
    """All files that a signature covers; the two envelopes are."""
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def test_a_flipped_bit_anywhere_is_found(case: Case) -> None:
    """Forty places drawn from all files, the same in every run of this test, each file once at least."""
    drawn = random.Random("bits")
    files = covered(case.path)
    for name in [*files, *drawn.choices(files, k=max(0, 40 - len(files)))]:
        data = case.read(name)
        place = drawn.randrange(len(data))
        flipped = bytearray(data)
        flipped[place] ^= 1 << drawn.randrange(8)
        case.write(name, bytes(flipped))
        failed = first_failed(case.path)
        assert failed is not None, (name, place)
        case.write(name, data)
    assert first_failed(case.path) is None  # the control: put back, all holds again


RUBBISH: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(4096),
    "no text": b"\xff\xfe\xff",
    "deep JSON": b"[" * 100_000 + b"]" * 100_000,
    "deep msgpack": b"\x91" * 100_000 + b"\xc0",
    "a long number": b'{"version":' + b"9" * 100_000 + b"}",
    "no number": b'{"version":NaN}',
    "a list that claims to be long": b"\xdd\xff\xff\xff\xff",
    "bytes that claim to be many": b"\xc6\xff\xff\xff\xff",
    "null": b"null",
    "a lone surrogate": b'"\\ud800"',
}


@pytest.mark.parametrize("kind", ["nothing", "zeros", "deep JSON", "null"])
def test_rubbish_in_any_file_is_found(case: Case, kind: str) -> None:
    """By an outsider: its digest tells, and the steps that read it all the same end, too."""
    for name in covered(case.path):
        data = case.read(name)
        case.write(name, RUBBISH[kind])
        steps = verified(case.path)
        assert len(steps) == len(STEPS) and not all(step.ok for step in steps), name
        case.write(name, data)


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_signed_rubbish_is_found(case: Case, rubbish: bytes) -> None:
    """By an insider who signs its digest: what is left is what the decoders do."""
    signers = [case.coordinator, *(case.bank(index) for index in range(5))]
    for name in (names.PLAN, names.ROSTER_FILE, names.LEDGER, names.SBOM, names.round_file(case.attempts()[0])):
        before = {file: case.read(file) for file in (name, names.STATEMENT, names.REPORT)}
        case.write(name, rubbish)

        def refer(statement: Any, name: str = name) -> None:
            subject = next(subject for subject in statement["subject"] if subject["name"] == name)
            subject["digest"]["sha256"] = sha256(rubbish)

        case.edit_statement(refer)
        case.sign(names.STATEMENT, signers=signers)
        case.reseal_report()
        failed = first_failed(case.path)
        assert failed is not None and failed.file == name, name
        for file, data in before.items():
            case.write(file, data)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [_fifo, _folder, _device, _loop])
@pytest.mark.parametrize("name", [names.STATEMENT, names.PLAN, names.REPORT, "metrics.jsonl"])
def test_what_is_no_file_is_not_read(case: Case, name: str, make: Callable[[Path], None]) -> None:
    (case.path / name).unlink()
    make(case.path / name)
    assert first_failed(case.path) is not None


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/hostname", "a//b", "./a", "", "a\0b", "a\\b"])
def test_a_path_outside_is_refused(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (run / "inside").write_bytes(b"told")
    with pytest.raises(Refused):
        Bundle(run).read(name)
    assert Bundle(run).read("inside") == b"told"


def test_a_link_is_refused_wherever_it_is(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run.mkdir()
    (elsewhere / "file").write_bytes(b"secret")
    (run / "folder").symlink_to(elsewhere)
    (run / "file").symlink_to(elsewhere / "file")
    for name in ("file", "folder/file"):
        with pytest.raises(Refused):
            Bundle(run).read(name)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "long").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(Refused, match="at most"):
        Bundle(tmp_path).read("long")
    with (tmp_path / "short").open("wb") as file:
        file.truncate(1 << 10)
    assert len(Bundle(tmp_path).read("short", 1 << 10)) == 1 << 10
    with pytest.raises(Refused):
        Bundle(tmp_path).read("short", (1 << 10) - 1)


def test_one_spelling_only() -> None:
    subject = formats.Digest(sha256="ab" * 32)
    packed, text = msgspec.msgpack.encode(subject), msgspec.json.encode(subject)
    assert from_msgpack(packed, formats.Digest, "f") == from_json(text, formats.Digest, "f", canonical=True) == subject
    digits = b"ab" * 32
    for other in (packed + b"\0", packed[:-1], b"\xde\x00\x01" + packed[1:]):
        with pytest.raises(Refused):
            from_msgpack(other, formats.Digest, "f")
    for other in (
        text + b" ",
        text[:-1] + b',"sha256":"' + digits + b'"}',
        text[:-1] + b',"more":1}',
        text.replace(b"ab", b"AB", 1),
        text.replace(b'"}', b'\\n"}'),
    ):
        with pytest.raises(Refused):
            from_json(other, formats.Digest, "f", canonical=True)
    assert from_json(text + b" ", formats.Digest, "f") == subject
    assert from_base64("AAE=", "f", "bytes") == b"\0\1" == from_hex("0001", 2, "f", "bytes")
    for spelled in ("AAF=", "AAE", "AA E=", "AAE=\n", "-_8="):
        with pytest.raises(Refused):
            from_base64(spelled, "f", "bytes")
    for spelled in ("00", "000A", "000g", "0x01", " 001"):
        with pytest.raises(Refused):
            from_hex(spelled, 2, "f", "bytes")


def test_an_unforeseen_error_in_a_check_is_a_failure(case: Case) -> None:
    def check(bundle: Bundle, options: Options) -> Outcome:
        return Outcome(kind=RECOMPUTED, detail=str(1 // len(bundle.subjects) // 0))

    def holds(bundle: Bundle, options: Options) -> Outcome:
        return Outcome(kind=RECOMPUTED, detail="")

    rules = [
        Rule(number=1, name="broken", kind=RECOMPUTED, check=check),
        Rule(number=2, name="fine", kind=RECOMPUTED, check=holds),
    ]
    first, second = carry_out(rules, Bundle(case.path), OPTIONS)
    assert not first.ok and not first.checked and "ZeroDivisionError" in first.detail
    assert second.ok
