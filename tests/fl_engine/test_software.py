"""The bill of materials: valid CycloneDX, the whole closure, and nothing of the machine."""

from __future__ import annotations

import getpass
import hashlib
import json
import socket
import sys
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from fl_engine.evidence.software import PACKAGES, bill_of_materials, source_digest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> bytes:
    return bill_of_materials()


def complaint(document: bytes) -> Any:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode())


def test_it_is_cyclonedx_1_6(document: bytes) -> None:
    assert complaint(document) is None
    loose = json.loads(document)
    for broken in (
        {**loose, "bomFormat": "another"},
        {**loose, "components": [{"type": "library"}]},
        {**loose, "more": 1},
    ):
        assert complaint(json.dumps(broken).encode()) is not None


def test_every_distribution_that_is_needed_is_listed_with_version_and_digest(document: bytes) -> None:
    loose = json.loads(document)
    found = {each["name"].lower(): each for each in loose["components"]}
    # asked for by fedsec itself, by torch, by opacus through several, and by the operating system's Python
    for name in ("numpy", "torch", "cryptography", "msgspec", "opacus", "sympy", "cffi"):
        record = distribution(name).read_text("RECORD")
        assert record is not None
        assert found[name]["version"] == version(name)
        assert found[name]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(record.encode()).hexdigest()}]
    assert all(each["version"] and len(each["hashes"]) == 1 for each in loose["components"])
    assert found["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert not {"pytest", "ruff", "mypy", "hypothesis", "fedsec"} & set(found)  # control: what it does not need
    own = loose["metadata"]["component"]
    assert (own["name"], own["hashes"][0]["content"]) == ("fedsec", source_digest())


def test_nothing_tells_the_machine_its_user_or_a_path(document: bytes) -> None:
    words = {socket.gethostname(), str(Path.home()), sys.prefix, sys.executable, str(ROOT), "site-packages"}
    user = getpass.getuser()
    words |= set() if user == "root" else {user}  # a word that any text may contain

    def told(text: bytes) -> set[str]:
        return {word for word in words if word.encode() in text}

    assert told(document) == set()
    assert told(document + sys.executable.encode()) >= {sys.executable}


def test_the_sources_digest_is_that_of_a_sha256sum_listing(tmp_path: Path) -> None:
    def listing(change: bytes) -> str:
        files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
        lines = [
            f"{hashlib.sha256(path.read_bytes() + change * (path.name == 'run.py')).hexdigest()}  "
            f"{path.relative_to(ROOT).as_posix()}"
            for path in files
        ]
        return hashlib.sha256(
            "".join(f"{line}\n" for line in sorted(lines, key=lambda line: line[66:])).encode()
        ).hexdigest()

    assert listing(b"") == source_digest()
    assert listing(b"#") != source_digest()
