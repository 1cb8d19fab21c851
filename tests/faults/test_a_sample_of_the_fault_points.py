"""Killed, torn, cut off or without room at any system call, the ledger reports no less than was released.

A sample; ``make faults`` strikes at every point.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dp.ledger import Ledger, log
from dp.ledger import ledger as ledger_module
from fedsec.errors import FedsecError
from fedsec.home import private_folder
from tests.dp.ledger_helpers import charge, closing, reserve
from tests.faults import tracer
from tests.faults.campaign import Place, campaign, points_of, postgresql, sqlite
from tests.faults.scenarios import CONTROL, SCENARIOS

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
pytestmark = pytest.mark.skipif(tracer.missing() is not None, reason=str(tracer.missing()))


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "SQLite":
        with sqlite() as place:
            yield place
    else:
        with postgresql(request.getfixturevalue("postgres_server")) as place:
            yield place


@pytest.mark.parametrize(("name", "sample"), [("first use", 4), ("whole run", 6)])
def test_no_point_of_the_sample_loses_a_release(place: Place, name: str, sample: int) -> None:
    scenario = BY_NAME[name]
    chosen = sorted(random.SystemRandom().sample(range(points_of(scenario, place)), sample))
    row = campaign(scenario, place, chosen=chosen)
    assert row.found == []
    assert row.kills == 2 * sample


def test_control_a_ledger_that_burns_after_the_release_is_caught(place: Place) -> None:
    points_of(CONTROL, place)
    row = campaign(CONTROL, place, chosen=[0, 2])
    assert any("charged, 1 released" in line for line in row.found)


def test_strikes_leave_nothing_in_the_private_folder() -> None:
    """Each of thousands of ledgers would leave a head there, which every command reads from then on."""
    before = os.environ["FEDSEC_HOME"]
    with sqlite() as place:
        for _ in range(2):
            Ledger.open(place.fresh()).close()
        assert len(list((private_folder() / "heads").glob("*-*.json"))) == 1  # control: heads are kept; the last one
        assert os.environ["FEDSEC_HOME"] != before
    assert os.environ["FEDSEC_HOME"] == before
    assert not (private_folder() / "heads").exists()


def test_a_disk_that_is_really_full_refuses_in_one_line_and_works_again_with_room() -> None:
    """A small file system in memory, filled to the last block; control: the same call with room."""
    folder = Path(tempfile.mkdtemp(prefix="fedsec-full-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("no file system may be mounted here")
    try:
        filler = folder / "filler"
        with Ledger.open(folder / "ledger.sqlite") as ledger:
            reserve(ledger, "run-1", charge(count=50))
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"x" * 4096)
            burnt = 0
            with pytest.raises(FedsecError, match=r"full|I/O|written"):
                for index in range(50):
                    ledger.burn("run-1", "training", index)
                    burnt += 1
            filler.unlink()
            assert len(ledger.burnt("run-1")["training"]) == burnt
            ledger.burn("run-1", "training", burnt)
            ledger.settle("run-1", closing("run-1", training=burnt + 1))
            assert ledger.verify().ok
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_clock_that_runs_backwards_changes_no_balance_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry is dated a day before the last; control: the dates are seen to run backwards."""
    clock = datetime.now(UTC)

    def earlier() -> str:
        nonlocal clock
        clock -= timedelta(days=1)
        return clock.isoformat(timespec="seconds")

    def run(path: Path) -> tuple[float | None, bool]:
        with Ledger.open(path) as ledger:
            ledger.set_budget("fraud", 5.0, 1e-5)
            reserve(ledger, "run-1", charge(count=10))
            ledger.burn("run-1", "training", 0)
            ledger.settle("run-1", closing("run-1", training=1))
            reserve(ledger, "run-2", charge(count=10))
            return ledger.balances()[0].spent_epsilon, ledger.verify().ok

    forwards = run(tmp_path / "forwards.sqlite")
    monkeypatch.setattr(ledger_module, "now", earlier)
    monkeypatch.setattr(log, "now", earlier)
    assert run(tmp_path / "backwards.sqlite") == forwards
    assert forwards[1]
    with Ledger.open(tmp_path / "backwards.sqlite") as ledger:
        assert [line.run for line in ledger.history()] == ["run-2", "run-1"]
