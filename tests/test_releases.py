"""docs/releases.md has a row for every field of every message that a bank sends, and for no other."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

import fl_engine.messages
import secagg.draw
import secagg.messages
from fl_engine.plan import ENTITY, RECORD
from fl_engine.privacy import MECHANISMS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "releases.md"
FIELD = re.compile(r"^\| `([A-Z]\w*)\.(\w+)` \|", re.MULTILINE)
CELLS = 8

# What only the coordinator sends, or what is a base class. A new message type is a bank's until it is named here.
COORDINATORS = {
    secagg.messages: {
        "Message",
        "AdvertiseRequest",
        "Listing",
        "ShareRequest",
        "MaskRequest",
        "Dealing",
        "Delivery",
        "AgreeRequest",
        "UnmaskRequest",
        "Agreement",
    },
    secagg.draw: {"RevealRequest", "Drawn"},
    fl_engine.messages: {"Offer", "RoundInputs", "Request", "Countersign"},
}


def structs(module: ModuleType) -> dict[str, type[msgspec.Struct]]:
    """The message types that ``module`` itself defines."""
    return {
        name: kind
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    }


def sent_fields(module: ModuleType) -> set[str]:
    """``Message.field`` of everything in ``module`` that a bank may send."""
    return {
        f"{name}.{field.name}"
        for name, kind in structs(module).items()
        if name not in COORDINATORS[module]
        for field in msgspec.structs.fields(kind)
    }


def listed(page: str) -> list[str]:
    return [f"{message}.{field}" for message, field in FIELD.findall(page)]


def faults(page: str, sent: set[str]) -> list[str]:
    rows = listed(page)
    return [
        *(f"{field} has no row" for field in sorted(sent - set(rows))),
        *(f"{field} does not exist" for field in sorted(set(rows) - sent)),
        *(f"{field} has two rows" for field in sorted(set(rows)) if rows.count(field) > 1),
    ]


def everything_sent() -> set[str]:
    return set().union(*(sent_fields(module) for module in COORDINATORS))


def reachable(kind: object) -> set[str]:
    """Names of the message types in ``kind``'s fields, itself included."""
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return {kind.__name__}.union(*(reachable(hint) for hint in hints.values()))
    return set().union(*(reachable(part) for part in typing.get_args(kind)))


def test_every_field_that_a_bank_sends_has_a_row_and_every_row_a_field():
    assert faults(PAGE.read_text("utf-8"), everything_sent()) == []


def test_every_row_is_complete():
    for line in PAGE.read_text("utf-8").splitlines():
        if FIELD.match(line):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            assert len(cells) == CELLS, line
            assert all(cells) or cells[0] == "`Reply.payload`", f"an empty cell: {line}"
            if cells[2] == "—":
                assert cells[3:7] == ["—"] * 4 and len(cells[7]) > 5, f"why does it reveal nothing? {line}"


def test_what_counts_as_the_coordinators_is_never_in_a_clients_message():
    for kind in typing.get_args(secagg.messages.ClientMessage):
        assert not reachable(kind) & COORDINATORS[secagg.messages]
    assert not reachable(fl_engine.messages.Answer) & COORDINATORS[fl_engine.messages]
    assert not reachable(fl_engine.messages.Reply) & COORDINATORS[fl_engine.messages]
    assert not reachable(fl_engine.messages.Countersigned) & COORDINATORS[fl_engine.messages]
    for module, names in COORDINATORS.items():
        assert names <= set(structs(module))


def test_every_kind_of_sum_has_a_row():
    page = PAGE.read_text("utf-8").partition("## The sums")[2].partition("## What else")[0]
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set(MECHANISMS[RECORD]) == set(MECHANISMS[ENTITY])


@pytest.mark.parametrize("gone", ["Mask.payload", "Answer.accepted", "Entry.ciphertext"])
def test_control_a_missing_row_is_found(gone):
    page = "\n".join(line for line in PAGE.read_text("utf-8").splitlines() if f"`{gone}`" not in line)
    assert faults(page, everything_sent()) == [f"{gone} has no row"]


def test_control_a_row_for_no_field_and_a_row_too_many_are_found():
    page = PAGE.read_text("utf-8") + "\n| `Mask.records` | x |\n| `Mask.index` | x |\n"
    assert faults(page, everything_sent()) == ["Mask.records does not exist", "Mask.index has two rows"]


def test_control_a_message_with_a_new_field_is_found(monkeypatch):
    grown = msgspec.defstruct("Answer", [("accepted", bool), ("rows", int)], module=fl_engine.messages.__name__)
    monkeypatch.setattr(fl_engine.messages, "Answer", grown)
    assert faults(PAGE.read_text("utf-8"), everything_sent()) == ["Answer.rows has no row"]


def test_control_a_new_message_counts_as_a_banks(monkeypatch):
    new = msgspec.defstruct("Statistics", [("rows", int)], module=fl_engine.messages.__name__)
    monkeypatch.setattr(fl_engine.messages, "Statistics", new, raising=False)
    assert faults(PAGE.read_text("utf-8"), everything_sent()) == ["Statistics.rows has no row"]
