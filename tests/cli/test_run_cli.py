"""``fedsec run``: a mistake gets two lines, the right exit code and no half-done run; ``--json`` prints one object."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
import torch

from cli.main import invoke
from dp.ledger import Ledger, store
from fl_engine.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]
TINY = ("--banks", "5", "--rounds", "2", "--rows", "1000", "--offline")
NO_MODEL = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL")
ANSI = re.compile(r"\x1b\[|\r")
torch.set_num_threads(1)


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What standard error says, without progress notes."""
        return [line for line in self.err.splitlines() if not line.startswith("… ")]


class Place:
    """A folder with a ledger, a private folder and runs of its own, in which commands are called."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capture = capture

    def call(self, *arguments: str) -> Outcome:
        self._capture.readouterr()
        code = invoke(list(arguments))
        captured = self._capture.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    def run(self, *arguments: str, tiny: bool = True) -> Outcome:
        return self.call("run", *(TINY if tiny else ("--rounds", "2", "--offline")), *arguments)

    @property
    def finished(self) -> list[Path]:
        folder = self.folder / "runs"
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        return [path for path in entries if path.suffix != ".partial" and path.name != "latest"]

    @property
    def partial(self) -> list[Path]:
        return sorted((self.folder / "runs").glob("*.partial"))

    def ledger_holds(self) -> bool:
        return self.call("ledger", "verify").code == 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDSEC_LEDGER", str(tmp_path / "ledger.sqlite"))
    for name in NO_MODEL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield Place(tmp_path, capsys)


def cards(rows: int = 300, **columns: Any) -> pa.Table:
    """Two numbers, a label and a bank; ``columns`` replace or add."""
    generator = np.random.default_rng(5)
    table = {
        "amount": generator.lognormal(3.0, 1.0, rows),
        "hour": generator.integers(0, 24, rows),
        "fraud": (np.arange(rows) % 10 == 0).astype(int),
        "bank": np.array([f"b{row % 5}" for row in range(rows)]),
    }
    return pa.table({**table, **columns})


def write(path: Path, table: pa.Table) -> Path:
    pa_csv.write_csv(table, path)
    return path


def refused(place: Place, outcome: Outcome, code: int, *words: str) -> None:
    """One or two lines, the exit code, and nothing left behind that looks like a run."""
    assert outcome.code == code, outcome.err
    lines = outcome.out.strip().splitlines()
    assert lines == [] or (len(lines) == 1 and lines[0].startswith(("… reading data", "… making synthetic banks")))
    assert 1 <= len(outcome.lines) <= 2, outcome.err
    assert outcome.lines[0].startswith("Error: ")
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    assert place.finished == []
    assert place.partial == []
    private = place.folder / "home" / "runs"
    assert not private.exists() or list(private.iterdir()) == []


# What goes right


def test_json_is_one_object_with_the_keys_of_the_design(place: Place) -> None:
    outcome = place.run("--json")
    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert set(told) >= {
        "run",
        "private",
        "privacy",
        "metrics",
        "rounds",
        "survivors_min",
        "seconds",
        "ledger",
        "report",
    }
    assert told["private"] is True
    assert set(told["privacy"]) >= {"epsilon", "delta", "unit", "neighbours", "adversaries"}
    assert [set(each) for each in told["privacy"]["adversaries"]] == [{"name", "epsilon"}] * 4
    assert set(told["metrics"]) == {
        *("roc_auc", "average_precision", "accuracy", "calibration_error", "best_f1", "best_f1_threshold")
    }
    assert told["intervals"] == {}  # figures without noise
    assert set(told["seconds"]) >= {"total", "training", "secure_aggregation", "evaluation", "report"}
    assert all(value >= 0 for value in told["seconds"].values())
    (account,) = told["ledger"]
    assert account["account"] == "synthetic-1/train"
    assert account["spent_epsilon"] == pytest.approx(told["privacy"]["epsilon"], rel=1e-3)
    assert account["budget_epsilon"] is None
    assert told["rounds"] == 2
    assert told["survivors_min"] == 5
    assert Path(told["report"]).is_file()
    (run,) = place.finished
    assert Path(told["run"]).resolve() == run.resolve()
    assert (place.folder / "runs" / "latest").resolve() == run.resolve()
    assert "scaling" in outcome.err  # progress is told, elsewhere
    assert not ANSI.search(outcome.out + outcome.err)
    assert place.ledger_holds()
    assert place.partial == []


def test_a_run_prints_its_statement_and_where_the_report_is(place: Place) -> None:
    outcome = place.run("--epsilon", "2")
    assert outcome.code == 0
    assert outcome.err == ""
    assert not ANSI.search(outcome.out)
    for words in ("ε = ", "δ = 1e-5", "unit: one record", "neighbours: zero-out", "SIMULATED KEYS", "← target"):
        assert words in outcome.out
    (run,) = place.finished
    assert str(Path("runs") / run.name / "report.html") in outcome.out
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.toml", "metrics.jsonl", "model.safetensors", "privacy.json", "report.html", "report.json"}
    assert "checkpoint.msgpack" not in names


def test_local_mode_says_against_whom(place: Place) -> None:
    outcome = place.run("--dp-mode", "local", "--rounds", "1")
    assert outcome.code == 0
    assert "for each record, against everyone else together" in outcome.out
    assert re.search(r"everyone else together, masks broken ← target", outcome.out)


def test_the_config_of_a_run_is_taken_again(place: Place) -> None:
    assert place.run("--epsilon", "1.5", "--max-corrupt", "2").code == 0
    (first,) = place.finished
    outcome = place.call("run", "--config", str(first / "config.toml"), "--rows", "1000", "--rounds", "1", "--offline")
    assert outcome.code == 0
    second = max(place.finished, key=lambda path: path.stat().st_mtime)
    config = (second / "config.toml").read_text()
    assert "epsilon = 1.5" in config
    assert "max_corrupt = 2" in config
    assert "rounds = 1" in config  # options come before the file


def test_missing_and_infinite_features_are_handled_and_the_default_is_federated(place: Place) -> None:
    amount = np.random.default_rng(1).normal(size=300)
    amount[3], amount[40], amount[77] = np.nan, np.inf, -np.inf
    file = write(place.folder / "cards.csv", cards(amount=amount))
    outcome = place.run("--data", str(file), "--label", "fraud", "--bank-column", "bank", "--json", tiny=False)
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert {each["account"] for each in told["ledger"]} == {"cards/train", "cards/holdout"}
    assert "federated" in (place.finished[0] / "summary.json").read_text()


def test_quiet_holdouts_of_one_class_do_not_stop_a_run(place: Place) -> None:
    """Ten rows of fraud in a thousand: now and then none is held out, or all are."""
    fraud = np.zeros(1000, int)
    fraud[5] = 1
    file = write(place.folder / "rare.csv", cards(1000, fraud=fraud))
    for evaluation in ("public", "federated"):
        outcome = place.run(
            "--data",
            str(file),
            "--label",
            "fraud",
            "--bank-column",
            "bank",
            "--evaluation",
            evaluation,
            "--json",
            "--delta",
            "1e-5",
            tiny=False,
        )
        assert outcome.code == 0, outcome.err
        json.loads(outcome.out)
        assert "Warning" not in outcome.err


# Mistakes


BAD_SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "epsilon zero": (("--epsilon", "0"), ("--epsilon", "greater than 0")),
    "epsilon negative": (("--epsilon", "-3"), ("--epsilon",)),
    "epsilon nan": (("--epsilon", "nan"), ("--epsilon", "finite")),
    "epsilon inf": (("--epsilon", "inf"), ("--epsilon", "finite")),
    "epsilon a word": (("--epsilon", "three"), ("--epsilon", "see `fedsec run --help`")),
    "delta too large": (("--delta", "0.001"), ("--delta 0.001 is not below 1/1,000",)),
    "delta one": (("--delta", "1"), ("--delta",)),
    "four banks": (("--banks", "4"), ("--banks", "5")),
    "too many corrupt": (("--max-corrupt", "4"), ("--max-corrupt", "Use at most 1")),
    "hopeless drop rate": (("--drop-rate", "0.9"), ("--drop-rate",)),
    "few rows": (("--rows", "10"), ("--rows", "1000")),
    "label without data": (("--label", "fraud"), ("--data FILE",)),
    "bank column without data": (("--bank-column", "bank"), ("--data FILE",)),
    "unknown option": (("--epsilom", "3"), ("--epsilom", "see `fedsec run --help`")),
    "unit column without data": (("--unit-column", "person"), ("--unit-column", "--data FILE")),
    "unit rows without a column": (("--unit-rows", "8"), ("--unit-rows", "Name it with --unit-column")),
    "too many unit rows": (("--unit-rows", "65"), ("--unit-rows", "64")),
    "no unit rows": (("--unit-rows", "0"), ("--unit-rows", "1")),
    "flare": (("--engine", "flare"), ("--engine", "local")),
    "another mode": (("--dp-mode", "central"), ("--dp-mode",)),
    "an argument too many": (("now",), ("unexpected extra argument",)),
    "no config file": (("--config", "nothing.toml"), ("there is no configuration file nothing.toml",)),
    "no data file": (("--data", "nothing.csv", "--label", "x"), ("there is no file nothing.csv",)),
    "a dataset id of odd letters": (("--dataset-id", "a b/c"), ("data set id",)),
}


@pytest.mark.parametrize("mistake", BAD_SETTINGS)
def test_a_setting_that_cannot_hold_is_refused_in_two_lines(mistake: str, place: Place) -> None:
    arguments, words = BAD_SETTINGS[mistake]
    refused(place, place.run(*arguments), 2, *words)
    if (place.folder / "ledger.sqlite").exists():
        assert place.ledger_holds()


def test_every_mistake_is_an_object_with_json(place: Place) -> None:
    for arguments in (("--epsilon", "0"), ("--nonsense",), ("--unit-column", "x"), ("--data", "x.csv", "--label", "y")):
        outcome = place.run(*arguments, "--json")
        assert outcome.code == 2
        assert set(json.loads(outcome.out)["error"]) == {"kind", "message", "remedy"}
        assert "Error" not in outcome.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fo = 3", "no setting 'fo'"),
        ('data = "x.csv"', "no setting 'data'"),
        ('epsilon = "three"', "--epsilon"),
        ("epsilon = ", "cannot be read as a TOML file"),
        ("[run]\nepsilon = 3", "no setting 'run'"),
    ],
)
def test_a_config_file_with_a_mistake_is_refused(content: str, words: str, place: Place) -> None:
    (place.folder / "c.toml").write_text(content)
    refused(place, place.run("--config", "c.toml"), 2, words)


def halved(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def test_data_that_cannot_be_used_are_refused_in_two_lines(place: Place) -> None:
    rows = 300
    words = np.array(["yes", "no"])[np.arange(rows) % 2]
    label_gap = np.where(np.arange(rows) == 7, np.nan, (np.arange(rows) % 10 == 0).astype(float))
    label_inf = np.where(np.arange(rows) == 7, np.inf, (np.arange(rows) % 10 == 0).astype(float))
    bank_gap = np.array([f"b{row % 5}" if row != 3 else "" for row in range(rows)])
    unit_gap = np.array([f"only-one-{row % 50}" if row not in {3, 7} else ("", "N/A")[row % 2] for row in range(rows)])
    by_unit = ("--label", "fraud", "--bank-column", "bank", "--unit-column")
    mistakes: dict[str, tuple[pa.Table, tuple[str, ...], tuple[str, ...]]] = {
        "unknown-label": (cards(), ("--label", "frod", "--bank-column", "bank"), ("no column 'frod'", "fraud")),
        "unknown-bank": (cards(), ("--label", "fraud", "--bank-column", "bnk"), ("no column 'bnk'", "bank")),
        "unknown-drop": (cards(), ("--label", "fraud", "--drop", "tim"), ("no column 'tim'",)),
        "words": (cards(fraud=words), ("--label", "fraud", "--bank-column", "bank"), ("not numeric",)),
        "one-class": (
            cards(fraud=np.zeros(rows, int)),
            ("--label", "fraud", "--bank-column", "bank"),
            ("is 0 in every row",),
        ),
        "two": (
            cards(fraud=np.arange(rows) % 3),
            ("--label", "fraud", "--bank-column", "bank"),
            ("other than 0 and 1",),
        ),
        "label-gap": (cards(fraud=label_gap), ("--label", "fraud", "--bank-column", "bank"), ("no value in 1 of 300",)),
        "label-inf": (cards(fraud=label_inf), ("--label", "fraud", "--bank-column", "bank"), ("fraud",)),
        "bank-gap": (cards(bank=bank_gap), ("--label", "fraud", "--bank-column", "bank"), ("is empty in 1 of 300",)),
        "four-banks": (
            cards(bank=np.array([f"b{row % 4}" for row in range(rows)])),
            ("--label", "fraud", "--bank-column", "bank"),
            ("names 4 banks", "At least 5"),
        ),
        "small-bank": (
            cards(bank=np.array(["only-one" if row == 9 else f"b{row % 5}" for row in range(rows)])),
            ("--label", "fraud", "--bank-column", "bank"),
            ("has 1 rows",),
        ),
        "unknown-unit": (cards(), (*by_unit, "custmer"), ("no column 'custmer' (the unit column)",)),
        "unit-is-label": (cards(), (*by_unit, "fraud"), ("cannot be both the label and the unit column",)),
        "unit-is-bank": (cards(), (*by_unit, "bank"), ("cannot be both the bank column and the unit column",)),
        "unit-dropped": (cards(), (*by_unit, "hour", "--drop", "hour"), ("is the unit column, and dropped",)),
        "unit-gap": (cards(customer=unit_gap), (*by_unit, "customer"), ("'customer' has no value in 2 of 300 rows",)),
        "few-rows": (cards(40), ("--label", "fraud"), ("40 rows are too few",)),
    }
    for name, (table, arguments, told) in mistakes.items():
        file = write(place.folder / f"{name}.csv", table)
        outcome = place.run("--data", str(file), *arguments, tiny=False)
        refused(place, outcome, 2, *told)
        assert "only-one" not in outcome.err  # no cell's content
    assert place.ledger_holds()


def test_files_that_are_broken_are_refused_in_two_lines(place: Place) -> None:
    import pyarrow.parquet as pa_parquet

    empty = place.folder / "empty.csv"
    empty.touch()
    cut_csv = write(place.folder / "cut.csv", cards(3000))
    data = cut_csv.read_bytes()
    cut_csv.write_bytes(data[: data.rindex(b",", 0, len(data) // 2)])
    cut_parquet = place.folder / "cut.parquet"
    pa_parquet.write_table(cards(), cut_parquet)
    halved(cut_parquet)
    noise = place.folder / "noise.csv"
    noise.write_bytes(np.random.default_rng(1).bytes(5000))
    excel = place.folder / "cards.xlsx"
    excel.write_bytes(b"PK\x03\x04")
    for file, words in (
        (empty, "is empty (0 bytes)"),
        (cut_csv, "fields"),
        (cut_parquet, "cut off"),
        (noise, "noise.csv"),
        (excel, "neither CSV nor Parquet"),
        (place.folder, "is a folder" if place.folder.suffix else "neither CSV nor Parquet"),
    ):
        outcome = place.run("--data", str(file), "--label", "fraud", tiny=False)
        if file is place.folder:
            assert outcome.code == 2
            continue
        refused(place, outcome, 2, words)


def test_an_out_that_cannot_be_written_to_is_refused_before_anything_is_charged(place: Place) -> None:
    (place.folder / "file").write_text("in the way")
    refused(place, place.run("--out", "file"), 2, "--out: file cannot be written to")
    refused(place, place.run("--out", "file/runs"), 2, "--out")
    with Ledger.open() as ledger:
        assert ledger.history() == ()
    assert place.ledger_holds()


# Budget


def test_a_second_run_beyond_the_budget_is_refused_before_any_training(place: Place) -> None:
    assert place.call("ledger", "budget", "synthetic-1", "--epsilon", "4", "--delta", "1e-5").code == 0
    assert place.run("--epsilon", "3", "--rounds", "20").code == 0
    before = place.finished
    outcome = place.run("--epsilon", "3", "--rounds", "20")
    assert outcome.code == 3
    assert "attempt" not in outcome.out
    assert "the privacy budget of synthetic-1/train refuses this run" in outcome.err
    assert "of 4.00 (δ = 1e-5)" in outcome.err
    assert len(outcome.err.splitlines()) == 2
    assert place.finished == before
    assert place.partial == []
    assert list((place.folder / "home" / "runs").iterdir()) == []
    told = place.call("ledger", "show")
    assert told.code == 0
    assert "refused" in told.out
    assert "would exceed the budget of 4.00" in told.out
    shown = json.loads(place.call("ledger", "show", "--json").out)
    assert [run["status"] for run in shown["runs"]] == ["settled", "refused"]
    assert shown["runs"][1]["refused"]["budget_epsilon"] == 4.0
    assert place.ledger_holds()
    as_json = place.run("--epsilon", "3", "--rounds", "20", "--json")
    assert as_json.code == 3
    assert json.loads(as_json.out)["error"]["kind"] == "budget"
    smaller = place.run("--epsilon", "0.3")  # control: what fits is still let in
    assert smaller.code == 0, smaller.err


def test_another_name_for_the_data_is_another_account_and_the_seed_of_synthetic_data_is_its_name(place: Place) -> None:
    assert place.call("ledger", "budget", "synthetic-1", "--epsilon", "0.1").code == 0
    assert place.run("--epsilon", "3").code == 3
    assert place.run("--epsilon", "3", "--seed", "2").code == 0


# Faults on the way


def test_a_ledger_that_another_process_holds_is_told_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open():
        pass
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.2)
    holder = sqlite3.connect(place.folder / "ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        refused(place, place.run(), 2, "is locked by another process", "wait until")
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert place.run().code == 0
    assert place.ledger_holds()


def test_a_disk_that_fills_up_leaves_a_run_that_goes_on_once_there_is_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file, kept = RunDirectory.write, []

    def filling(directory: RunDirectory, name: str, content: bytes | str) -> Path:
        kept.append(name)
        if kept.count("checkpoint.msgpack") > 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(directory.path / name))
        return write_file(directory, name, content)

    monkeypatch.setattr(RunDirectory, "write", filling)
    outcome = place.run()
    monkeypatch.setattr(RunDirectory, "write", write_file)
    assert outcome.code == 1
    assert outcome.lines[0].startswith("Error: No space left on device")
    assert len(outcome.lines) <= 2
    assert "--resume" in outcome.err
    (partial,) = place.partial
    assert place.finished == []
    assert place.ledger_holds()
    assert place.call("run", "--resume", str(partial), "--offline").code == 0
    assert place.partial == []
    with Ledger.open() as ledger:
        (history,) = ledger.history()
    assert {item.release: item.charged for item in history.releases} == {"scaling": 1, "training": 3}
    assert place.ledger_holds()


def test_too_few_banks_is_exit_code_four_and_what_was_not_attempted_is_given_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fl_engine.runtime.local import LocalFederation

    dropouts = LocalFederation._dropouts
    monkeypatch.setattr(
        LocalFederation,
        "_dropouts",
        lambda self, attempt: dict.fromkeys(range(5), 0) if attempt > 1 else dropouts(self, attempt),
    )
    outcome = place.run()
    assert outcome.code == 4
    assert outcome.err.startswith("Error: all 3 attempts reserved for training are used up after 1 of 2 rounds")
    assert len(outcome.err.splitlines()) == 2
    assert place.finished == []
    assert place.ledger_holds()
    with Ledger.open() as ledger:
        (history,) = ledger.history()
    assert {item.release: item.charged for item in history.releases} == {"scaling": 1, "training": 3}
    assert history.status == "settled"


def test_a_coordinator_at_fault_is_exit_code_five(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from fl_engine import coordinator

    monkeypatch.setattr(coordinator, "inputs_digest", lambda _: bytes(32))
    outcome = place.run()
    assert outcome.code == 5
    assert outcome.lines[0] == "Error: the model that came is not the one that the round is bound to"
    assert place.finished == []


# Resume


def test_resume_of_nothing_or_of_a_finished_run_is_refused(place: Place) -> None:
    outcome = place.call("run", "--resume", "runs/20200101-000000-0000.partial")
    refused(place, outcome, 2, "does not exist")
    for no_run in (".", ""):
        assert place.call("run", "--resume", no_run).code == 2
    assert place.run().code == 0
    (run,) = place.finished
    outcome = place.call("run", "--resume", str(run))
    assert outcome.code == 2
    assert "is complete, there is nothing to resume" in outcome.err
    outcome = place.call("run", "--resume", str(run), "--epsilon", "1")
    assert outcome.code == 2
    assert "takes no other settings" in outcome.err


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_says_how_to_go_on_and_going_on_works(place: Place, as_json: bool) -> None:
    arguments = ["--banks", "5", "--rounds", "400", "--rows", "1000", "--offline", *(["--json"] if as_json else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "run", *arguments],
        cwd=place.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ledger = place.folder / "ledger.sqlite"
    wait_for(lambda: process.poll() is not None or (ledger.exists() and entries(ledger) > 8))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    (partial,) = place.partial
    told = json.loads(out)["error"] if as_json else {"kind": "interrupted", "message": err, "remedy": err}
    assert told["kind"] == "interrupted"
    assert f"fedsec run --resume {Path('runs') / partial.name}" in told["remedy"]
    assert "Traceback" not in err
    assert place.finished == []
    assert place.ledger_holds()
    if as_json:  # once is enough: settle this one, go on with the other
        settled = place.call("ledger", "settle", str(partial))
        assert settled.code == 0
        assert place.partial == []
    else:
        shorten(partial)
        resumed = place.call("run", "--resume", str(partial), "--offline")
        assert resumed.code == 0, resumed.err
        assert len(place.finished) == 1
    assert place.ledger_holds()


def entries(ledger: Path) -> int:
    try:
        with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as connection:
            (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            return int(count)
    except sqlite3.Error:
        return 0


def shorten(partial: Path) -> None:
    """Let the interrupted run be nearly done, so that the test need not train four hundred rounds."""
    import msgspec

    from fl_engine.resume import Checkpoint

    checkpoint = Checkpoint.load(partial / "checkpoint.msgpack")
    plan = msgspec.structs.replace(checkpoint.plan, rounds=checkpoint.progress.rounds + 2)
    (partial / "checkpoint.msgpack").write_bytes(msgspec.structs.replace(checkpoint, plan=plan).encode())


# Entities as units


def test_a_unit_column_is_told_of_everywhere_and_is_no_input(place: Place) -> None:
    customers = np.array([f"client-number-{7 * row % 61}" for row in range(300)])
    file = write(place.folder / "cards.csv", cards(customer=customers))
    common = ("--data", str(file), "--label", "fraud", "--bank-column", "bank")
    plain = place.run(*common, tiny=False)  # control: without a unit column nothing speaks of entities
    assert plain.code == 0, plain.err
    assert "unit: one record" in plain.out
    assert "one entity at one bank" not in plain.out
    given = (*common, "--unit-column", "customer", "--unit-rows", "4", "--dataset-id", "by-customer")
    told = place.run(*given, tiny=False)
    assert told.code == 0, told.err
    assert "for each entity at one bank, against" in told.out
    assert "for each record" in plain.out
    assert "unit: one entity at one bank" in told.out
    assert "all rows of one entity at one bank, replaced by empty slots" in told.out
    assert "at most 4 rows count" in told.out
    shown = json.loads(place.run(*given, "--json", tiny=False).out)
    assert shown["privacy"]["unit"] == "entity at one bank"
    assert shown["privacy"]["unit_rows"] == 4
    run = place.folder / shown["run"]
    assert "unit_rows = 4" in (run / "config.toml").read_text()
    statement = json.loads((run / "privacy.json").read_bytes())
    assert statement["unit"] == "entity at one bank"
    assert any("one person under several names" in sentence for sentence in statement["voids"])
    for page in ("report.html", "report.md"):
        text = (run / page).read_text("utf-8")
        assert "all records of one entity at one bank" in text
        assert "at most 4 records count in a sum" in text
        assert "per entity at one bank" in text
    everything = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert b"customer" not in everything.replace(b"whether it is a customer there", b"").replace(b"customers", b"")
    assert b"client-number-" not in everything
    wider = place.run(*common, "--dataset-id", "plain-with-customer", "--json", tiny=False)
    inputs = [
        json.loads((place.folder / json.loads(out)["run"] / "summary.json").read_bytes())["model"][0]
        for out in (json.dumps(shown), wider.out)
    ]
    assert inputs[0] < inputs[1]  # control: without the role the column is an input


def test_a_config_file_that_counts_an_entitys_rows_asks_for_the_column(place: Place) -> None:
    (place.folder / "c.toml").write_text("unit_rows = 4\n")
    refused(place, place.run("--config", "c.toml"), 2, "--unit-rows", "Name it with --unit-column")
