"""Edits for one rule each of steps 1 to 8: switch the rule off, and its edit is found elsewhere or not at all."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec

from fedsec_verify import bundle as names
from fedsec_verify import hashing
from tests.verifier.cases import Case, Tamper
from tests.verifier.tampers_of_rounds import (
    STRANGER,
    Edit,
    Record,
    _attempt_with_dropouts,
    _first_input,
    _of_dropout,
    bit,
    json_file,
    line_of,
    of_cohort,
    of_round,
    predicate,
    stated,
    under_plan,
)

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("kid", "t1", "sid", "t2", "total"), ""),
    **{name: [] for name in ("members", "dealers", "survivors", "responders", "convicted")},
}

# Steps 1, 2 and 4


def _banks_swapped(envelope: Any) -> None:
    signatures = envelope["signatures"]
    signatures[1], signatures[2] = signatures[2], signatures[1]


def _report_as_subject(statement: Any) -> None:
    statement["subject"].append({"name": names.REPORT, "digest": {"sha256": "0" * 64}})
    statement["subject"].sort(key=lambda subject: subject["name"])


def _link_beside(case: Case) -> None:
    (case.path / "evidence" / "more").symlink_to(case.path / names.PLAN)


def _pipe_beside(case: Case) -> None:
    os.mkfifo(case.path / "evidence" / "more")


STEPS_1_TO_4 = (
    Tamper(name="another _type", step=1, edit=stated(lambda s: s.update(_type="urn:other")), expected="an in-toto"),
    Tamper(
        name="another coordinator than the roster's",
        step=1,
        edit=predicate(coordinator=STRANGER),
        expected="the coordinator's key of the roster",
    ),
    Tamper(
        name="two banks' signatures swapped",
        step=1,
        edit=json_file(names.STATEMENT, _banks_swapped),
        expected="by index",
    ),
    Tamper(name="the report's statement as a subject", step=2, edit=stated(_report_as_subject), expected="no subject"),
    Tamper(name="a link in evidence/", step=2, edit=_link_beside, expected="a regular file or a folder"),
    Tamper(name="a pipe in evidence/", step=2, edit=_pipe_beside, expected="a regular file or a folder"),
    Tamper(
        name="the digest of another plan",
        step=4,
        edit=stated(lambda s: s["predicate"]["plan"].update(sha256="0" * 64)),
        expected="a file of SHA-256",
    ),
    Tamper(
        name="one sum twice",
        step=4,
        edit=under_plan(lambda plan: plan["sums"][1].update(name="scaling")),
        expected="no sum twice",
    ),
    Tamper(name="an ε of 0", step=4, edit=under_plan(lambda plan: plan.update(epsilon=0.0)), expected="an ε above 0"),
    Tamper(
        name="all but one corrupt, a threshold of all",
        step=4,
        edit=of_cohort(corrupt=4, threshold=5, min_survivors=5),
        expected="h = t - c",
    ),
)

# Step 5


def _said_to_be_interrupted(case: Case, **fields: Any) -> None:
    """An aborted attempt that is said to have been interrupted."""
    attempt = case.attempts("aborted")[0]
    case.edit_statement(lambda s: case.line(s, attempt).update({**NOTHING, "status": "interrupted", **fields}))


def _interrupted_with_a_session(case: Case) -> None:
    attempt = case.attempts("aborted")[0]
    kid = case.line(case.statement(), attempt)["kid"]
    _said_to_be_interrupted(case, kid=kid)
    case.drop(names.round_file(attempt))
    case.reseal()


def _another_kid(_: Case, record: Record) -> None:
    config = msgspec.msgpack.decode(record["round_config"])
    config[0] = bit(config[0])
    record["round_config"] = msgspec.msgpack.encode(config)


def _stranger_agrees(case: Case, record: Record) -> None:
    last = list(record["agreed"][-1])
    last[1] = len(case.roster()["members"])
    record["agreed"].append(last)


def without(**fields: Any) -> Edit:
    """All sign a round without these parts."""
    return of_round(lambda _, record: record.update(fields), sign=True)


NO_U2: dict[str, Any] = {"dealers_signature": b"", "round_config": b"", "round_config_signature": b""}
STEP_5 = (
    Tamper(
        name="an interrupted attempt with a session", step=5, edit=_interrupted_with_a_session, expected="nothing of"
    ),
    Tamper(name="a signer beyond the roster", step=5, edit=of_round(_stranger_agrees), expected="of the roster only"),
    Tamper(
        name="dealings without U1", step=5, edit=without(members_signature=b""), expected="no dealing before the list"
    ),
    Tamper(
        name="U2 without U1",
        step=5,
        edit=without(members_signature=b"", dealings=[]),
        expected="no list of U2 before that of U1",
    ),
    Tamper(
        name="U2 without a round", step=5, edit=without(round_config=b""), expected="a round configuration exactly if"
    ),
    Tamper(name="masked inputs without U2", step=5, edit=without(**NO_U2), expected="no masked input before"),
    Tamper(name="an agreement on nobody", step=5, edit=without(masked=[]), expected="no agreement on nobody"),
    Tamper(
        name="shares without an agreement", step=5, edit=without(agreement_signature=b""), expected="no shares before"
    ),
    Tamper(name="a sum without shares", step=5, edit=without(revealed=[]), expected="no sum before shares"),
    Tamper(
        name="a round of another session, signed",
        step=5,
        edit=of_round(_another_kid, sign=True),
        expected="of this session",
    ),
    Tamper(name="a reason for an opened sum", step=5, edit=line_of(reason="why"), expected="a reason exactly if"),
)

# Steps 6 and 7


def _smaller(case: Case, record: Record, kinds: tuple[str, ...]) -> None:
    """Only the first banks, one fewer than the plan's minimum, in messages of these kinds."""
    fewest = msgspec.msgpack.decode(case.read(names.PLAN))["min_survivors"]
    left = {entry[1] for entry in record["masked"][: fewest - 1]}
    for kind in kinds:
        record[kind] = [entry for entry in record[kind] if entry[1] in left]


