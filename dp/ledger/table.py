"""The ledger as a table for people: one line for each thing that an entry did to an account."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from dp.ledger.accounts import Account, Charge
from dp.ledger.admission import finite_or_none, spent, total
from dp.ledger.entries import Entry
from dp.ledger.payloads import (
    BudgetSet,
    Burnt,
    Lost,
    Opened,
    Payload,
    Refused,
    Reserved,
    Settled,
    SplitFixed,
    decode,
)
from dp.ledger.state import State

COLUMNS = (
    "entry",
    "at",
    "kind",
    "account",
    "run",
    "release",
    "openings",
    "epsilon_spent_after",
    "epsilon_budget",
    "delta",
    "note",
)
_Line: TypeAlias = tuple[Account | None, str, str, int | str, bool, str]


def table(entries: Sequence[Entry], *, dataset: str | None, default_delta: float) -> bytes:
    """CSV (RFC 4180, UTF-8) of ``entries``, whose chain holds; all of them, or the lines that concern ``dataset``.

    ``epsilon_spent_after`` is what all runs up to this entry released or reserved, composed, at ``delta``: the
    budget's, or ``default_delta`` where none was set; empty where the entry does not change it, "unbounded" where
    nothing bounds it. "openings" are those reserved, burnt or, once settled, charged.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    state = State()
    for entry in entries:
        payload = decode(entry.payload, seq=entry.seq)
        state.replay(payload, seq=entry.seq)
        kind = type(payload).__struct_config__.tag
        for account, run, release, openings, changed, note in _lines(payload, state):
            if dataset is not None and account is not None and account.dataset != dataset:
                continue
            budget = None if account is None else state.budget(account)
            delta = default_delta if budget is None else budget.delta
            after = finite_or_none(spent(total(state, account), delta)) if account is not None and changed else None
            writer.writerow(
                (
                    entry.seq,
                    payload.at,
                    kind,
                    "" if account is None else account.name,
                    run,
                    release,
                    openings,
                    "" if not changed else "unbounded" if after is None else repr(after),
                    "" if budget is None else repr(budget.epsilon),
                    "" if account is None else repr(delta),
                    _harmless(note),
                )
            )
    return text.getvalue().encode()


def _lines(payload: Payload, state: State) -> Iterator[_Line]:
    """Account, run, release, openings, whether what it has spent may change, note."""
    match payload:
        case Opened():
            yield None, "", "", "", False, f"public key {payload.public_key.hex()}"
        case BudgetSet():
            for part in _parts(payload.holder, payload.dataset):
                yield part, "", "", "", True, ""
        case SplitFixed():
            for part in _parts(payload.holder, payload.dataset):
                yield part, "", "", "", False, f"holdout {payload.fraction:g}"
        case Lost():
            yield None, "", "", "", False, f"entries up to {payload.entry} are lost: every account is unbounded"
        case _:
            yield from _lines_of_a_run(payload, state)


def _lines_of_a_run(payload: Payload, state: State) -> Iterator[_Line]:
    match payload:
        case Reserved():
            brands = "; ".join((*(() if payload.private else ("NOT PRIVATE",)), *payload.brands))
            for charge in payload.charges:
                yield charge.account, payload.run, charge.release, charge.count, True, brands
        case Refused():
            asked = "unbounded" if payload.asked_epsilon is None else repr(payload.asked_epsilon)
            yield payload.account, payload.run, "", "", False, f"would have reached {asked}: nothing was charged"
        case Burnt():
            for charge in _charges(state, payload.run, payload.release):
                yield charge.account, payload.run, charge.release, 1, False, f"attempt {payload.index}"
        case Settled():
            note = "in full: no closing statement" if payload.closing is None else "on a signed closing statement"
            run = state.run(payload.run)
            for charge in run.reservation.charges:
                yield charge.account, payload.run, charge.release, run.charged(charge.release), True, note


def _parts(holder: str, dataset: str) -> tuple[Account, Account]:
    return Account(holder=holder, dataset=dataset, part="train"), Account(
        holder=holder, dataset=dataset, part="holdout"
    )


def _charges(state: State, run: str, release: str) -> list[Charge]:
    return [charge for charge in state.run(run).reservation.charges if charge.release == release]


def _harmless(note: str) -> str:
    """No spreadsheet takes it for a formula; the other cells are identifiers and numbers."""
    return f"'{note}" if note.startswith(("=", "+", "-", "@", "\t", "\r")) else note
