"""A request to a language model passes only if it is made of the fixed texts and of figures of the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compliance.reading import facts_of, read_run
from fedsec_verify import outbound_step
from fedsec_verify.findings import Refused
from fedsec_verify.report_step import Narrative, Report, told_figures
from tests.compliance.helpers import BANKS, make_run
from tests.verifier.fixed_texts import FILE, current, requests

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"evaluation": "federated", "dataset": "own data"},
    {"dataset": "own data"},
    {"mode": "local", "simulated": False, "budget": None},
    {"survivors": 4},
    {"private": False},
)
# What is a word of the fixed texts is no evidence of a bank of that name.
NAMES = [name for name in BANKS if name not in ("Loss", "Training", "Server", "User", "10")]


def checked(body: dict[str, Any], facts: Any) -> None:
    report = Report(
        version=1,
        facts=facts.model_dump(mode="json"),
        narrative=Narrative(writer="openai", model=body["model"], reason=None, requests=1, sections={}),
        provenance={},
    )
    data = json.dumps(body).encode()
    outbound_step._check_request(data, "outbound/request-001.json", report, told_figures(report))


def test_the_verifiers_list_is_the_programs() -> None:
    assert json.loads(FILE.read_bytes()) == current()
    assert "Ecorp" not in FILE.read_text("utf-8"), "control: and no list of everything"


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_request_of_the_program_passes(variant: dict[str, Any], tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run", **variant)))
    for body in requests(facts):
        checked(body, facts)
        with pytest.raises(Refused):
            checked({**body, "metadata": {}}, facts)


def spelled(body: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    changed = json.loads(json.dumps(body))
    if "input" in changed:
        changed["input"] = change(changed["input"])
    else:
        changed["messages"][1]["content"] = change(changed["messages"][1]["content"])
    return changed


EDITS: dict[str, Callable[[str], str]] = {
    "a number": lambda text: text.replace("10", "97", 1),
    "a figure of one bank": lambda text: text + "\nBanks in the federation: 48213",
    "base64": lambda text: text + "\nTm9yZGhhZmVuIFByaXZhdGJhbms=",
    "hex": lambda text: text + "\n4e6f726468616665",
    "an e-mail address": lambda text: text + " a.person@bank.example",
    "a path": lambda text: text.replace("\n", " /srv/fraud\n", 1),
    "an account": lambda text: text + " DE89370400440532013000",
    "a host": lambda text: text + " fraudlab-worker-07",
    "a word": lambda text: text.replace("Delta", "Delta of Nordhafen", 1),
    "a letter": lambda text: text.replace("epsilon", "epsiion", 1),
    "digits as letters": lambda text: text + "\none two three",
}


@pytest.mark.parametrize("name", EDITS)
def test_whatever_is_put_into_a_request_is_found(name: str, tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    for body in requests(facts):
        checked(spelled(body, lambda text: text), facts)
        with pytest.raises(Refused):
            checked(spelled(body, EDITS[name]), facts)


@pytest.mark.parametrize("bank", NAMES)
def test_a_banks_name_has_no_place_in_a_request(bank: str, tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    body = requests(facts)[0]
    for form in (bank, bank.upper(), bank[::-1], " ".join(bank)):
        for place in (lambda text, form=form: text + form, lambda text, form=form: form + text):
            with pytest.raises(Refused):
                checked(spelled(body, place), facts)
    with pytest.raises(Refused):
        checked({**body, "model": f"model of {bank}"}, facts)
