"""The JSON Schema of ``privacy.json``, from the types that the program reads and writes it with.

``python -m tests.compliance.privacy_schema`` writes it anew; a test fails where the shipped file differs. Rules between
fields, which types cannot say, are added here and tried against the program's own.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_args

import msgspec

from dp.statement import FORMAT, NOT_AN_ANSWER, AdversaryName, PrivacyStatement

FILE = Path(__file__).resolve().parents[2] / "compliance" / "schemas" / "privacy-statement.schema.json"


def rules() -> list[dict[str, Any]]:
    """What fields demand of each other."""
    null, number = {"type": "null"}, {"type": "number"}
    bounds = {"items": {"properties": {"epsilon": null}}}
    is_private = {"properties": {"private": {"const": True}}, "required": ["private"]}
    of_records = {"properties": {"unit": {"const": "record"}}, "required": ["unit"]}
    nothing = {"epsilon": null, "planned_epsilon": null, "conservative": {"const": False}}
    return [
        {
            "if": is_private,
            "then": {"properties": {"epsilon": number, "planned_epsilon": number}},
            "else": {"properties": {**nothing, "adversaries": bounds, "cross_checks": {"maxProperties": 0}}},
        },
        {
            "if": of_records,
            "then": {"properties": {"unit_rows": null}},
            "else": {"properties": {"unit_rows": {"type": "integer"}}},
        },
        {"properties": {"adversaries": {"minItems": 4, "maxItems": 4}}},
        *(
            {"properties": {"adversaries": {"contains": {"properties": {"name": {"const": name}}}}}}
            for name in get_args(AdversaryName)
        ),
        {
            "properties": {
                "adversaries": {
                    "contains": {"properties": {"target": {"const": True}}},
                    "minContains": 1,
                    "maxContains": 1,
                }
            }
        },
    ]


def answered(node: Any) -> Any:
    """``node`` with every free text replaced by the definition "Text"."""
    if isinstance(node, dict):
        if node.get("type") == "string" and node.get("minLength") == 1:
            return {"$ref": "#/$defs/Text"}
        return {key: answered(value) for key, value in node.items()}
    return [answered(each) for each in node] if isinstance(node, list) else node


def a_text() -> dict[str, Any]:
    """A text that says something: none of the program's words for "not known", in whatever case."""
    words = sorted(word for word in NOT_AN_ANSWER if word)
    spelt = "|".join("".join(_either(letter) for letter in word) for word in words)
    return {"type": "string", "pattern": r"\S", "not": {"pattern": rf"^\s*(?:{spelt})?\.*\s*$"}}


def _either(letter: str) -> str:
    if letter.isalpha():
        return f"[{letter}{letter.upper()}]"
    return f"\\{letter}" if letter in "?./-" else letter


def schema() -> dict[str, Any]:
    """The schema, JSON Schema draft 2020-12."""
    made = msgspec.json.schema(PrivacyStatement)
    definitions = made["$defs"]
    statement = definitions.pop("PrivacyStatement")
    for definition in (statement, *definitions.values()):
        definition["description"] = inspect.cleandoc(definition.get("description", "")).replace("``", "")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:fedsec:privacy-statement:{FORMAT}",
        **answered(statement),
        "allOf": rules(),
        "$defs": {**answered(definitions), "Text": a_text()},
    }


def text() -> str:
    """The file's text."""
    return json.dumps(schema(), ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
