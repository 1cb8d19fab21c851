"""Step 18: what left for a language model is in outbound/ and holds fixed texts and figures of the report, no more.

``fixed_texts.json`` has the fixed texts: a request's frame, with the model's name and the user's message left out, and
the pieces of the message's template, each number in them as "#". A message is taken apart line by line: what remains
of a line without its numbers must be made of such pieces, and each number be a figure of report.json, or rounded from
one as docs/report.md has it. So no name has a place in it, however it is encoded. The patterns below are looked for as
well, in the whole body.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

from fedsec_verify.bundle import Bundle, Options
from fedsec_verify.decoding import from_json
from fedsec_verify.figures import numbers_in, without_numbers
from fedsec_verify.findings import Refused, require
from fedsec_verify.formats import Exact
from fedsec_verify.report_step import OUTBOUND, Report, outbound_files, report_of, told_figures
from fedsec_verify.steps import RECOMPUTED, Outcome

LARGEST = 1 << 16
_MODEL = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_NAMES = re.compile(rf"{OUTBOUND}/(request|response)-[0-9]{{3}}\.json|{OUTBOUND}/request-[0-9]{{3}}\.headers\.txt")
_HEADER = re.compile(
    r"POST /[A-Za-z0-9._~/-]{1,200} HTTP/1\.1|Host: [A-Za-z0-9.:\[\]-]{1,255}|Accept: application/json|"
    r"Accept-Encoding: identity|Connection: close|Content-Type: application/json|User-Agent: fedsec|"
    r"Content-Length: [0-9]{1,6}|Authorization: \(the operator's key, not recorded\)"
)
PATTERNS = {
    "an account number (IBAN)": re.compile(r"\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}\b"),
    "a bank's code (BIC)": re.compile(
        r"\b[A-Z]{4}(?:AT|BE|CH|DE|ES|FR|GB|IE|IT|LU|NL|PL|SE|US)[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b"
    ),
    "a card number": re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])"),
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.\w+"),
    "a path": re.compile(r"(?:\b[A-Za-z]:\\\\|(?<![\w<])/(?:home|Users|root|srv|mnt|tmp|var|etc|opt|data|work)\b)"),
    "a web address or a host": re.compile(
        r"\b(?:https?://|(?:\d{1,3}\.){3}\d{1,3}\b|[\w-]+\.(?:local|internal|corp|lan|com|net|org)\b)"
    ),
    "a key in hex": re.compile(r"\b[0-9a-fA-F]{32,}\b"),
    "a run of base64": re.compile(r"[A-Za-z0-9+/]{40,}={0,2}"),
}


class FixedTexts(Exact, frozen=True):
    """Frames of requests, and pieces of the message's template without blanks."""

    frames: tuple[Any, ...]
    pieces: tuple[str, ...]


def check_outbound(bundle: Bundle, options: Options) -> Outcome:  # noqa: ARG001 - the form of a check
    """Each recorded request, byte for byte as the report's statement has it, is within the policy."""
    names = sorted(outbound_files(bundle))
    report = report_of(bundle)
    requests = [name for name in names if name.startswith(f"{OUTBOUND}/request-") and name.endswith(".json")]
    for name in names:
        require(_NAMES.fullmatch(name) is not None, name, "requests, their headers and responses only")
        if name.endswith(".headers.txt"):
            _check_headers(bundle, name)
    allowed = told_figures(report)
    for name in requests:
        _check_request(bundle.read(name, LARGEST), name, report, allowed)
    told = report.narrative.requests
    require(told <= len(requests), OUTBOUND, f"the {told} requests that the report tells of", str(len(requests)))
    return Outcome(
        kind=RECOMPUTED,
        detail=f"{len(requests)} requests: fixed texts and figures of the report" if requests else "nothing was sent",
    )


def _check_request(data: bytes, name: str, report: Report, allowed: list[float]) -> None:
    body = from_json(data, dict[str, Any], name)
    frame, model, message = taken_apart(body, name)
    require(_MODEL.fullmatch(model) is not None, name, "a model's name of 1 to 64 plain characters", repr(model[:80]))
    by = report.narrative.model
    require(by is None or by == model, name, f"the model {by} that the report names", model)
    require(frame in fixed_texts().frames, name, "the fixed frame of a request, with nothing but the message in it")
    for line in message.splitlines():
        require(is_fixed(line), name, "lines of fixed texts and figures", repr(line[:80]))
        for number in numbers_in(line):
            require(number.is_one_of(allowed), name, "figures of report.json only", f"{number.text} in {line[:80]!r}")
    for what, pattern in PATTERNS.items():
        for found in pattern.finditer(message):
            refused = "card" not in what or _luhn(found[0])
            require(not refused, name, f"nothing that looks like {what}", "such a text")


def taken_apart(body: dict[str, Any], name: str) -> tuple[Any, str, str]:
    """A request's frame, in which the model's name and the message are empty, and these two."""
    frame = json.loads(json.dumps(body))
    model = frame.get("model")
    frame["model"] = ""
    if isinstance(frame.get("input"), str):
        message, frame["input"] = frame["input"], ""
    else:
        try:
            message, frame["messages"][1]["content"] = frame["messages"][1]["content"], ""
        except (KeyError, IndexError, TypeError):
            message = None
    if not isinstance(model, str) or not isinstance(message, str):
        raise Refused(name, "a request with a model and one message")
    return frame, model, message


def is_fixed(line: str) -> bool:
    """Whether a line without its numbers is made of pieces of the template, in any order."""
    rest = piece_of(line)
    reached = [True] + [False] * len(rest)
    for start in range(len(rest)):
        if reached[start]:
            for piece in fixed_texts().pieces:
                if rest.startswith(piece, start):
                    reached[start + len(piece)] = True
    return reached[-1]


def piece_of(text: str) -> str:
    """``text`` as pieces are compared: "#" for each number, without blanks."""
    return "".join(without_numbers(text).split())


@cache
def fixed_texts() -> FixedTexts:
    """What is the same in all requests of this version."""
    data = resources.files("fedsec_verify").joinpath("fixed_texts.json").read_bytes()
    return from_json(data, FixedTexts, "fixed_texts.json")


def _check_headers(bundle: Bundle, name: str) -> None:
    for line in bundle.read(name, LARGEST).decode(errors="replace").splitlines():
        require(_HEADER.fullmatch(line) is not None, name, "the headers of docs/report.md only", repr(line[:80]))


def _luhn(text: str) -> bool:
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
