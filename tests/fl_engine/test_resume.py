"""A run that died anywhere goes on or is settled: what was released is charged, and no attempt happens twice."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from dp.ledger import Account, Ledger, read_heads
from fedsec.errors import CohortError, ConfigError, FedsecError, LocalProtocolError
from fl_engine.evidence.archive import ROSTER, STATEMENT, round_name
from fl_engine.evidence.statement import decode_run_statement
from fl_engine.messages import Reply, decode
from fl_engine.resume import PrivateRun
from fl_engine.run import Run, settle_unfinished
from fl_engine.runtime.local import LocalFederation
from fl_engine.settings import DataSettings, RunSettings
from secagg.client import Client
from secagg.config import SessionConfig
from secagg.evidence import RoundEvidence
from secagg.identity import Identity
from tests.fl_engine.run_helpers import Record, begin, finish, own_place, survivors_sum

ROOT = Path(__file__).parents[2]
TRAIN = Account(dataset="synthetic-1", part="train")


class Killed(BaseException):
    """The process is gone: no handler of the code under test may catch it."""


def killed_after(count: int) -> Callable[..., None]:
    """Stands in for a method; the kill comes once ``count`` calls have passed."""
    calls = 0

    def die(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > count:
            raise Killed

    return die


def before(patch: pytest.MonkeyPatch, owner: type, name: str, count: int) -> None:
    """Kill at the start of the method's call number ``count + 1``."""
    original, die = getattr(owner, name), killed_after(count)

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        die()
        return original(self, *arguments, **named)

    patch.setattr(owner, name, method)


def after(patch: pytest.MonkeyPatch, owner: type, name: str, count: int) -> None:
    """Kill at the end of the method's call number ``count + 1``."""
    original, die = getattr(owner, name), killed_after(count)

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        die()
        return result

    patch.setattr(owner, name, method)


# Where the kill comes, which attempts are then lost, and how many burns there were: five banks, three rounds.
KILLS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], dict[str, int]]] = {
    "before the first attempt": (lambda p: before(p, LocalFederation, "_attempt", 0), {}),
    "before the first burn": (lambda p: before(p, Run, "_burn", 0), {}),
    "after the first burn of the scaling": (lambda p: after(p, Run, "_burn", 0), {"scaling": 1}),
    "between two banks' masked inputs": (lambda p: after(p, Client, "mask", 6), {"training": 1}),
    "after the last masked input of round 1": (lambda p: after(p, Client, "mask", 9), {"training": 1}),
    "opened but not kept": (lambda p: before(p, Run, "_keep", 1), {"training": 1}),
    "after round 1 was kept": (lambda p: after(p, Run, "_keep", 1), {}),
    "before the last round's unmasking": (lambda p: before(p, Client, "unmask", 15), {"training": 1}),
    "before settling": (lambda p: before(p, Run, "settle", 0), {}),
    "after settling": (lambda p: after(p, Run, "settle", 0), {}),
    "before the directory gets its name": (lambda p: before(p, Run, "publish", 0), {}),
}


def masked_attempts(record: Record) -> list[int]:
    """Numbers of the attempts of which a masked input left."""
    found = set()
    for sender, data in record.received:
        try:
            reply = decode(data, Reply, limit=len(data), peer=sender)
        except FedsecError:
            continue  # an answer to the offer
        if reply.step == "mask":
            found.add(reply.attempt)
    return sorted(found)


def interrupted(folder: Path, kill: Callable[[pytest.MonkeyPatch], None], **settings: Any) -> tuple[Path, Record]:
    """The directory of a run that was killed, and what had left by then."""
    record = Record()
    with own_place(folder) as patch, Ledger.open() as ledger:
        kill(patch)
        run = begin(folder, ledger, tap=record.tap, **settings)
        with pytest.raises(Killed):
            finish(run)
        run.close()  # as the system does when a process dies
    return run.directory.path, record


