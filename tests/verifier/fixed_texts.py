"""What is the same in every request to a language model: ``PYTHONPATH=verifier python -m tests.verifier.fixed_texts``.

The verifier ships the list, since it imports nothing of the program; a test compares the two.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import jinja2

from compliance import narrative
from compliance.facts import Data, Facts
from compliance.narrative import NarratorSettings
from compliance.openai_writer import preview
from compliance.prompt import TEMPLATES
from compliance.reading import facts_of, read_run
from fedsec_verify import outbound_step
from tests.compliance.helpers import IDENTIFIERS, make_run

FILE = Path(outbound_step.__file__).with_name("fixed_texts.json")
ADDRESSES = (None, "https://models.bank.example/v1")
APIS = tuple(getattr(narrative, "Api", ()))


def requests(facts: Facts) -> list[dict[str, object]]:
    """The bodies of the first request, for each way to ask."""
    ways = [{"base_url": address, **each} for address in ADDRESSES for each in [{"api": api} for api in APIS] or [{}]]
    asked = [preview(facts, settings=NarratorSettings(**way), identifiers=IDENTIFIERS) for way in ways]
    return [json.loads(request.body) for request in asked]


def pieces() -> list[str]:
    """Pieces of the message's template, and what it says of the records."""
    source = (TEMPLATES / "prompt.md.j2").read_text("utf-8")
    written = [text for _, kind, text in jinja2.Environment(autoescape=True).lex(source) if kind == "data"]
    found = [line for text in written for line in text.splitlines()]
    found += [data.value for data in Data]
    return sorted({outbound_step.piece_of(piece) for piece in found} - {""})


def current() -> dict[str, list[object]]:
    """The list as it has to be."""
    with tempfile.TemporaryDirectory() as folder:
        facts = facts_of(read_run(make_run(Path(folder) / "run")))
    frames: list[object] = []
    for body in requests(facts):
        frame, _, _ = outbound_step.taken_apart(body, "request")
        if frame not in frames:
            frames.append(frame)
    return {"frames": frames, "pieces": ["#", *(piece for piece in pieces() if piece != "#")]}


if __name__ == "__main__":
    FILE.write_text(json.dumps(current(), ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"{FILE} written")
