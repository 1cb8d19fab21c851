"""A full run fails where a document names a test file of which no test was executed, and only then."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.check_readme import ROOT
from tests.conftest import named_tests

PASSES = "def test_it():\n    assert True\n"
SKIPPED = "import pytest\n\n@pytest.mark.skip\ndef test_it():\n    assert False\n"
FAILS = "def test_it():\n    assert False\n"
EMPTY = "def helper():\n    pass\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with one document, which names two test files, and this project's own conftest.py."""
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\naddopts = --import-mode=importlib\n", "utf-8")
    page = "| a threat | a check | `tests/test_a.py`, `tests/deep/test_b.py` |\n"
    (tmp_path / "SECURITY.md").write_text(page, "utf-8")
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_a.py").write_text(PASSES, "utf-8")
    (tmp_path / "tests" / "deep" / "test_b.py").write_text(PASSES, "utf-8")
    return tmp_path


def run(tree: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("processes", [(), ("-n", "2", "--dist", "worksteal")])
def test_a_run_in_which_all_named_files_ran_passes(tree: Path, processes: tuple[str, ...]) -> None:
    assert run(tree, *processes)[0] == pytest.ExitCode.OK


@pytest.mark.parametrize("processes", [(), ("-n", "2", "--dist", "worksteal")])
@pytest.mark.parametrize("content", [SKIPPED, EMPTY, None], ids=["skipped", "without a test", "missing"])
def test_control_a_named_file_of_which_nothing_ran_fails_the_run(
    tree: Path, processes: tuple[str, ...], content: str | None
) -> None:
    file = tree / "tests" / "deep" / "test_b.py"
    file.unlink() if content is None else file.write_text(content, "utf-8")
    code, told = run(tree, *processes)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "tests/deep/test_b.py (named in SECURITY.md)" in told
    assert "tests/test_a.py (named" not in told


def test_a_test_that_fails_has_run(tree: Path) -> None:
    (tree / "tests" / "deep" / "test_b.py").write_text(FAILS, "utf-8")
    code, told = run(tree)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "named in" not in told


@pytest.mark.parametrize("selection", [("tests/test_a.py",), ("tests",), ("-k", "it"), ("--ignore=tests/deep",)])
def test_a_run_of_a_part_is_left_alone(tree: Path, selection: tuple[str, ...]) -> None:
    (tree / "tests" / "deep" / "test_b.py").write_text(SKIPPED, "utf-8")
    assert run(tree, *selection)[0] == pytest.ExitCode.OK


def test_the_names_are_read_off_this_projects_documents() -> None:
    named = named_tests(ROOT)
    assert len(named) >= 40
    assert "SECURITY.md" in named["tests/secagg/test_everything_is_bound.py"]
