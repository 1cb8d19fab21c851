"""Charge before release: reservations, burns, settlements, balances and splits of one ledger."""

from __future__ import annotations

import math
import multiprocessing
import os
import sqlite3
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accounting import epsilon
from dp.events import Composed, DiscreteGaussianSum, NonPrivate, PoissonSampled, Repeated
from dp.ledger import Account, Charge, Closing, Ledger, admission, sign_closing, store
from dp.ledger import log as log_module
from fedsec.errors import BudgetError, ConfigError, FedsecError, LedgerError, LocalProtocolError, RemoteProtocolError
from tests.dp.ledger_helpers import (
    COORDINATOR,
    HOLDOUT,
    TRAIN,
    charge,
    closing,
    full_batch,
    public_bytes,
    reserve,
    spent,
    write_one_of_everything,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_an_open_reservation_is_charged_in_full(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1", charge(count=50), charge(TRAIN, "scaling", 3, full_batch(30.0)))
        events = (Repeated(count=50, event=full_batch()), Repeated(count=3, event=full_batch(30.0)))
        assert spent(ledger) == pytest.approx(epsilon(Composed(events=events), 1e-5), rel=1e-9)
        balance = ledger.balances([TRAIN])[0]
        assert balance.open_runs == balance.runs == ("run-1",)
        assert balance.budget_epsilon is None
        assert spent(ledger, HOLDOUT) == 0


def test_runs_compose_and_do_not_add_up(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        one = spent(ledger)
        reserve(ledger, "run-2")
        two = spent(ledger)
    assert one is not None
    assert two is not None
    assert 1.3 * one < two < 1.6 * one


def test_two_runs_of_three_at_1e_5_compose_to_about_4_44(path: Path) -> None:
    low, high = 1.0, 100.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if epsilon(Repeated(count=50, event=full_batch(middle)), 1e-5) > 3 else (low, middle)
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 3.0001, 1e-5)
        reserve(ledger, "run-1", charge(event=full_batch(high)))
        assert spent(ledger) == pytest.approx(3, abs=1e-3)
        with pytest.raises(BudgetError) as refusal:
            reserve(ledger, "run-2", charge(event=full_batch(high)))
        assert refusal.value.asked_epsilon == pytest.approx(4.44, abs=0.03)
        assert refusal.value.spent_epsilon == pytest.approx(3, abs=1e-3)
        ledger.set_budget("fraud", refusal.value.asked_epsilon + 1e-4, 1e-5)
        reserve(ledger, "run-2", charge(event=full_batch(high)))


def test_a_refusal_charges_nothing_says_why_and_is_recorded(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 4, 1e-5)
        reserve(ledger, "run-1")
        before = spent(ledger)
        with pytest.raises(BudgetError) as refusal:
            reserve(ledger, "run-2", charge(HOLDOUT, "evaluation", 1), charge())
        assert spent(ledger) == before
        assert spent(ledger, HOLDOUT) == 0
        error = refusal.value
        assert (error.account, error.budget_epsilon, error.delta) == ("fraud/train", 4, 1e-5)
        assert error.exit_code == 3
        assert str(error).startswith("the privacy budget of fraud/train refuses this run: it would reach ε = ")
        assert f"of 4.00 (δ = 1e-5), {before:.2f} is spent" in str(error)
        assert "fedsec ledger budget fraud" in error.remedy
    with Ledger.open(path) as ledger:
        refused = [line for line in ledger.history() if line.status == "refused"]
        assert [line.run for line in refused] == ["run-2"]
        assert refused[0].refusal is not None
        assert refused[0].refusal.asked_epsilon == pytest.approx(error.asked_epsilon)
        ledger.set_budget("fraud", 20, 1e-5)
        reserve(ledger, "run-2", charge())  # the name is not used up


def test_a_budget_that_equals_what_is_asked_admits_it_and_a_hair_less_refuses(path: Path) -> None:
    asked = epsilon(Repeated(count=50, event=full_batch()), 1e-5, 50e-25)
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", asked * (1 - 1e-4), 1e-5)
        with pytest.raises(BudgetError) as refusal:
            reserve(ledger, "run-1")
        assert "it would reach" in str(refusal.value)
        ledger.set_budget("fraud", asked * (1 + 1e-5), 1e-5)
        reserve(ledger, "run-2")


def test_noise_too_far_from_ideal_for_the_budget_is_refused(path: Path) -> None:
    """Control: the same plan with an honest sampler's distance passes."""
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 5, 1e-5)
        far = Charge(account=TRAIN, release="training", event=full_batch(), count=50, eta=1e-7)
        with pytest.raises(BudgetError, match="from ideal"):
            reserve(ledger, "run-1", far)
        reserve(ledger, "run-2")


def test_full_batch_accounts_lose_nothing_by_the_pinned_order(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 8, 1e-5)
        for number in range(1000):
            before = spent(ledger)
            try:
                reserve(ledger, f"run-{number}", charge(count=1, event=full_batch(5.0)))
            except BudgetError as error:
                assert error.asked_epsilon > 8
                break
        assert before is not None
        assert before == pytest.approx(8, rel=0.02)


def test_sampled_runs_on_a_full_batch_account_need_the_order_that_the_first_run_fixed(path: Path) -> None:
    """The order may not follow the results, so a mix pays for it; control: the same run alone is admitted."""
    sampled = charge(count=400, event=PoissonSampled(rate=0.001, event=full_batch(0.6)))
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 5, 1e-5)
        reserve(ledger, "run-1", charge(count=1, event=full_batch(40.0)))
        with pytest.raises(BudgetError, match="does not fit the account's earlier runs") as refusal:
            reserve(ledger, "run-2", sampled)
        assert refusal.value.asked_epsilon < 5
        assert "mode" in refusal.value.remedy
    with Ledger.open(path.with_name("control")) as ledger:
        ledger.set_budget("fraud", 2.4, 1e-5)
        reserve(ledger, "run-2", sampled)


