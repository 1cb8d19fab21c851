"""The burn is in the ledger's file before a masked input leaves its bank; a burn that fails lets nothing out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dp.ledger import Ledger
from fedsec.errors import LedgerError
from fl_engine.messages import COUNTERSIGNED_BYTES, Reply, decode
from fl_engine.run import Run
from fl_engine.runtime.local import LocalFederation
from tests.fl_engine.run_helpers import begin, finish, own_place

ANSWERS = 5  # one a bank, to the offer, before the first reply; after the last reply each signs the statement


class Watchman:
    """Looks at the ledger's file, through a connection of its own, whenever a masked input leaves a bank."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.left: list[tuple[str, int]] = []
        self.uncharged: list[tuple[str, int]] = []
        self._seen = 0

    def tap(self, sender: int, data: bytes) -> None:
        self._seen += 1
        if self._seen <= ANSWERS or (len(data) <= COUNTERSIGNED_BYTES and b"signature" in data):
            return
        reply = decode(data, Reply, limit=len(data), peer=sender)
        if reply.step != "mask":
            return
        assert self.run is not None
        place = self.run.plan.attempt(reply.attempt)
        assert place is not None
        planned, ordinal = place
        self.left.append((planned.name, ordinal))
        with Ledger.open(create=False) as other:
            if ordinal not in other.burnt(self.run.directory.name)[planned.name]:
                self.uncharged.append((planned.name, ordinal))


def watched(folder: Path, spoil: Callable[[pytest.MonkeyPatch], None] = lambda _: None) -> Watchman:
    watchman = Watchman()
    with own_place(folder) as patch, Ledger.open() as ledger:
        spoil(patch)
        watchman.run = begin(folder, ledger, tap=watchman.tap, evaluation="federated", rounds=2)
        finish(watchman.run)
    return watchman


def test_no_masked_input_leaves_before_its_burn_is_in_the_file(tmp_path: Path) -> None:
    watchman = watched(tmp_path)
    assert len(watchman.left) == 4 * 5  # scaling, two rounds, evaluation; five banks
    assert watchman.uncharged == []


def test_control_a_burn_after_masking_is_caught(tmp_path: Path) -> None:
    """Burns that wait until the step's replies are all out."""
    waiting: list[tuple[Run, str, int]] = []

    def burn_late(patch: pytest.MonkeyPatch) -> None:
        burn, exchange = Run._burn, LocalFederation._exchange

        def remember(run: Run, release: str, ordinal: int) -> None:
            waiting.append((run, release, ordinal))

        def then_burn(federation: LocalFederation, index: int, request: bytes) -> None:
            exchange(federation, index, request)
            while waiting:
                burn(*waiting.pop())

        patch.setattr(Run, "_burn", remember)
        patch.setattr(LocalFederation, "_exchange", then_burn)

    watchman = watched(tmp_path, burn_late)
    assert sorted(set(watchman.uncharged)) == [("evaluation", 0), ("scaling", 0), ("training", 0), ("training", 1)]


def test_a_ledger_that_fails_at_the_burn_lets_nothing_out(tmp_path: Path) -> None:
    watchman = Watchman()

    def broken(_ledger: Ledger, _run: str, release: str, _index: int) -> None:
        raise LedgerError(f"no burn of {release}")

    with own_place(tmp_path) as patch, Ledger.open() as ledger:
        watchman.run = begin(tmp_path, ledger, tap=watchman.tap)
        patch.setattr(Ledger, "burn", broken)
        with pytest.raises(LedgerError, match="no burn of scaling"):
            finish(watchman.run)
        assert watchman.left == []
        assert watchman.run.directory.path.name.endswith(".partial")
        (balance,) = ledger.balances()
    assert balance.open_runs == (watchman.run.directory.name,)  # all that was reserved stays charged


def test_the_whole_plan_is_reserved_before_the_first_message(tmp_path: Path) -> None:
    told: list[tuple[str, ...]] = []

    def tap(_sender: int, _data: bytes) -> None:
        with Ledger.open(create=False) as other:
            told.append(tuple(other.history()[0].releases[i].release for i in (0, 1)))
            assert [item.charged for item in other.history()[0].releases] == [3, 4]

    with own_place(tmp_path), Ledger.open() as ledger:
        run = begin(tmp_path, ledger, tap=tap, rounds=3)
        run._federation.agree()
    assert told == [("scaling", "training")] * 5
