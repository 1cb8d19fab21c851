"""Whatever a language model's server does, the three files are written, and the report says why the text is offline."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compliance import figures
from compliance.narrative import NO_IDENTIFIERS, NOT_CONFIGURED, UNENCRYPTED, Api, NarratorSettings
from compliance.openai_writer import preview
from compliance.reading import facts_of, read_run
from compliance.report import write_report
from compliance.transport import GuardedTransport
from fedsec.errors import RedactionError
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.narrating import KEY, asking, assert_offline
from tests.compliance.server import GOOD, RESET, RecordingServer, completion, http, response

TEXT = json.dumps(GOOD)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else, and nothing here depends on it."""
    monkeypatch.setattr(figures, "pictures", lambda facts: [])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run, whose report is written again by every test that does not look at what was sent."""
    return make_run(tmp_path_factory.mktemp("finished") / "run", rounds=3, aborted=())


def failed(code: str) -> bytes:
    return response(None, status="failed", error={"code": code, "message": "oops"}, output=[], usage=None)


def incomplete(reason: str | None) -> bytes:
    return response('{"summary": "On', status="incomplete", incomplete_details={"reason": reason})


# What any HTTP server can do, whatever it is asked for.
BROKEN = {
    "400 bad request": (http(b'{"error": {"message": "oops"}}', "400 Bad Request"), "HTTP status 400"),
    "401 that echoes the key": (http(json.dumps({"error": KEY}).encode(), "401 Unauthorized"), "identifier"),
    "401 wrong key": (http(b"{}", "401 Unauthorized"), "HTTP status 401: it does not take the key"),
    "403 forbidden": (http(b"{}", "403 Forbidden"), "HTTP status 403: it does not take the key"),
    "429 rate limit": (http(b"{}", "429 Too Many Requests"), "HTTP status 429: too many requests"),
    "500 error": (http(b'{"error": {"message": "oops"}}', "500 Internal Server Error"), "HTTP status 500"),
    "502 bad gateway": (http(b"<html>oops</html>", "502 Bad Gateway"), "HTTP status 502"),
    "503 busy": (http(b"", "503 Service Unavailable"), "HTTP status 503"),
    "301 redirect": (http(b"", "301 Moved Permanently", "Location: http://127.0.0.1:9/\r\n"), "not followed"),
    "307 redirect": (http(b"", "307 Temporary Redirect", "Location: http://127.0.0.1:9/\r\n"), "status 307"),
    "204 nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", "asking the language model failed|no text|no JSON"),
    "an empty body": (http(b""), "no JSON"),
    "garbage": (http(b"<html>not json</html>"), "no JSON"),
    "a web page": (
        http(b"<html>Sign in</html>").replace(b"application/json", b"text/html"),
        "has no text",
    ),
    "half an answer": (http(response("{}"))[:-40], "could not be reached"),
    "not even HTTP": (b"\x00\x01\x02 hello\r\n\r\n", "could not be reached"),
    "a connection reset": (RESET, "could not be reached"),
    "more than a report can be": (http(response("x" * (1 << 21))), "larger"),
    "a length that never comes": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}", "could not be reached"),
    "a list": (http(b'[{"output": 3}]'), "has no text"),
    "null": (http(b"null"), "has no text"),
    "nested without end": (http(b"[" * 100_000), "asking the language model failed (RecursionError)|no JSON"),
}
RESPONSES = {
    **BROKEN,
    "404": (http(b"{}", "404 Not Found"), "HTTP status 404: it lacks the model or the Responses API; `--api chat`"),
    "405": (http(b"{}", "405 Method Not Allowed"), "`--api chat`"),
    "no output": (http(response(None, output=[])), "has no text"),
    "output that is none": (http(response(None, output={"text": TEXT})), "has no text"),
    "a message without parts": (http(response(None)), "has no text"),
    "text that is none": (http(response(7)), "has no text"),  # type: ignore[arg-type]  # a server can
    "a call of a tool": (http(response(None, output=[{"type": "function_call", "name": "f"}])), "has no text"),
    "an answer of the other API": (http(completion(TEXT)), "has no text"),
    "a refusal": (http(response(None, refusal="I cannot help with that")), "declined"),
    "a refusal beside a text": (http(response(TEXT, refusal="but no")), "declined"),
    "cut off at the limit": (http(incomplete("max_output_tokens")), "cut off at its greatest length"),
    "cut off by a filter": (http(incomplete("content_filter")), "content filter"),
    "cut off, unsaid why": (http(incomplete(None)), "cut off"),
    "a whole text that is called incomplete": (http(response(TEXT, status="incomplete")), "cut off"),
    "failed": (http(failed("server_error")), "says that it failed"),
    "rate limit inside": (http(failed("rate_limit_exceeded")), "says that it failed"),
    "still at it": (http(response(TEXT, status="in_progress")), "did not finish"),
    "an unknown status": (http(response(TEXT, status={"very": "odd"})), "did not finish"),
    "plain prose": (http(response("The run went well.")), "schema"),
    "no JSON in the text": (http(response('{"summary": "x"')), "schema"),
    "a wrong schema": (http(response('{"summary": "x"}')), "schema"),
    "an empty text": (http(response("")), "schema"),
}
CHAT = {
    "500 error": BROKEN["500 error"],
    "404": (http(b"{}", "404 Not Found"), "HTTP status 404: it lacks the model or chat completions"),
    "no choices": (http(b'{"id": "x", "object": "chat.completion", "choices": []}'), "has no text"),
    "an answer of the other API": (http(response(TEXT)), "has no text"),
    "a refusal": (http(completion(None, refusal="I cannot help with that")), "declined"),
    "cut off at the limit": (http(completion('{"summary": "On', finish="length")), "cut off at its greatest length"),
    "cut off by a filter": (http(completion("{}", finish="content_filter")), "content filter"),
    "a wrong schema": (http(completion('{"summary": "x"}')), "schema"),
}
TABLE = [(Api.RESPONSES, name) for name in RESPONSES] + [(Api.CHAT, name) for name in CHAT]


@pytest.mark.parametrize(("api", "name"), TABLE, ids=[f"{api}: {name}" for api, name in TABLE])
def test_a_failing_server_gives_the_offline_text_and_its_reason(api: Api, name: str, run: Path) -> None:
    reply, why = (RESPONSES if api is Api.RESPONSES else CHAT)[name]
    with RecordingServer(reply) as server:
        outcome = write_report(run, narrator=asking(server.url, api=api), identifiers=IDENTIFIERS)
    assert outcome.reason is not None
    assert_offline(outcome, next((each for each in why.split("|") if each in outcome.reason), why))
    assert len(server.received) == outcome.spending.requests == 1
    told = outcome.html.read_text("utf-8") + outcome.json.read_text("utf-8")
    assert all(text not in told for text in (KEY, server.url, GOOD["summary"], "oops", "I cannot help", "127.0.0.1"))


@pytest.mark.parametrize("api", list(Api))
def test_control_the_same_server_with_a_good_answer_is_believed(api: Api, run: Path) -> None:
    with RecordingServer() as server:
        outcome = write_report(run, narrator=asking(server.url, api=api), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    assert json.loads(outcome.json.read_bytes())["narrative"]["api"] == api
    path = {Api.RESPONSES: b"POST /v1/responses ", Api.CHAT: b"POST /v1/chat/completions "}[api]
    assert server.received[0].startswith(path)


def test_a_server_without_a_status_field_is_believed(run: Path) -> None:
    with RecordingServer(http(response(TEXT, status=None))) as server:
        outcome = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason


PASSING = {
    "408": http(b"{}", "408 Request Timeout"),
    "429": http(b"{}", "429 Too Many Requests", "Retry-After: 0\r\n"),
    "500": http(b"{}", "500 Internal Server Error"),
    "502": http(b"{}", "502 Bad Gateway"),
    "503": http(b"{}", "503 Service Unavailable", "Retry-After: 0\r\n"),
    "a reset": RESET,
    "half an answer": http(response(TEXT))[:-40],
}
LASTING = {
    "400": http(b"{}", "400 Bad Request"),
    "401": http(b"{}", "401 Unauthorized"),
    "403": http(b"{}", "403 Forbidden"),
    "404": http(b"{}", "404 Not Found"),
    "422": http(b"{}", "422 Unprocessable Entity"),
    "307": http(b"", "307 Temporary Redirect", "Location: /v1/elsewhere\r\n"),
    "429 for an hour": http(b"{}", "429 Too Many Requests", "Retry-After: 3600\r\n"),
    "a server that orders a retry": http(b"{}", "400 Bad Request", "X-Should-Retry: true\r\n"),
    "a refusal": http(response(None, refusal="no")),
    "an answer that is too long": http(b"x" * (1 << 18)),
}


@pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING.keys())
def test_a_passing_failure_is_tried_again_with_the_same_bytes(reply: bytes, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", rounds=3, aborted=())
    with RecordingServer(lambda count: reply if count < 2 else b"") as server:
        outcome = write_report(folder, narrator=asking(server.url, retries=2), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    assert len(server.received) == outcome.spending.requests == 2
    assert server.received[0] == server.received[1]
    body = server.received[0].partition(b"\r\n\r\n")[2]
    for number in (1, 2):
        recorded = folder / "outbound" / f"request-00{number}.json"
        assert recorded.read_bytes() == body
        assert KEY not in recorded.with_suffix(".headers.txt").read_text("utf-8")
    assert outcome.spending.sent_bytes == 2 * len(body)


@pytest.mark.parametrize("reply", LASTING.values(), ids=LASTING.keys())
def test_a_lasting_failure_is_not_tried_again(reply: bytes, run: Path) -> None:
    with RecordingServer(reply) as server:
        outcome = write_report(run, narrator=asking(server.url, retries=2), identifiers=IDENTIFIERS)
    assert outcome.narrative == "offline"
    assert len(server.received) == outcome.spending.requests == 1


def test_the_servers_pause_is_kept(run: Path) -> None:
    """The SDK's own pause before a first retry is at most half a second; a sleep is never shorter than asked for."""
    came: list[float] = []

    def busy_once(count: int) -> bytes:
        came.append(time.monotonic())
        return http(b"{}", "429 Too Many Requests", "Retry-After: 1.5\r\n") if count == 1 else b""

    with RecordingServer(busy_once) as server:
        outcome = write_report(run, narrator=asking(server.url, retries=1), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    assert came[1] - came[0] >= 1.4


def test_retries_are_bounded_and_each_is_recorded_before_it_leaves(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    outbound = folder / "outbound"
    recorded: list[int] = []

    def busy(count: int) -> bytes:
        recorded.append(len(list(outbound.glob("request-*.json"))))
        return http(b"{}", "503 Service Unavailable", "Retry-After: 0\r\n")

    for _ in range(2):
        with RecordingServer(busy) as server:
            outcome = write_report(folder, narrator=asking(server.url, retries=1), identifiers=IDENTIFIERS)
        assert len(server.received) == 2
        assert_offline(outcome, "HTTP status 503")
    assert recorded == [1, 2, 3, 4]
    assert outcome.sent == outbound / "request-003.json"


def test_a_server_that_never_answers_is_given_up(run: Path) -> None:
    with RecordingServer(hang=60) as server:
        outcome = write_report(run, narrator=asking(server.url, timeout_seconds=0.2), identifiers=IDENTIFIERS)
    assert_offline(outcome, "in time")


BUSY = http(b"{}", "503 Service Unavailable", "Retry-After: 100\r\n")


@pytest.mark.parametrize(
    "how", [{"hang": 3600.0}, {"drip": True}, {"answer": BUSY}], ids=["silent", "dripping", "asking for patience"]
)
def test_the_deadline_ends_everything(how: dict[str, Any], run: Path) -> None:
    """Every wait is allowed an hour, so that nothing but the deadline can end this test within its time."""
    with RecordingServer(**how) as server:
        narrator = asking(server.url, timeout_seconds=3600.0, retries=5, deadline_seconds=0.5)
        outcome = write_report(run, narrator=narrator, identifiers=IDENTIFIERS)
    assert_offline(outcome, "in time")


@pytest.mark.parametrize("broken", [False, True], ids=["as it is", "control: the transport does not stop"])
def test_nothing_leaves_and_nothing_is_recorded_after_the_deadline(
    broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers "try again" once the report is written; the outbox must stay as the report stated it."""
    if broken:
        monkeypatch.setattr(GuardedTransport, "stop", lambda self: None)
    folder, released = make_run(tmp_path / "run"), threading.Event()

    def late(count: int) -> bytes:
        released.wait(60)
        return http(b"{}", "503 Service Unavailable")

    def outbox() -> list[str]:
        return sorted(path.name for path in folder.glob("outbound/*"))

    with RecordingServer(late) as server:
        narrator = asking(server.url, retries=1, deadline_seconds=2.0)
        outcome = write_report(folder, narrator=narrator, identifiers=IDENTIFIERS)
        assert_offline(outcome, "in time")
        stated = outbox()
        assert len(stated) == 2 * outcome.spending.requests
        released.set()
        for _ in range(300 if broken else 30):
            if outbox() != stated:
                break
            time.sleep(0.1)
    assert (outbox() != stated) == broken


def test_nobody_listening_gives_the_offline_text(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcome = write_report(run, narrator=asking(f"http://127.0.0.1:{port}/v1"), identifiers=IDENTIFIERS)
    assert_offline(outcome, "could not be reached")


@pytest.mark.parametrize("address", ["no address", "https://", "ftp://gateway.example/v1", "https://[::1/v1"])
def test_an_address_that_is_none_gives_the_offline_text(address: str, run: Path) -> None:
    outcome = write_report(run, narrator=asking(address, deadline_seconds=20.0), identifiers=IDENTIFIERS)
    assert_offline(outcome, "")


def test_a_name_that_leads_nowhere_gives_the_offline_text(run: Path) -> None:
    """No name under .invalid exists (RFC 2606); where no resolver answers at all, the deadline ends the search."""
    narrator = asking("https://gateway.invalid/v1", deadline_seconds=5.0)
    outcome = write_report(run, narrator=narrator, identifiers=IDENTIFIERS)
    assert outcome.reason is not None
    assert_offline(outcome, "leads to no address" if "address" in outcome.reason else "in time")
    assert "gateway" not in outcome.html.read_text("utf-8")


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS with a certificate of its own, and where that lies for a client to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "server.pem", folder / "server.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public


def test_a_certificate_of_nobody_known_is_not_taken_until_the_operator_names_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, public = certificate(tmp_path)
    with RecordingServer(tls=context) as server:
        outcome = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
        assert_offline(outcome, "SSL_CERT_FILE")
        assert server.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
        outcome = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
        assert outcome.narrative == "openai", outcome.reason
        assert len(server.received) == 1


def test_https_to_a_server_that_speaks_plain_http_sends_nothing(run: Path) -> None:
    with RecordingServer(hang=0.1) as server:
        address = server.url.replace("http://", "https://")
        outcome = write_report(run, narrator=asking(address, timeout_seconds=2.0), identifiers=IDENTIFIERS)
    assert_offline(outcome, "")
    assert all(b"epsilon" not in data for data in server.received)


def no_socket(*_: object, **__: object) -> socket.socket:
    raise AssertionError("a socket was opened")


@pytest.mark.parametrize("read", [lambda: None, NarratorSettings.from_environment], ids=["offline", "unset"])
def test_without_key_and_address_no_socket_is_opened(
    read: Callable[[], NarratorSettings | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "socket", no_socket)
    outcome = write_report(make_run(tmp_path / "run"), narrator=read(), identifiers=IDENTIFIERS)
    assert_offline(outcome, NOT_CONFIGURED)
    assert outcome.sent is None
    assert outcome.spending.requests == 0


@pytest.mark.parametrize(
    "address",
    ["http://gateway.example/v1", "HTTP://gateway.example/v1", " http://10.0.0.7:8000/v1", "http://127.0.0.1.example/v1",
     "http://localhost@gateway.example/v1", "http:gateway.example/v1", "http://[2001:db8::1]/v1"],
)  # fmt: skip
def test_neither_key_nor_figures_travel_in_clear(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", no_socket)
    run = make_run(tmp_path / "run")
    outcome = write_report(run, narrator=asking(address), identifiers=IDENTIFIERS)
    assert_offline(outcome, UNENCRYPTED)
    assert outcome.sent is None
    with pytest.raises(RedactionError, match="plain http"):
        preview(facts_of(read_run(run)), settings=asking(address), identifiers=IDENTIFIERS)


@pytest.mark.parametrize(
    "address",
    [None, "https://gateway.example/v1", "http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]/v1"],
)
def test_control_encrypted_addresses_and_this_machine_are_asked(address: str | None) -> None:
    assert NarratorSettings(base_url=address).refusal is None


def test_the_host_is_named_without_key_and_path() -> None:
    assert NarratorSettings().host == "api.openai.com"
    assert NarratorSettings(base_url="https://user:secret@gateway.example:8443/v1?x=1").host == "gateway.example"


def test_without_the_runs_identifiers_nothing_is_sent(run: Path) -> None:
    with RecordingServer() as server:
        outcome = write_report(run, narrator=asking(server.url), identifiers=None)
    assert server.received == []
    assert_offline(outcome, NO_IDENTIFIERS)


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_either_variable_is_enough_to_ask(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    assert not NarratorSettings.from_environment(model="m").configured
    monkeypatch.setenv(variable, "http://127.0.0.1:1/v1")
    settings = NarratorSettings.from_environment(model="m")
    assert settings.configured
    assert settings.model == "m"
    assert KEY not in repr(NarratorSettings(api_key=KEY))
