"""Every headline figure of the page says which fact of report.json it is, and says the same number."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from compliance.marks import marked
from compliance.prompt import figure
from compliance.reading import facts_of, read_run
from compliance.report import write_report
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.pages import RUNS

# What an auditor compares: where it is stated at all, it is marked.
PATHS = (
    "epsilon", "planned_epsilon", "delta", "quality.roc_auc", "quality.average_precision", "quality.accuracy", "banks",
    "rounds_opened", "slots", "audit.lower_bound", "audit.claimed_epsilon",
)  # fmt: skip
# Distinct enough that the same digits elsewhere are the same figure. Counts such as 10 are not.
TELLING = re.compile(r"\d+\.\d{2,}|\d{1,3}(,\d{3})+|\d+e-\d+")
# A writer's text; exact figures in full; the attacks' own words; the statement's lines, each of which names its file.
EXCEPT = ("narrative", "recompute", "attacks", "privacy-statement")


class Shown(HTMLParser):
    """Marks of a page, and its other text, by section."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.marks: list[tuple[str, str, str]] = []
        self.bare: dict[str, list[str]] = {}
        self._section = "header"
        self._mark: tuple[str, str] | None = None
        self._quiet = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "section":
            self._section = named.get("id") or ""
        if tag == "data":
            self._mark = (named["data-fact"] or "", named["value"] or "")
        # pictures and their tables are drawn from many figures at once
        self._quiet += tag in ("svg", "style", "figure")

    def handle_endtag(self, tag: str) -> None:
        if tag == "data":
            self._mark = None
        self._quiet -= tag in ("svg", "style", "figure")

    def handle_data(self, data: str) -> None:
        if self._mark is not None:
            self.marks.append((*self._mark, data))
        elif not self._quiet:
            self.bare.setdefault(self._section, []).append(data)


def shown(page: str) -> Shown:
    parser = Shown()
    parser.feed(page)
    return parser


def at(facts: dict[str, Any], path: str) -> Any:
    value: Any = facts
    for part in path.split("."):
        value = None if value is None else value[int(part)] if isinstance(value, list) else value[part]
    return value


def stated(facts: dict[str, Any]) -> dict[str, float]:
    """The figures that have to be marked, by path."""
    paths = [
        *PATHS,
        *(
            f"balances.{n}.{name}"
            for n in range(len(facts["balances"]))
            for name in ("spent_epsilon", "budget_epsilon")
        ),
        *(f"bounds.{n}.epsilon" for n in range(len(facts["bounds"]))),
    ]
    return {path: value for path in paths if (value := at(facts, path)) is not None}


def unmarked(page: Shown, facts: dict[str, Any]) -> list[str]:
    """Telling figures that stand in the page's text without a mark, and figures without any mark at all."""
    figures = stated(facts)
    telling = {figure(value): path for path, value in figures.items() if TELLING.fullmatch(figure(value))}
    bare = [
        f"{telling[number]} in {section}"
        for section, texts in page.bare.items()
        if section not in EXCEPT
        for number in re.findall(r"(?<![\d.])\d[\d,.]*(?:e-\d+)?(?<![.,])", " ".join(texts))
        if number in telling
    ]
    marks = {path for path, _, _ in page.marks}
    return bare + [path for path in figures if path not in marks]


@pytest.mark.parametrize("name", RUNS)
def test_every_headline_figure_is_marked_and_true(name: str, tmp_path: Path) -> None:
    outcome = write_report(RUNS[name](tmp_path / "run"), narrator=None, identifiers=IDENTIFIERS)
    facts = json.loads(outcome.json.read_bytes())["facts"]
    text = outcome.html.read_text("utf-8")
    page = shown(text)
    assert unmarked(page, facts) == []
    assert len(page.marks) > 30
    for path, value, rounded in page.marks:
        assert json.loads(value) == at(facts, path), path
        assert rounded == figure(json.loads(value)), path
    # Control: with one kind of mark taken off, its figure is found bare.
    for path, value in stated(facts).items():
        if TELLING.fullmatch(figure(value)):
            stripped = re.sub(rf'<data value="[^"]*" data-fact="{re.escape(path)}">([^<]*)</data>', r"\1", text)
            assert unmarked(shown(stripped), facts), path


def test_a_mark_is_of_a_number_that_exists(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    assert (
        marked(facts, "balances.1.spent_epsilon") == '<data value="0.7" data-fact="balances.1.spent_epsilon">0.7</data>'
    )
    for path in ("private", "audit", "unit", "bounds"):
        with pytest.raises(ValueError, match="no number"):
            marked(facts, path)
    with pytest.raises(AttributeError):
        marked(facts, "epsilonn")