def _few_members(case: Case, record: Record) -> None:
    _smaller(case, record, ("advertised", "dealings", "masked", "agreed", "revealed"))


def _few_dealers(case: Case, record: Record) -> None:
    _smaller(case, record, ("dealings", "masked", "agreed", "revealed"))


def _convicted_out_of_order(_: Case, record: Record) -> None:
    record["convicted"] = [entry[1] for entry in record["revealed"][1::-1]]


def _file_of_an_interrupted_one(case: Case) -> None:
    _said_to_be_interrupted(case)
    case.reseal()


def _metrics_release(case: Case) -> None:
    lines = [json.loads(line) for line in case.read("metrics.jsonl").splitlines()]
    lines[-1]["release"] = "scaling"
    case.write("metrics.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    case.reseal()


STEPS_6_AND_7 = (
    Tamper(name="U1 below the minimum", step=6, edit=of_round(_few_members, sign=True), expected="U1 of at least"),
    Tamper(name="U2 below the minimum", step=6, edit=of_round(_few_dealers, sign=True), expected="U2 of at least"),
    Tamper(
        name="the convicted out of order",
        step=6,
        edit=of_round(_convicted_out_of_order, sign=True),
        expected="the convicted within U4",
    ),
    Tamper(
        name="a file of an interrupted attempt",
        step=7,
        edit=_file_of_an_interrupted_one,
        expected="no file of an attempt",
    ),
    Tamper(name="another sum in metrics.jsonl", step=7, edit=_metrics_release, expected="in line"),
)

# Step 8


def _short_input(case: Case) -> None:
    """A masked input that is a byte short, signed by its bank."""
    attempt, name = case.attempts()[0], _first_input(case)
    data = case.read(name)[:-1]
    case.write(name, data)
    case.edit_round(
        names.round_file(attempt),
        lambda record: record["masked"][0].__setitem__(2, hashing.digest(hashing.MASKED_INPUT, data)),
    )
    case.resign_round(attempt)
    case.reseal()


def _no_pair(record: Record) -> None:
    for pair in record["seeds"]["pairs"]:
        pair["entry"][5] = None


def _false_commitment(case: Case) -> None:
    """The commitment to a pair's secret is another one, and the root that its dealer signed is over that."""
    attempt = _attempt_with_dropouts(case)

    def change(record: Record) -> None:
        given = record["seeds"]["pairs"][0]
        _, ciphertext, kem, self_leaf, mask_leaf, pair = given["entry"]
        pair[3] = bit(pair[3])
        part = hashing.digest(hashing.PAIR, *pair[1:])
        sealed = hashing.digest(hashing.CIPHERTEXT, ciphertext, kem)
        slot = hashing.digest(hashing.TREE_ENTRY, sealed, self_leaf, mask_leaf, part)
        clients = len(case.roster()["members"])
        root = hashing.root_from_path(slot, given["higher"], clients, given["path"])
        next(dealing for dealing in record["dealings"] if dealing[1] == given["lower"])[2] = root

    case.edit_round(names.round_file(attempt), change)
    case.resign_round(attempt)
    case.reseal()


STEP_8 = (
    Tamper(name="a masked input a byte short, signed", step=8, edit=_short_input, kept=True, expected="values of"),
    Tamper(
        name="a survivor's seed left out",
        step=8,
        edit=_of_dropout(lambda record: record["seeds"]["self"].pop()),
        kept=True,
        expected="b_u of each survivor",
    ),
    Tamper(
        name="a dropped dealer's seed left out",
        step=8,
        edit=_of_dropout(lambda record: record["seeds"]["mask"].pop()),
        kept=True,
        expected="a_v of each dealer",
    ),
    Tamper(
        name="both seeds of one bank",
        step=8,
        edit=_of_dropout(lambda record: record["seeds"]["mask"].append(record["seeds"]["self"][-1])),
        kept=True,
        expected="a_v of each dealer",
    ),
    Tamper(name="no pair part", step=8, edit=_of_dropout(_no_pair), kept=True, expected="a pair part"),
    Tamper(
        name="a commitment to another pair secret, signed",
        step=8,
        edit=_false_commitment,
        kept=True,
        expected="the pair secret that bank",
    ),
    Tamper(
        name="kept until a day that is none",
        step=8,
        edit=predicate(masked_inputs={"kept": True, "expires": "9999-99-99"}),
        kept=True,
        expected="a day of the calendar",
    ),
)

TAMPERS = (*STEPS_1_TO_4, *STEP_5, *STEPS_6_AND_7, *STEP_8)