@pytest.mark.parametrize("where", KILLS)
def test_a_killed_run_is_resumed_charged_and_complete(where: str, tmp_path: Path) -> None:
    kill, lost = KILLS[where]
    path, first = interrupted(tmp_path, kill)
    second = Record()
    with own_place(tmp_path) as patch:
        keys = PrivateRun.load(path.name.removesuffix(".partial")).bank_keys
        second.watch(patch)
        with Ledger.open(create=False) as ledger:
            burnt = {name: len(used) for name, used in ledger.burnt(path.name.removesuffix(".partial")).items()}
            run = Run.resume(path, ledger=ledger, tap=second.tap)
            summary = finish(run)
            (history,) = ledger.history()
    assert not path.exists()
    assert run.directory.path.is_dir()
    assert summary.rounds_opened == 3
    # No number is used twice: what was masked before the kill is never masked again.
    assert set(masked_attempts(first)).isdisjoint(masked_attempts(second))
    gone = [record for record in run.progress.records if (record.reason or "").startswith("the run was interrupted")]
    assert {record.release: 1 for record in gone} == lost
    assert run.progress.begun == {"scaling": 1 + lost.get("scaling", 0), "training": 3 + lost.get("training", 0)}
    # The ledger charges what was begun, never less than was burnt; the statement says the same.
    assert {item.release: item.charged for item in history.releases} == run.progress.begun
    assert all(burnt[name] <= run.progress.begun[name] for name in burnt)
    assert {release.name: release.charged for release in run.statement().releases} == run.progress.begun
    spent = [record.epsilon for record in run.progress.records]
    assert spent == sorted(set(spent))
    assert run.statement().epsilon == pytest.approx(spent[-1])
    # Rounds go on where they were, and what is opened after the kill is still exact.
    assert [record.round for record in run.progress.records if record.round] == [1, 2, 3]
    assert [record.index for record in run.progress.records] == sorted({r.index for r in run.progress.records})
    for attempt, opened in second.opened.items():
        assert np.array_equal(opened.total, survivors_sum(second, attempt))
    check_evidence(run, keys, lost=len(gone))


def check_evidence(run: Run, keys: tuple[bytes, ...], *, lost: int) -> None:
    """One roster from beginning to end, a line for every attempt, a file for every one that was not interrupted."""
    path = run.directory.path
    members = [Identity.from_private_bytes(key).public_key.hex() for key in keys]
    assert json.loads((path / ROSTER).read_bytes())["members"] == members
    for head in read_heads(path / "ledger-heads.json"):
        assert {each.signer for each in head.countersigned} == {*members, run.roster.server.hex()}
    envelope = json.loads((path / STATEMENT).read_bytes())
    assert [each["keyid"] for each in envelope["signatures"]] == [run.roster.server.hex(), *members]
    lines = decode_run_statement(base64.b64decode(envelope["payload"])).predicate.attempts
    assert [line.attempt for line in lines] == [record.index for record in run.progress.records]
    whole = [line for line in lines if line.status != "interrupted"]
    assert len(lines) - len(whole) == lost
    assert [file.name for file in sorted((path / "evidence/rounds").iterdir())] == [
        f"{line.attempt:06d}.msgpack" for line in whole
    ]
    for line in whole:
        session = RoundEvidence.decode((path / round_name(line.attempt)).read_bytes()).session
        assert msgspec.msgpack.decode(session, type=SessionConfig).roster_digest == run.roster.digest


def test_masked_inputs_of_an_interrupted_attempt_are_not_kept(tmp_path: Path) -> None:
    """They would add up to nothing that was opened, and be as dangerous as all others."""
    path, _ = interrupted(tmp_path, KILLS["between two banks' masked inputs"][0], keep_masked_inputs=True)
    begun = {file.name for file in (path / "evidence/masked").iterdir() if file.name.startswith("000003")}
    assert begun  # control: the kill came while they were being kept
    with own_place(tmp_path), Ledger.open(create=False) as ledger:
        run = Run.resume(path, ledger=ledger)
        finish(run)
    left = {file.name[:6] for file in (run.directory.path / "evidence/masked").iterdir()}
    opened = {f"{record.index:06d}" for record in run.progress.records if record.status == "opened"}
    assert left == opened and "000003" not in opened


