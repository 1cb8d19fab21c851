"""Asking a server of the tests for a narrative, and what a report says where that came to nothing."""

from __future__ import annotations

import json
from typing import Any

from compliance.narrative import NarratorSettings
from compliance.report import ReportOutcome

KEY = "sk-operator-0123456789abcdef"


def asking(url: str, **changes: Any) -> NarratorSettings:
    """Settings for the server at ``url``, impatient ones; ``changes`` come before."""
    return NarratorSettings(**{"base_url": url, "api_key": KEY, "timeout_seconds": 20.0, "retries": 0, **changes})


def assert_offline(outcome: ReportOutcome, why: str) -> None:
    """The three files are there, with the offline text and a reason that holds ``why``, the page included."""
    assert outcome.narrative == "offline"
    assert outcome.reason is not None
    assert why in outcome.reason
    assert outcome.reason.split("(")[0] in outcome.html.read_text("utf-8").replace("&#39;", "'")
    assert outcome.markdown.exists()
    told = json.loads(outcome.json.read_bytes())["narrative"]
    assert told["writer"] == "offline"
    assert told["reason"] == outcome.reason
