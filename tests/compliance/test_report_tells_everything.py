"""The three files of a report: complete, alike, self-contained, and no ε without its δ, unit and adversary."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from matplotlib.axes import Axes

from compliance.figures import pictures
from compliance.identifiers import Identifiers
from compliance.narrative import NarratorSettings
from compliance.prompt import render_prompt
from compliance.reading import facts_of, read_run
from compliance.report import WITHHELD, write_report
from dp.statement import PrivacyStatement
from fl_engine.records import RunSummary
from tests.compliance.helpers import IDENTIFIERS, RUN, make_run
from tests.compliance.pages import without_bound
from tests.compliance.server import GOOD, RecordingServer

SECTIONS = (
    "Summary", "What was done", "Result", "The promise", "The guarantee, adversary by adversary",
    "What was released, and who paid", "Budget", "Banks that took part", "Audit: measured against claimed", "Attacks",
    "Next steps", "Releases outside the ledger", "What would void the claim", "Open risks and limits",
    "What this report does not answer", "Originals for recomputation",
    "Origin and cost", "Words",
)  # fmt: skip
VARIANTS = {
    "public": {},
    "federated on own data": {"evaluation": "federated", "dataset": "own data", "epsilon": 0.93},
    "public on own data, no budget": {"dataset": "own data", "budget": None, "simulated": False},
    "public on own data": {"dataset": "own data"},
    "not private": {"private": False},
    "local mode": {"mode": "local"},
    "five banks": {"banks": 5, "aborted": (), "survivors": 4},
    "many rounds, many aborts": {"rounds": 60, "aborted": (2, 3, 4, 40, 41)},
}


class Page(HTMLParser):
    """Checks nesting and collects what a browser would act on."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input", "path", "use", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.headings: list[str] = []
        self.unlabelled = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.references += [named[key] or "" for key in ("href", "src", "xlink:href", "action") if key in named]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if named.get("role") == "img" and not named.get("aria-label"):
            self.unlabelled += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, tag


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_section_is_there_and_the_page_needs_nothing_else(variant: dict[str, object], tmp_path: Path) -> None:
    outcome = write_report(
        make_run(tmp_path / "run", **variant),  # type: ignore[arg-type]  # keywords of the helper
        narrator=None,
        identifiers=IDENTIFIERS,
    )
    html, markdown = outcome.html.read_text("utf-8"), outcome.markdown.read_text("utf-8")
    for section in SECTIONS:
        assert f">{section}</h2>" in html
        assert f"## {section}\n" in markdown
    page = Page()
    page.feed(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(reference.startswith("#") for reference in page.references), page.references
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert not page.tags & {"script", "link", "iframe", "object", "img", "image"}
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org)", html)
    assert page.headings[0] == "h1"
    assert page.headings.count("h1") == 1
    assert page.unlabelled == 0
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert "{{" not in html + markdown
    assert "None" not in re.sub(r"None (of them|is listed)", "", html + markdown)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_no_bare_epsilon_is_stated(variant: dict[str, object], tmp_path: Path) -> None:
    outcome = write_report(make_run(tmp_path / "run", **variant), narrator=None, identifiers=None)  # type: ignore[arg-type]  # as above
    narrative = json.loads(outcome.json.read_bytes())["narrative"]["sections"]
    for sentence in re.findall(r"ε = [\d.]+[^.]*", " ".join(narrative.values())):
        assert "δ" in sentence
    html = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", outcome.html.read_text("utf-8").replace("&nbsp;", " ")))
    for text in (html, outcome.markdown.read_text("utf-8")):
        for found in re.finditer(r"ε = [\d.]+", text):
            assert "δ" in text[found.start() : found.start() + 60], text[found.start() : found.start() + 60]
    assert "per record" in html
    assert "zero-out" in html


def test_brands_are_on_top_of_every_file(tmp_path: Path) -> None:
    branded = write_report(make_run(tmp_path / "a", private=False), narrator=None, identifiers=None)
    clean = write_report(make_run(tmp_path / "b", simulated=False), narrator=None, identifiers=None)
    for brand in ("NOT PRIVATE", "SIMULATED KEYS"):
        for file in (branded.html, branded.markdown):
            text = file.read_text("utf-8")
            assert 0 < text.index(brand) < text.index("Summary")
        assert brand not in clean.html.read_text("utf-8") + clean.markdown.read_text("utf-8")
    facts = json.loads(branded.json.read_bytes())["facts"]
    assert facts["private"] is False
    assert facts["simulated_keys"] is True
    assert "NO privacy" in branded.markdown.read_text("utf-8")
    assert branded.html.read_text("utf-8").count("no guarantee") > clean.html.read_text("utf-8").count("no guarantee")