@pytest.mark.parametrize("ledger_refuses", [True, False])
def test_control_forgetting_the_burns_is_noticed_by_the_ledger_and_else_here(
    ledger_refuses: bool, tmp_path: Path
) -> None:
    """A resumed run that knew no burns would take the number once more. The ledger refuses that; without it, too,
    the assertion of the test above would see the attempt masked again."""
    path, first = interrupted(tmp_path, KILLS["opened but not kept"][0])
    second = Record()
    with own_place(tmp_path) as patch, Ledger.open(create=False) as ledger:
        nothing = dict.fromkeys(("scaling", "training"), frozenset[int]())
        patch.setattr(Ledger, "burnt", lambda *_: nothing)
        if not ledger_refuses:
            patch.setattr(Ledger, "burn", lambda *_: None)
        run = Run.resume(path, ledger=ledger, tap=second.tap)
        if ledger_refuses:
            with pytest.raises(LocalProtocolError, match="attempt 0 of training is burnt already"):
                finish(run)
        else:
            finish(run)
    again = set(masked_attempts(first)) & set(masked_attempts(second))
    assert again == (set() if ledger_refuses else {3})


def test_an_interrupted_attempt_after_one_that_nobody_burnt_is_not_repeated(tmp_path: Path) -> None:
    """Burns may have gaps, where an attempt was aborted before anything was masked: counting them is not enough."""
    path = None
    for seed in range(1, 40):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with own_place(folder) as patch, Ledger.open() as ledger:
            run = begin(folder, ledger, drop_rate=0.35, banks=6, max_corrupt=1, seed=seed)
            for record in run.attempts():
                gap = record.status == "aborted" and not {"mask", "agree", "unmask"} & record.dropped_at.keys()
                if record.release == "training" and gap:
                    break
            else:
                continue
            after(patch, Ledger, "burn", 0)
            try:
                finish(run)
            except Killed:
                path = run.directory.path
            except CohortError:
                continue
            finally:
                run.close()
            burnt = ledger.burnt(run.directory.name)["training"]
            if path is not None and max(burnt) >= len(burnt):
                break
            path = None
    assert path is not None
    with own_place(folder), Ledger.open(create=False) as ledger:
        resumed = Run.resume(path, ledger=ledger)
        assert resumed.progress.begun["training"] == max(burnt) + 1
        assert str(resumed.progress.records[-1].reason).startswith("the run was interrupted")
        try:
            finish(resumed)
        except CohortError:
            resumed.settle()
        (history,) = ledger.history()
        assert {item.release: item.charged for item in history.releases} == resumed.progress.begun


def test_a_process_killed_by_the_system_leaves_what_it_takes_to_resume(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from dp.ledger import Ledger;"
        "from tests.fl_engine.run_helpers import begin; folder = Path(sys.argv[1]); ledger = Ledger.open();"
        "run = begin(folder, ledger); records = run.attempts(); next(records); next(records);"
        "burn = run._ledger.burn;\n"
        "def last(*a): burn(*a); os.kill(os.getpid(), signal.SIGKILL)\n"
        "run._ledger.burn = last; next(records)"
    )
    with own_place(tmp_path):
        dead = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=dict(os.environ), timeout=120, check=False
        )
        assert dead.returncode == -signal.SIGKILL
        (path,) = (tmp_path / "runs").iterdir()
        with Ledger.open(create=False) as ledger:
            run = Run.resume(path, ledger=ledger)
            finish(run)
            assert run.progress.begun == {"scaling": 1, "training": 4}
            assert ledger.verify().ok


