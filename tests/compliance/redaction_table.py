"""What leaves when identifiers are planted in all that a user controls: ``python -m tests.compliance.redaction_table``.

Three tables: with both barriers, with the scanner taken out, and with the structural barrier opened. The bytes are
those that a real HTTP server on this machine received, request line and headers included; the search in them shares no
code with the scanner (:class:`tests.compliance.planting.Search`). Besides, each request must be the same, byte for
byte, as that of a run in which nothing was planted.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import msgspec

from compliance import figures, openai_writer
from compliance.identifiers import Identifiers
from compliance.narrative import NarratorSettings
from compliance.normalise import fold
from compliance.prompt import render_prompt
from compliance.redaction import Scanner
from compliance.report import write_report
from compliance.transport import GuardedTransport
from dp.statement import PrivacyStatement
from fedsec.errors import RedactionError
from fl_engine.records import RoundRecord, RunSummary
from tests.compliance.helpers import make_run
from tests.compliance.planting import ENCODINGS, Planted, Search, generate
from tests.compliance.server import RecordingServer

SEED = 2026
BATCH = 30
KEY = "sk-operator-0123456789abcdef"
ENVIRONMENT = (
    "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "USER", "LOGNAME", "HOSTNAME", "HOME", "COMPUTERNAME", "LANG",
)  # fmt: skip
RECORDS = (
    "run's folder", "config.toml", "brands", "protected unit's sentence", "mechanisms", "accountant", "theorem",
    "what adversaries see", "bank sizes' sentence", "releases outside", "voids", "cross-checks' names", "abort reasons",
    "protocol steps", "ledger accounts (data-set id)", "versions", "engine", "time",
)  # fmt: skip
# What a disguise cannot be found in, and docs/report.md says so: kinds by encoding.
BINARY = frozenset(name for name in ENCODINGS if name.startswith(("base", "hex", "HEX")))
CUT = "cut over two lines"
CANNOT = {("letter by letter", kind) for kind in ("BIC", "e-mail", "host", "path")} | {(CUT, "BIC"), (CUT, "card")}
SHORTEST_CUT = 8
SHORTEST_ENCODED = 4


@dataclass(kw_only=True)
class Table:
    """One row of the printed table.

    Attributes:
        identifiers, channels: planted, and in how many places each.
        requests: that reached the server; same: of them, equal to that of a run with nothing planted.
        captured: bytes that were searched.
        leaks: (kind, identifier) found in them.
    """

    title: str
    identifiers: int = 0
    channels: int = 0
    requests: int = 0
    same: int = 0
    captured: int = 0
    leaks: list[tuple[str, str]] = field(default_factory=list)


def planted_everywhere(folder: Path, *, scanner: bool, seed: int = SEED) -> Table:
    """A report for each batch of identifiers, each of which is in every channel.

    Args:
        folder: for the runs.
        scanner: False takes it out, so that the structural barrier stands alone.
        seed: of the identifiers.
    """
    everything = generate(seed)
    table = Table(
        title="both barriers" if scanner else "structural barrier alone", channels=len(RECORDS) + len(ENVIRONMENT)
    )
    clean = _requests(make_run(folder / "clean"), Identifiers(), scanner=scanner)
    assert len(clean) == 1
    search = Search(clean[0])
    for number in range(0, len(everything), BATCH):
        batch = everything[number : number + BATCH]
        run = plant(make_run(folder / f"{number} {_file_name(batch[0].text)}" / "run"), batch)
        with _environment(batch):
            received = _requests(run, _identifiers(batch, number), scanner=scanner)
        table.identifiers += len(batch)
        table.requests += len(received)
        table.same += sum(_body(each) == _body(clean[0]) for each in received)
        for each in received:
            table.captured += len(each)
            table.leaks += [(planted.kind, planted.text) for planted in batch if search.leaks(each, planted)]
    return table


@dataclass(kw_only=True)
class Opened:
    """What the scanner found with the structural barrier open, by encoding: planted, caught, and what it missed."""

    planted: dict[str, int] = field(default_factory=dict)
    caught: dict[str, int] = field(default_factory=dict)
    missed: list[tuple[str, Planted]] = field(default_factory=list)
    beyond: list[tuple[str, Planted]] = field(default_factory=list)


def scanner_alone(*, seed: int = SEED, step: int = 1) -> Opened:
    """Each identifier in each disguise as a line of the prompt; ``step`` takes every so many of the identifiers.

    ``missed`` is what the documents claim and the scanner did not find, ``beyond`` what they say it cannot find.
    """
    everything = generate(seed)
    known = Identifiers(banks=tuple(each.text for each in everything if each.kind in ("bank", "injection")))
    scanner = openai_writer.scanner_for(known, NarratorSettings(base_url="http://127.0.0.1:9/v1"))
    result = Opened()
    assert not refuses(scanner, opened_prompt("12"))
    for name, encode in ENCODINGS.items():
        chosen = everything[::step]
        result.planted[name], result.caught[name] = len(chosen), 0
        for each in chosen:
            if refuses(scanner, opened_prompt(encode(each.text))):
                result.caught[name] += 1
            else:
                (result.beyond if _beyond(name, each) else result.missed).append((name, each))
    return result


def scanner_on_the_wire(folder: Path, *, seed: int = SEED) -> Table:
    """One random identifier in each disguise through the whole way to a real server, which must receive nothing."""
    everything = [each for each in generate(seed) if each.kind in ("bank", "IBAN", "card", "key")]
    random_ = random.Random(seed)
    table = Table(title="scanner alone, on the wire", channels=1)
    run = make_run(folder / "run", rounds=3, aborted=())
    for name, encode in ENCODINGS.items():
        each = random_.choice([one for one in everything if not _beyond(name, one)])
        note = encode(each.text)
        with patch.object(openai_writer, "render_prompt", lambda facts, note=note: f"{render_prompt(facts)}\n{note}\n"):
            received = _requests(run, Identifiers(banks=(each.text,)), scanner=True)
        table.identifiers += 1
        table.requests += len(received)
        table.captured += sum(map(len, received))
        table.leaks += [(each.kind, f"{each.text} ({name})") for _ in received]
    return table


def opened_prompt(text: str) -> bytes:
    """A piece of a request with ``text`` between two of its facts."""
    lines = ("Banks in the federation: 10", f"Training rounds planned: {text}", "Training rounds completed: 12")
    return json.dumps(["\n".join(lines)], ensure_ascii=False).encode()


def refuses(scanner: Scanner, data: bytes) -> bool:
    """Whether ``scanner`` stops ``data``."""
    try:
        scanner.check(data, "test")
    except RedactionError:
        return True
    return False


def plant(run: Path, batch: Sequence[Planted]) -> Path:
    """Put every identifier of ``batch``, in several disguises, into every text of the records of ``run``."""
    disguises = list(ENCODINGS.values())
    turn = (disguises[0], disguises[11])  # as it is, in base64, and another one in turn
    text = " ".join(
        encode(each.text) for place, each in enumerate(batch) for encode in (*turn, disguises[place % len(disguises)])
    )
    summary = msgspec.json.decode((run / "summary.json").read_bytes(), type=RunSummary)
    statement = msgspec.json.decode((run / "privacy.json").read_bytes(), type=PrivacyStatement)
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    attempts = [msgspec.json.decode(line, type=RoundRecord) for line in lines]
    changed = msgspec.structs.replace
    summary = changed(
        summary,
        run=text, fedsec=text, python=text, torch=text, opacus=text, engine=text, started=text, roster=text,
        ledger=tuple(changed(each, account=f"{text}/{each.account}") for each in summary.ledger),
        ledger_head=changed(summary.ledger_head, public_key=text, hash=text),
    )  # fmt: skip
    statement = changed(
        statement,
        brands=(*statement.brands, text), protects=text, accountant=text, theorem=text, noise_against_banks=text,
        outside_ledger=tuple(text for _ in statement.outside_ledger), voids=(text,),
        cross_checks={f"{text} {name}": value for name, value in statement.cross_checks.items()},
        adversaries=tuple(changed(each, sees=text) for each in statement.adversaries),
        releases=tuple(changed(each, mechanism=text) for each in statement.releases),
    )  # fmt: skip
    attempts = [changed(each, reason=text, dropped_at={**each.dropped_at, text: 1}) for each in attempts]
    (run / "summary.json").write_bytes(msgspec.json.encode(summary))
    (run / "privacy.json").write_bytes(msgspec.json.encode(statement))
    (run / "metrics.jsonl").write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in attempts))
    (run / "config.toml").write_text(f"# {text}\nlabel = {json.dumps(text)}\n", "utf-8")
    return run


@contextmanager
def without_scanner() -> Iterator[None]:
    """Requests leave unsearched."""
    original = GuardedTransport.__init__

    def unguarded(self: GuardedTransport, **arguments: object) -> None:
        original(self, **{**arguments, "scanner": None})  # type: ignore[arg-type]  # passed through

    with patch.object(GuardedTransport, "__init__", unguarded):
        yield


def _requests(run: Path, identifiers: Identifiers, *, scanner: bool) -> list[bytes]:
    with RecordingServer() as server, patch.object(figures, "pictures", lambda facts: []):
        asked = NarratorSettings(base_url=server.url, api_key=KEY, retries=0, timeout_seconds=5.0)
        if scanner:
            write_report(run, narrator=asked, identifiers=identifiers)
        else:
            with without_scanner():
                write_report(run, narrator=asked, identifiers=identifiers)
        # the port is chosen anew each time, and the key is sent on purpose
        return [re.sub(rb"127\.0\.0\.1:\d+", b"127.0.0.1", each) for each in server.received]


def _body(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


def _identifiers(batch: Sequence[Planted], number: int) -> Identifiers:
    """The batch as names of each class in turn, so that each class is tried with names of every kind."""
    names = tuple(each.text for each in batch)
    classes = ("banks", "columns", "datasets", "files", "paths", "hosts", "users")
    return Identifiers(**{"banks": names, classes[number // BATCH % len(classes)]: names})


@contextmanager
def _environment(batch: Sequence[Planted]) -> Iterator[None]:
    plain = " ".join(each.text for each in batch if each.text.isascii())
    values = dict.fromkeys(ENVIRONMENT, plain)
    values["OPENAI_CUSTOM_HEADERS"] = f"X-Bank: {plain}\nUser-Agent: {plain}"
    address = re.sub(r"[^A-Za-z0-9]", "-", plain)[:200]
    values |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), f"http://{address}@127.0.0.1:9")
    values |= {"LANG": os.environ.get("LANG", "C"), "NO_PROXY": ""}
    with patch.dict(os.environ, values):
        yield


def _file_name(text: str) -> str:
    return re.sub(r"[/\x00]", "_", text)[:80]


def _beyond(encoding: str, planted: Planted) -> bool:
    """Whether the documents say that this is not found."""
    letters = len(fold(planted.text).letters)
    short = planted.kind == "bank" and letters < SHORTEST_ENCODED and encoding in BINARY
    wide = planted.kind == "bank" and encoding == "base64 of UTF-16" and not fold(planted.text).letters.isascii()
    cut = planted.kind == "bank" and letters < SHORTEST_CUT and encoding == CUT
    return short or wide or cut or (encoding, planted.kind) in CANNOT


def main() -> int:
    """Print the tables; 1 where something leaked or was missed."""
    write = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            planted_everywhere(Path(folder) / "both", scanner=True),
            planted_everywhere(Path(folder) / "structural", scanner=False),
            scanner_on_the_wire(Path(folder) / "wire"),
        ]
    write("| barriers | identifiers | channels | requests | same as clean | bytes searched | leaks |\n")
    write("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
    for table in tables:
        write(
            f"| {table.title} | {table.identifiers} | {table.channels} | {table.requests}"
            f" | {table.same} | {table.captured:,} | {len(table.leaks)} |\n"
        )
    opened = scanner_alone()
    write("\nStructural barrier opened, scanner alone:\n\n| disguise | planted | caught | documented as not found |\n")
    write("| --- | ---: | ---: | ---: |\n")
    for name, count in opened.planted.items():
        beyond = sum(encoding == name for encoding, _ in opened.beyond)
        write(f"| {name} | {count} | {opened.caught[name]} | {beyond} |\n")
    for name, each in opened.missed:
        write(f"missed: {each.kind} {each.text!r} as {name}\n")
    return 1 if opened.missed or any(table.leaks for table in tables) else 0


if __name__ == "__main__":
    sys.exit(main())