def test_a_run_beyond_what_any_bound_covers_is_refused_in_words(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 4, 1e-5)
        with pytest.raises(BudgetError, match=r"without bound, of 4\.00") as refusal:
            reserve(ledger, "run-1", charge(event=full_batch(0.5)))
        assert refusal.value.asked_epsilon == math.inf
        assert "--epsilon" in refusal.value.remedy


def test_a_lowered_budget_stops_later_runs_and_leaves_the_past(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        ledger.set_budget("fraud", 0.5, 1e-5)
        with pytest.raises(BudgetError):
            reserve(ledger, "run-2", charge(count=1, event=full_batch(1000.0)))
        assert ledger.verify().ok


def test_a_run_without_noise_makes_its_account_unbounded_for_good(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "debug", private=False)
        assert spent(ledger) is None
        ledger.settle("debug", closing("debug", training=1))
        assert spent(ledger) is None
        ledger.set_budget("fraud", 25, 1e-5)
        with pytest.raises(BudgetError, match="without a guarantee") as refusal:
            reserve(ledger, "run-1")
        assert refusal.value.spent_epsilon == math.inf
        line = ledger.history("fraud")[0]
        assert (line.run, line.private) == ("debug", False)


def test_a_run_without_noise_is_refused_where_a_budget_is_set(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 100, 1e-5)
        with pytest.raises(BudgetError, match="no finite ε") as refusal:
            reserve(ledger, "debug", private=False)
        assert refusal.value.asked_epsilon == math.inf
        assert spent(ledger) == 0


def test_a_run_without_noise_that_released_nothing_leaves_no_trace_on_the_account(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "debug", private=False)
        ledger.settle("debug", closing("debug", training=0))
        assert spent(ledger) == 0


# --- burns ----------------------------------------------------------------------------------------------------------


def test_a_burn_is_durable_when_it_returns_and_repeats_cost_nothing(path: Path) -> None:
    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        reserve(ledger, "run-1")
        ledger.burn("run-1", "training", 7)
        entries = len(_sequence(path))
        for _ in range(10):
            ledger.burn("run-1", "training", 7)
        assert len(_sequence(path)) == entries
        assert other.burnt("run-1") == {"training": frozenset({7})}


def test_two_holders_of_one_run_cannot_release_one_attempt_twice(path: Path) -> None:
    """A run resumed twice, or while it goes on: one charge must not pay for two releases under different noise."""
    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        reserve(ledger, "run-1")
        ledger.burn("run-1", "training", 7)
        with pytest.raises(LocalProtocolError, match="burnt already"):
            other.burn("run-1", "training", 7)
        other.burn("run-1", "training", 8)
        with pytest.raises(LocalProtocolError, match="burnt already"):
            ledger.burn("run-1", "training", 8)


def test_runs_under_two_layouts_that_start_at_once_pay_as_if_one_had_come_after_the_other(path: Path) -> None:
    """What a run has read of the ledger is old by the time it reserves: the reservation itself looks again."""
    one, two = bytes(32), bytes([1]) * 32

    def start(ledger: Ledger, run: str, layout: bytes) -> None:
        key = public_bytes(COORDINATOR)
        plan = [charge(), charge(HOLDOUT, "evaluation", 3)]
        ledger.reserve(run=run, charges=plan, coordinator=key, private=True, layout=layout)

    def paid(ledger: Ledger, run: str) -> list[tuple[str, str, int]]:
        return [(line.release, line.account.part, line.count) for line in ledger.charges(run)]

    own = [("training", "train", 50), ("evaluation", "holdout", 3)]
    both = [(release, part, count) for release, _, count in own for part in ("train", "holdout")]
    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        assert ledger.layouts("fraud") == other.layouts("fraud") == frozenset()  # both have looked before either begins
        start(ledger, "run-1", one)
        start(other, "run-2", two)
        start(ledger, "run-3", one)  # some of its records were in the other part in run-2
        assert paid(ledger, "run-1") == own  # control
        assert paid(ledger, "run-2") == paid(ledger, "run-3") == both
        assert ledger.verify().ok


def test_a_release_in_clear_leaves_no_bound_and_no_budget_covers_it(path: Path) -> None:
    clear = Charge(account=HOLDOUT, release="public-evaluation", event=NonPrivate(), count=1, eta=0.0)
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1", charge(), clear)
        spent = {line.account: line.spent_epsilon for line in ledger.balances()}
        assert spent[HOLDOUT] is None
        assert spent[TRAIN] is not None
        ledger.set_budget("fraud", 4, 1e-5)
        for later in (clear, charge(HOLDOUT, release="evaluation")):
            with pytest.raises(BudgetError):
                reserve(ledger, "run-2", later)
        reserve(ledger, "run-3", charge(TRAIN, count=1, event=full_batch(40.0)))


def test_a_repeated_burn_needs_no_database(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        ledger.burn("run-1", "training", 0)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        ledger.burn("run-1", "training", 0)
        blocker.execute("ROLLBACK")
        blocker.close()


@pytest.mark.parametrize(
    ("run", "release", "index", "words"),
    [
        ("run-9", "training", 0, "no reservation"),
        ("run-1", "evaluation", 0, "no attempt of evaluation left"),
        ("run-1", "training", 2, "no attempt of training left"),
        ("run-1", "training", -1, "numbered from 0"),
        ("settled", "training", 0, "settled"),
        ("settled", "training", 1, "settled"),
    ],
)
def test_a_release_that_was_not_reserved_is_refused(path: Path, run: str, release: str, index: int, words: str) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1", charge(count=2))
        ledger.burn("run-1", "training", 0)
        ledger.burn("run-1", "training", 40)
        reserve(ledger, "settled", charge(count=2))
        ledger.burn("settled", "training", 0)
        ledger.settle("settled", None)
        with pytest.raises(LocalProtocolError, match=words):
            ledger.burn(run, release, index)
        ledger.burn("run-1", "training", 40)


# --- settlement -----------------------------------------------------------------------------------------------------


def test_settling_on_the_coordinators_word_charges_what_it_signed(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        ledger.burn("run-1", "training", 0)
        ledger.settle("run-1", closing("run-1", training=10))
        expected = epsilon(Repeated(count=10, event=full_batch()), 1e-5)
        assert spent(ledger) == pytest.approx(expected, rel=1e-9)
        assert ledger.balances([TRAIN])[0].open_runs == ()


def test_a_coordinator_cannot_take_back_what_was_burnt(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        for index in range(10):
            ledger.burn("run-1", "training", index)
        ledger.settle("run-1", closing("run-1", training=0))
        expected = epsilon(Repeated(count=10, event=full_batch()), 1e-5)
        assert spent(ledger) == pytest.approx(expected, rel=1e-9)


def test_without_a_closing_statement_missing_burns_prove_nothing(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        full = spent(ledger)
        ledger.settle("run-1", None)
        assert spent(ledger) == full
        with pytest.raises(LocalProtocolError, match="settled already"):
            ledger.settle("run-1", closing("run-1", training=0))
        assert spent(ledger) == full


def test_settling_twice_alike_does_nothing(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        ledger.settle("run-1", closing("run-1", training=1))
        ledger.settle("run-1", closing("run-1", training=1))
        with pytest.raises(LocalProtocolError, match="settled already"):
            ledger.settle("run-1", closing("run-1", training=0))
        with pytest.raises(LocalProtocolError, match="no reservation"):
            ledger.settle("run-2", None)


def test_a_closing_statement_of_somebody_else_is_refused_and_the_run_stays_charged(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        full = spent(ledger)
        forged = sign_closing(Ed25519PrivateKey.generate(), Closing(run="run-1", attempts={"training": 0}))
        with pytest.raises(RemoteProtocolError) as refused:
            ledger.settle("run-1", forged)
        assert (refused.value.rule, refused.value.peer) == ("signature", None)
        assert spent(ledger) == full
        assert ledger.balances([TRAIN])[0].open_runs == ("run-1",)


@pytest.mark.parametrize(
    "statement",
    [
        closing("run-2", training=0),
        closing("run-1"),
        closing("run-1", training=51),
        closing("run-1", training=-1),
        closing("run-1", training=0, evaluation=0),
    ],
    ids=["replayed from another run", "silent on a release", "above the plan", "negative", "unplanned release"],
)
def test_a_closing_statement_that_does_not_fit_is_refused(path: Path, statement: object) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        with pytest.raises(RemoteProtocolError) as refused:
            ledger.settle("run-1", statement)  # type: ignore[arg-type]
        assert refused.value.rule == "closing"


# --- rules of a plan ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "charges",
    [
        (),
        (charge(), charge()),
        (charge(count=2), charge(HOLDOUT, count=3)),
        (charge(event=DiscreteGaussianSum(sensitivity=math.inf, share_variance=1.0, shares=1, dimension=1)),),
        (charge(event=DiscreteGaussianSum(sensitivity=0.0, share_variance=1.0, shares=1, dimension=1)),),
        (charge(event=DiscreteGaussianSum(sensitivity=1e300, share_variance=1.0, shares=1, dimension=1)),),
        (charge(event=Repeated(count=0, event=full_batch())),),
    ],
    ids=["empty", "account twice", "unequal counts", "infinite", "zero", "overflow", "no loss"],
)
def test_a_plan_that_cannot_be_accounted_is_refused_and_leaves_no_entry(
    path: Path, charges: tuple[Charge, ...]
) -> None:
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 5, 1e-5)
        entries = len(_sequence(path))
        with pytest.raises(LocalProtocolError):
            ledger.reserve(run="r", charges=charges, coordinator=public_bytes(COORDINATOR), private=True)
        assert len(_sequence(path)) == entries
        reserve(ledger, "r")


def test_a_run_is_reserved_once_and_names_a_coordinator(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        with pytest.raises(LocalProtocolError, match="has a reservation already"):
            reserve(ledger, "run-1")
        with pytest.raises(LocalProtocolError, match="32 bytes"):
            ledger.reserve(run="run-2", charges=[charge()], coordinator=b"short", private=True)
        with pytest.raises(ConfigError, match="the run"):
            reserve(ledger, "run 2")


def test_what_would_not_read_back_is_not_written(path: Path) -> None:
    with Ledger.open(path) as ledger:
        with pytest.raises(LocalProtocolError, match="cannot be written"):
            ledger.reserve(
                run="r", charges=[charge()], coordinator=public_bytes(COORDINATOR), private=True, brands=["\ud800"]
            )
        assert ledger.history() == ()


@pytest.mark.parametrize("name", ["", "a" * 65, "a/b", "ä", "a b", "a\n"])
def test_data_set_ids_are_plain(name: str) -> None:
    with pytest.raises(ConfigError, match="data set id"):
        Account(dataset=name, part="train")


def test_names_of_accounts() -> None:
    assert TRAIN.name == "fraud/train"
    assert Account(holder="bank-a", dataset="fraud", part="holdout").name == "bank-a:fraud/holdout"
    with pytest.raises(ConfigError):
        Account(dataset="fraud", part="test")  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "eta"), [(0, 0.0), (10**9 + 1, 0.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_a_charge_is_in_range(count: int, eta: float) -> None:
    with pytest.raises(ConfigError):
        Charge(account=TRAIN, release="training", event=full_batch(), count=count, eta=eta)


@pytest.mark.parametrize(
    ("epsilon_", "delta"), [(0, 1e-5), (-1, 1e-5), (math.inf, 1e-5), (math.nan, 1e-5), (1, 0), (1, 1)]
)
def test_a_budget_is_in_range(path: Path, epsilon_: float, delta: float) -> None:
    with Ledger.open(path) as ledger, pytest.raises(ConfigError):
        ledger.set_budget("fraud", epsilon_, delta)


def test_budgets_and_balances_name_all_accounts(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 6, 1e-6)
        reserve(ledger, "run-1", charge(Account(dataset="other", part="holdout")))
        reserve(ledger, "run-2", charge())
        lines = {line.account.name: line for line in ledger.balances()}
        assert list(lines) == ["fraud/train", "fraud/holdout", "other/holdout"]
        assert (lines["fraud/train"].delta, lines["other/holdout"].delta) == (1e-6, 1e-5)
        at_1e_3 = ledger.balances([TRAIN], delta=1e-3)[0]
        assert at_1e_3.delta == 1e-3
        assert at_1e_3.spent_epsilon is not None
        assert lines["fraud/train"].spent_epsilon is not None
        assert at_1e_3.spent_epsilon < lines["fraud/train"].spent_epsilon


def test_a_clock_that_runs_backwards_does_no_harm(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1")
        monkeypatch.setattr("dp.ledger.ledger.now", lambda: "1970-01-01T00:00:00+00:00")
        ledger.burn("run-1", "training", 0)
        reserve(ledger, "run-2")
        assert ledger.verify().ok


# --- splits ---------------------------------------------------------------------------------------------------------


def test_the_split_key_is_secret_and_the_same_for_every_run(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert not ledger.split_changed("fraud", 0.2)
        key = ledger.split_key("fraud", 0.2)
        assert len(key) == 32
        assert ledger.split_key("fraud", 0.3) == key != ledger.split_key("other", 0.2)
        assert ledger.split_changed("fraud", 0.3)
        assert not ledger.split_changed("fraud", 0.2)
        with pytest.raises(LocalProtocolError, match="fraction"):
            ledger.split_key("third", 1.0)
        secrets_path = ledger.location.secrets_path
    assert stat.S_IMODE(secrets_path.stat().st_mode) == 0o600
    assert key not in path.read_bytes()
    with Ledger.open(path) as ledger:
        assert ledger.split_key("fraud", 0.2) == key


@pytest.mark.parametrize("damage", ["gone", "not ours", "rubbish"])
def test_a_lost_split_key_is_noticed_and_never_replaced(path: Path, tmp_path: Path, damage: str) -> None:
    with Ledger.open(path) as ledger, Ledger.open(tmp_path / "other") as other:
        ledger.split_key("fraud", 0.2)
        other.split_key("fraud", 0.2)
        if damage == "gone":
            ledger.location.secrets_path.unlink()
        elif damage == "not ours":
            other.location.secrets_path.replace(ledger.location.secrets_path)
        else:
            ledger.location.secrets_path.write_bytes(b"{")
        with pytest.raises(LedgerError, match="split key"):
            ledger.split_key("fraud", 0.2)


# --- many at once ---------------------------------------------------------------------------------------------------


def _take(path: Path, number: int, results: multiprocessing.SimpleQueue[str]) -> None:
    try:
        with Ledger.open(path) as ledger:
            reserve(ledger, f"run-{number}")
        results.put("admitted")
    except FedsecError as error:
        results.put(error.kind)


def test_eight_processes_cannot_all_take_the_last_of_a_budget(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 4, 1e-5)  # room for one run of 3.5
    assert sorted(_race(path, 8)) == ["admitted"] + ["budget"] * 7
    with Ledger.open(path) as ledger:
        assert ledger.verify().ok
        assert len([line for line in ledger.history() if line.status == "open"]) == 1


def test_eight_processes_may_make_the_ledger_at_the_same_time(path: Path) -> None:
    assert _race(path, 8) == ["admitted"] * 8
    with Ledger.open(path) as ledger:
        assert ledger.verify().ok
        assert len(ledger.history()) == 8


def _race(path: Path, count: int) -> list[str]:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    processes = [context.Process(target=_take, args=(path, number, results)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [results.get() for _ in processes if not results.empty()]


def test_without_the_write_lock_two_runs_would_take_the_same_budget(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the race: a decision outside the transaction would have gone by a balance of nothing."""
    with Ledger.open(path) as one, Ledger.open(path) as two:
        one.set_budget("fraud", 4, 1e-5)
        stale = two.balances([TRAIN])[0]
        reserve(one, "run-1")
        assert stale.spent_epsilon == 0  # what a decision outside the transaction would have gone by
        with monkeypatch.context() as patch:
            patch.setattr(log_module.Log, "_catch_up", lambda *_: None)
            with pytest.raises(LedgerError, match="UNIQUE"):  # admitted, but the place of its entry is taken
                reserve(two, "run-2")
        with pytest.raises(BudgetError):
            reserve(two, "run-2")


def test_threads_take_turns(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reserve(ledger, "run-1", charge(count=40))
        threads = [
            threading.Thread(target=lambda part=part: [ledger.burn("run-1", "training", i) for i in range(part, 40, 2)])
            for part in (0, 1, 0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.burnt("run-1") == {"training": frozenset(range(40))}
        assert ledger.verify().ok


def test_a_ledger_does_not_survive_a_fork(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        mine = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: mine + 1)
        with pytest.raises(LocalProtocolError, match="another process"):
            ledger.balances()
        monkeypatch.undo()


def test_a_locked_ledger_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger.open(path).close()
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    with Ledger.open(path) as ledger:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="is locked by another process") as error:
            reserve(ledger, "run-1")
        assert error.value.exit_code == 2
        blocker.execute("ROLLBACK")
        blocker.close()
        reserve(ledger, "run-1")


def test_a_ledger_that_stays_locked_while_it_is_opened_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ConfigError, match="is locked by another process"):
        Ledger.open(path)
    blocker.close()


# --- rules hold whatever is asked -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 4)), max_size=25))
def test_an_account_never_reports_less_than_was_burnt(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    burnt: set[tuple[str, int]] = set()
    with Ledger.open(path) as ledger:
        ledger.set_budget("fraud", 2, 1e-5)
        for action, number, index in steps:
            run = f"run-{number}"
            try:
                if action == 0:
                    reserve(ledger, run, charge(count=3))
                elif action == 1:
                    ledger.burn(run, "training", index)
                    burnt.add((run, index))
                else:
                    ledger.settle(run, closing(run, training=index) if action == 2 else None)
            except FedsecError:
                continue
        least = epsilon(Repeated(count=len(burnt), event=full_batch()), 1e-5)
        held = spent(ledger)
    assert held is not None
    assert least * (1 - 1e-9) <= held <= 2
    with Ledger.open(path) as again:
        assert spent(again) == held
        assert again.verify().ok


def test_replaying_gives_what_the_writer_held(path: Path) -> None:
    write_one_of_everything(path)
    with Ledger.open(path) as ledger:
        lines = {line.run: line for line in ledger.history("fraud")}
        assert {run: line.status for run, line in lines.items()} == {
            "run-1": "settled",
            "run-2": "settled",
            "run-3": "refused",
        }
        assert [(item.release, item.reserved, item.burnt, item.charged) for item in lines["run-1"].releases] == [
            ("training", 50, 1, 2),
            ("evaluation", 3, 1, 1),
        ]
        assert lines["run-1"].attested
        assert not lines["run-2"].attested
        assert ledger.history("nothing") == ()


def test_a_load_without_a_loss_costs_nothing() -> None:
    zero = admission.Total(rdp=np.zeros(len(admission.ORDERS)), eta=0.0, unbounded=False)
    assert admission.spent(zero, 1e-5) == 0
    assert admission.finite_or_none(math.inf) is None


def _sequence(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT seq FROM entries ORDER BY seq")]
    connection.close()
    return found
