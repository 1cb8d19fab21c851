"""Eight processes at once never spend more than one budget holds, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp.accounting import epsilon
from dp.events import Repeated
from dp.ledger import Ledger, postgres
from dp.ledger import ledger as ledger_module
from fedsec.errors import BudgetError, FedsecError
from tests.dp.ledger_helpers import charge, full_batch, reserve, spent

PROCESSES = 8
FIT = 3  # reservations that the budget holds
BUDGET = epsilon(Repeated(count=10 * FIT, event=full_batch()), 1e-5) * 1.001  # a fourth takes far more


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "home"))
    if request.param == "SQLite":
        return str(tmp_path / "ledger.sqlite")
    return str(request.getfixturevalue("postgres_server").fresh("crowd"))


def together(place: str, act: Callable[[Ledger, int], object], *, processes: int = PROCESSES) -> Counter[str]:
    """``act`` in processes that start it at one moment; how often each ended well, or with which error."""
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(processes), context.SimpleQueue()

    def one(number: int) -> None:
        try:
            with Ledger.open(place) as ledger:
                barrier.wait(60)
                act(ledger, number)
            told.put("well")
        except BaseException as error:
            told.put(type(error).__name__)
        os._exit(0)

    children: list[Any] = [context.Process(target=one, args=(number,)) for number in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    return Counter(told.get() for _ in range(processes))


def test_exactly_as_many_are_admitted_as_the_budget_holds(place: str) -> None:
    with Ledger.open(place) as ledger:
        ledger.set_budget("fraud", BUDGET, 1e-5)
    ended = together(place, lambda ledger, number: reserve(ledger, f"run-{number}", charge(count=10)))
    assert ended == {"well": FIT, "BudgetError": PROCESSES - FIT}
    with Ledger.open(place) as ledger:
        held = spent(ledger)
        assert held is not None
        assert held <= BUDGET
        statuses = Counter(line.status for line in ledger.history())
        assert statuses == {"open": FIT, "refused": PROCESSES - FIT}
        assert ledger.verify().ok


def test_control_decisions_made_before_their_turn_overspend_and_verify_says_so(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks at the balance first and writes later, as a ledger without serialised transactions would."""
    with Ledger.open(place) as ledger:
        ledger.set_budget("fraud", BUDGET, 1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "refusal", lambda *_a, **_n: None)  # what each saw before the others wrote
        ended = together(place, lambda ledger, number: reserve(ledger, f"run-{number}", charge(count=10)))
    assert ended == {"well": PROCESSES}
    with Ledger.open(place) as ledger:
        held = spent(ledger)
        assert held is not None
        assert held > BUDGET
        assert any("admitted beyond the budget" in step.detail for step in ledger.verify().steps if not step.ok)


def test_of_two_processes_that_burn_one_attempt_one_wins(place: str) -> None:
    with Ledger.open(place) as ledger:
        reserve(ledger, "run-1", charge(count=10))
    ended = together(place, lambda ledger, _number: ledger.burn("run-1", "training", 0), processes=4)
    assert ended == {"well": 1, "LocalProtocolError": 3}
    # Control: different attempts are no conflict.
    ended = together(place, lambda ledger, number: ledger.burn("run-1", "training", 1 + number), processes=4)
    assert ended == {"well": 4}
    with Ledger.open(place) as ledger:
        assert len(ledger.burnt("run-1")["training"]) == 5
        assert ledger.verify().ok


def test_processes_that_make_the_ledger_at_once_make_one(place: str) -> None:
    ended = together(place, lambda ledger, number: ledger.set_budget(f"data-{number}", 1.0, 1e-5))
    assert ended == {"well": PROCESSES}
    with Ledger.open(place) as ledger:
        assert ledger.head.entry == PROCESSES
        assert ledger.verify().ok


def test_without_the_lock_serializable_still_keeps_the_budget(
    postgres_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is for patience. Where a writer ignores it, isolation and the primary key refuse it in words."""
    monkeypatch.setenv("FEDSEC_HOME", str(tmp_path / "home"))

    @contextlib.contextmanager
    def at_once(*_arguments: object) -> Iterator[None]:
        yield

    url = postgres_server.fresh("unlocked")
    with Ledger.open(url) as ledger:
        ledger.set_budget("fraud", BUDGET, 1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(postgres, "taking_turns", at_once)
        ended = together(url, lambda ledger, number: reserve(ledger, f"run-{number}", charge(count=10)))
    assert set(ended) <= {"well", BudgetError.__name__, postgres.TransientError.__name__}
    assert issubclass(postgres.TransientError, FedsecError)
    assert 1 <= ended["well"] <= FIT
    with Ledger.open(url) as ledger:
        held = spent(ledger)
        assert held is not None
        assert held <= BUDGET
        assert ledger.verify().ok
