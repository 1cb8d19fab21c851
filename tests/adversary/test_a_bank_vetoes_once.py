"""A bank says yes or no once a task, before round 0: one word for every reason, and its own ledger has the last say."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dp.events import DpEvent, Repeated
from dp.ledger import Account, Charge, Ledger
from dp.mechanism import eta
from fedsec.errors import LedgerError, LocalProtocolError
from fl_engine import charging
from fl_engine.bank import Bank
from fl_engine.messages import Answer, Request, encode
from fl_engine.plan import TaskPlan
from fl_engine.policy import BankPolicy
from fl_engine.run import Run
from tests.adversary.test_bank_refuses_a_dishonest_coordinator import (
    DATASET,
    LAX,
    PLAN,
    SERVER,
    VICTIM,
    Federation,
    offer_of,
    plan_for,
    stricter,
)
from tests.fl_engine.run_helpers import begin, finish, own_place

YES, NO = encode(Answer(accepted=True)), encode(Answer(accepted=False))
DEBUG = msgspec.structs.replace(PLAN, insecure_deterministic_noise=True)


def bank(policy: BankPolicy = LAX, admit: Callable[[TaskPlan], None] = lambda _: None) -> Bank:
    federation = Federation(policy=policy)
    federation.admit = admit  # after its five banks agreed: they have ledgers of their own
    return federation.bank(VICTIM, DATASET.banks[VICTIM])


# What the bank insists on, the plan that breaks it, and a policy without that term, under which the plan is accepted.
TERMS: dict[str, tuple[BankPolicy, TaskPlan, BankPolicy]] = {
    "epsilon": (dataclasses.replace(LAX, max_epsilon=2.9), PLAN, LAX),
    "delta": (dataclasses.replace(LAX, max_delta=PLAN.delta / 2), PLAN, LAX),
    "architecture": (dataclasses.replace(LAX, architectures=frozenset({(16,)})), PLAN, LAX),
    "noise that can be repeated": (LAX, DEBUG, dataclasses.replace(LAX, insecure_deterministic_noise=True)),
    "task": (stricter(tasks=frozenset({"another"})), PLAN, LAX),
    "cohort": (stricter(min_clients=6), PLAN, LAX),
    "corrupt banks": (stricter(max_corrupt=0), PLAN, LAX),
    "least noise": (stricter(min_noise_multiplier=1e5), PLAN, LAX),
}


@pytest.mark.parametrize("term", TERMS)
def test_every_term_of_the_policy_declines_with_the_same_word(term: str) -> None:
    policy, plan, without = TERMS[term]
    assert bank(policy).consider(offer_of(plan)) == NO
    assert bank(without).consider(offer_of(plan)) == YES  # control: nothing but this term declined


def test_a_seed_from_which_no_coins_can_be_drawn_is_declined_before_the_task() -> None:
    """Accepted, it would fail in the middle of an attempt, and with no error of ours."""
    policy = dataclasses.replace(LAX, insecure_deterministic_noise=True)
    assert bank(policy).consider(offer_of(msgspec.structs.replace(DEBUG, initial_seed=-1))) == NO
    assert bank(policy).consider(offer_of(msgspec.structs.replace(DEBUG, initial_seed=2**64 - 1))) == YES  # control


def test_a_plan_of_a_version_that_this_program_does_not_know_is_declined() -> None:
    assert bank().consider(offer_of(msgspec.structs.replace(PLAN, version=2))) == NO
    assert bank().consider(offer_of(msgspec.structs.replace(PLAN, version=1))) == YES  # control


def own_ledger(ledger: Ledger, *, account: str = "own") -> Callable[[TaskPlan], None]:
    """A bank on a machine of its own: it reserves the whole plan in its own ledger."""

    def admit(plan: TaskPlan) -> None:
        charging.reserve(ledger, plan, DATASET, account=account, coordinator=SERVER.public_key, brands=())

    return admit


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with own_place(tmp_path), Ledger.open() as opened:
        opened.split_key("own", PLAN.holdout)
        yield opened


def test_a_bank_whose_own_budget_is_spent_declines_like_every_other(ledger: Ledger) -> None:
    ledger.set_budget("own", 1.0, 1e-5)
    poor = bank(admit=own_ledger(ledger))
    assert poor.consider(offer_of(PLAN)) == NO
    assert poor.consider(offer_of(plan_for(epsilon=0.5))) == NO  # what it could pay: it was asked once
    with pytest.raises(LocalProtocolError):  # and later there is silence: no reply to send
        poor.handle(encode(Request(attempt=0, step="advertise", payload=b"")))
    ledger.set_budget("own", 4.0, 1e-5)
    assert bank(admit=own_ledger(ledger)).consider(offer_of(PLAN)) == YES  # control: the budget was the only reason


def test_a_ledger_that_cannot_be_written_declines_with_the_same_word() -> None:
    def broken(_: TaskPlan) -> None:
        raise LedgerError("the disk is full")

    assert bank(admit=broken).consider(offer_of(PLAN)) == NO


def test_a_task_declined_for_another_reason_costs_the_bank_nothing(ledger: Ledger) -> None:
    policy, plan, without = TERMS["epsilon"]
    assert bank(policy, admit=own_ledger(ledger)).consider(offer_of(plan)) == NO
    assert ledger.history("own") == ()
    assert bank(without, admit=own_ledger(ledger)).consider(offer_of(plan)) == YES
    assert [line.run for line in ledger.history("own")] == [PLAN.task]  # control: an accepted one is reserved


def test_the_whole_plan_is_reserved_before_the_bank_says_yes(ledger: Ledger) -> None:
    assert bank(admit=own_ledger(ledger)).consider(offer_of(PLAN)) == YES
    reserved = {(each.release, each.count) for each in ledger.charges(PLAN.task)}
    assert reserved == {(planned.name, planned.attempts) for planned in PLAN.sums}


def test_an_offer_repeated_to_a_bank_that_agreed_is_answered_and_charged_once(ledger: Ledger) -> None:
    willing = bank(admit=own_ledger(ledger))
    assert [willing.consider(offer_of(PLAN)) for _ in range(2)] == [YES, YES]
    assert len(ledger.history("own")) == 1


def charge_for(plan: TaskPlan, name: str, *, event: DpEvent | None = None, count: int | None = None) -> Charge:
    planned = plan.sum(name)
    return Charge(
        account=Account(dataset="own", part=planned.part),
        release=name,
        event=event or planned.event(),
        count=count or planned.attempts,
        eta=eta(planned.mechanism, openings=planned.openings_per_attempt, banks=plan.clients),
    )


CHEATS: dict[str, dict[str, Any]] = {
    "fewer rounds": {"count": PLAN.sum("training").attempts - 1},
    "a cheaper event": {"event": Repeated(count=1, event=PLAN.sum("training").mechanism.event(shares=9))},
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_simulated_banks_decline_a_plan_that_their_ledger_did_not_reserve_in_full(ledger: Ledger, cheat: str) -> None:
    def reserve(**training: Any) -> None:
        charges = [charge_for(PLAN, planned.name) for planned in PLAN.sums if planned.name != "training"]
        charges.append(charge_for(PLAN, "training", **training))
        ledger.reserve(run=PLAN.task, charges=charges, coordinator=os.urandom(32), private=True)

    reserve(**CHEATS[cheat])
    with pytest.raises(LocalProtocolError, match="did not reserve"):
        charging.check_reserved(ledger, PLAN)


def test_control_the_ledger_of_a_run_has_its_plan_reserved(tmp_path: Path) -> None:
    with own_place(tmp_path), Ledger.open() as ledger:
        run = begin(tmp_path, ledger, rounds=1)
        charging.check_reserved(ledger, run.plan)
        finish(run)
        assert isinstance(run, Run)
