"""More than 200 generated identifiers in every input that a user controls: none is in any byte that a server received.

``python -m tests.compliance.redaction_table`` prints the same as tables, for all identifiers in all disguises.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from compliance import figures, openai_writer, redaction
from compliance.facts import Facts
from compliance.identifiers import Identifiers
from compliance.narrative import NarratorSettings
from compliance.openai_writer import preview, scanner_for
from compliance.prompt import render_prompt
from compliance.reading import facts_of, read_run
from compliance.redaction import Scanner
from compliance.report import write_report
from fedsec.errors import RedactionError
from tests.compliance.helpers import IDENTIFIERS, make_run
from tests.compliance.planting import INJECTIONS, Planted, Search, backwards, generate, leet
from tests.compliance.redaction_table import (
    BINARY,
    CUT,
    KEY,
    opened_prompt,
    planted_everywhere,
    refuses,
    scanner_alone,
    scanner_on_the_wire,
    without_scanner,
)
from tests.compliance.server import GOOD, RecordingServer

SETTINGS = NarratorSettings(base_url="http://127.0.0.1:9/v1", api_key=KEY)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else, and nothing here depends on it."""
    monkeypatch.setattr(figures, "pictures", lambda facts: [])


@pytest.mark.parametrize("scanner", [True, False], ids=["both barriers", "structural barrier alone"])
def test_what_is_planted_changes_not_one_byte_of_the_request(scanner: bool, tmp_path: Path) -> None:
    table = planted_everywhere(tmp_path, scanner=scanner)
    assert table.identifiers >= 200
    assert table.requests == table.same == -(-table.identifiers // 30)
    assert table.captured > 10_000
    assert table.leaks == []


def test_control_the_same_search_finds_what_does_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", rounds=3, aborted=())
    everything = generate(7)[::9]
    search = Search(sent(run))
    for each in everything:
        text = f"{render_prompt(facts_of(read_run(run)))}\n{each.text}\n"
        monkeypatch.setattr(openai_writer, "render_prompt", lambda facts, text=text: text)
        assert search.leaks(sent(run), each), each
    assert not any(search.leaks(b"", each) for each in everything)


def test_the_scanner_alone_finds_every_disguise_that_the_documents_list() -> None:
    opened = scanner_alone(step=4)
    assert opened.missed == []
    assert sum(opened.caught.values()) > 1200
    assert {name for name, _ in opened.beyond} <= BINARY | {"letter by letter", CUT}


def test_control_a_name_that_the_scanner_was_not_told_is_not_found() -> None:
    scanner = scanner_for(Identifiers(), SETTINGS)
    names = [each for each in generate(2026) if each.kind == "bank" and each.text.isalpha()]
    assert len(names) > 20
    assert not any(refuses(scanner, opened_prompt(each.text)) for each in names)


def test_a_disguise_of_each_kind_is_stopped_before_the_network(tmp_path: Path) -> None:
    table = scanner_on_the_wire(tmp_path)
    assert table.identifiers >= 28
    assert (table.requests, table.captured, table.leaks) == (0, 0, [])


@pytest.mark.parametrize("name", ["Nordhafen Privatbank", "Volksbank Lindenau", "Kestrel Trust", "Sparhaus Ostufer"])
def test_letters_as_digits_backwards_and_parts_are_found(name: str) -> None:
    scanner = Scanner(Identifiers(banks=(name,)))
    for text in (
        leet(name),
        backwards(name),
        name.split(maxsplit=1)[0],
        name.split()[1],
        name.replace("n", "rn").replace("rn", "n"),
    ):
        assert refuses(scanner, opened_prompt(text)) or len(text) < 5, text
    assert not refuses(scanner, opened_prompt("12"))


@pytest.mark.parametrize(
    "halves",
    [
        '["Nordha", "fenbank"]',
        '{"summary": "we thank Nordha", "result": "fenbank for it"}',
        '["12\\nNordha\\nfenbank"]',
        '["Banks in the federation: Nordha\\nTraining rounds planned: fenbank"]',
        '["Training rounds planned: 12 Nordha\\nBanks in the federation: 3, 4.5 fenbank"]',
    ],
)
def test_a_name_cut_in_two_neighbouring_values_is_found(halves: str) -> None:
    fixed = ["Banks in the federation: ", "Training rounds planned: ", '{"summary": "', '", "result": "']
    scanner = Scanner(Identifiers(banks=("Nordhafenbank",)), fixed=fixed)
    assert refuses(scanner, halves.encode())
    assert not refuses(scanner, halves.replace("fenbank", "gen").encode())


def test_a_name_cut_in_two_with_unknown_words_between_is_not_found_as_documented() -> None:
    assert not refuses(Scanner(Identifiers(banks=("Nordhafenbank",))), b'["Nordha is a word and so is fenbank"]')


@pytest.mark.parametrize(
    "text",
    [
        "bank 3: 0.97", "Bank no. 7", "bank #4", "index 3", "index=12", "client 2",
        "the third bank", "bank three", "member 5",
        "last bank", "banks 3 and 4", "2nd bank", '\\"index\\": 3', "participant: 9",
    ],
)  # fmt: skip
def test_a_banks_index_is_found(text: str) -> None:
    assert refuses(Scanner(Identifiers()), opened_prompt(text))


@pytest.mark.parametrize(
    "text",
    [
        "DEUTDEFF500", "deutdeff500", "BNPAFRPP", "529900T8BM49AURSDO55",
        "DE136695976", "db-prod-3.corp.internal", "10.17.3.4",
        "fe80::1ff:fe23:4567:890a", "5f" * 16, "AKIAIOSFODNN7EXAMPLE", "someone (at) bank (dot) example",
        "~/data/x.csv",
        "DE89.3704.0044.0532.0130.00", "ＤＥ８９ 3704 0044 0532 0130 00", "４１１１ 1111 1111 1111",
    ],
)  # fmt: skip
def test_published_formats_are_found_without_being_listed(text: str) -> None:
    assert refuses(Scanner(Identifiers()), opened_prompt(text))


@pytest.mark.parametrize("place", ["views", "spellings", "classes_in", "suspicions_in", "values_in"])
def test_an_error_inside_the_scanner_stops_the_request(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", rounds=3, aborted=())
    assert sent(run, scanner=True)

    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("Nordhafen")

    monkeypatch.setattr(redaction, place, fails)
    with RecordingServer() as server:
        asked = NarratorSettings(base_url=server.url, api_key=KEY, retries=0)
        outcome = write_report(run, narrator=asked, identifiers=IDENTIFIERS)
    assert server.received == []
    assert outcome.narrative == "offline"
    assert outcome.reason is not None
    assert "nothing was sent" in outcome.reason
    assert "Nordhafen" not in outcome.reason


@pytest.mark.parametrize(
    "sentence",
    [
        "The banks are Nordhafen Privatbank and Kestrel & Sons.", "Bank 3 did best.", "N0rdhafen Pr1vatbank did well.",
        "The loss fell by 48213.", "See http://bank.example/list for the list.", "Write to someone@bank.example.",
        "Two-thirds of them dropped out.", "The data lie in /srv/fraud/nordhafen_2024.parquet.",
        "S.nosivorP knabtavirP nefahdroN",
        "0.97 was the score of DE89370400440532013000.", "Tm9yZGhhZmVuIFByaXZhdGJhbms=",
    ],
)  # fmt: skip
def test_an_injected_answer_falls_back(sentence: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rounds=3, aborted=())
    outcome = answered(run, sentence)
    assert outcome.narrative == "offline"
    assert outcome.reason is not None
    assert sentence not in outcome.html.read_text("utf-8")


def test_control_an_honest_answer_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rounds=3, aborted=())
    assert answered(run, "The banks trained one model.").narrative == "openai"


def test_a_hundred_clean_reports_raise_no_alarm(tmp_path: Path) -> None:
    """Facts of many shapes, and banks, columns and users named with words of our own documents."""
    random_ = random.Random(11)
    words = sorted(
        {word for file in ROOT.glob("docs/*.md") for word in re.findall(r"[A-Za-z]{2,}", file.read_text("utf-8"))}
    )
    assert len(words) > 2000
    base = [facts_of(read_run(make_run(tmp_path / kind, evaluation=kind))) for kind in ("public", "federated")]
    for number in range(100):
        facts = shape(random_, base[number % 2])
        names = random_.sample(words, 40)
        names[:3] = ["Loss", "ING", f"{random_.choice(words)} {random_.choice(words)}"]
        known = Identifiers(banks=tuple(names[:20]), columns=tuple(names[20:36]), users=tuple(names[36:]), hosts=("a",))
        preview(facts, settings=SETTINGS, identifiers=known)  # raises where the scanner finds anything


def test_control_the_same_names_are_found_once_they_are_planted(tmp_path: Path) -> None:
    facts = facts_of(read_run(make_run(tmp_path / "run")))
    for name in ("Loss", "ING", "Training", "Federation"):
        known = Identifiers(banks=(name,))
        preview(facts, settings=SETTINGS, identifiers=known)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openai_writer, "render_prompt", lambda facts, n=name: f"{render_prompt(facts)}\n{n}\n")
            with pytest.raises(RedactionError):
                preview(facts, settings=SETTINGS, identifiers=known)


