"""Edits that steps 9 to 18 have to find: of models, ledger, epsilon, statements, report and what left."""

from __future__ import annotations

# ruff: noqa: E501 - a table, one edit a line
import base64
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from compliance.reading import facts_of, read_run
from fedsec_verify import bundle as names
from fedsec_verify.bundle import Options
from fedsec_verify.ledger_entries import ENTRY_SIGNATURE, HEAD_SIGNATURE, entry_hash
from tests.verifier.cases import Case, Tamper
from tests.verifier.fixed_texts import requests
from tests.verifier.tampers_of_rounds import Edit, json_file, of_plan, of_round, stated

MODEL, PRIVACY, SUMMARY, METRICS, HEADS = (
    "model.safetensors", "privacy.json", "summary.json", "metrics.jsonl", "ledger-heads.json"
)  # fmt: skip
HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"
REQUEST, SENT_HEADERS = "outbound/request-001.json", "outbound/request-001.headers.txt"
Document = dict[str, Any]
Lines = list[Document]


# What the edits are made of


def resealed(edit: Edit) -> Edit:
    """An insider's edit: all digests and signatures of statement and report are made again."""

    def change(case: Case) -> None:
        edit(case)
        case.reseal()

    return change


def reported(edit: Edit) -> Edit:
    """An edit of the report by whoever has the report's key."""

    def change(case: Case) -> None:
        edit(case)
        case.reseal_report()

    return change


def of_json(name: str, change: Callable[[Any], None]) -> Edit:
    return resealed(json_file(name, change))


def of_privacy(**fields: Any) -> Edit:
    return of_json(PRIVACY, lambda document: document.update(fields))


def of_summary(**fields: Any) -> Edit:
    return of_json(SUMMARY, lambda document: document.update(fields))


def of_parameters(**fields: Any) -> Edit:
    return of_json(PRIVACY, lambda document: document["parameters"][1].update(fields))


def of_release(**fields: Any) -> Edit:
    return of_json(PRIVACY, lambda document: document["releases"][1].update(fields))


def of_adversary(place: int, **fields: Any) -> Edit:
    return of_json(PRIVACY, lambda document: document["adversaries"][place].update(fields))


