"""A statement has an answer to every question, in a format that others can check; what leaves one open is refused."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from compliance.reading import read_run
from compliance.report import write_report
from dp.statement import FORMAT, NOT_AN_ANSWER, IncompleteStatementError, PrivacyStatement
from fedsec.errors import ConfigError, FedsecError
from tests.check_readme import ROOT, anchors
from tests.compliance import privacy_schema
from tests.compliance.helpers import make_run
from tests.compliance.real_runs import KINDS

Runs = Callable[[str], Path]
Key = str | int
VALIDATOR = jsonschema.Draft202012Validator(json.loads(privacy_schema.FILE.read_text("utf-8")))


def statement_of(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "privacy.json").read_bytes())
    return loaded


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A complete statement as JSON, each kind of field in it."""
    run = make_run(tmp_path_factory.mktemp("whole") / "run", evaluation="federated")
    return statement_of(run)


def accepted(statement: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the schema, and whether the program takes it."""
    try:
        msgspec.json.decode(json.dumps(statement), type=PrivacyStatement)
    except msgspec.ValidationError:
        return VALIDATOR.is_valid(statement), False
    return VALIDATOR.is_valid(statement), True


def test_the_shipped_schema_is_that_of_the_types() -> None:
    jsonschema.Draft202012Validator.check_schema(privacy_schema.schema())
    assert privacy_schema.FILE.read_text("utf-8") == privacy_schema.text(), "python -m tests.compliance.privacy_schema"


def test_control_a_grown_type_makes_another_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = msgspec.defstruct("PrivacyStatement", [("mood", str)], bases=(PrivacyStatement,), kw_only=True)
    monkeypatch.setattr(privacy_schema, "PrivacyStatement", grown)
    assert privacy_schema.FILE.read_text("utf-8") != privacy_schema.text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_statement_of_a_real_run_is_valid(kind: str, run_of: Runs) -> None:
    statement = statement_of(run_of(kind))
    assert [error.message for error in VALIDATOR.iter_errors(statement)] == []
    assert accepted(statement) == (True, True)
    assert statement["version"] == FORMAT
    assert accepted(statement | {"version": 1}) == (False, False)  # the control


def test_the_kinds_of_run_say_different_things(run_of: Runs) -> None:
    told = {kind: statement_of(run_of(kind)) for kind in KINDS}
    assert told["local"]["sampling"]["amplification"] and not told["distributed, public"]["sampling"]["amplification"]
    assert told["local"]["conservative"] and not told["distributed, public"]["conservative"]
    assert told["entity"]["unit_rows"] == 2 and told["entity"]["unit"] == "entity at one bank"
    assert any(step["reads"] == "one entity" for step in told["entity"]["preparation"])
    held_out = {kind: each["data_exposure"]["held_out"] for kind, each in told.items()}
    assert "no account can pay" in held_out["own data, public"]
    assert held_out["distributed, federated"].startswith("nobody but their bank")
    assert told["own data, public"]["outside_ledger"] and told["distributed, federated"]["outside_ledger"] == []
    assert any(step["paid_by"] == "outside the ledger" for step in told["entity"]["preparation"])
    assert {proof["release"] for proof in told["distributed, federated"]["proofs"]} == {
        "scaling",
        "training",
        "evaluation",
    }
    assert any("#5-" in proof["document"] for proof in told["local"]["proofs"])
    assert not any("#5-" in proof["document"] for proof in told["distributed, public"]["proofs"])


def test_a_run_that_is_not_private_states_no_epsilon_anywhere(run_of: Runs) -> None:
    statement = statement_of(run_of("NOT PRIVATE"))
    assert not statement["private"]
    assert statement["epsilon"] is None and statement["planned_epsilon"] is None and statement["cross_checks"] == {}
    assert {bound["epsilon"] for bound in statement["adversaries"]} == {None}
    assert statement["noise"]["repeatable"] and not statement["conservative"]
    for field, value in (("epsilon", 1.0), ("planned_epsilon", 1.0), ("conservative", True), ("private", True)):
        assert accepted(statement | {field: value}) == (False, False), field  # the control


def test_proofs_and_documents_that_a_statement_names_exist(run_of: Runs) -> None:
    for kind in KINDS:
        for proof in statement_of(run_of(kind))["proofs"]:
            document, _, anchor = proof["document"].partition("#")
            assert anchor in anchors((ROOT / document).read_text("utf-8")), proof
    assert "7-no-such-section" not in anchors((ROOT / "docs" / "noise.md").read_text("utf-8"))  # the control


def listed_fields(page: str) -> list[str]:
    """The fields in the table of docs/privacy.md."""
    return re.findall(r"^\| `(\w+)` \|", page.partition("## The statement")[2].partition("\n### ")[0], re.MULTILINE)


def test_the_documented_fields_are_those_of_the_format() -> None:
    page = (ROOT / "docs" / "privacy.md").read_text("utf-8")
    assert listed_fields(page) == [field.name for field in msgspec.structs.fields(PrivacyStatement)]
    assert listed_fields(page.replace("| `bias` |", "| `mood` |")) != listed_fields(page)  # the control


def places(node: Any, path: tuple[Key, ...] = ()) -> Iterator[tuple[Key, ...]]:
    """The path of every field below ``node``, of lists the first element's."""
    if isinstance(node, dict):
        for key, each in node.items():
            yield (*path, key)
            yield from places(each, (*path, key))
    elif isinstance(node, list) and node:
        yield from places(node[0], (*path, 0))


def changed(statement: dict[str, Any], path: tuple[Key, ...], value: Any) -> dict[str, Any]:
    """A copy with ``value`` at ``path``; None in a list of one takes the field away."""
    copied = copy.deepcopy(statement)
    node: Any = copied
    for key in path[:-1]:
        node = node[key]
    if value == [None]:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return copied


def test_each_missing_field_is_refused_by_the_schema_and_by_the_program(whole: dict[str, Any]) -> None:
    assert accepted(whole) == (True, True)  # the control
    tried = 0
    for path in places(whole):
        if path[0] != "cross_checks" or len(path) == 1:  # accountants are free names
            assert accepted(changed(whole, path, [None])) == (False, False), path
            tried += 1
    assert tried > 90


def test_each_mistyped_field_is_refused_by_the_schema_and_by_the_program(whole: dict[str, Any]) -> None:
    for path in places(whole):
        assert accepted(changed(whole, path, {"no": "such type"})) == (False, False), path
    for path in (("epsilon",), ("delta",), ("slots",), ("releases", 0, "charged")):
        assert accepted(changed(whole, path, -1)) == (False, False), path
    assert accepted(whole | {"mood": "fine"}) == (False, False)  # a field of no version


def test_each_text_that_says_nothing_is_refused_by_the_schema_and_by_the_program(whole: dict[str, Any]) -> None:
    def at(path: tuple[Key, ...]) -> Any:
        node: Any = whole
        for key in path:
            node = node[key]
        return node

    texts = [path for path in places(whole) if isinstance(at(path), str)]
    texts += [(name, 0) for name in ("voids", "outside_ledger", "brands")] + [("adversaries", 0, "trusts", 0)]
    assert len(texts) > 40
    for path in texts:
        for nothing in ("", "   ", "unknown", "TBD"):
            assert accepted(changed(whole, path, nothing)) == (False, False), (path, nothing)
    for word in NOT_AN_ANSWER:
        for spelt in (word, word.upper(), f" {word}. "):
            assert accepted(whole | {"bias": spelt}) == (False, False), spelt
    assert accepted(whole | {"bias": "What it does to the few is unknown to nobody."}) == (True, True)  # the control


@pytest.mark.parametrize("field", ["preparation", "proofs", "side_channels", "constants", "releases", "voids"])
def test_an_empty_list_is_no_answer_but_where_it_says_that_there_is_nothing(field: str, whole: dict[str, Any]) -> None:
    assert accepted(whole | {field: []}) == (False, False)
    assert accepted(whole | {"outside_ledger": []}) == (True, True)  # explicitly none


def test_fields_that_contradict_each_other_are_refused(whole: dict[str, Any]) -> None:
    adversaries = whole["adversaries"]
    wrong: list[dict[str, Any]] = [
        {"unit_rows": 3},
        {"unit": "entity at one bank"},
        {"epsilon": None},
        {"private": False},
        {"adversaries": adversaries[1:]},
        {"adversaries": [*adversaries[1:], adversaries[1]]},
        {"adversaries": [each | {"target": False} for each in adversaries]},
        {"adversaries": [each | {"target": True} for each in adversaries]},
    ]
    for change in wrong:
        assert accepted(whole | change) == (False, False), change
    # What one JSON Schema cannot say, the program does.
    assert not accepted(whole | {"parameters": whole["parameters"][1:]})[1]
    assert not accepted(whole | {"proofs": whole["proofs"][1:]})[1]
    assert not accepted(whole | {"releases": [*whole["releases"], whole["releases"][0]]})[1]


def test_a_statement_with_an_unknown_field_cannot_be_made(whole: dict[str, Any]) -> None:
    complete = msgspec.json.decode(json.dumps(whole), type=PrivacyStatement)
    for change, field in (
        ({"bias": ""}, "bias"),
        ({"bias": "to be determined"}, "bias"),
        ({"voids": ("fine", "?")}, "voids[1]"),
        ({"key_exchange": "x448"}, "key_exchange"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"epsilon": None}, "epsilon"),
        ({"outside_ledger": None}, "outside_ledger"),
        ({"proofs": ()}, "proofs"),
    ):
        with pytest.raises(IncompleteStatementError) as refusal:
            msgspec.structs.replace(complete, **change)
        assert isinstance(refusal.value, FedsecError) and refusal.value.field == field
    assert msgspec.structs.replace(complete, bias="None was measured.") != complete  # the control


@pytest.mark.parametrize(("path", "value"), [(("bias",), [None]), (("bias",), "unknown"), (("noise", "cut"), "twelve")])
def test_no_report_is_written_from_an_incomplete_statement(
    path: tuple[Key, ...], value: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", evaluation="federated")
    (run / "privacy.json").write_text(json.dumps(changed(whole, path, value)), "utf-8")
    with pytest.raises(ConfigError) as refusal:
        write_report(run, narrator=None, identifiers=None)
    assert "privacy.json" in refusal.value.message and str(path[-1]) in refusal.value.message
    assert len(refusal.value.message.splitlines()) == 1
    assert not list(run.glob("report.*"))
    (run / "privacy.json").write_text(json.dumps(whole), "utf-8")  # the control
    assert read_run(run).statement.bias and write_report(run, narrator=None, identifiers=None).html.is_file()
