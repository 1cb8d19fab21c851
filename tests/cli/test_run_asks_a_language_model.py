"""``fedsec run`` with a language model to ask: its text is in the report, and what names anybody stays here.

The whole command runs, on a file with a bank column, against a real HTTP server that keeps every byte.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cli.main import invoke
from compliance import openai_writer
from compliance.identifiers import Identifiers
from compliance.prompt import render_prompt
from fl_engine.records import RunSummary
from tests.compliance.server import RecordingServer, http, response

BANKS = ("Kreditbank Lindenau", "Sparhaus Ostufer", "Banca Torrente", "Nordvik Bank", "Maison Delcourt")
SIZES = (1013, 1151, 1237, 1409, 1511)  # four digits each, so that they can be told from other numbers
TEXT = "The sentinel sentence of the model stands here."
ANSWER = http(response(json.dumps(dict.fromkeys(("summary", "result", "privacy", "limits"), TEXT))))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A finished run, and every byte that its server got."""

    folder: Path
    run: Path
    received: bytes
    said: str

    def summary(self) -> RunSummary:
        return msgspec.json.decode((self.run / "summary.json").read_bytes(), type=RunSummary)

    def identifiers(self) -> Identifiers:
        return Identifiers.load(self.folder / "home" / "identifiers" / f"{self.run.name}.json")


def ask(folder: Path, *, frauds: int = 40) -> Asked:
    """Run the command on ``folder``'s file; the first bank has ``frauds`` frauds, whatever else is alike."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(8)
    lines = ["betrag_eur,quelle_kanal,betrug,institut"]
    for bank, size in zip(BANKS, SIZES, strict=True):
        count = frauds if bank == BANKS[0] else 40
        for row, amount in enumerate(generator.normal(size=size)):
            lines.append(f"{amount:.4f},{amount * 2:.4f},{int(row < count)},{bank}")
    file = folder / "lindenau_export.csv"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    arguments = ["run", "--epsilon", "3", "--rounds", "1", "--data", str(file), "--label", "betrug"]
    with pytest.MonkeyPatch.context() as patch, RecordingServer(ANSWER) as server:
        for name in ("OPENAI_API_KEY", "OPENAI_MODEL"):
            patch.delenv(name, raising=False)
        patch.setenv("FEDSEC_HOME", str(folder / "home"))
        patch.setenv("FEDSEC_LEDGER", str(folder / "ledger.sqlite"))
        patch.setenv("OPENAI_BASE_URL", server.url)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert invoke([*arguments, "--bank-column", "institut", "--out", str(folder / "runs")]) == 0
        return Asked(
            folder=folder,
            run=(folder / "runs" / "latest").resolve(),
            received=b"".join(server.received),
            said=said.getvalue(),
        )


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return ask(tmp_path_factory.mktemp("asked"))


def named(asked: Asked) -> dict[str, str]:
    """One of everything that must not leave, by class."""
    keys = asked.summary()
    return {
        "bank": BANKS[1],
        "file": "lindenau_export.csv",
        "path": str(asked.folder),
        "data set": "lindenau_export",
        "column": "quelle_kanal",
        "label": "betrug",
        "bank column": "institut",
        "bank's size": str(SIZES[2]),
        "host": socket.gethostname(),
        "roster": keys.roster,
        "ledger's key": keys.ledger_head.public_key,
    }


def test_the_models_text_is_in_the_report(asked: Asked) -> None:
    assert asked.received.startswith(b"POST /v1/responses ")
    for name in ("report.html", "report.md", "report.json"):
        assert TEXT in (asked.run / name).read_text("utf-8")


def test_tokens_are_told_and_no_price_is_made_up(asked: Asked) -> None:
    told = json.loads((asked.run / "report.json").read_bytes())["narrative"]
    assert told["tokens"] == {"input": 900, "output": 200, "total": 1100}
    assert told["requests"] == 1
    assert told["sent_bytes"] == len(asked.received.partition(b"\r\n\r\n")[2])
    assert told["cost"] is None
    assert "1,100 tokens" in asked.said
    assert "no cost is stated" in asked.said


def test_a_wrong_variable_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDSEC_LEDGER", str(tmp_path / "ledger.sqlite"))
    monkeypatch.setenv("OPENAI_API", "telepathy")
    arguments = ["run", "--rows", "6000", "--banks", "5", "--rounds", "1", "--out", str(tmp_path / "runs")]
    assert invoke(arguments) == 2
    assert "OPENAI_API is neither" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("OPENAI_API", "chat")
    assert invoke([*arguments, "--offline"]) == 0  # the control: the rest of the command was right


def test_nothing_that_names_anybody_is_in_the_bytes(asked: Asked) -> None:
    sent = asked.received.lower()
    words = [*named(asked).values(), *BANKS, *map(str, SIZES)]
    for word in words:
        for spelling in (word, word.replace(" ", ""), word.encode().hex(), base64.b64encode(word.encode()).decode()):
            assert spelling.lower().encode() not in sent, word
    assert b"banks in the federation: 5" in sent  # the control: the search looks where the facts are


@pytest.mark.parametrize("kind", ["bank", "file", "data set", "column", "label", "bank column", "bank's size", "host"])
def test_the_command_hands_every_class_of_name_to_the_scanner(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With the structural barrier opened by the test, the scanner alone must refuse: nothing is sent."""
    word = named(asked)[kind]
    monkeypatch.setattr(openai_writer, "render_prompt", lambda facts: f"{render_prompt(facts)}\nNote: {word}\n")
    refused = ask(tmp_path / "again")
    assert refused.received == b""
    assert TEXT not in (refused.run / "report.html").read_text("utf-8")


def test_control_an_innocent_note_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_writer, "render_prompt", lambda facts: f"{render_prompt(facts)}\nNote: a fine day\n")
    assert b"a fine day" in ask(tmp_path / "again").received


def test_what_is_withheld_does_not_depend_on_a_private_count(tmp_path: Path, asked: Asked) -> None:
    other = ask(tmp_path / "other", frauds=41)
    by_name = tuple(float(size) for _, size in sorted(zip(BANKS, SIZES, strict=True)))
    assert other.identifiers().figures == asked.identifiers().figures == by_name
