"""The first words of a report, its open risks and its next steps follow from the run, worst first."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path

import click
import pytest

from cli.main import _COMMANDS, cli
from compliance.attacks.record import FILE, AttackRecord, read_attacks
from compliance.facts import Facts
from compliance.prompt import figure
from compliance.reading import facts_of, read_run
from compliance.report import write_report
from compliance.verdict import next_steps, risks_of, verdict_of
from fedsec.errors import ConfigError
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.pages import with_attacks, with_audit, without_bound


def facts(run: Path) -> Facts:
    return facts_of(read_run(run))


def attacks(run: Path, *, right: bool = True) -> AttackRecord:
    with_attacks(run, right=right)
    return read_attacks(
        run / FILE,
        run=read_run(run).summary.run,
        privacy=hashlib.sha256((run / "privacy.json").read_bytes()).hexdigest(),
    )


def test_the_worst_thing_is_said_first(tmp_path: Path) -> None:
    wrong = attacks(make_run(tmp_path / "wrong", budget=2.0), right=False)
    runs = {
        "Not private": (facts(make_run(tmp_path / "debug", private=False, budget=2.0)), wrong),
        "The privacy claim does not hold": (facts(with_audit(make_run(tmp_path / "fell"), measured=3.4)), wrong),
        "An attack did not end as claimed": (facts(make_run(tmp_path / "attacked", budget=2.0)), wrong),
        "A privacy budget is overspent": (facts(make_run(tmp_path / "over", budget=2.0)), None),
        "A simulation on one machine": (facts(make_run(tmp_path / "simulated")), None),
        "Nothing was found that contradicts": (facts(make_run(tmp_path / "real", simulated=False)), None),
    }
    for words, (known, played) in runs.items():
        said = verdict_of(known, played)
        assert said.headline.startswith(words)
        assert (said.tone == "void") == (list(runs).index(words) < 4)
    quiet = with_audit(make_run(tmp_path / "quiet", simulated=False, epsilon=0.9))
    assert verdict_of(facts(quiet), attacks(quiet)).tone == "plain"  # and nothing is left to mind
    assert verdict_of(facts(quiet), attacks(quiet)).mind == ()


def test_no_verdict_promises_more_than_that_nothing_was_found(tmp_path: Path) -> None:
    from compliance.claims import absolute_claim

    quiet = facts(make_run(tmp_path / "quiet", simulated=False))
    said = verdict_of(quiet, None)
    texts = [said.headline, *said.mind, *(f"{risk.title} {risk.text}" for risk in risks_of(quiet))]
    assert [text for text in texts if absolute_claim(text)] == []
    assert absolute_claim("These records are fully protected.")  # the control: a promise without a limit is found


def test_what_a_committee_has_to_know_is_on_the_first_screen_and_only_where_it_holds(tmp_path: Path) -> None:
    cases = {
        "No audit has tried": (make_run(tmp_path / "a"), with_audit(make_run(tmp_path / "b"))),
        "An account has no bound": (without_bound(make_run(tmp_path / "c")), make_run(tmp_path / "d")),
        "sees the held-out records": (make_run(tmp_path / "e", dataset="own data"), make_run(tmp_path / "f")),
        "above this project's conservative": (make_run(tmp_path / "g"), make_run(tmp_path / "h", epsilon=0.9)),
        "No privacy budget was set": (make_run(tmp_path / "i", budget=None), make_run(tmp_path / "j")),
    }
    for words, (holds, control) in cases.items():
        assert any(words in text for text in verdict_of(facts(holds), None).mind), words
        assert not any(words in text for text in verdict_of(facts(control), None).mind), words


@pytest.mark.parametrize("name", ["default", "debug", "own"])
def test_the_next_steps_are_commands_of_this_program(name: str, tmp_path: Path) -> None:
    options: dict[str, object] = {"debug": {"private": False}, "own": {"dataset": "own data", "budget": 2.0}}.get(
        name, {}
    )
    steps = next_steps(facts(make_run(tmp_path / "run", **options)), None)  # type: ignore[arg-type]  # keywords of the helper
    commands = [part for step in steps for part in step.command.split(" && ") if part]
    assert len(commands) >= 4
    for command in commands:
        assert parsed(command), command
    assert not parsed("fedsec report . --paper") and not parsed("fedsec ledgers")  # the control


def parsed(command: str) -> bool:
    """Whether the real command line takes ``command``, which is not run."""
    words = shlex.split(command)
    assert words.pop(0) == "fedsec"
    if words == ["verify", "."] and "verify" not in _COMMANDS:
        return True  # a distribution of its own, which may not be part of this installation
    current: click.Command = cli
    try:
        while isinstance(current, click.Group):
            found = current.get_command(click.Context(current), words.pop(0))
            if found is None:
                return False
            current = found
        current.make_context("fedsec", words, resilient_parsing=False)
    except click.UsageError:
        return False
    return True


def test_audit_and_attacks_have_their_sections_and_what_was_not_made_is_said_to_be(tmp_path: Path) -> None:
    full = write_report(with_attacks(with_audit(make_run(tmp_path / "a"))), narrator=None, identifiers=IDENTIFIERS)
    bare = write_report(make_run(tmp_path / "b"), narrator=None, identifiers=IDENTIFIERS)
    for file in ("html", "markdown"):
        with_both, without = (re.sub(r"<[^>]+>", "", getattr(o, file).read_text("utf-8")) for o in (full, bare))
        assert "All 3 ended as claimed" in with_both and "All 3" not in without
        assert "within the bound" in with_both and "Swap a bank" in with_both
        assert figure(1.6215) in with_both and figure(1.6215) not in without
        assert "fedsec attack RUN" in without and "fedsec attack RUN" not in with_both
        assert "fedsec audit RUN" in without and "fedsec audit RUN" not in with_both
    assert len(json.loads(full.json.read_bytes())["attacks"]["verdicts"]) == 3
    assert json.loads(bare.json.read_bytes())["attacks"] is None


def test_an_attack_that_works_as_stated_is_not_passed_over(tmp_path: Path) -> None:
    from compliance.attacks.results import Outcome

    run = with_attacks(make_run(tmp_path / "run"))
    assert "work against fedsec too" not in _said(run) and "works against" not in _said(run)  # the control: none does
    text = (run / FILE).read_text("utf-8")
    for before, after in (("bounded", Outcome.NOT_PROTECTED.value), ("failed", Outcome.UNTESTED.value)):
        text = text.replace(f'"fedsec": "{before}"', f'"fedsec": "{after}"')
    (run / FILE).write_text(text, "utf-8")
    assert "1 of them works against fedsec too, and nothing is claimed against it: Tell from a sum" in _said(run)
    assert "2 cannot tell" in _said(run)


def _said(run: Path) -> str:
    return write_report(run, narrator=None, identifiers=None).html.read_text("utf-8")


def test_attacks_on_another_run_or_on_a_changed_statement_are_no_evidence(tmp_path: Path) -> None:
    run = with_attacks(make_run(tmp_path / "run"))
    write_report(run, narrator=None, identifiers=None)  # the control: as it is, it is taken
    text = (run / FILE).read_text("utf-8")
    for change in (
        lambda t: t.replace("5f3a9c", "5f3a9d"),
        lambda t: re.sub(r'"privacy": "..', '"privacy": "00', t),
        lambda t: t.replace('"version": 1', '"version": 2'),
        lambda t: t[:-40],
    ):
        (run / FILE).write_text(change(text), "utf-8")
        with pytest.raises(ConfigError, match=r"attack\.json"):
            write_report(run, narrator=None, identifiers=None)


def test_a_title_of_an_attack_cannot_bring_markup_or_a_bank_into_the_page(tmp_path: Path) -> None:
    run = with_attacks(make_run(tmp_path / "run"))
    text = (run / FILE).read_text("utf-8").replace("Swap a bank's key", "<script>alert(1)</script> | x")
    (run / FILE).write_text(text, "utf-8")
    outcome = write_report(run, narrator=None, identifiers=None)
    assert "<script>" not in outcome.html.read_text("utf-8") + outcome.markdown.read_text("utf-8")
    assert "&lt;script&gt;" in outcome.html.read_text("utf-8")  # the control: it is shown, and not obeyed
