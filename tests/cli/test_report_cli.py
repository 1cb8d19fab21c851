"""``fedsec report``: what it prints, its exit codes, and that a dry run and --offline open no socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import invoke
from cli.report import report
from compliance.identifiers import identifiers_path
from tests.compliance.helpers import IDENTIFIERS, RUN, make_run
from tests.compliance.server import GOOD, RecordingServer, http


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "home"))
    for name in ("API_KEY", "BASE_URL", "MODEL", "API", "PRICE_INPUT", "PRICE_OUTPUT"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    IDENTIFIERS.save(identifiers_path(RUN))
    return make_run(tmp_path / "run", rounds=3, aborted=())


def no_socket(*_: object, **__: object) -> socket.socket:
    raise AssertionError("a socket was opened")


def test_without_a_model_the_offline_report_is_written_and_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", no_socket)
    assert invoke(["report", str(run)]) == 0
    said = capsys.readouterr().out
    assert str(run / "report.html") in said
    assert "offline text" in said
    assert "OPENAI_API_KEY" in said
    assert (run / "report.md").exists()


def test_a_model_given_on_the_command_line_writes_the_narrative(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RecordingServer() as server:
        assert invoke(["report", str(run), "--base-url", server.url, "--model", "small-one", "--json"]) == 0
        body = json.loads(server.received[0].partition(b"\r\n\r\n")[2])
    said = json.loads(capsys.readouterr().out)
    assert body["model"] == "small-one"
    assert said["narrative"] == "openai"
    assert said["reason"] is None
    assert Path(said["sent"]).read_bytes() == server.received[0].partition(b"\r\n\r\n")[2]
    assert GOOD["summary"] in Path(said["report"]).read_text("utf-8")


def test_offline_wins_over_the_environment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert invoke(["report", str(run), "--offline"]) == 0
        assert server.received == []
        assert invoke(["report", str(run)]) == 0
        assert len(server.received) == 1


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_dry_run_prints_exactly_what_a_request_then_sends(
    api: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON and as text, byte by byte but for the key; the control is the other API, whose bytes are others."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-operator-0123456789abcdef")
    with RecordingServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert invoke(["report", str(run), "--dry-run", "--json", "--api", api]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert invoke(["report", str(run), "--dry-run", "--api", api]) == 0
        printed = capsys.readouterr().out
        assert server.received == []
        assert not (run / "report.html").exists()
        assert not (run / "outbound").exists()
        assert invoke(["report", str(run), "--api", api]) == 0
        assert invoke(["report", str(run), "--api", "chat" if api == "responses" else "responses"]) == 0
        asked, other = (data.partition(b"\r\n\r\n") for data in server.received)
    head, body = asked[0].decode().replace("\r\n", "\n"), asked[2]
    head = head.replace("Bearer sk-operator-0123456789abcdef", "(the operator's key, not recorded)")
    assert shown["body"].encode() == body != other[2]
    assert shown["headers"] == f"{head}\n"
    assert printed == f"{head}\n\n{body.decode()}\n"
    assert "sk-operator" not in printed + json.dumps(shown)


def test_a_dry_run_needs_no_key_and_is_readable(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", no_socket)
    result = CliRunner().invoke(report, [str(run), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("POST /v1/responses HTTP/1.1\nHost: api.openai.com\n")
    assert '"store":false' in result.output
    chat = CliRunner().invoke(report, [str(run), "--dry-run"], env={"OPENAI_API": "chat"})
    assert chat.output.startswith("POST /v1/chat/completions HTTP/1.1\nHost: api.openai.com\n")
    assert '"store":false' in chat.output


def test_the_api_is_the_operators_choice_and_is_never_tried_out(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordingServer(http(b"{}", "404 Not Found")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert invoke(["report", str(run)]) == 0
        assert len(server.received) == 1
    assert "--api chat" in capsys.readouterr().out
    with RecordingServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API", "chat")
        assert invoke(["report", str(run), "--json"]) == 0
        assert server.received[0].startswith(b"POST /v1/chat/completions ")
        assert b'"store"' not in server.received[0]
    assert json.loads(capsys.readouterr().out)["narrative"] == "openai"


def test_tokens_and_cost_are_printed(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordingServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert invoke(["report", str(run)]) == 0
        said = capsys.readouterr().out
        assert "1,100 tokens by the service's count (900 input, 200 output); no prices were given" in said
        monkeypatch.setenv("OPENAI_PRICE_INPUT", "99")
        monkeypatch.setenv("OPENAI_PRICE_OUTPUT", "2")
        assert invoke(["report", str(run), "--price-input", "0.25", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tokens"] == {"input": 900, "output": 200, "total": 1100}
    assert told["cost"] == pytest.approx((900 * 0.25 + 200 * 2) / 1e6)
    assert told["price_per_million"] == {"input": 0.25, "output": 2.0}
    assert told["requests"] == 1


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (["--price-input", "1"], {}),
        (["--price-input", "-1", "--price-output", "1"], {}),
        (["--price-input", "nan", "--price-output", "1"], {}),
        (["--price-input", "1", "--price-output", "inf"], {}),
        ([], {"OPENAI_PRICE_OUTPUT": "1"}),
        ([], {"OPENAI_PRICE_INPUT": "cheap", "OPENAI_PRICE_OUTPUT": "1"}),
        ([], {"OPENAI_API": "telepathy"}),
        (["--api", "telepathy"], {}),
    ],
)
def test_wrong_prices_and_apis_are_bad_input_and_nothing_is_sent(
    options: list[str], variables: dict[str, str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordingServer() as server:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            assert invoke(["report", str(run), "--base-url", server.url, *options]) == 2
            assert server.received == []
            assert not (run / "report.html").exists()
        prices = ["--price-input", "0", "--price-output", "0"]
        assert invoke(["report", str(run), "--base-url", server.url, "--api", "chat", *prices]) == 0  # the control
        assert len(server.received) == 1


def test_a_dry_run_without_the_identifiers_says_that_nothing_would_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["report", str(make_run(tmp_path / "other")), "--dry-run"]) == 1
    assert "nothing would be sent" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing-here", "run-1.partial", "empty"])
def test_what_is_no_finished_run_is_bad_input(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name != "nothing-here":
        (tmp_path / name).mkdir()
    if name.endswith(".partial"):
        make_run(tmp_path / name)
    assert invoke(["report", str(tmp_path / name), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)["error"]
    assert said["kind"] == "config"
    assert said["remedy"]


@pytest.mark.parametrize("other", [["--dry-run"], ["--api", "chat"], ["--price-input", "0"], ["--model", "m"]])
def test_contradicting_options_are_bad_input(other: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["report", str(run), "--offline", *other]) == 2
    assert "--offline" in capsys.readouterr().err
    assert invoke(["report", str(run), "--offline"]) == 0  # the control
