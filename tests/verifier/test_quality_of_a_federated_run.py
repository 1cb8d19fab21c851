"""Quality that was read from an opened histogram is held against it; in local mode and with an entity's rows too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedsec_verify.bundle import Bundle, Options
from fedsec_verify.steps import Step, carry_out
from fedsec_verify.table import STEPS
from tests.verifier.runs import finished

CHECKED = tuple(rule for rule in STEPS if rule.number in (9, 10, 11, 13, 14, 15, 16))
SETTINGS = (
    "--banks",
    "6",
    "--rows",
    "20000",
    "--rounds",
    "8",
    "--epsilon",
    "8",
    "--evaluation",
    "federated",
    "--offline",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("federated"), *SETTINGS)


@pytest.fixture(scope="module")
def local_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    few = ("--rounds", "2", "--epsilon", "3", "--dp-mode", "local")
    return finished(tmp_path_factory.mktemp("local"), "--banks", "5", "--rows", "2000", "--offline", *few)


def failed(path: Path) -> list[Step]:
    options = Options(roster=None, ledger_key=None, today="2026-01-01")
    return [step for step in carry_out(CHECKED, Bundle(path), options) if not step.ok]


def edited(run: Path, folder: Path, name: str, change: Callable[[Any], None]) -> list[Step]:
    copy = folder / "run"
    shutil.copytree(run, copy)
    lines = (copy / name).read_bytes().splitlines() if name == "metrics.jsonl" else [(copy / name).read_bytes()]
    documents = [json.loads(line) for line in lines]
    change(documents[-1])
    (copy / name).write_bytes(b"".join(json.dumps(document).encode() + b"\n" for document in documents))
    return failed(copy)


def test_untouched_runs_hold_in_both_modes(run: Path, local_run: Path, tmp_path: Path) -> None:
    assert failed(run) == []
    assert failed(local_run) == []
    assert edited(local_run, tmp_path, "summary.json", lambda document: document.update(banks=9)) != [], "control"


@pytest.mark.parametrize("figure, value", [("accuracy", 0.5), ("roc_auc", 0.02)], ids=["accuracy", "roc-auc"])
def test_a_figure_that_the_histogram_does_not_allow_is_found(
    run: Path, tmp_path: Path, figure: str, value: float
) -> None:
    """Insiders would change it in both files, and the interval with it."""
    copy = tmp_path / "both"
    shutil.copytree(run, copy)

    def change(document: Any) -> None:
        document["final" if "final" in document else "metrics"][figure] = value
        if "intervals" in document:
            document["intervals"][figure] = [0.0, 1.0]

    lines = [json.loads(line) for line in (copy / "metrics.jsonl").read_bytes().splitlines()]
    change(lines[-1])
    (copy / "metrics.jsonl").write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    found = edited(copy, tmp_path, "summary.json", change)
    assert [step.number for step in found] == [16]
    assert figure in found[0].expected


@pytest.mark.parametrize(
    "change, number",
    [
        (lambda document: document.update(fraud_share=0.4), 16),
        (lambda document: document["intervals"].update(accuracy=[0.0, 0.1]), 16),
        (lambda document: document["intervals"].update(height=[0.0, 0.1]), 16),
        (lambda document: document["ledger"].pop(), 14),
    ],
    ids=["share", "outside", "unknown", "account"],
)
def test_what_follows_from_the_histogram_cannot_be_told_otherwise(
    run: Path, tmp_path: Path, change: Callable[[Any], None], number: int
) -> None:
    found = edited(run, tmp_path, "summary.json", change)
    assert [step.number for step in found] == [number]
