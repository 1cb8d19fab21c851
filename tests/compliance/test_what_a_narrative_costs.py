"""Tokens are told as the server counts them, a cost only at the operator's prices, and a hostile count not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compliance import figures
from compliance.narrative import Api
from compliance.report import ReportOutcome, write_report
from compliance.spending import Prices, Spending, Usage
from fedsec.errors import ConfigError
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.narrating import asking
from tests.compliance.server import GOOD, USAGE, RecordingServer, completion, http, response

TEXT = json.dumps(GOOD)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else, and nothing here depends on it."""
    monkeypatch.setattr(figures, "pictures", lambda facts: [])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run, whose report is written again and again."""
    return make_run(tmp_path_factory.mktemp("finished") / "run", rounds=3, aborted=())


def told(outcome: ReportOutcome) -> dict[str, Any]:
    """What the report says about its narrative; all three files must say the same."""
    for file in (outcome.html, outcome.markdown):
        plain = file.read_text("utf-8").replace("&#39;", "'").replace("\\", "")
        assert outcome.spending.sentence in plain
    narrative: dict[str, Any] = json.loads(outcome.json.read_bytes())["narrative"]
    assert {name: narrative[name] for name in outcome.spending.as_json()} == outcome.spending.as_json()
    return narrative


@pytest.mark.parametrize("api", list(Api))
def test_tokens_and_cost_are_in_all_three_files(api: Api, run: Path) -> None:
    with RecordingServer() as server:
        priced = asking(server.url, api=api, prices=Prices(input=0.25, output=2.0))
        dear = told(write_report(run, narrator=priced, identifiers=IDENTIFIERS))
        without = told(write_report(run, narrator=asking(server.url, api=api), identifiers=IDENTIFIERS))
        length = len(server.received[0].partition(b"\r\n\r\n")[2])
    for narrative in (dear, without):
        assert narrative["tokens"] == {"input": 900, "output": 200, "total": 1100}
        assert narrative["sent_bytes"] == length
    assert dear["cost"] == pytest.approx(0.000625)
    assert without["cost"] is None
    assert without["price_per_million"] is None


@pytest.mark.parametrize("reply", [response(None, refusal="no"), response("{", status="incomplete"), response("{}")])
def test_an_answer_that_is_not_used_is_paid_for_all_the_same(reply: bytes, run: Path) -> None:
    with RecordingServer(http(reply)) as server:
        outcome = write_report(run, narrator=asking(server.url), identifiers=IDENTIFIERS)
    assert outcome.narrative == "offline"
    assert told(outcome)["tokens"]["total"] == 1100


@pytest.mark.parametrize("reply", [http(b"{}", "500 Internal Server Error"), http(response("Nordhafen Privatbank"))])
def test_where_no_answer_was_read_the_tokens_are_unknown(reply: bytes, run: Path) -> None:
    with RecordingServer(reply) as server:
        priced = asking(server.url, prices=Prices(input=1.0, output=1.0))
        outcome = write_report(run, narrator=priced, identifiers=IDENTIFIERS)
    narrative = told(outcome)
    assert narrative["tokens"] is None
    assert narrative["cost"] is None
    assert narrative["requests"] == 1
    assert "tokens unknown" in outcome.spending.sentence


HOSTILE: dict[str, Any] = {
    "none": None,
    "a text": "900",
    "a list": [900, 200, 1100],
    "nothing in it": {},
    "half of it": {"input_tokens": 900},
    "texts": {**USAGE, "input_tokens": "900"},
    "markup": {**USAGE, "total_tokens": "<script>alert(1)</script>"},
    "truth values": {**USAGE, "output_tokens": True},
    "below zero": {**USAGE, "input_tokens": -900},
    "a fraction": {**USAGE, "output_tokens": 200.5},
    "infinite": {**USAGE, "total_tokens": float("inf")},
    "no number": {**USAGE, "total_tokens": float("nan")},
    "more than a report can take": {**USAGE, "total_tokens": 10**18},
    "a total below its parts": {**USAGE, "total_tokens": 1},
    "another object": {**USAGE, "total_tokens": {"total_tokens": 1100}},
}


@pytest.mark.parametrize("usage", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_count_that_cannot_be_meant_is_not_told_and_costs_no_report(usage: Any, run: Path) -> None:
    with RecordingServer(http(response(TEXT, usage=usage))) as server:
        priced = asking(server.url, prices=Prices(input=1.0, output=1.0))
        outcome = write_report(run, narrator=priced, identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    narrative = told(outcome)
    assert narrative["tokens"] is None
    assert narrative["cost"] is None
    assert "alert(1)" not in outcome.html.read_text("utf-8") + outcome.json.read_text("utf-8")


def test_control_a_total_above_its_parts_is_told_and_charged_as_output(run: Path) -> None:
    """Some servers count a model's thoughts in the total alone; whoever pays for output pays for them."""
    thoughtful = http(response(TEXT, usage={**USAGE, "total_tokens": 2000}))
    with RecordingServer(thoughtful) as server:
        priced = asking(server.url, prices=Prices(input=1.0, output=10.0))
        narrative = told(write_report(run, narrator=priced, identifiers=IDENTIFIERS))
    assert narrative["tokens"] == {"input": 900, "output": 200, "total": 2000}
    assert narrative["cost"] == pytest.approx((900 + 1100 * 10) / 1e6)


def test_a_chat_server_without_a_count_costs_no_report(run: Path) -> None:
    bare = json.loads(completion(TEXT))
    del bare["usage"]
    with RecordingServer(http(json.dumps(bare).encode())) as server:
        outcome = write_report(run, narrator=asking(server.url, api=Api.CHAT), identifiers=IDENTIFIERS)
    assert outcome.narrative == "openai", outcome.reason
    assert told(outcome)["tokens"] is None


@pytest.mark.parametrize("price", [-0.01, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(ConfigError, match="price"):
        Prices(input=price, output=1.0)
    with pytest.raises(ConfigError, match="price"):
        Prices(input=1.0, output=price)
    usage = Usage(input_tokens=1, output_tokens=0, total_tokens=1)
    assert Prices(input=0.0, output=0.0).cost(usage) == 0.0  # the control


def test_where_nothing_was_asked_nothing_is_said() -> None:
    assert Spending().sentence == ""
    assert Spending(requests=1).sentence.startswith("1 request, ")
