"""``fedsec report RUN --pdf``: the page as a document, tagged, with its figures; or one clear line and no document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import invoke
from tests import browser
from tests.compliance.helpers import RUN, make_run
from tests.compliance.pages import with_attacks, with_audit

needs_browser = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))
HEADLINES = ("ε = 2.973", "δ = 1e-5", "0.7892", "0.9457", "2.973 of 4", "SIMULATED KEYS", "Open risks and limits")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return with_attacks(with_audit(make_run(tmp_path / "run")))


@needs_browser
def test_the_document_is_tagged_titled_and_has_the_figures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pypdf import PdfReader

    assert invoke(["report", str(run), "--offline", "--pdf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pdf"] == str(run / "report.pdf")
    document = PdfReader(run / "report.pdf")
    root = document.trailer["/Root"]
    assert document.metadata is not None and document.metadata.title == f"Report on training run {RUN}"
    assert root["/MarkInfo"]["/Marked"] and root["/Lang"] == "en" and "/StructTreeRoot" in root
    assert len(document.outline) > 0
    assert 6 <= len(document.pages) <= 14
    widths = {(round(page.mediabox.width), round(page.mediabox.height)) for page in document.pages}
    assert all(abs(width - 595) <= 1 and abs(height - 842) <= 1 for width, height in widths), "A4"
    texts = [page.extract_text() for page in document.pages]
    assert min(len(text.strip()) for text in texts) > 150, "no page is blank"
    said = " ".join(" ".join(texts).split())
    for headline in HEADLINES:
        assert headline in said, headline
    assert f"{len(texts)} / {len(texts)}" in said, "pages are numbered"
    assert "in numbers" not in said and "All 15 attempts" in said  # the curves' tables stay out, the attempts are in
    assert "ε = 2.974" not in said  # the control: another figure is not found


@needs_browser
def test_a_document_of_an_earlier_report_does_not_stay_beside_a_new_page(run: Path) -> None:
    assert invoke(["report", str(run), "--offline", "--pdf"]) == 0
    assert (run / "report.pdf").is_file()  # the control: it was there
    assert invoke(["report", str(run), "--offline"]) == 0
    assert not (run / "report.pdf").exists()


@pytest.mark.parametrize("broken", ["no browser", "a browser that fails"])
def test_without_a_browser_there_is_one_line_and_the_report_all_the_same(
    broken: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "path"
    path.mkdir()
    if broken != "no browser":
        (path / "chromium").write_text("#!/bin/sh\nexit 3\n", "utf-8")
        (path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(path))
    assert invoke(["report", str(run), "--offline", "--pdf"]) == 2
    said = capsys.readouterr().err
    assert ("none of chromium" if broken == "no browser" else "did not print the page") in said
    assert len(said.strip().splitlines()) == 2 and "any browser" in said
    assert (run / "report.html").is_file() and not list(run.glob("*.pdf*")) and not list(run.glob(".report*"))


def test_without_playwright_there_is_one_line(run: Path) -> None:
    code = (
        "import sys; sys.modules['playwright'] = None\n"
        f"from cli.main import invoke; sys.exit(invoke(['report', {str(run)!r}, '--offline', '--pdf']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2 and "fedsec[pdf]" in done.stderr
    control = subprocess.run(
        [sys.executable, "-c", code.replace(", '--pdf'", "")],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert control.returncode == 0, control.stderr


@needs_browser
def test_the_document_lies_beside_its_page_in_another_folder(run: Path, tmp_path: Path) -> None:
    before = {path.name for path in run.iterdir()}
    assert invoke(["report", str(run), "--offline", "--pdf", "--out", str(tmp_path / "copy")]) == 0
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        f"report.{kind}" for kind in ("html", "json", "md", "pdf")
    }
    assert {path.name for path in run.iterdir()} == before
    assert invoke(["report", str(run), "--offline", "--pdf"]) == 0
    assert {path.name for path in run.iterdir()} != before  # the control: without --out it would be seen there


@pytest.mark.parametrize("more", [["--dry-run"], ["--documents"], ["--compare"], ["RUN"]])
def test_options_that_do_not_go_together_are_bad_input(
    more: list[str], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["report", str(run), "--pdf", *(str(run) if word == "RUN" else word for word in more)]
    assert invoke(words) == 2
    assert capsys.readouterr().err.startswith("Error: ")
    assert not (run / "report.html").exists()
