"""The structural barrier: no field for free text, nothing about fewer than five banks, and a title for every figure."""

from __future__ import annotations

import enum
import json
import types
import typing
from pathlib import Path

import msgspec
import pydantic
import pytest

from compliance.facts import FEWEST_BANKS, Audit, Disclosure, Evaluation, Facts, Part, ReleaseName
from compliance.openai_writer import preview
from compliance.prompt import render_prompt
from compliance.reading import facts_of, part_of, read_run
from compliance.report import write_report
from fedsec.errors import ConfigError
from tests.compliance.helpers import IDENTIFIERS, make_run

AUDIT = Audit(
    lower_bound=1.6215,
    claimed_epsilon=2.9987,
    confidence=0.95,
    canaries=104_214,
    guesses=3_126,
    correct=2_652,
    noise_noticed=0.52,
    controls=3,
    controls_noticed=3,
    controls_missed=0,
)


def leaf_types(annotation: object) -> set[type]:
    """The types of the values that a field can hold, through optionals, tuples and models."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return leaf_types(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType, tuple):
        return set().union(*(leaf_types(a) for a in typing.get_args(annotation) if a not in (type(None), Ellipsis)))
    assert isinstance(annotation, type), annotation
    if issubclass(annotation, pydantic.BaseModel):
        return set().union(*(leaf_types(f.annotation) for f in annotation.model_fields.values()))
    return {annotation}


def only_figures(model: type[pydantic.BaseModel]) -> bool:
    return all(leaf in (int, float, bool) or issubclass(leaf, enum.Enum) for leaf in leaf_types(model))


def models_in(model: type[pydantic.BaseModel]) -> set[type[pydantic.BaseModel]]:
    found = {model}
    for kind in typing.get_type_hints(model).values():
        stack = [kind]
        while stack:
            item = stack.pop()
            if isinstance(item, type) and issubclass(item, pydantic.BaseModel):
                found |= models_in(item)
            stack += typing.get_args(item)
    return found


def test_no_field_can_hold_a_text() -> None:
    assert only_figures(Facts)


def test_control_a_text_field_would_be_noticed() -> None:
    class Leaky(Facts):
        note: str = ""

    assert not only_figures(Leaky)


def test_every_field_says_what_it_means_and_why_it_may_be_known() -> None:
    titles = {disclosure.value for disclosure in Disclosure}
    for model in models_in(Facts):
        for name, field in model.model_fields.items():
            assert field.description, name
            assert isinstance(field.json_schema_extra, dict)
            assert field.json_schema_extra["disclosure"] in titles, name


def test_an_unlisted_field_is_refused(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    with pytest.raises(pydantic.ValidationError):
        Facts.model_validate({**facts.model_dump(), "bank": "Nordhafen"})


def test_a_request_says_nothing_that_is_for_this_machine_only(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    changed = facts.model_copy(
        update={
            "attempts": (),
            "audit": AUDIT,
            "dropouts": (),
            "layers": (7, 1),
            "plain_bytes": 1,
            "slots": 7,
            "survivors_least": None,
            "upload_bytes": 1,
            "times": facts.times.model_copy(update={"total": 9.9}),
        }
    )
    local = {n for n, f in Facts.model_fields.items() if f.json_schema_extra["disclosure"] == Disclosure.LOCAL.value}  # type: ignore[index, call-overload]  # a dict, as the test above shows
    assert local == {
        *("attempts", "audit", "dropouts", "layers", "times"),
        *("slots", "survivors_least", "upload_bytes", "plain_bytes"),
    }
    assert render_prompt(changed) == render_prompt(facts)


def test_control_a_sent_figure_changes_the_request(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    assert render_prompt(facts.model_copy(update={"epsilon": 1.5})) != render_prompt(facts)


def test_counts_below_five_banks_are_not_told_apart(tmp_path: Path) -> None:
    texts = []
    for survivors in (3, 4):
        run = make_run(tmp_path / f"run{survivors}", banks=5, survivors=survivors, aborted=())
        facts = facts_of(read_run(run))
        assert facts.survivors_least is None
        assert all(attempt.survivors is None and attempt.quality is None for attempt in facts.attempts)
        assert facts.quality is None
        outcome = write_report(run, narrator=None, identifiers=None)
        texts.append(outcome.markdown.read_text("utf-8").split("SHA-256")[0])
        assert "fewer than 5" in texts[-1]
        assert "withheld" in outcome.html.read_text("utf-8")
    assert texts[0] == texts[1]


def test_control_five_banks_are_counted(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run", banks=6, survivors=5, aborted=())))
    assert facts.survivors_least == FEWEST_BANKS
    assert facts.quality is not None


def test_a_federated_measurement_stands_on_its_own_sums_survivors(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluation="federated")
    assert facts_of(read_run(run)).quality is not None
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    lines[-1]["survivors"] = 4
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    facts = facts_of(read_run(run))
    assert facts.quality is None
    assert facts.intervals.roc_auc is None


def test_an_account_is_known_by_its_part_alone(tmp_path: Path) -> None:
    assert part_of("holdout-cards/train") is Part.TRAINING
    assert part_of("bank-a:cards/holdout") is Part.HOLDOUT
    assert part_of("train") is Part.TRAINING
    assert part_of("anything") is Part.OTHER
    facts = facts_of(read_run(make_run(tmp_path / "run", evaluation="federated")))
    assert [balance.part for balance in facts.balances] == [Part.TRAINING, Part.HOLDOUT]
    assert [opening.name for opening in facts.openings] == list(ReleaseName)
    assert facts.evaluation is Evaluation.FEDERATED


@pytest.mark.parametrize("missing", ["config.toml", "metrics.jsonl", "privacy.json", "summary.json"])
def test_an_unfinished_directory_is_refused(missing: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / missing).unlink()
    with pytest.raises(ConfigError, match=missing):
        write_report(run, narrator=None, identifiers=None)
    assert not (run / "report.html").exists()


def test_damaged_or_foreign_records_are_refused_without_quoting_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    good = msgspec.json.decode((run / "summary.json").read_bytes())
    for damaged in (b"{", msgspec.json.encode({**good, "dataset": "nordhafen_2024"})):
        (run / "summary.json").write_bytes(damaged)
        with pytest.raises(ConfigError) as refusal:
            write_report(run, narrator=None, identifiers=None)
        assert "nordhafen" not in refusal.value.message


def test_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_run(tmp_path / "nothing")


def test_a_dry_run_shows_the_request_and_sends_nothing(tmp_path: Path) -> None:
    from compliance.narrative import NarratorSettings
    from tests.compliance.server import RecordingServer

    facts = facts_of(read_run(make_run(tmp_path / "run")))
    with RecordingServer() as server:
        shown = preview(facts, settings=NarratorSettings(base_url=server.url), identifiers=IDENTIFIERS)
        assert server.received == []
    assert json.loads(shown.body)["input"] == render_prompt(facts)
    assert shown.head.startswith("POST /v1/responses HTTP/1.1\nHost: 127.0.0.1:")
