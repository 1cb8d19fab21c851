"""What a real run writes for its report: its ledger's head, its roster, the share of fraud, the number of banks."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from cli import run as run_command
from compliance.identifiers import Identifiers, identifiers_path
from dp.ledger import Ledger, read_heads
from fl_engine.data.dataset import public_holdout
from fl_engine.evaluation import BINS, STATED, fraud_share, score_histogram
from fl_engine.records import RunSummary
from fl_engine.run import Run
from fl_engine.settings import DataSettings, RunSettings

torch.set_num_threads(1)


class Notes:
    """Stands in for the display."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, what: str) -> None:
        self.said.append(what)


def six_banks(folder: Path) -> Path:
    generator = np.random.default_rng(3)
    rows = [f"{a:.4f},{int(a > 1.2)},bank{index % 6}" for index, a in enumerate(generator.normal(size=600))]
    file = folder / "cards.csv"
    file.write_text("\n".join(["amount,fraud,bank", *rows]) + "\n", "utf-8")
    return file


@pytest.fixture(scope="module", params=["public", "federated"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("six")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSEC_HOME", str(folder / "home"))
        public = RunSettings(rounds=2, evaluation=request.param, epsilon=20.0)
        data = DataSettings(data=six_banks(folder), label="fraud", bank_column="bank")
        with Ledger.open(folder / "ledger.sqlite") as ledger:
            run = Run.start(public, data, out=folder / "runs", ledger=ledger)
            for _ in run.attempts():
                pass
            summary = run.complete()
            head = ledger.verify().head
            key = ledger.public_key
            yield run, summary, head, key


def test_the_settings_that_are_kept_have_as_many_banks_as_the_file(done) -> None:
    run = done[0]
    kept = tomllib.loads((run.directory.path / "config.toml").read_text("utf-8"))
    assert kept["banks"] == run.plan.clients == 6


def test_the_ledgers_head_after_settlement_and_the_roster_are_kept(done) -> None:
    run, summary, head, key = done
    assert (summary.ledger_head.entry, summary.ledger_head.hash) == (head.entry, head.hash)
    assert summary.ledger_head.public_key == key.hex()
    assert summary.roster == run.roster.digest.hex()
    kept = msgspec.json.decode((run.directory.path / "summary.json").read_bytes(), type=RunSummary)
    assert kept.ledger_head == summary.ledger_head


def test_the_share_of_fraud_is_exact_or_from_the_noisy_histogram(done) -> None:
    run, summary, *_ = done
    exact = float(public_holdout(run.dataset).labels.mean())
    if run.plan.bins:
        assert summary.fraud_share != exact, "the exact share would be a release that nobody paid for"
        assert summary.fraud_share is None or 0 < summary.fraud_share < 1
    else:
        assert summary.fraud_share == pytest.approx(exact)


def test_without_noise_the_histograms_share_is_the_exact_one() -> None:
    labels = np.array([0, 0, 0, 1], np.uint8)
    counts = score_histogram(np.array([0.1, 0.6, 0.2, 0.9]), labels, np.ones(4, np.bool_))
    assert fraud_share(counts, noise_deviation=0.0) == 0.25
    assert fraud_share(np.zeros(16), noise_deviation=0.0) is None


def test_a_share_of_fraud_that_noise_could_have_made_is_withheld() -> None:
    deviation = 3.0
    spread = deviation * math.sqrt(BINS)  # of the noise in the number of frauds

    def share(frauds: float, told: float = deviation) -> float | None:
        counts = np.concatenate([np.full(BINS, 50_000.0 / BINS), np.full(BINS, frauds / BINS)])
        return fraud_share(counts, noise_deviation=told)

    few, enough = 0.99 * STATED * spread, 1.01 * STATED * spread
    assert share(few) is None
    assert share(enough) == pytest.approx(enough / (50_000 + enough))
    assert 1.96 * spread < enough / 2, "what is stated is right to within a half of itself, at 95 %"
    assert share(few, told=0.0) is not None  # the control: a share that takes no notice of the noise


def test_a_run_says_whom_it_asks_before_it_asks(done, monkeypatch: pytest.MonkeyPatch) -> None:
    run, summary, *_ = done
    asked: list[object] = []
    monkeypatch.setattr("compliance.report.write_report", lambda *_, narrator, **__: asked.append(narrator))
    monkeypatch.delenv("OPENAI_MODEL", raising=False)
    for address, offline, said in (
        ("https://gateway.example/v1", False, ["asking gpt-5-mini at gateway.example for the narrative"]),
        ("https://gateway.example/v1", True, []),
        ("http://gateway.example/v1", False, []),
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        notes = Notes()
        run_command._report(run, summary, notes, offline=offline)
        assert [note.split("; --offline asks nobody")[0] for note in notes.said] == said
    assert [narrator is None for narrator in asked] == [False, True, False]
    listed = Identifiers.load(identifiers_path(run.directory.name)).keys
    assert {summary.roster, summary.ledger_head.public_key, summary.ledger_head.hash} <= set(listed)


def test_every_bank_and_the_coordinator_countersign_the_head_before_and_after(done) -> None:
    run, summary, head, _ = done
    reserved, settled = read_heads(run.directory.path)
    assert settled.head == head
    assert reserved.head.entry < settled.head.entry
    signers = {signature.signer for signature in settled.countersigned}
    assert signers == {key.hex() for key in (run.roster.server, *(key for _, key in run.roster.members))}
    assert len(signers) == summary.banks + 1


def test_the_course_of_an_account_ends_where_its_balance_is_and_never_turns_back(done) -> None:
    run, summary, *_ = done
    for line in summary.ledger:
        if line.spent_epsilon is not None:
            assert line.course[0] == 0.0  # no run before
            assert line.course[-1] == pytest.approx(line.spent_epsilon)
            assert list(line.course) == sorted(line.course)
            assert len(line.course) == len(run.progress.records) + 1
            assert line.course[-1] > line.course[1]  # control: it does move