def test_an_epsilon_above_one_is_said_to_be(tmp_path: Path) -> None:
    above = write_report(make_run(tmp_path / "a", epsilon=1.01), narrator=None, identifiers=None)
    below = write_report(make_run(tmp_path / "b", epsilon=1.0), narrator=None, identifiers=None)
    for file in ("html", "markdown"):
        assert "ε is above 1" in getattr(above, file).read_text("utf-8")
        assert "ε is above 1" not in getattr(below, file).read_text("utf-8")


def test_the_target_adversary_is_the_one_that_epsilon_is_stated_against(tmp_path: Path) -> None:
    local = write_report(make_run(tmp_path / "a", mode="local"), narrator=None, identifiers=None)
    shared = write_report(make_run(tmp_path / "b"), narrator=None, identifiers=None)
    for file in ("html", "markdown"):
        assert "against the server together with all other banks" in getattr(local, file).read_text("utf-8")
        assert "against the server together with up to 3 banks" not in getattr(local, file).read_text("utf-8")
        assert "against the server together with up to 3 banks" in getattr(shared, file).read_text("utf-8")


def both(run: Path) -> Iterator[str]:
    """The page and the Markdown, each as one line of plain text."""
    outcome = write_report(run, narrator=None, identifiers=IDENTIFIERS)
    yield re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", outcome.html.read_text("utf-8").replace("&nbsp;", " ")))
    yield re.sub(r"[\\*`]", "", outcome.markdown.read_text("utf-8"))


def test_epsilon_covers_what_an_account_paid_for_and_no_held_out_record_that_is_shown(tmp_path: Path) -> None:
    for text in both(make_run(tmp_path / "shown", dataset="own data")):
        assert text.count("eld-out records are not protected") == 3, "beside ε, in the promise, in the summary"
        assert "Whatever an account paid for" in text and "Whatever was released" not in text
        assert "can tell from whatever an account paid for" in text
        assert "from what was released" not in text
    for text in both(make_run(tmp_path / "hidden", dataset="own data", evaluation="federated")):
        assert "eld-out records are not protected" not in text


def test_a_ledgers_balance_is_of_this_ledger_and_of_no_one_adversary(tmp_path: Path) -> None:
    for text in both(make_run(tmp_path / "run")):
        assert "each run counted against its own target adversary" in text
        assert text.count("ll runs that this ledger charged to this data-set id") == 2
        assert "All runs on the same records" not in text


def test_with_simulated_keys_no_server_saw_only_sums(tmp_path: Path) -> None:
    simulated, real = make_run(tmp_path / "a"), make_run(tmp_path / "b", simulated=False)
    for mode, text in ((mode, text) for mode, run in (("a", simulated), ("b", real)) for text in both(run)):
        assert ("in the protocol, the server sees only sums over the banks, here one process" in text) == (mode == "a")
        assert ("so the server saw only sums" in text) == (mode == "b")
        assert ("(a roster of simulated keys)" in text) == (mode == "a")


