"""A model's text is taken only if every figure in it is a fact and nothing else speaks against it.

Every answer comes from a real HTTP server, well-formed and complete; only what its four paragraphs say is bad.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from compliance import figures, openai_writer
from compliance.apis import MOST_OUTPUT_TOKENS
from compliance.narrative import Api
from compliance.prompt import figure, render_prompt
from compliance.reading import facts_of, read_run
from compliance.report import write_report
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.narrating import asking, assert_offline
from tests.compliance.server import GOOD, RecordingServer, completion, http, response

NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e-?\d+)?")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else, and nothing here depends on it."""
    monkeypatch.setattr(figures, "pictures", lambda facts: [])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run, whose report is written again and again."""
    return make_run(tmp_path_factory.mktemp("finished") / "run")


def answer(**changes: str) -> bytes:
    return http(response(json.dumps({**GOOD, **changes})))


BAD = {
    "an extra field": (answer(note="x"), "schema"),
    "an empty paragraph": (answer(result="  "), "empty"),
    "an endless paragraph": (answer(result="long " * 1000), "overlong"),
    "a figure that is no fact": (answer(privacy="The run spent epsilon 0.42 at delta 1e-5."), "figure"),
    "a figure in words": (answer(result="Seventy banks took part."), "figure"),
    "a figure with a decimal comma": (answer(result="Accuracy is 0,99."), "figure"),
    "a flattering rounding": (answer(privacy="The run spent epsilon 2."), "figure"),
    "a web address": (answer(result="See https://example.org for more."), "address"),
    "a promise without a limit": (answer(privacy="The model is anonymous."), "absolute claim"),
    "a bank's name": (answer(result="The model of Nordhafen Privatbank ranks well."), "identifier"),
    "a bank's name in base64": (answer(result="Ranks well Tm9yZGhhZmVuIFByaXZhdGJhbms="), "identifier"),
}


@pytest.mark.parametrize(("reply", "why"), BAD.values(), ids=BAD.keys())
def test_a_bad_text_gives_the_offline_text_and_its_reason(reply: bytes, why: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", rounds=3, aborted=())
    with RecordingServer(reply) as server:
        outcome = write_report(folder, narrator=asking(server.url, retries=2), identifiers=IDENTIFIERS)
    assert_offline(outcome, why)
    assert len(server.received) == 1
    assert all(text not in outcome.html.read_text("utf-8") for text in ("Nordhafen", GOOD["summary"], "example.org"))
    assert all(b"Nordhafen" not in file.read_bytes() for file in (folder / "outbound").iterdir())


def test_control_a_text_with_rounded_facts_is_taken(run: Path) -> None:
    reserved = figure(facts_of(read_run(run)).planned_epsilon)
    reply = answer(privacy=f"The run spent ε = 2.97 (of {reserved} reserved) at δ = 10⁻⁵, for one record.")
    with RecordingServer(reply) as server:
        outcome = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason


def altered(number: str, known: list[float]) -> str:
    """``number`` with its last digit before an exponent changed, to what is no fact nor within 2 % of one."""
    head, mark, exponent = number.partition("e")
    for step in range(1, 10):
        other = f"{head[:-1]}{(int(head[-1]) + step) % 10}{mark}{exponent}"
        value = float(other)
        if value and all(abs(value - fact) > 0.02 * fact for fact in known):
            return other
    return f"7{number}"


def test_a_figure_altered_in_the_answer_makes_the_report_fall_back_and_say_so(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number of a good answer is altered by itself; the answer repeats all facts that it was sent."""
    prompt = render_prompt(facts_of(read_run(run)))
    known = [float(number.replace(",", "")) for number in NUMBER.findall(prompt)]
    lines = [line for line in prompt.splitlines() if line]
    good = {name: " ".join(lines[at :: len(GOOD)]) for at, name in enumerate(GOOD)}
    places = [(name, match) for name, text in good.items() for match in NUMBER.finditer(text)]
    assert len(places) >= 20
    answers = [good]
    for name, match in places:
        text = good[name]
        answers.append({**good, name: text[: match.start()] + altered(match[0], known) + text[match.end() :]})
    with RecordingServer(lambda count: http(response(json.dumps(answers[count - 1])))) as server:
        taken = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
        assert taken.narrative == "openai", taken.reason  # the control: unaltered, the same answer is believed
        for changed in answers[1:]:
            outcome = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
            assert_offline(outcome, "held a figure that is not among the facts")
            assert sum(changed[name] != good[name] for name in good) == 1
        assert len(server.received) == len(answers)
        answers.append(answers[1])
        monkeypatch.setattr(openai_writer, "unsupported", lambda text, facts: False)
        unchecked = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
        assert unchecked.narrative == "openai"  # and without the check, an altered one is believed too


def strict(schema: dict[str, Any]) -> bool:
    """OpenAI's rule for strict structured output: every property is required, and there is no other."""
    return schema["additionalProperties"] is False and schema["required"] == list(schema["properties"])


def test_the_request_holds_a_strict_schema_of_the_four_paragraphs(run: Path) -> None:
    with RecordingServer() as server:
        for api in Api:
            write_report(run, narrator=asking(server.url, api=api), identifiers=IDENTIFIERS)
        responses, chat = (json.loads(data.partition(b"\r\n\r\n")[2]) for data in server.received)
    for form in (responses["text"]["format"], chat["response_format"]["json_schema"]):
        assert form["strict"] is True
        assert strict(form["schema"])
        assert list(form["schema"]["properties"]) == list(GOOD)
        assert not strict({**form["schema"], "required": ["summary"]})  # the control
    assert responses["store"] is False
    assert responses["max_output_tokens"] == MOST_OUTPUT_TOKENS
    assert [message["content"] for message in chat["messages"]] == [responses["instructions"], responses["input"]]


@pytest.mark.parametrize("api", list(Api))
def test_banks_named_like_words_of_an_answers_envelope_can_get_an_answer(api: Api, run: Path) -> None:
    speak = {Api.RESPONSES: response, Api.CHAT: completion}[api]
    words = set(re.findall(r"[A-Za-z]{2,}", speak("").decode()))
    named = IDENTIFIERS.model_copy(update={"banks": tuple(sorted(words - {"model"}))})
    with RecordingServer() as server:
        outcome = write_report(run, narrator=asking(server.url, api=api), identifiers=named)
        assert outcome.narrative == "openai", outcome.reason
    with RecordingServer(http(speak(json.dumps({**GOOD, "result": "Made at Zweckverband."})))) as server:
        other = named.model_copy(update={"banks": (*named.banks, "Zweckverband")})
        assert_offline(write_report(run, narrator=asking(server.url, api=api), identifiers=other), "identifier")
