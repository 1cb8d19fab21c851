"""A real server on this machine keeps every byte it receives; none of them may identify anybody.

Two barriers are tested apart. The structural one (facts only) must hold with the scanner taken out; the scanner must
hold with the structural one opened. Each planted identifier is also sent once with both open, where it must be found on
the wire: a search that finds nothing because it cannot find anything would fail there.
"""

from __future__ import annotations

import base64
import getpass
import json
import re
import socket
import urllib.parse
from pathlib import Path

import pytest

from compliance import figures, openai_writer
from compliance.identifiers import Identifiers
from compliance.narrative import NarratorSettings
from compliance.prompt import render_prompt
from compliance.report import write_report
from compliance.transport import GuardedTransport
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.server import GOOD, RecordingServer

KEY = "sk-operator-0123456789abcdef"
WORDS_OF_THE_REQUEST = {"Loss", "ING", "Training", "User", "Server", "10", "Time", "Class", "Amount", "V1"}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else, and nothing here depends on it."""
    monkeypatch.setattr(figures, "pictures", lambda facts: [])


def settings(server: RecordingServer, **changes: object) -> NarratorSettings:
    values = {"base_url": server.url, "api_key": KEY, "retries": 0, "timeout_seconds": 5.0, **changes}
    return NarratorSettings(**values)


def unusual_identifiers() -> list[bytes]:
    """What can be searched for as bytes; names that are words of the request anyway are left out."""
    every = IDENTIFIERS.with_machine()
    names = (*every.banks, *every.files, *every.paths, *every.datasets, *every.columns, *every.keys, *every.hosts)
    figures = ("48213", "48,213", "7391", "7,391", "0.0173402", "0.01734")
    return [name.encode() for name in (*names, *figures) if name not in WORDS_OF_THE_REQUEST]


def leaked(received: list[bytes]) -> list[bytes]:
    # the path of the service's own address is not the file system's; "root" is this machine's user in a container
    wire = re.sub(rb"Authorization: Bearer [^\r]+", b"", b"".join(received))
    home = str(Path.home()).encode()
    return [name for name in unusual_identifiers() if name.lower() in wire.lower() and name != home]


def test_the_models_text_is_in_the_report_and_no_identifier_is_on_the_wire(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with RecordingServer() as server:
        outcome = write_report(run, narrator=settings(server), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    for file in (outcome.html, outcome.markdown, outcome.json):
        assert GOOD["summary"] in file.read_text("utf-8")
    assert len(server.received) == 1
    assert leaked(server.received) == []


def test_every_header_on_the_wire_is_one_that_we_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-nordhafen")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-nordhafen")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Bank: Nordhafen Privatbank\nUser-Agent: nordhafen")
    with RecordingServer() as server:
        outcome = write_report(make_run(tmp_path / "run"), narrator=settings(server), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    head = server.received[0].partition(b"\r\n\r\n")[0].decode()
    names = [line.partition(":")[0].lower() for line in head.splitlines()[1:]]
    assert sorted(names) == sorted(
        [
            "host",
            "accept",
            "accept-encoding",
            "connection",
            "content-type",
            "user-agent",
            "content-length",
            "authorization",
        ]
    )
    assert "nordhafen" not in head.lower()
    assert not re.search(r"stainless|linux|x86|python|openai", head, re.IGNORECASE)
    assert f"Authorization: Bearer {KEY}" in head


def test_the_recorded_bytes_are_the_bytes_on_the_wire_without_the_key(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with RecordingServer() as server:
        outcome = write_report(run, narrator=settings(server), identifiers=IDENTIFIERS)
    head, _, body = server.received[0].partition(b"\r\n\r\n")
    assert outcome.sent == run / "outbound" / "request-001.json"
    assert outcome.sent.read_bytes() == body
    recorded = (run / "outbound" / "request-001.headers.txt").read_text("utf-8")
    on_the_wire = head.decode().splitlines()
    assert recorded.splitlines()[:-1] == on_the_wire[:-1]
    assert json.loads((run / "outbound" / "response-001.json").read_bytes())["output"]
    assert all(KEY.encode() not in file.read_bytes() for file in run.rglob("*") if file.is_file())


def test_without_the_scanner_the_structural_barrier_alone_leaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_scanner(monkeypatch)
    with RecordingServer() as server:
        write_report(make_run(tmp_path / "run"), narrator=settings(server), identifiers=IDENTIFIERS)
    assert len(server.received) == 1
    assert leaked(server.received) == []


PLANTED = {
    "bank": "Nordhafen Privatbank",
    "bank that is a word of the template": "Loss",
    "short bank": "ING",
    "bank spelled out": "I N G",
    "bank in other case and spacing": "NORDHAFEN  privat-bank",
    "bank with look-alike letters": "Nоrdhаfеn Рrivаtbаnk",
    "bank without accents": "Credit Epargne",
    "bank in full-width letters": "\uff2b\uff45\uff53\uff54\uff52\uff45\uff4c & Sons",
    "bank with an invisible letter": "Nordhafen Privat\u200bbank",
    "bank in hexadecimal": b"Nordhafen Privatbank".hex(),
    "bank in base64": base64.b64encode(b"Nordhafen Privatbank").decode(),
    "bank in base64, one byte later": base64.b64encode(b".Nordhafen Privatbank").decode(),
    "bank in base64, two bytes later": base64.b64encode(b"..Nordhafen Privatbank").decode(),
    "bank in URL encoding": urllib.parse.quote("Crédit Épargne"),
    "bank in base64 in URL encoding": urllib.parse.quote(base64.b64encode(b"??>Nordhafen Privatbank?").decode()),
    "path": "/srv/fraud/nordhafen_2024.parquet",
    "file without its ending": "nordhafen_2024",
    "data set": "cards-emea-q3",
    "column": "merchantCategory",
    "host": "fraudlab-worker-07",
    "user": "mgarcia",
    "public key": IDENTIFIERS.keys[0],
    "public key in base64": base64.b64encode(bytes.fromhex(IDENTIFIERS.keys[0])).decode(),
    "figure": "48213",
    "figure with separators": "48,213",
    "figure with spaces": "48 213",
    "rate": "0.0173402",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "card": "4111 1111 1111 1111",
    "e-mail": "someone@bank.example",
    "another path": "/home/someone/data.csv",
    "Windows path": "C:\\\\Users\\\\someone\\\\data.csv",
    "operator's key": KEY,
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_with_the_structural_barrier_open_the_scanner_stops_every_planted_identifier(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_writer, "render_prompt", lambda facts: f"{render_prompt(facts)}\nNote: {planted}\n")
    run = make_run(tmp_path / "run", rounds=3, aborted=())
    with RecordingServer() as server:
        outcome = write_report(run, narrator=settings(server), identifiers=IDENTIFIERS)
    assert server.received == []
    assert outcome.narrative == "offline"
    assert outcome.reason is not None
    assert "nothing was sent" in outcome.reason
    assert planted not in outcome.reason
    assert outcome.sent is None
    assert not (run / "outbound").exists()


def test_with_both_barriers_open_the_same_search_finds_the_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_scanner(monkeypatch)
    planted = " ".join(name.decode() for name in unusual_identifiers())
    monkeypatch.setattr(openai_writer, "render_prompt", lambda facts: f"{render_prompt(facts)}\nNote: {planted}\n")
    with RecordingServer() as server:
        write_report(make_run(tmp_path / "run"), narrator=settings(server), identifiers=IDENTIFIERS)
    assert len(leaked(server.received)) >= len(IDENTIFIERS.banks) - 5


@pytest.mark.parametrize(
    "changes",
    [{"model": "ft:nordhafen-privatbank:7"}, {"base_url": "/nordhafen-privatbank/v1"}],
    ids=["model", "address"],
)
def test_a_name_in_the_models_name_or_address_is_stopped(changes: dict[str, str], tmp_path: Path) -> None:
    with RecordingServer() as server:
        if "base_url" in changes:
            changes = {"base_url": server.url.removesuffix("/v1") + changes["base_url"]}
        outcome = write_report(
            make_run(tmp_path / "run"), narrator=settings(server, **changes), identifiers=IDENTIFIERS
        )
    assert server.received == []
    assert outcome.narrative == "offline"


def test_banks_named_like_words_of_the_request_do_not_block_a_clean_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with RecordingServer() as server:
        write_report(run, narrator=settings(server), identifiers=IDENTIFIERS)
        body = server.received[0].partition(b"\r\n\r\n")[2].decode()
        words = set(re.findall(r"[A-Za-z]{2,}", body.replace("\\n", " ")))
        assert len(words) > 150
        named = Identifiers(banks=tuple(sorted(words)), users=("user", "system", "content", "json", "fedsec"))
        outcome = write_report(run, narrator=settings(server), identifiers=named)
    assert outcome.narrative == "openai", outcome.reason


def test_this_machines_host_and_user_are_searched_for_without_being_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "risk-ws-0815.corp.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe42")
    run = make_run(tmp_path / "run")
    for planted in ("risk-ws-0815", "jdoe42"):
        monkeypatch.setattr(openai_writer, "render_prompt", lambda facts, p=planted: f"{render_prompt(facts)}\n{p}\n")
        with RecordingServer() as server:
            outcome = write_report(run, narrator=settings(server), identifiers=Identifiers())
        assert server.received == []
        assert outcome.narrative == "offline"


def test_exact_quality_of_real_rows_stays_on_this_machine(tmp_path: Path) -> None:
    with RecordingServer() as server:
        own = write_report(
            make_run(tmp_path / "own", dataset="own data"), narrator=settings(server), identifiers=IDENTIFIERS
        )
        synthetic = write_report(make_run(tmp_path / "synthetic"), narrator=settings(server), identifiers=IDENTIFIERS)
    document = json.loads(own.json.read_bytes())
    quality = f"{document['facts']['quality']['roc_auc']:.4g}"
    assert quality in own.html.read_text("utf-8")
    assert document["disclosed"]["quality"] is None
    assert b"Area under" not in server.received[0]
    assert synthetic.narrative == "openai"
    assert b"Area under" in server.received[1]
    assert all(quality.encode() not in received for received in server.received)


def disable_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    original = GuardedTransport.__init__

    def without_scanner(self: GuardedTransport, **arguments: object) -> None:
        original(self, **{**arguments, "scanner": None})  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(GuardedTransport, "__init__", without_scanner)
