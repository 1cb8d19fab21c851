"""A test that a document names must have run: no claim may rest on a file in which every test was skipped.

In a run of everything (``make test``: no paths, no selection) each test file that README.md, SECURITY.md, another page
of the root or one of docs/ names has to have a test that was executed. Otherwise the run fails, whatever the other
tests said. A run of a part checks nothing. Under pytest-xdist the process that hands out the tests does the counting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests import postgres

TEST_FILE = re.compile(r"\btests/(?:\w+/)*test_\w+\.py\b")
SELECTIONS = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "collectonly", "stepwise")


def named_tests(root: Path) -> dict[str, list[str]]:
    """Test files by name, each with the documents that name it."""
    named: dict[str, list[str]] = {}
    for path in sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")]):
        for name in set(TEST_FILE.findall(path.read_text("utf-8"))):
            named.setdefault(name, []).append(str(path.relative_to(root)))
    return named


class NamedTestsRan:
    """Counts executed tests by file, and fails a run of everything in which a named file has none."""

    def __init__(self, config: pytest.Config) -> None:
        self._root = config.rootpath
        self._executed: set[str] = set()
        self._idle: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self._executed.add(report.nodeid.partition("::")[0])

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        done = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not done or session.shouldstop or session.shouldfail:
            return
        self._idle = [
            f"{name} (named in {', '.join(documents)})"
            for name, documents in sorted(named_tests(self._root).items())
            if name not in self._executed
        ]
        if self._idle:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._idle:
            terminalreporter.section("a document names tests of which none ran", red=True, bold=True)
            for line in self._idle:
                terminalreporter.write_line(line)


def is_whole(config: pytest.Config) -> bool:
    """Whether this process counts, and the run is of all tests."""
    return (
        not hasattr(config, "workerinput")
        and config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and not any(config.getoption(name, None) for name in SELECTIONS)
    )


def pytest_configure(config: pytest.Config) -> None:
    if is_whole(config):
        config.pluginmanager.register(NamedTestsRan(config), "named-tests-ran")


@pytest.fixture(scope="session", autouse=True)
def home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No fixture of a module may see, or leave, what the user keeps in the operator's private folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSEC_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may see, or leave, what another kept there."""
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A real server, once for all tests of a process."""
    from tests import postgres  # only here: this file also serves a project without it

    if why := postgres.missing():
        pytest.skip(why)
    with postgres.server() as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, for the tests of a module; it is gone before another module prints through one of its own."""
    from tests import browser as real

    if why := real.missing():
        pytest.skip(why)
    with real.browser() as running:
        yield running
