"""Every edit of a finished run is found, and the first step that fails is the one that understands it.

``python -m tests.verifier`` prints the table.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.verifier.cases import Tamper, tampered, verified
from tests.verifier.runs import Runs
from tests.verifier.tampers import TAMPERS


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: f"{tamper.step}-{tamper.name}".replace(" ", "-"))
def test_an_edit_is_found_at_its_step(tamper: Tamper, runs: Runs, tmp_path: Path) -> None:
    failed = tampered(tamper, runs.kept if tamper.kept else runs.plain, tmp_path)
    assert failed is not None, "not found"
    assert failed.number == tamper.step, failed
    assert failed.expected
    assert tamper.expected in failed.expected, failed


def test_untouched_runs_hold(runs: Runs) -> None:
    """The control: what the edits are made to is in order, so it is the edits that are found."""
    for case in (runs.plain, runs.kept):
        assert [step for step in verified(case.path) if not step.ok] == []


def test_signing_again_alone_is_found_nowhere(runs: Runs, tmp_path: Path) -> None:
    """The control of the insiders: that they sign again is not what is found."""

    def edit_nothing(case: object) -> None:
        case.resign_round(case.attempts()[0])  # type: ignore[attr-defined]
        case.edit_plan(lambda plan: None)  # type: ignore[attr-defined]
        case.reseal()  # type: ignore[attr-defined]

    for case in (runs.plain, runs.kept):
        assert tampered(Tamper(name="", step=0, edit=edit_nothing), case, tmp_path) is None


def test_what_nobody_signed_is_told(runs: Runs, tmp_path: Path) -> None:
    """A file beside the run's own is no failure, notes may lie there; nobody shall take it for a part of the run."""
    copy = tmp_path / "run"
    shutil.copytree(runs.plain.path, copy)
    files = next(step for step in verified(copy) if step.number == 2)
    assert files.ok and "signed by nobody" not in files.detail  # the control
    (copy / "model-corrected.safetensors").write_bytes(b"another model")
    (copy / "a\x1b[2K").mkdir()
    files = next(step for step in verified(copy) if step.number == 2)
    assert files.ok
    assert files.detail.endswith(r"signed by nobody: 'a\x1b[2K', 'model-corrected.safetensors'")


def test_no_two_edits_have_one_name() -> None:
    names = [(tamper.step, tamper.name) for tamper in TAMPERS]
    assert len(set(names)) == len(names)
    assert len(TAMPERS) >= 60
