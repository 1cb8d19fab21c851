"""What a request can state: no text, nothing that is for this machine only, nothing that one bank more would tell."""

from __future__ import annotations

import enum
import types
import typing
from pathlib import Path

import jinja2.meta
import pydantic
import pytest

from compliance import prompt
from compliance.disclosed import FRAUD_EDGES, HUNDREDTHS, Disclosed, band, disclosed
from compliance.facts import Disclosure, Facts
from compliance.narrative import Sections
from compliance.numbers import numbers_in, unsupported
from compliance.offline_writer import write_offline
from compliance.prompt import TEMPLATES, render_prompt
from compliance.reading import facts_of, read_run
from tests.compliance.helpers import make_run

HARMLESS = (int, float, bool)


def closed(annotation: object) -> bool:
    """Whether values of this type are numbers, members of a fixed list, frozen strict models, or tuples of such."""
    origin = typing.get_origin(annotation)
    parts = typing.get_args(annotation)
    if origin is typing.Annotated:
        return closed(parts[0])
    if origin in (typing.Union, types.UnionType):
        return all(part is type(None) or closed(part) for part in parts)
    if origin is tuple:
        return all(part is Ellipsis or closed(part) for part in parts)
    if not isinstance(annotation, type):
        return False
    if issubclass(annotation, pydantic.BaseModel):
        config = annotation.model_config
        strict = (config.get("frozen"), config.get("strict"), config.get("extra")) == (True, True, "forbid")
        return strict and all(closed(field.annotation) for field in annotation.model_fields.values())
    return annotation in HARMLESS or issubclass(annotation, enum.Enum)


def classes(model: type[pydantic.BaseModel]) -> set[str]:
    """The disclosure classes of all fields under ``model``."""
    found: set[str] = set()
    for field in model.model_fields.values():
        found.add(field.json_schema_extra["disclosure"])  # type: ignore[index, arg-type, call-overload]  # a dict
        stack = [field.annotation]
        while stack:
            item = stack.pop()
            if isinstance(item, type) and issubclass(item, pydantic.BaseModel):
                found |= classes(item)
            stack += typing.get_args(item)
    return found


def test_nothing_but_numbers_and_members_of_fixed_lists_fits_into_it() -> None:
    assert closed(Disclosed)


@pytest.mark.parametrize(
    "kind", [str, bytes, dict[str, int], typing.Any, list[int], str | None, tuple[str, ...], object]
)
def test_control_a_field_for_anything_else_would_be_noticed(kind: object) -> None:
    assert not closed(pydantic.create_model("Leaky", __base__=Disclosed, note=(kind, ...)))


def test_it_has_no_field_of_the_class_local() -> None:
    assert Disclosure.LOCAL.value not in classes(Disclosed)
    assert Disclosure.LOCAL.value in classes(Facts)  # the control: the same walk finds it where it is


def test_the_template_can_name_the_disclosed_figures_and_nothing_else() -> None:
    source = (TEMPLATES / "prompt.md.j2").read_text("utf-8")
    environment = prompt._environment()
    assert environment.globals == {}
    tree = environment.parse(source)
    assert jinja2.meta.find_undeclared_variables(tree) == {"facts"}
    named = {
        node.attr
        for node in tree.find_all(jinja2.nodes.Getattr)
        if isinstance(node.node, jinja2.nodes.Name) and node.node.name == "facts"
    }
    assert named == set(Disclosed.model_fields)
    assert "slots" not in named