def test_a_run_can_be_matched_with_its_ledger_and_roster(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for text in both(run):
        assert "a7" * 32 in text and "0b" * 32 in text and "d4" * 32 in text and "417" in text
        assert "the run's records are signed in" in text and "evidence/" in text
    origin = json.loads((run / "report.json").read_bytes())["provenance"]
    assert origin["ledger"] == {"public_key": "a7" * 32, "entry": 417, "hash": "0b" * 32}
    assert origin["roster"] == "d4" * 32


def test_whether_the_budget_was_kept_is_answered(tmp_path: Path) -> None:
    runs = {
        "No budget was set: the accounts were charged": make_run(tmp_path / "none", budget=None),
        "Yes: no account with a budget has spent more": make_run(tmp_path / "kept", budget=4.0),
        "Not as it now stands": make_run(tmp_path / "over", budget=2.0),
    }
    for run in runs.values():
        for text in both(run):
            assert [answer for answer in runs if answer in text] == [next(a for a in runs if runs[a] == run)]


def test_an_account_without_a_bound_is_said_to_have_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    summary = msgspec.json.decode((run / "summary.json").read_bytes(), type=RunSummary)
    unbounded = tuple(msgspec.structs.replace(balance, spent_epsilon=None) for balance in summary.ledger)
    (run / "summary.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(summary, ledger=unbounded)))
    for text in both(run):
        assert "no bound" in text and "more than any ε bounds" in text
        assert "Not as it now stands" in text
    assert "spent epsilon: no bound" in render_prompt(facts_of(read_run(run)))


def test_intervals_the_share_of_fraud_and_the_factor_stand_beside_their_figures(tmp_path: Path) -> None:
    for text in both(make_run(tmp_path / "noisy", evaluation="federated")):
        assert text.count("95 % interval: 0.7719 to 0.8498") + text.count("95 % interval 0.7719 to 0.8498") == 2
        assert text.count("0.0383") >= 2
        assert text.count("here 19.55") == 3
    for text in both(make_run(tmp_path / "exact")):
        assert "none computed" in text
        assert "not noisy" not in text


def test_the_share_of_fraud_leaves_only_where_an_account_paid_or_the_records_are_invented(tmp_path: Path) -> None:
    for sent, dataset, evaluation in (
        (True, "synthetic", "public"),
        (True, "own data", "federated"),
        (False, "own data", "public"),
    ):
        run = make_run(tmp_path / dataset / evaluation, dataset=dataset, evaluation=evaluation)
        prompt = render_prompt(facts_of(read_run(run)))
        assert ("at least 0.02, at most 0.05" in prompt) == sent
        assert "0.0383" not in prompt
        assert "a7a7" not in prompt and "d4d4" not in prompt and "417" not in prompt


def test_no_bar_has_the_true_height_of_fewer_than_five_banks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[object] = []
    bar = Axes.bar

    def recorded(axes: Axes, x: object, height: object, **style: object) -> object:
        heights.append(height)
        return bar(axes, x, height, **style)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Axes, "bar", recorded)
    for survivors, shown in ((3, 5), (4, 5), (7, [7] * 15)):
        banks = 5 if survivors < 5 else 10
        run = make_run(tmp_path / f"{survivors}", banks=banks, survivors=survivors, rounds=14, aborted=())
        pictures(facts_of(read_run(run)))
        assert heights.pop() == shown
        assert heights == []


def test_one_bank_is_one_bank(tmp_path: Path) -> None:
    for text in both(make_run(tmp_path / "run", banks=5, survivors=5, aborted=())):
        assert "up to 1 bank" in text and "up to 1 of the banks" not in text and "up to 1 banks" not in text


def test_a_models_text_comes_after_the_disclaimer(tmp_path: Path) -> None:
    with RecordingServer() as server:
        narrator = NarratorSettings(base_url=server.url)
        outcome = write_report(make_run(tmp_path / "run"), narrator=narrator, identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    for text in (outcome.html.read_text("utf-8"), outcome.markdown.read_text("utf-8")):
        assert 0 < text.index("Written by a language model") < text.index(GOOD["summary"])
        assert text.count("Written by a language model") == 1


def test_the_originals_are_exact(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluation="federated")
    outcome = write_report(run, narrator=None, identifiers=None)
    statement = msgspec.json.decode((run / "privacy.json").read_bytes(), type=PrivacyStatement)
    originals = json.loads(outcome.json.read_bytes())["facts"]["originals"]
    for expected, shown in zip(statement.parameters, originals, strict=True):
        assert msgspec.structs.asdict(expected) == shown
        for value in (expected.sensitivity, expected.share_variance, expected.noise_multiplier):
            assert str(value) in outcome.html.read_text("utf-8")
            assert str(value) in outcome.markdown.read_text("utf-8")


def test_a_sentence_of_the_run_that_names_a_bank_is_withheld(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    statement = msgspec.json.decode((run / "privacy.json").read_bytes(), type=PrivacyStatement)
    leaky = msgspec.structs.replace(
        statement,
        voids=("Nordhafen Privatbank sent nothing.", "A bank with 48,213 rows left."),
        outside_ledger=("Fine.",),
    )
    (run / "privacy.json").write_bytes(msgspec.json.encode(leaky))
    outcome = write_report(run, narrator=None, identifiers=IDENTIFIERS)
    for file in (outcome.html, outcome.markdown):
        text = file.read_text("utf-8").replace("\\", "")
        assert "Nordhafen" not in text
        assert "48,213" not in text
        assert text.count(WITHHELD) == 2  # each stands once
        assert "Fine." in text
    control = write_report(run, narrator=None, identifiers=Identifiers())
    assert "Nordhafen" in control.html.read_text("utf-8")


def test_markup_in_the_runs_sentences_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    statement = msgspec.json.decode((run / "privacy.json").read_bytes(), type=PrivacyStatement)
    nasty = "<script>alert(1)</script> [x](http://y) | cell"
    (run / "privacy.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(statement, voids=(nasty,))))
    outcome = write_report(run, narrator=None, identifiers=None)
    assert "<script>" not in outcome.html.read_text("utf-8") + outcome.markdown.read_text("utf-8")
    assert "&lt;script&gt;" in outcome.html.read_text("utf-8")
    assert r"\[x\](http://y) \| cell" in outcome.markdown.read_text("utf-8")


def test_the_same_run_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = {path.name for path in run.iterdir()}
    first = [path.read_bytes() for path in _files(run)]
    assert {path.name for path in run.iterdir()} - before == {"report.html", "report.md", "report.json"}
    assert [path.read_bytes() for path in _files(run)] == first
    assert json.loads(first[2])["provenance"]["run"] == RUN


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    old = [path.read_bytes() for path in _files(run)]

    def crash(*_: object, **__: object) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", crash)
    with pytest.raises(OSError, match="disk full"):
        write_report(run, narrator=None, identifiers=None)
    monkeypatch.undo()
    assert [(run / name).read_bytes() for name in ("report.html", "report.md", "report.json")] == old


def test_the_account_names_of_the_ledger_are_not_in_the_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert b"cards-emea-q3" in (run / "summary.json").read_bytes()
    for path in _files(run):
        assert b"cards-emea-q3" not in path.read_bytes()


def _files(run: Path) -> tuple[Path, Path, Path]:
    outcome = write_report(run, narrator=None, identifiers=IDENTIFIERS)
    return outcome.html, outcome.markdown, outcome.json


def test_a_budget_burns_down_to_what_is_left_and_no_budget_has_no_such_picture(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run", budget=4.0)))
    (picture,) = [drawn for drawn in pictures(facts) if drawn.title == "Budget left, over all runs"]
    training = facts.balances[0]
    before, after = 4.0 - training.course[0], 4.0 - training.course[-1]
    assert f"training records had {before:.3g} left before the run and {after:.3g} after" in picture.alternative
    assert f">{after:.2f}</text>" in picture.svg
    assert "holdout" not in picture.alternative  # it has no budget
    # Control: without a budget, or with an account that nothing bounds, there is nothing to draw.
    for run in (make_run(tmp_path / "unlimited", budget=None), without_bound(make_run(tmp_path / "unbounded"))):
        assert all(drawn.title != picture.title for drawn in pictures(facts_of(read_run(run))))


def test_a_holdout_that_is_too_small_is_called_so_instead_of_a_bare_figure(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluation="federated")
    assert not any("holdout is too small" in text for text in both(run))  # the control: a figure can be stated
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    summary["final"]["average_precision"] = None
    summary["intervals"]["average_precision"] = [0.2175, 0.7625]
    (run / "summary.json").write_text(json.dumps(summary), "utf-8")
    for text in both(run):
        assert "holdout is too small for this ε" in text
        assert "0.2175" in text and "0.7625" in text
        assert "0.8127" not in text


def test_a_conservative_setting_is_never_said_to_be_above_one(tmp_path: Path) -> None:
    misread = "above 1, which this project takes as the conservative setting"
    for text in both(make_run(tmp_path / "run", epsilon=3.0)):
        assert "ε ≤ 1 as the conservative setting" in text
        assert misread not in text
    assert misread in f"ε is {misread}."  # the control: the sentence as it could be misread is found


def test_of_a_run_that_is_not_private_nothing_is_weighed_or_offered_for_a_test(tmp_path: Path) -> None:
    for branded, clean in zip(
        both(make_run(tmp_path / "branded", private=False)), both(make_run(tmp_path / "clean")), strict=True
    ):
        assert "ε is above 1" not in branded and "ε is above 1" in clean  # the control: a claim that is weighed
        assert "fedsec audit makes one" not in branded and "fedsec audit makes one" in clean
        assert "claims nothing, so there is nothing to test" in branded and "claims nothing" not in clean
        assert "Claimed;" not in branded


def test_the_shares_that_count_are_the_targets(tmp_path: Path) -> None:
    for mode in ("local", "distributed"):
        run = make_run(tmp_path / mode, mode=mode)
        facts = facts_of(read_run(run))
        assert facts.target is not None
        assert (facts.target.shares == facts.honest_inputs) == (mode == "distributed")  # the control: they can differ
        page, markdown, _ = (file.read_text("utf-8") for file in _files(run))
        assert f"Shares that count against the target: {facts.target.shares}." in markdown
        row = f'shares that count against the target</th><td class="n">{facts.target.shares}</td>'
        assert row in page


def test_what_leaves_an_account_without_a_bound_is_not_guessed(tmp_path: Path) -> None:
    # An account also loses its bound where entries of the ledger are lost: then nothing was released without noise.
    for text in both(without_bound(make_run(tmp_path / "run"))):
        assert "no bound: something was released without noise, or entries of the ledger were lost" in text
    for text in both(make_run(tmp_path / "control")):
        assert "no bound" not in text