def test_a_run_that_is_finished_or_unknown_is_not_resumed(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        run = begin(tmp_path, ledger, rounds=1)
        finish(run)
        with pytest.raises(ConfigError, match="is complete, there is nothing to resume"):
            Run.resume(run.directory.path, ledger=ledger)
        with pytest.raises(ConfigError, match="does not exist"):
            Run.resume(tmp_path / "runs" / "20200101-000000-0000.partial", ledger=ledger)
        with pytest.raises(ConfigError, match="does not exist"):
            settle_unfinished(tmp_path / "nowhere", ledger)


def test_on_another_machine_nothing_private_is_known_of_the_run(tmp_path: Path) -> None:
    path, _ = interrupted(tmp_path, KILLS["after round 1 was kept"][0])
    with own_place(tmp_path) as patch, Ledger.open(create=False) as ledger:
        patch.setenv("FEDSEC_HOME", str(tmp_path / "elsewhere"))
        with pytest.raises(ConfigError, match="nothing private is known here"):
            Run.resume(path, ledger=ledger)


def test_a_damaged_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    path, _ = interrupted(tmp_path, KILLS["after round 1 was kept"][0])
    checkpoint = path / "checkpoint.msgpack"
    content = checkpoint.read_bytes()
    with own_place(tmp_path), Ledger.open(create=False) as ledger:
        for damaged in (b"", content[: len(content) // 2], b"\xc1" + content[1:]):
            checkpoint.write_bytes(damaged)
            with pytest.raises(ConfigError, match="cannot be resumed"):
                Run.resume(path, ledger=ledger)


def test_with_another_ledger_the_run_is_not_resumed(tmp_path: Path) -> None:
    path, _ = interrupted(tmp_path, KILLS["after round 1 was kept"][0])
    with own_place(tmp_path), Ledger.open(tmp_path / "other.sqlite") as other:
        with pytest.raises(ConfigError, match="knows nothing of the run"):
            Run.resume(path, ledger=other)
        with pytest.raises(ConfigError, match="knows nothing of the run"):
            settle_unfinished(path, other)
    with own_place(tmp_path), Ledger.open(create=False) as ledger:
        finish(Run.resume(path, ledger=ledger))  # control: what was refused is not spoilt


def test_a_run_that_still_goes_on_is_neither_resumed_nor_settled(tmp_path: Path) -> None:
    """Two processes on one run would open the same attempt twice, and the ledger would charge it once."""
    record = Record()
    with own_place(tmp_path), Ledger.open() as ledger, Ledger.open() as second:
        run = begin(tmp_path, ledger, tap=record.tap)
        attempts = run.attempts()
        next(attempts)
        for interfere in (lambda: Run.resume(run.directory.path, ledger=second), lambda: settle(run, second)):
            with pytest.raises(ConfigError, match="still going on in another process"):
                interfere()
        list(attempts)
        run.complete()
        run.publish()
        (history,) = ledger.history()
    assert {item.release: item.charged for item in history.releases} == {"scaling": 1, "training": 3}


def settle(run: Run, ledger: Ledger) -> None:
    settle_unfinished(run.directory.path, ledger)


@pytest.mark.parametrize("ledger_refuses", [True, False])
def test_control_without_the_lock_the_ledger_refuses_and_without_both_an_attempt_leaves_twice(
    ledger_refuses: bool, tmp_path: Path
) -> None:
    first, second = Record(), Record()
    with own_place(tmp_path) as patch, Ledger.open() as ledger, Ledger.open() as other:
        run = begin(tmp_path, ledger, tap=first.tap)
        attempts = run.attempts()
        next(attempts)
        run.close()
        if not ledger_refuses:
            patch.setattr(Ledger, "burn", lambda *_: None)
        rival = Run.resume(run.directory.path, ledger=other, tap=second.tap)
        list(attempts)
        if ledger_refuses:
            with pytest.raises(LocalProtocolError, match="is burnt already"):
                list(rival.attempts())
        else:
            list(rival.attempts())
    again = set(masked_attempts(first)) & set(masked_attempts(second))
    assert again == (set() if ledger_refuses else {3, 4, 5})


def write(path: Path, *, rows: int = 300, columns: int = 2, fraud_every: int = 10) -> None:
    generator = np.random.default_rng(5)
    table = {f"x{index}": generator.normal(size=rows) for index in range(columns)}
    table["fraud"] = (np.arange(rows) % fraud_every == 0).astype(int)
    table["bank"] = np.arange(rows) % 5
    pa_csv.write_csv(pa.table(table), path)


@pytest.mark.parametrize("changes", [{"rows": 301}, {"columns": 3}], ids=["a row more", "a column more"])
def test_data_that_changed_in_between_are_refused(changes: dict[str, int], tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    write(file)
    with own_place(tmp_path), Ledger.open() as ledger:
        data = DataSettings(data=file, label="fraud", bank_column="bank")
        run = Run.start(RunSettings(rounds=2, delta=1e-5), data, out=tmp_path / "runs", ledger=ledger)
        next(run.attempts())
        run.close()
        path = run.directory.path
        write(file, **changes)
        with pytest.raises(ConfigError, match="other rows or columns"):
            Run.resume(path, ledger=ledger)
        write(file)
        finish(Run.resume(path, ledger=ledger))  # control: put back, it goes on


def test_relative_paths_are_found_again_from_another_folder(tmp_path: Path) -> None:
    file, schema = tmp_path / "cards.csv", tmp_path / "schema.toml"
    write(file)
    with own_place(tmp_path) as patch, Ledger.open() as ledger:
        patch.chdir(tmp_path)
        from fl_engine.data.dataset import load_dataset

        inferred = load_dataset(
            file,
            label="fraud",
            bank_column="bank",
            drop=(),
            schema=None,
            banks=5,
            seed=1,
            split_key=bytes(32),
            holdout=0.2,
        ).schema
        schema.write_text(inferred.to_toml())
        data = DataSettings(data=Path("cards.csv"), label="fraud", bank_column="bank", schema_file=Path("schema.toml"))
        run = Run.start(RunSettings(rounds=1), data, out=tmp_path / "runs", ledger=ledger)
        next(run.attempts())
        run.close()
        patch.chdir("/")
        finish(Run.resume(run.directory.path, ledger=ledger))


def test_settling_gives_back_what_was_not_attempted_and_no_more(tmp_path: Path) -> None:
    path, _ = interrupted(tmp_path, KILLS["between two banks' masked inputs"][0])
    with own_place(tmp_path), Ledger.open(create=False) as ledger:
        (reserved,) = ledger.balances([TRAIN])
        settle_unfinished(path, ledger)
        (settled,) = ledger.balances([TRAIN])
        (history,) = ledger.history()
        assert not path.exists()
        assert list((tmp_path / "home" / "runs").iterdir()) == []
        assert ledger.verify().ok
    assert {item.release: item.charged for item in history.releases} == {"scaling": 1, "training": 1}
    assert settled.spent_epsilon is not None
    assert reserved.spent_epsilon is not None
    assert 0 < settled.spent_epsilon < reserved.spent_epsilon
    assert settled.open_runs == ()


@pytest.mark.parametrize("failing", ["write", "reserve"])
def test_a_run_that_could_not_begin_leaves_no_directory_no_key_and_no_charge(failing: str, tmp_path: Path) -> None:
    from fl_engine.run_directory import RunDirectory

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with own_place(tmp_path) as patch, Ledger.open() as ledger:
        patch.setattr(*{"write": (RunDirectory, "write"), "reserve": (Ledger, "reserve")}[failing], full)
        with pytest.raises(OSError, match="No space"):
            begin(tmp_path, ledger)
        assert list((tmp_path / "runs").iterdir()) == []
        assert list((tmp_path / "home" / "runs").iterdir()) == []
        assert ledger.history() == ()