def of_line(change: Callable[[Document], None], place: int = -1) -> Edit:
    """An insider changes a line of metrics.jsonl, the last if nothing else is said."""

    def edit(case: Case) -> None:
        lines = [json.loads(line) for line in case.read(METRICS).splitlines()]
        change(lines[place])
        case.write(METRICS, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    return resealed(edit)


def of_text(name: str, change: Callable[[str], str]) -> Edit:
    def edit(case: Case) -> None:
        before = case.read(name).decode()
        after = change(before)
        assert after != before
        case.write(name, after.encode())

    return edit


# Models


def of_weights(change: Callable[[np.ndarray], None]) -> Edit:
    """An insider changes the last tensor of the released model."""

    def edit(case: Case) -> None:
        data = bytearray(case.read(MODEL))
        length = int.from_bytes(data[:8], "little")
        weights = np.frombuffer(bytes(data[8 + length :]), "<f4").copy()
        change(weights)
        case.write(MODEL, bytes(data[: 8 + length]) + weights.tobytes())

    return resealed(edit)


def one_ulp(weights: np.ndarray) -> None:
    weights[7] = np.nextafter(weights[7], np.float32(math.inf))


def of_header(change: Callable[[Document], None]) -> Edit:
    """An insider changes the header of the released model."""

    def edit(case: Case) -> None:
        data = case.read(MODEL)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        encoded = json.dumps(header).encode()
        case.write(MODEL, len(encoded).to_bytes(8, "little") + encoded + data[8 + length :])

    return resealed(edit)


def other_standardiser(header: Document) -> None:
    card = json.loads(header["__metadata__"]["standardiser"])
    means = np.frombuffer(base64.b64decode(card["means"]), "<f8").copy()
    means[0] += 1e-9
    card["means"] = base64.b64encode(means.tobytes()).decode()
    header["__metadata__"]["standardiser"] = json.dumps(card)


def other_total(case: Case, record: Document) -> None:
    total = np.frombuffer(record["total"], "<i8").copy()
    total[0] += 1
    record["total"] = total.tobytes()


def taken_from_the_other_run(*files: str) -> Edit:
    def edit(case: Case) -> None:
        for name in files:
            case.write(name, (case.other / name).read_bytes())

    return edit


# The ledger


def ledgers_key(case: Case) -> Ed25519PrivateKey:
    """The holder's: both runs charged one ledger."""
    key = load_pem_private_key((case.other.parents[1] / "ledger.sqlite.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def of_ledger(change: Callable[[Lines], Lines], *, key: Ed25519PrivateKey | None = None, heads: bool = True) -> Edit:
    """The holder of the ledger rewrites it; with ``heads`` all parties countersign what it then shows."""

    def edit(case: Case) -> None:
        signer = key or ledgers_key(case)
        public = signer.public_key().public_bytes_raw().hex()
        extract = json.loads(case.read(names.LEDGER))
        lines = change(extract["entries"])
        previous = bytes(32)
        for number, line in enumerate(lines):
            previous = entry_hash(number, previous, line["payload"].encode())
            signature = _labelled(signer, ENTRY_SIGNATURE, previous)
            line.update(seq=number, hash=previous.hex(), signature=signature)
        extract.update(entries=lines, heads=[], public_key=public)
        case.write(names.LEDGER, json.dumps(extract).encode())
        head = {"public_key": public, "entry": len(lines) - 1, "hash": lines[-1]["hash"]}
        if heads:
            case.write(HEADS, json.dumps(_countersigned(case, lines, public)).encode())
            case.edit_json(SUMMARY, lambda summary: summary.update(ledger_head=head))
            case.edit_statement(lambda statement: statement["predicate"].update(ledger=head))
        case.reseal()

    return edit


def _labelled(key: Ed25519PrivateKey, label: bytes, message: bytes) -> str:
    return key.sign(bytes([len(label)]) + label + message).hex()


def _countersigned(case: Case, lines: Lines, public: str) -> Document:
    file = json.loads(case.read(HEADS))
    for number, head in enumerate(file["heads"]):
        entry = len(lines) - 1 if number == len(file["heads"]) - 1 else min(head["head"]["entry"], len(lines) - 1)
        line = lines[entry]
        head["head"] = {"ledger": public, "entry": entry, "hash": line["hash"], "signature": line["signature"]}
        raw = bytes.fromhex(public) + entry.to_bytes(8, "big") + bytes.fromhex(line["hash"] + line["signature"])
        for each in head["countersigned"]:
            each["signature"] = _labelled(case.keys[each["signer"]], HEAD_SIGNATURE, raw + each["at"].encode())
    return file


def last(kind: str) -> Callable[[Lines], int]:
    return lambda lines: max(number for number, line in enumerate(lines) if f'"type":"{kind}"' in line["payload"])


def without(kind: str) -> Callable[[Lines], Lines]:
    return lambda lines: [line for number, line in enumerate(lines) if number != last(kind)(lines)]


def edited(kind: str, change: Callable[[Document], None]) -> Callable[[Lines], Lines]:
    def edit(lines: Lines) -> Lines:
        payload = json.loads(lines[last(kind)(lines)]["payload"])
        change(payload)
        lines[last(kind)(lines)]["payload"] = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        return lines

    return edit


def exchanged(lines: Lines) -> Lines:
    lines[-2], lines[-3] = lines[-3], lines[-2]
    return lines


def raw_ledger(change: Callable[[Lines], Lines]) -> Edit:
    """Somebody without the ledger's key changes the extract; all others sign what they see."""

    def edit(document: Document) -> None:
        document["entries"] = change(document["entries"])

    return of_json(names.LEDGER, edit)


# Report and outbound


def sent(edit: Edit) -> Edit:
    """A request of this very run in outbound/, as the program makes it, then ``edit``; the report is signed over it."""

    def change(case: Case) -> None:
        record_request(case)
        edit(case)
        case.reseal_report()

    return change


def record_request(case: Case) -> None:
    """Put the request that the program would make into outbound/, and have the report tell of it."""
    body = requests(facts_of(read_run(case.path)))[0]
    (case.path / "outbound").mkdir()
    case.write(REQUEST, json.dumps(body).encode())
    case.write(
        SENT_HEADERS, b"POST /v1/chat/completions HTTP/1.1\nHost: models.bank.example\nAccept: application/json\n"
    )
    case.edit_json(JSON, lambda report: report["narrative"].update(requests=1))
    case.edit_statement(lambda statement: list_subjects(statement, REQUEST, SENT_HEADERS), names.REPORT)
    case.reseal_report()


def list_subjects(statement: Document, *files: str) -> None:
    statement["subject"] += [{"name": name, "digest": {"sha256": "0" * 64}} for name in files]
    statement["subject"].sort(key=lambda subject: subject["name"])


def of_message(change: Callable[[str], str]) -> Edit:
    def edit(case: Case) -> None:
        body = json.loads(case.read(REQUEST))
        if "input" in body:
            body["input"] = change(body["input"])
        else:
            body["messages"][1]["content"] = change(body["messages"][1]["content"])
        case.write(REQUEST, json.dumps(body).encode())

    return sent(edit)


def foreign_request(case: Case) -> None:
    case.write("outbound/note.txt", b"Nordhafen")
    case.edit_statement(lambda statement: list_subjects(statement, "outbound/note.txt"), names.REPORT)


def forgotten_request(case: Case) -> None:
    (case.path / REQUEST).unlink()

    def forget(statement: Document) -> None:
        statement["subject"] = [subject for subject in statement["subject"] if subject["name"] != REQUEST]

    case.edit_statement(forget, names.REPORT)


def signed_by_somebody(case: Case) -> None:
    case.sign(names.REPORT, signers=[Ed25519PrivateKey.generate()])


def over_another_statement(case: Case) -> None:
    other = hashlib.sha256((case.other / names.STATEMENT).read_bytes()).hexdigest()
    case.edit_statement(lambda statement: statement["predicate"].update(statement=other), names.REPORT)
    case.sign(names.REPORT)


def marked(path: str, change: Callable[[str], str]) -> Edit:
    """Change the element of the page that marks ``path``."""

    def edit(page: str) -> str:
        at = page.index(f'data-fact="{path}">')
        start, end = page.rindex("<data", 0, at), page.index("</data>", at) + len("</data>")
        return page[:start] + change(page[start:end]) + page[end:]

    return reported(of_text(HTML, edit))


def other_key(case: Case) -> Options:
    return Options(roster=None, ledger_key=bytes(31) + b"\1", today="2026-01-01")


def fact(**fields: Any) -> Edit:
    return reported(json_file(JSON, lambda report: report["facts"].update(fields)))


def first_bank_less(document: Document) -> None:
    document["adversaries"].pop(0)


def _add(amount: float, *path: str | int) -> Callable[[Any], None]:
    """Add ``amount`` to the number at ``path``."""

    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] += amount

    return change


TAMPERS: tuple[Tamper, ...] = (
    # Outsiders: files change, signatures stay.
    Tamper(name="a bit of a weight flipped", step=2, edit=lambda case: case.flip(MODEL)),
    Tamper(name="model of another run", step=2, edit=taken_from_the_other_run(MODEL)),
    Tamper(name="a figure of metrics.jsonl", step=2, edit=of_text(METRICS, lambda text: text.replace("0.", "0.0", 1))),
    Tamper(name="a figure of privacy.json", step=2, edit=json_file(PRIVACY, _add(-1.0, "epsilon"))),
    Tamper(name="a figure of summary.json", step=2, edit=json_file(SUMMARY, _add(1, "rounds_opened"))),
    Tamper(name="ledger cut off", step=2, edit=json_file(names.LEDGER, lambda ledger: ledger["entries"].pop())),
    Tamper(name="heads of another run", step=2, edit=taken_from_the_other_run(HEADS)),
    Tamper(name="a figure of report.json", step=17, edit=json_file(JSON, _add(-1.0, "facts", "epsilon"))),
    Tamper(name="a figure of report.html", step=17, edit=of_text(HTML, lambda text: text.replace("ε = ", "ε = 0", 1))),
    Tamper(name="a figure of report.md", step=17, edit=of_text(MARKDOWN, lambda text: text.replace("ε = ", "ε = 0", 1))),
    Tamper(name="report of another run", step=17, edit=taken_from_the_other_run(HTML, MARKDOWN, JSON, names.REPORT)),
    Tamper(name="report.md gone", step=17, edit=lambda case: (case.path / MARKDOWN).unlink()),
    Tamper(name="a file added to outbound/", step=17, edit=lambda case: (record_request(case), case.write("outbound/request-002.json", b"{}"))),
    Tamper(name="a byte that left changed", step=17, edit=lambda case: (record_request(case), case.flip(REQUEST))),
    # Models
    Tamper(name="an opened sum off by one", step=9, edit=of_round(other_total, sign=True)),
    Tamper(name="a digest after a round", step=9, edit=stated(lambda s: s["predicate"]["attempts"][-1].update(after="0" * 64))),
    Tamper(name="a digest before a round", step=5, edit=stated(lambda s: s["predicate"]["attempts"][-1].update(before="0" * 64))),
    Tamper(name="another seed in the plan", step=9, edit=of_plan(lambda plan: plan.update(initial_seed=plan["initial_seed"] + 1))),
    Tamper(name="another denominator in the plan", step=4, edit=of_plan(lambda plan: plan.update(denominator=plan["denominator"] + 1))),
    Tamper(name="one weight by its last bit", step=10, edit=of_weights(one_ulp)),
    Tamper(name="two weights exchanged", step=10, edit=of_weights(lambda w: w.put([0, 1], [w[1], w[0]]))),
    Tamper(name="another run's model", step=10, edit=resealed(taken_from_the_other_run(MODEL))),
    Tamper(name="bytes behind the last tensor", step=10, edit=resealed(lambda case: case.write(MODEL, case.read(MODEL) + b"\0\0\0\0"))),
    Tamper(name="another standardiser", step=10, edit=of_header(other_standardiser)),
    Tamper(name="brand taken off the model", step=10, edit=of_header(lambda header: header["__metadata__"].update(brands=""))),
    Tamper(name="a further line in the model's metadata", step=10, edit=of_header(lambda header: header["__metadata__"].update(note="ING"))),
    # The ledger
    Tamper(name="ledger cut off, all but the ledger sign", step=11, edit=raw_ledger(lambda lines: lines[:-1])),
    Tamper(name="a burn taken out", step=11, edit=raw_ledger(without("burnt"))),
    Tamper(name="two entries exchanged", step=11, edit=raw_ledger(exchanged)),
    Tamper(name="another count reserved", step=11, edit=raw_ledger(edited("reserved", lambda p: p["charges"][1].update(count=1)))),
    Tamper(name="ledger signed by another key", step=11, edit=of_ledger(lambda lines: lines, key=Ed25519PrivateKey.from_private_bytes(b"\5" * 32))),
    Tamper(name="ledger rewritten under old heads", step=11, edit=of_ledger(without("burnt"), heads=False)),
    Tamper(name="heads of another run, all sign", step=11, edit=resealed(taken_from_the_other_run(HEADS))),
    Tamper(name="heads that too few countersigned", step=11, edit=of_json(HEADS, lambda f: f["heads"][-1].update(countersigned=f["heads"][-1]["countersigned"][:2]))),
    Tamper(name="a countersignature flipped", step=11, edit=of_json(HEADS, lambda f: f["heads"][0]["countersigned"][0].update(signature="0" * 128))),
    Tamper(name="a data set named in the extract", step=11, edit=of_ledger(edited("split-fixed", lambda p: p.update(dataset="ulb")))),
    Tamper(name="a settlement that the coordinator did not sign", step=11, edit=of_ledger(edited("settled", lambda p: p["closing"]["closing"]["attempts"].update(training=1)))),
    Tamper(name="key of another ledger given", step=12, edit=lambda case: None, options=other_key),
    Tamper(name="a burn dropped, everybody signs", step=13, edit=of_ledger(without("burnt"))),
    Tamper(name="a reservation of less noise, everybody signs", step=13, edit=of_ledger(edited("reserved", lambda p: p["charges"][1]["event"]["event"].update(share_variance=1e12)))),
    Tamper(name="a reservation of a smaller eta, everybody signs", step=13, edit=of_ledger(edited("reserved", lambda p: p["charges"][1].update(eta=0.0)))),
    Tamper(name="a reservation without its brand, everybody signs", step=13, edit=of_ledger(edited("reserved", lambda p: p.update(brands=[])))),
    Tamper(name="never settled, everybody signs", step=13, edit=of_ledger(without("settled"))),
    Tamper(name="statement charges an attempt less", step=13, edit=stated(lambda s: _add(-1, "events", 1, "charged")(s["predicate"]))),
    Tamper(name="statement plans an attempt more", step=13, edit=stated(lambda s: _add(1, "events", 1, "planned")(s["predicate"]))),
    Tamper(name="statement's event has more noise", step=13, edit=stated(lambda s: _add(1.0, "events", 1, "event", "event", "share_variance")(s["predicate"]))),
    Tamper(name="statement without an event", step=13, edit=stated(lambda s: s["predicate"]["events"].pop())),
    Tamper(name="statement with a smaller eta", step=13, edit=stated(lambda s: s["predicate"].update(eta=2.0**-70))),
    Tamper(name="invented data said to be real", step=13, edit=of_summary(dataset="own data")),
    # Epsilon
    Tamper(name="epsilon lowered by a thousandth", step=14, edit=of_json(PRIVACY, _add(-1e-3, "epsilon"))),
    Tamper(name="epsilon raised", step=14, edit=of_json(PRIVACY, _add(0.01, "epsilon"))),
    Tamper(name="reserved epsilon lowered", step=14, edit=of_json(PRIVACY, _add(-1e-3, "planned_epsilon"))),
    Tamper(name="no epsilon", step=14, edit=of_privacy(epsilon=None)),
    *(
        Tamper(name=f"epsilon against adversary {place} lowered", step=14, edit=of_json(PRIVACY, _add(-1e-3, "adversaries", place, "epsilon")))
        for place in range(4)
    ),
    Tamper(name="a noise share more against an adversary", step=14, edit=of_json(PRIVACY, _add(1, "adversaries", 2, "shares"))),
    Tamper(name="an adversary left out", step=14, edit=of_json(PRIVACY, first_bank_less)),
    Tamper(name="a weaker adversary as the target", step=14, edit=of_json(PRIVACY, lambda d: (d["adversaries"][0].update(target=True), d["adversaries"][2].update(target=False)))),
    Tamper(name="a cross check below the truth", step=14, edit=of_privacy(cross_checks={"PLD": 0.1})),
    Tamper(name="epsilon of an attempt", step=14, edit=of_line(_add(-1e-3, "epsilon"))),
    Tamper(name="a balance lowered", step=14, edit=of_json(SUMMARY, _add(-1e-3, "ledger", 0, "spent_epsilon"))),
    Tamper(name="a budget that nobody set", step=14, edit=of_json(SUMMARY, lambda d: d["ledger"][0].update(budget_epsilon=9.0))),
    Tamper(name="a figure of a balance's course", step=14, edit=of_json(SUMMARY, _add(-1e-2, "ledger", 0, "course", -1))),
    Tamper(name="an account left out", step=14, edit=of_json(SUMMARY, lambda d: d.update(ledger=[]))),
    # The privacy statement
    Tamper(name="more noise in a share", step=15, edit=of_json(PRIVACY, _add(1.0, "parameters", 1, "share_variance"))),
    Tamper(name="another sensitivity", step=15, edit=of_json(PRIVACY, _add(-1.0, "parameters", 1, "sensitivity"))),
    Tamper(name="another noise multiplier", step=15, edit=of_json(PRIVACY, _add(0.1, "parameters", 1, "noise_multiplier"))),
    Tamper(name="another clip", step=15, edit=of_parameters(clip=0.5)),
    Tamper(name="another key exchange stated", step=15, edit=of_privacy(key_exchange="x25519")),
    Tamper(name="another ring", step=15, edit=of_json(PRIVACY, _add(1, "parameters", 1, "ring_bits"))),
    Tamper(name="another event released", step=15, edit=of_json(PRIVACY, _add(1, "releases", 1, "event", "event", "shares"))),
    Tamper(name="an attempt less charged", step=15, edit=of_json(PRIVACY, _add(-1, "releases", 1, "charged"))),
    Tamper(name="charged to the other account", step=15, edit=of_release(charged_to=["holdout"])),
    Tamper(name="brand taken off", step=15, edit=of_privacy(brands=[])),
    Tamper(name="another unit", step=15, edit=of_privacy(unit="entity at one bank", unit_rows=8)),
    Tamper(name="another delta", step=15, edit=of_privacy(delta=1e-6)),
    Tamper(name="another eta", step=15, edit=of_privacy(eta=0.0)),
    Tamper(name="another mode", step=15, edit=of_privacy(mode="local")),
    Tamper(name="called conservative", step=15, edit=of_privacy(conservative=True)),
    Tamper(name="a larger threshold", step=15, edit=of_json(PRIVACY, _add(1, "cohort", "threshold"))),
    Tamper(name="more slots", step=15, edit=of_json(PRIVACY, _add(1, "slots"))),
    Tamper(name="public evaluation hidden", step=15, edit=of_privacy(outside_ledger=[])),
    Tamper(name="sampling claimed", step=15, edit=of_json(PRIVACY, lambda d: d["sampling"].update(rate=0.5, amplification=True))),
    Tamper(name="more noise against banks", step=15, edit=of_privacy(noise_against_banks="The noise of a round has a standard deviation of 99.0 clips.")),
    Tamper(name="another learning rate told", step=15, edit=of_json(PRIVACY, lambda d: d["constants"][1].update(value=0.5))),
    # Metrics
    Tamper(name="quality of the last round", step=16, edit=of_line(lambda line: line["metrics"].update(roc_auc=0.999))),
    Tamper(name="final quality", step=16, edit=of_json(SUMMARY, lambda d: d["final"].update(average_precision=0.999))),
    Tamper(name="fewer losses", step=16, edit=of_line(lambda line: line.update(dropped_at={"advertise": 1}))),
    Tamper(name="a reason removed", step=16, edit=of_line(lambda line: line.update(reason="none"))),
    Tamper(name="a round counted twice", step=16, edit=of_line(lambda line: line.update(round=line["round"] + 1))),
    Tamper(name="a round more", step=16, edit=of_json(SUMMARY, _add(1, "rounds_opened"))),
    Tamper(name="an abort less", step=16, edit=of_json(SUMMARY, _add(-1, "rounds_aborted"))),
    Tamper(name="more survivors", step=16, edit=of_json(SUMMARY, _add(1, "survivors_min"))),
    Tamper(name="another model's layers", step=16, edit=of_json(SUMMARY, _add(1, "model", 1))),
    Tamper(name="called federated", step=16, edit=of_summary(evaluation="federated")),
    Tamper(name="another head told", step=16, edit=of_json(SUMMARY, _add(-1, "ledger_head", "entry"))),
    Tamper(name="fewer bytes told", step=16, edit=of_json(SUMMARY, _add(-4, "plain_bytes"))),
    # Report
    Tamper(name="report's epsilon", step=17, edit=fact(epsilon=0.5)),
    Tamper(name="report's quality", step=17, edit=reported(json_file(JSON, lambda r: r["facts"]["quality"].update(roc_auc=0.99)))),
    Tamper(name="a fact more", step=17, edit=fact(certified=1)),
    Tamper(name="a fact less", step=17, edit=reported(json_file(JSON, lambda r: r["facts"].pop("attempts_aborted")))),
    Tamper(name="an adversary's bound in the report", step=17, edit=reported(json_file(JSON, _add(-0.1, "facts", "bounds", 3, "epsilon")))),
    Tamper(name="a figure of the narrative", step=17, edit=reported(json_file(JSON, lambda r: r["narrative"]["sections"].update(limits="Only 0.31 % of it was lost.")))),
    Tamper(name="another text on the page", step=17, edit=reported(json_file(JSON, lambda r: r["narrative"]["sections"].update(limits="There are none.")))),
    Tamper(name="digest of another model in the report", step=17, edit=reported(json_file(JSON, lambda r: r["provenance"]["sha256"].update({MODEL: "0" * 64})))),
    Tamper(name="headline of report.md", step=17, edit=reported(of_text(MARKDOWN, lambda text: text.replace("ε = ", "ε = 0")))),
    Tamper(name="a marked figure's text", step=17, edit=marked("epsilon", lambda mark: mark.replace(">", ">0", 1))),
    Tamper(name="a marked figure's value", step=17, edit=marked("delta", lambda mark: mark.replace('value="', 'value="0'))),
    Tamper(name="a mark of something else", step=17, edit=marked("epsilon", lambda mark: mark.replace('"epsilon"', '"delta"'))),
    Tamper(name="a mark taken away", step=17, edit=marked("epsilon", lambda mark: "0.1")),
    Tamper(name="report signed by another key", step=17, edit=signed_by_somebody),
    Tamper(name="report over another run's statement", step=17, edit=over_another_statement),
    Tamper(name="report said to be written by a model", step=17, edit=lambda case: (case.edit_statement(lambda s: s["predicate"].update(writer="openai"), names.REPORT), case.sign(names.REPORT))),
    # What left
    Tamper(name="a bank named", step=18, edit=of_message(lambda text: text + "\nNordhafen Privatbank took part.")),
    Tamper(name="a figure that the report has not", step=18, edit=of_message(lambda text: text + "\nBanks in the federation: 4821")),
    Tamper(name="a secret in base64", step=18, edit=of_message(lambda text: text + "\nTm9yZGhhZmVuIFByaXZhdGJhbms=")),
    Tamper(name="a field more", step=18, edit=sent(json_file(REQUEST, lambda body: body.update(metadata={"bank": "ING"})))),
    Tamper(name="a name as the model's", step=18, edit=sent(json_file(REQUEST, lambda body: body.update(model="Crédit Épargne")))),
    Tamper(name="the key in the headers", step=18, edit=sent(lambda case: case.write(SENT_HEADERS, case.read(SENT_HEADERS) + b"Authorization: Bearer sk-1\n"))),
    Tamper(name="another kind of file", step=18, edit=sent(foreign_request)),
    Tamper(name="a request forgotten", step=18, edit=sent(forgotten_request)),
)  # fmt: skip