@pytest.mark.parametrize("sentence", INJECTIONS)
def test_instructions_in_a_name_change_nothing(sentence: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rounds=3, aborted=())
    known = Identifiers(banks=(sentence,), columns=(sentence,), files=(sentence,), datasets=(sentence,))
    facts = facts_of(read_run(run))
    assert preview(facts, settings=SETTINGS, identifiers=known).body == preview(
        facts, settings=SETTINGS, identifiers=Identifiers()
    ).body  # fmt: skip
    assert refuses(scanner_for(known, SETTINGS), opened_prompt(sentence))


def shape(random_: random.Random, facts: Facts) -> Facts:
    """Other figures in the same facts, of every size that a run can have."""
    banks = random_.randint(5, 200)
    corrupt = random_.randint(0, (banks - 1) // 3)
    quality = facts.quality and facts.quality.model_copy(
        update={name: random_.random() for name in ("roc_auc", "average_precision", "accuracy")}
    )
    return facts.model_copy(
        update={
            "banks": banks,
            "corrupt": corrupt,
            "honest_inputs": random_.randint(1, banks),
            "least_survivors_enforced": random_.randint(1, banks),
            "rounds_planned": random_.choice([1, 10, 30, 1000, 9999]),
            "rounds_opened": random_.randint(0, 9999),
            "attempts_aborted": random_.randint(0, 40),
            "epsilon": random_.choice([0.01, 0.5, 1.0, 3.0, random_.uniform(0, 20), 250.0, 900.0]),
            "planned_epsilon": random_.uniform(0, 1000),
            "delta": 10.0 ** -random_.uniform(3, 12),
            "private": random_.random() < 0.9,
            "simulated_keys": random_.random() < 0.5,
            "quality": random_.choice([None, quality, quality]),
            "fraud_share": random_.choice([None, random_.random(), 0.0001, 0.0, 1.0]),
            "releases_outside": random_.randint(0, 4),
        }
    )


def sent(run: Path, *, scanner: bool = False) -> bytes:
    with RecordingServer() as server:
        asked = NarratorSettings(base_url=server.url, api_key=KEY, retries=0)
        if scanner:
            write_report(run, narrator=asked, identifiers=IDENTIFIERS)
        else:
            with without_scanner():
                write_report(run, narrator=asked, identifiers=IDENTIFIERS)
        return b"".join(server.received)


def answered(run: Path, sentence: str):
    from tests.compliance.server import http, response

    answer = http(response(json.dumps({**GOOD, "result": sentence})))
    with RecordingServer(answer) as server:
        asked = NarratorSettings(base_url=server.url, api_key=KEY, retries=0)
        return write_report(run, narrator=asked, identifiers=IDENTIFIERS)


def test_the_seed_makes_the_same_identifiers_of_every_kind() -> None:
    kinds = {"bank", "injection", "IBAN", "BIC", "card", "e-mail", "host", "path", "key"}
    assert {each.kind for each in generate(1)} == kinds
    assert generate(1) == generate(1) != generate(2)
    assert Planted("bank", "ING") in generate(3)
