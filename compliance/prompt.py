"""The request's text: a fixed template filled from :class:`compliance.disclosed.Disclosed`, and what is fixed in it.

The template's own words are known before there is a run, so they can be told apart from what a run put in. That list
is taken from the template's source, not kept beside it, and cannot go stale.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import jinja2

from compliance.disclosed import disclosed
from compliance.facts import Data, Facts

TEMPLATES = Path(__file__).parent / "templates"
INSTRUCTIONS = (
    "You write the narrative of a compliance report for a bank's risk committee. Use only the facts in the user's"
    " message. Write plain, sober English for readers without a background in machine learning. Explain each term"
    " when it first occurs. Copy every number exactly as it is written in the facts, in digits; state no other"
    " number, no percentage that you computed, no date, and no number as a word. Whenever you state epsilon, state"
    " delta, the unit of privacy and against whom it holds; where the facts say that held-out records are not"
    " protected, say so beside it. Epsilon covers what a ledger account paid for, and nothing else. Where one process"
    " ran all roles, do not say that a server saw only sums. Name no organisation, person, place, file or address."
    " Promise nothing without a limit: do not write safe, anonymous, GDPR, compliant, guaranteed, fully protected,"
    " no risk or cannot be identified, not even to deny it. Answer with the four fields of the schema, each one short"
    " paragraph of plain text without markup."
)


def figure(value: float) -> str:
    """A number as the narrative should copy it: four significant digits, or a whole number from 1,000 on."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return re.sub(r"e([+-])0+", r"e\1", f"{value:.4g}").replace("e+", "e")


def odds(facts: Facts) -> str:
    """e^epsilon as a number to read; without limit where no epsilon holds."""
    if facts.epsilon is None:
        return "without limit"
    return figure(facts.odds) if facts.odds < 1e6 else "more than a million"


def render_prompt(facts: Facts) -> str:
    """The user's message for ``facts``."""
    return _environment().get_template("prompt.md.j2").render(facts=disclosed(facts))


def fixed_texts() -> tuple[str, ...]:
    """Every text of ours in a request that is the same for all runs, as it stands in the request's bytes."""
    environment = _environment()
    source = (TEMPLATES / "prompt.md.j2").read_text("utf-8")
    written = [text for _, kind, text in environment.lex(source) if kind == "data"]
    lines = [_escaped(line.strip()) for text in written for line in text.splitlines()]
    values = [f"Records used: {data.value}" for data in Data]
    return (*lines, *values, _escaped(INSTRUCTIONS))


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - escaping is for markup; this text goes into a JSON string, which the SDK escapes
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.clear()  # the facts are all that a template can name
    environment.filters.clear()
    environment.filters.update(figure=figure)
    return environment
