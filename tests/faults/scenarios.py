"""What the struck process does, and what must hold of the ledger that it leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from dp.accounting import epsilon
from dp.events import Repeated
from dp.ledger import Ledger
from dp.ledger.admission import finite_or_none
from fedsec.errors import FedsecError
from tests.dp.ledger_helpers import TRAIN, charge, closing, full_batch, reserve
from tests.faults.tracer import ask_to_be_traced

PLANNED = 10
BUDGET = 8.0
Say = Callable[[str], object]


@dataclass(frozen=True)
class Scenario:
    """One operation under fault: ``prepare`` runs unharmed, ``act`` is struck. ``opens``: it opens the ledger first."""

    name: str
    prepare: Callable[[Ledger, Say], object] | None
    act: Callable[[Ledger, Say], object]
    opens: bool = False


def _reserve(ledger: Ledger, say: Say) -> None:
    reserve(ledger, "run-1", charge(count=PLANNED))
    say("reserved")


def _reserve_large(ledger: Ledger, say: Say) -> None:
    """A plan whose entry fills several pages and several packets."""
    more = [charge(release=f"release-{number}", count=1, event=full_batch(500.0)) for number in range(60)]
    reserve(ledger, "run-1", charge(count=PLANNED), *more)
    say("reserved")


def _burn(index: int) -> Callable[[Ledger, Say], None]:
    def burn(ledger: Ledger, say: Say) -> None:
        ledger.burn("run-1", "training", index)
        say(f"released {index}")

    return burn


def _burn_too_late(ledger: Ledger, say: Say) -> None:
    """The control: what a ledger is worth that charges after the release."""
    say("released 0")
    ledger.burn("run-1", "training", 0)


def _settle(ledger: Ledger, say: Say) -> None:
    ledger.settle("run-1", closing("run-1", training=3))
    say("settled")


def _steps(*steps: Callable[[Ledger, Say], object]) -> Callable[[Ledger, Say], None]:
    def all_of_them(ledger: Ledger, say: Say) -> None:
        for step in steps:
            step(ledger, say)

    return all_of_them


def _leave(*steps: Callable[[Ledger, Say], object]) -> Callable[[Ledger, Say], None]:
    return _steps(*steps, _close)


def _close(ledger: Ledger, say: Say) -> None:
    ledger.close()


def _budget(ledger: Ledger, say: Say) -> None:
    ledger.set_budget("fraud", BUDGET, 1e-5)


def _split(ledger: Ledger, say: Say) -> None:
    ledger.split_key("fraud", 0.2)


_BURNS = (_burn(0), _burn(1), _burn(2))
_RUN = _steps(_reserve, *_BURNS, _settle, _close)
SCENARIOS = (
    Scenario("first use", None, _steps(_budget, _split, _close), opens=True),
    Scenario("reserve", _budget, _reserve),
    Scenario("reserve, large plan", _budget, _reserve_large),
    Scenario("burn", _steps(_budget, _reserve), _burn(0)),
    Scenario("settle", _steps(_budget, _reserve, *_BURNS), _settle),
    Scenario("eight burns", _steps(_budget, _reserve), _steps(*(_burn(index) for index in range(8)))),
    Scenario("open, reserve, close", _leave(_budget), _steps(_reserve, _close), opens=True),
    Scenario("open, burn, close", _leave(_budget, _reserve), _steps(_burn(0), _close), opens=True),
    Scenario("open, settle, close", _leave(_budget, _reserve, *_BURNS), _steps(_settle, _close), opens=True),
    Scenario("whole run", _budget, _RUN),
)
CONTROL = Scenario("burn after release", _steps(_budget, _reserve), _burn_too_late)


def child(scenario: Scenario, url: str, pipe: int) -> Callable[[], None]:
    """The struck process: what it got done, and a typed error if it met one, it says into ``pipe``."""

    def say(word: str) -> None:
        os.write(pipe, f"{word}\n".encode())

    def process() -> None:
        if scenario.prepare is not None:
            ledger = Ledger.open(url)
            scenario.prepare(ledger, say)
        ask_to_be_traced()
        try:
            if scenario.opens:
                ledger = Ledger.open(url)
            scenario.act(ledger, say)
        except FedsecError as error:
            say(f"error {error.message}")
        except BaseException as error:
            say(f"untyped {type(error).__name__}: {error}")
            raise

    return process


def violations(url: str, said: list[str]) -> list[str]:
    """What does not hold of the ledger after ``said`` was done: empty where all does.

    Opens it anew, asks for its verification, lets the coordinator claim that nothing was attempted, and runs again.
    """
    found = [word for word in said if word.startswith("untyped")]
    found += [f"no clear line: {word!r}" for word in said if word.startswith("error") and len(word) < len("error ...")]
    released = {int(word.split()[1]) for word in said if word.startswith("released")}
    with Ledger.open(url) as ledger:
        if not ledger.verify().ok:
            found.append("the chain does not verify")
        runs = {line.run: line for line in ledger.history()}
        if "reserved" in said and "run-1" not in runs:
            found.append("a reservation that was confirmed is gone")
        if "run-1" in runs:
            burnt = ledger.burnt("run-1")["training"]
            if not burnt >= released:
                found.append(f"{sorted(released - burnt)} were released and not burnt")
            if "settled" in said and runs["run-1"].status != "settled":
                found.append("a settlement that was confirmed is gone")
            if runs["run-1"].status == "open":
                if _charged(ledger) != PLANNED:
                    found.append("an open reservation does not count in full")
                understated = {item.release: 0 for item in runs["run-1"].releases}
                ledger.settle("run-1", closing("run-1", **understated))
            if _charged(ledger) < len(released):
                found.append(f"{_charged(ledger)} charged, {len(released)} released")
            least = epsilon(Repeated(count=len(released), event=full_batch()), 1e-5) if released else 0.0
            held = ledger.balances([TRAIN])[0].spent_epsilon
            if held is None or held < least * (1 - 1e-9):
                found.append(f"ε = {held} reported, {finite_or_none(least)} released")
        elif released:
            found.append("released without a reservation")
        ledger.set_budget("fraud", BUDGET, 1e-5)
        ledger.split_key("fraud", 0.2)
        reserve(ledger, "run-2", charge(count=2))
        ledger.burn("run-2", "training", 0)
        ledger.settle("run-2", closing("run-2", training=1))
        if not ledger.verify().ok:
            found.append("after the next run the chain does not verify")
    return found


def _charged(ledger: Ledger) -> int:
    lines = [line for line in ledger.history() if line.run == "run-1"]
    return next(item.charged for item in lines[0].releases if item.release == "training")
