"""The console entry: lazy imports, errors by fault, exit codes, and nothing but one object with ``--json``."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli import main as main_module
from cli import output
from cli.main import invoke
from fedsec import __version__
from fedsec.errors import BudgetError, CohortError, ConfigError, LedgerError, RemoteProtocolError

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "sqlalchemy", "numpy", "rich", "opacus", "pydantic", "openai", "sklearn", "pyarrow", "cryptography")
HEAVY += ("securesystemslib", "cyclonedx")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    """What keeps ``fedsec --help`` fast, without a stopwatch."""
    code = (
        "import sys; from cli.main import invoke; code = invoke(['--help']);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    result = python(code)
    assert result.returncode == 0
    assert result.stderr.strip() == "[]"
    assert all(name in result.stdout for name in ("run", "report", "attack", "ledger"))


def test_the_same_look_sees_a_heavy_import() -> None:
    """Negative control: a command that is called does import."""
    code = (
        "import sys; from cli.main import invoke; invoke(['ledger', 'show', '--ledger', '/nowhere/x']);"
        "print('sqlalchemy' in sys.modules)"
    )
    assert python(code).stdout.strip() == "True"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"fedsec {__version__}"


@pytest.mark.parametrize("arguments", [[], ["ledger"]])
def test_without_a_command_the_help_is_told_as_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: fedsec")


@pytest.mark.parametrize("command", ["federation", "bank"])
def test_a_command_of_the_design_that_is_absent_says_so_and_what_to_do(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([command], [command, "--help"], [command, "keys", "--x"]):
        assert invoke(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        first, second = captured.err.splitlines()
        assert first == f"Error: fedsec {command} is not part of this version"
        assert second.strip()
    assert invoke([command, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "config"


def test_usage_errors_point_to_the_help_of_their_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, where in (
        (["nonsense"], "fedsec"),
        (["ledger", "budget"], "fedsec ledger budget"),
        (["--x"], "fedsec"),
    ):
        assert invoke(arguments) == 2
        assert f"see `{where} --help`" in capsys.readouterr().err
    assert invoke(["ledger", "budget", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["error"]["kind"] == "usage"


FAULTS = [
    (ConfigError("m", remedy="r"), 2, "config"),
    (LedgerError("m", remedy="r"), 1, "ledger"),
    (CohortError("m", survivors=1, needed=2, step="mask", remedy="r"), 4, "cohort"),
    (RemoteProtocolError("m", peer=None, rule="signature", remedy="r"), 5, "remote-protocol"),
    (
        BudgetError("m", account="a", asked_epsilon=2, spent_epsilon=1, budget_epsilon=1, delta=1e-5, remedy="r"),
        3,
        "budget",
    ),
    (KeyboardInterrupt(), 130, "interrupted"),
    (click.Abort(), 130, "interrupted"),
    (OSError(errno.ENOSPC, "No space left on device", "model.safetensors"), 1, "system"),
    (OSError("odd"), 1, "system"),
    (click.ClickException("m"), 2, "usage"),
]


@pytest.mark.parametrize(("fault", "code", "kind"), FAULTS, ids=lambda value: getattr(value, "kind", None))
def test_every_fault_has_its_exit_code_and_no_traceback(
    fault: BaseException, code: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def failing(*, as_json: bool) -> None:
        raise fault

    monkeypatch.setattr(main_module.LazyGroup, "get_command", lambda *_: failing)
    assert invoke(["run"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert 1 <= len(captured.err.splitlines()) <= 2
    assert invoke(["run", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["error"]["kind"] == kind


def test_a_full_disk_names_the_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def failing() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    monkeypatch.setattr(main_module.LazyGroup, "get_command", lambda *_: failing)
    assert invoke(["run"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: No space left on device: model.safetensors\n")
    assert "free some space" in error


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: only errors that we raise on purpose, and the system's, are cut short; a bug is not hidden."""

    @click.command()
    def failing() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module.LazyGroup, "get_command", lambda *_: failing)
    with pytest.raises(ZeroDivisionError):
        invoke(["run"])


def test_a_reader_that_leaves_is_no_error_message() -> None:
    code = "import sys; from cli.main import main; sys.argv = ['fedsec', '--help']; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert error == ""


def test_an_ascii_terminal_gets_replacements_not_an_error(tmp_path: Path) -> None:
    code = (
        "import sys; from cli.main import main;"
        f"sys.argv = ['fedsec', 'ledger', 'budget', 'x', '--epsilon', '1', '--ledger', {str(tmp_path / 'l')!r}]; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "0"},
    )
    assert result.returncode == 0, result.stderr
    assert b"x/train" in result.stdout


def test_json_has_no_number_that_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": float("inf"), "b": [float("nan"), 1.5], "c": (1,), "d": "ε"})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": [1], "d": "ε"}