def test_local_facts_are_not_even_read(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    local = {n for n, f in Facts.model_fields.items() if f.json_schema_extra["disclosure"] == Disclosure.LOCAL.value}  # type: ignore[index, call-overload]  # a dict
    read: set[str] = set()

    class Watched:
        def __getattr__(self, name: str) -> object:
            read.add(name)
            return getattr(facts, name)

    assert disclosed(typing.cast(Facts, Watched())) == disclosed(facts)
    assert {"epsilon", "banks"} <= read
    assert not read & local


def two_runs(folder: Path) -> tuple[Facts, Facts]:
    """Facts of one federation with a bank of 7,000 of the 60,000 slots, and without it."""
    with_it = facts_of(read_run(make_run(folder / "ten", evaluation="federated")))
    quality = with_it.quality
    assert quality is not None
    without = with_it.model_copy(
        update={
            "slots": 53_000,
            "upload_bytes": with_it.upload_bytes - 3,
            "survivors_least": 8,
            "fraud_share": (0.0383 * 60_000 - 450) / 53_000,
            "quality": quality.model_copy(update={"accuracy": (quality.accuracy or 0.0) - 0.0007}),
        }
    )
    return with_it, without


def test_two_runs_that_differ_by_one_bank_do_not_tell_its_size(tmp_path: Path) -> None:
    with_it, without = two_runs(tmp_path)
    one, other = render_prompt(with_it), render_prompt(without)
    assert one == other  # all that differs is a sum, a mean or a count over banks
    stated = {number.value for number in numbers_in(one)}
    for figure in (60_000.0, 53_000.0, 7_000.0, 0.0383, 6_000.0):
        assert figure not in stated
    assert not any(abs(a - b) == 7_000 for a in stated for b in stated)


def test_control_the_exact_figures_would_tell_its_size_and_its_rate(tmp_path: Path) -> None:
    with_it, without = two_runs(tmp_path)
    size = with_it.slots - without.slots
    frauds = (with_it.fraud_share or 0) * with_it.slots - (without.fraud_share or 0) * without.slots
    assert size == 7_000
    assert frauds == pytest.approx(450)


def test_declared_size_is_nowhere_in_what_is_sent_however_the_slots_are_changed(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    assert len({render_prompt(facts.model_copy(update={"slots": slots})) for slots in range(1_000, 90_000, 7_919)}) == 1
    assert render_prompt(facts.model_copy(update={"banks": 9})) != render_prompt(facts)  # the control


def test_bands_hold_what_they_stand_for_and_have_fixed_edges() -> None:
    for edges in (HUNDREDTHS, FRAUD_EDGES):
        for low, high in ((0.0, 0.0), (0.0383, 0.0383), (0.29, 0.29), (0.5, 0.77), (0.999, 1.0), (1.0, 1.0)):
            found = band(low, high, edges)
            assert found.low <= low <= high <= found.high
            assert {found.low, found.high} <= set(edges)
            assert found.low < found.high
    assert (band(-0.2, 1.3, HUNDREDTHS).low, band(-0.2, 1.3, HUNDREDTHS).high) == (0.0, 1.0)
    assert band(0.0383, 0.0383, FRAUD_EDGES) == band(0.021, 0.021, FRAUD_EDGES) != band(0.051, 0.051, FRAUD_EDGES)


def numbers_of(value: object) -> list[float]:
    if isinstance(value, pydantic.BaseModel):
        return [each for name in type(value).model_fields for each in numbers_of(getattr(value, name))]
    if isinstance(value, tuple):
        return [each for item in value for each in numbers_of(item)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.parametrize("evaluation", ["public", "federated"])
def test_the_offline_text_states_no_figure_that_is_not_a_fact(evaluation: str, tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run", evaluation=evaluation)))
    known = [*numbers_of(facts), facts.odds, 0.95, 1.0, 5.0]
    text = write_offline(facts).text
    assert not unsupported(text, known)
    assert unsupported(text.replace("2.973", "2.937"), known)


HONEST = (
    "{banks} banks trained one model.",
    "Up to {corrupt} of {banks} banks may collude.",
    "At least {h} honest banks are in every sum.",
    "The run spent ε = {eps} at δ = 1e-5 for one record.",
    "It spent epsilon {eps} at delta 10⁻⁵.",
    "δ is 0.00001.",
    "All 12 planned rounds were completed.",
    "12 of 12 rounds gave a sum.",
    "{aborted} attempts failed and were paid for.",
    "The odds change by a factor of at most {odds}.",
    "A budget of 4 was set.",
    "The ROC AUC lies between 0.96 and 0.97.",
    "Its 95 % interval runs from 0.95 to 0.98.",
    "ROC AUC: 0.96–0.97.",
    "Average precision is between 81 % and 82 %.",
    "Average precision lies in the range 0.81 to 0.82.",
    "Guessing would score between 2 % and 5 %.",
    "One record is the unit.",
    "One process held every key.",
    "This is the first of the limits.",
    "Neither the server nor a third party sees single inputs.",
    "Neighbouring data sets differ by one record (zero-out).",
    "The F1 score is not stated.",
    "Sums are clipped in L2 norm.",
    "Accuracy is at least 0.99.",
    "Accuracy is above 99 %, which says little.",
    "The reserve was {planned}.",
)
ENDINGS = ("", " Banks are not protected as units.")


def test_honest_answers_raise_no_alarm(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run", evaluation="federated")))
    known = [number.value for number in numbers_in(render_prompt(facts))]
    values = {
        "banks": 10,
        "corrupt": 3,
        "h": 4,
        "eps": "2.973",
        "aborted": 2,
        "odds": "19.55",
        "planned": f"{facts.planned_epsilon:.4g}",
    }
    answers = [text.format(**values) + ending for text in HONEST for ending in ENDINGS]
    assert len(answers) >= 50
    assert [answer for answer in answers if unsupported(answer, known)] == []
    assert unsupported("The ROC AUC is 0.975.", known)
    assert unsupported("3 in 10 banks agree.", known)
    assert Sections.model_fields.keys() == {"summary", "result", "privacy", "limits"}
