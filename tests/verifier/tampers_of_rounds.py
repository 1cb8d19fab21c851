"""Edits that steps 1 to 8 and 19 have to find: by outsiders, who change files, and by insiders, who sign again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedsec_verify import bundle as names
from fedsec_verify import formats, hashing
from fedsec_verify.bundle import Options
from tests.verifier.cases import Case, Tamper

Edit = Callable[[Case], None]
Record = dict[str, Any]

# What the edits are made of


def json_file(name: str, change: Callable[[Any], None]) -> Edit:
    return lambda case: case.edit_json(name, change)


def flipped(name: str, at: int = -1) -> Edit:
    return lambda case: case.flip(name, at)


def stated(change: Callable[[Any], None]) -> Edit:
    """An insider changes the statement; all sign it."""

    def edit(case: Case) -> None:
        case.edit_statement(change)
        case.sign(names.STATEMENT)
        case.reseal_report()

    return edit


def predicate(**fields: Any) -> Edit:
    return stated(lambda statement: statement["predicate"].update(fields))


def of_plan(change: Callable[[dict[str, Any]], None]) -> Edit:
    """An insider changes the plan; the coordinator signs it, all sign the statement."""

    def edit(case: Case) -> None:
        case.edit_plan(change)
        case.reseal()

    return edit


def under_plan(change: Callable[[dict[str, Any]], None]) -> Edit:
    """The same, and every round is run under the changed plan: only the rules of a plan are left to find it."""

    def edit(case: Case) -> None:
        case.edit_plan(change)
        case.follow_plan()
        case.reseal()

    return edit


def of_training(**fields: Any) -> Edit:
    def change(plan: dict[str, Any]) -> None:
        plan["sums"][1]["mechanism"].update(fields)

    return under_plan(change)


def of_cohort(**fields: Any) -> Edit:
    """Another cohort, for which the noise is sized."""

    def change(plan: dict[str, Any]) -> None:
        plan.update(fields)
        for planned in plan["sums"]:
            planned["mechanism"]["honest_inputs"] = max(1, plan["threshold"] - plan["corrupt"])

    return under_plan(change)


def of_round(change: Callable[[Case, Record], None], *, status: str = "opened", sign: bool = False) -> Edit:
    """An insider changes the file of the first training attempt that ended so; with ``sign`` all sign it anew."""

    def edit(case: Case) -> None:
        attempt = case.attempts(status)[0]
        case.edit_round(names.round_file(attempt), lambda record: change(case, record))
        if sign:
            case.resign_round(attempt)
        case.reseal()

    return edit


def line_of(**fields: Any) -> Edit:
    """An insider changes what the statement says of the first opened training attempt."""

    def edit(case: Case) -> None:
        attempt = case.attempts()[0]
        case.edit_statement(lambda statement: case.line(statement, attempt).update(fields))
        case.reseal()

    return edit


def bit(data: bytes, at: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def message(kind: str, field: int) -> Callable[[Case, Record], None]:
    """Flip a bit in a field of the first message of a kind; field -1 is its signature."""

    def change(_: Case, record: Record) -> None:
        record[kind][0][field] = bit(record[kind][0][field])

    return change


def field(name: str) -> Callable[[Case, Record], None]:
    def change(_: Case, record: Record) -> None:
        record[name] = bit(record[name])

    return change


def cut(record: Record, kind: str, count: int) -> None:
    """Leave the first ``count`` messages of a kind."""
    record[kind] = record[kind][:count]


def threshold(case: Case) -> int:
    plan = msgspec.msgpack.decode(case.read(names.PLAN))
    assert isinstance(plan["threshold"], int)
    return plan["threshold"]


# Step 1


def _resigned_by_strangers(case: Case) -> None:
    count = len(json.loads(case.read(names.STATEMENT))["signatures"])
    case.sign(names.STATEMENT, signers=[Ed25519PrivateKey.generate() for _ in range(count)])


def _bank_replaced_by_a_stranger(case: Case) -> None:
    signers = [case.coordinator, *(case.bank(index) for index in range(4)), Ed25519PrivateKey.generate()]
    case.sign(names.STATEMENT, signers=signers)


def _too_few_banks(case: Case) -> None:
    case.sign(names.STATEMENT, signers=[case.coordinator, *(case.bank(i) for i in range(threshold(case) - 1))])


def _without_coordinator(case: Case) -> None:
    case.sign(names.STATEMENT, signers=[case.bank(index) for index in range(5)])


def _signed_twice_by_one(case: Case) -> None:
    case.sign(names.STATEMENT, signers=[case.coordinator, *([case.bank(0)] * 5)])


def _signature_flipped(envelope: Any) -> None:
    first = envelope["signatures"][1]
    first["sig"] = ("B" if first["sig"][0] == "A" else "A") + first["sig"][1:]


def _replayed_statement(case: Case) -> None:
    case.write(names.STATEMENT, (case.other / names.STATEMENT).read_bytes())


def _key_twice(case: Case) -> None:
    case.edit_json(names.ROSTER_FILE, lambda roster: roster["members"].__setitem__(1, roster["members"][0]))
    _refer_to_roster(case)


def _anybodys_key(case: Case) -> None:
    case.edit_json(names.ROSTER_FILE, lambda roster: roster["members"].__setitem__(1, "01" + "00" * 31))
    _refer_to_roster(case)


def _refer_to_roster(case: Case) -> None:
    roster = msgspec.json.decode(case.read(names.ROSTER_FILE), type=formats.Roster)
    case.edit_statement(lambda s: s["predicate"].update(roster=names.roster_digest(roster).hex()))
    case.reseal()


def _duplicate_key(case: Case) -> None:
    text = case.read(names.STATEMENT).decode().replace("{", '{"payloadType":"application/vnd.in-toto+json",', 1)
    case.write(names.STATEMENT, text.encode())


STEP_1 = (
    Tamper(name="a bank's signature flipped", step=1, edit=json_file(names.STATEMENT, _signature_flipped)),
    Tamper(
        name="the coordinator's signature taken out",
        step=1,
        edit=json_file(names.STATEMENT, lambda envelope: envelope["signatures"].pop(0)),
    ),
    Tamper(
        name="signatures in another order",
        step=1,
        edit=json_file(names.STATEMENT, lambda envelope: envelope["signatures"].reverse()),
    ),
    Tamper(name="signed by fewer than t banks", step=1, edit=_too_few_banks),
    Tamper(name="signed by banks without the coordinator", step=1, edit=_without_coordinator),
    Tamper(name="one bank signs five times", step=1, edit=_signed_twice_by_one),
    Tamper(name="signed again by strangers", step=1, edit=_resigned_by_strangers),
    Tamper(name="one bank's signature by a stranger", step=1, edit=_bank_replaced_by_a_stranger),
    Tamper(
        name="one word of the statement, not signed again",
        step=1,
        edit=lambda case: case.edit_statement(lambda s: s["predicate"].update(fedsec="9.9")),
    ),
    Tamper(name="the statement of another run", step=1, edit=_replayed_statement),
    Tamper(
        name="another type of payload",
        step=1,
        edit=json_file(names.STATEMENT, lambda envelope: envelope.update(payloadType="text/plain")),
    ),
    Tamper(
        name="a field too many in the envelope",
        step=1,
        edit=json_file(names.STATEMENT, lambda envelope: envelope.update(note="trust me")),
    ),
    Tamper(name="one key of the envelope twice", step=1, edit=_duplicate_key),
    Tamper(name="a field too many in the statement", step=1, edit=predicate(note="trust me")),
    Tamper(name="another kind of predicate", step=1, edit=stated(lambda s: s.update(predicateType="urn:other"))),
    Tamper(
        name="the report key is the coordinator's",
        step=1,
        edit=lambda case: predicate(report_key=case.roster()["server"])(case),
    ),
    Tamper(
        name="a bank's key in the roster flipped",
        step=1,
        edit=json_file(names.ROSTER_FILE, lambda r: r["members"].__setitem__(2, "00" * 31 + "ff")),
    ),
    Tamper(
        name="two banks of the roster swapped",
        step=1,
        edit=json_file(names.ROSTER_FILE, lambda r: r["members"].reverse()),
    ),
    Tamper(name="one key twice in the roster, insider", step=1, edit=_key_twice),
    Tamper(name="a key under which anybody can sign, insider", step=1, edit=_anybodys_key),
)

# Step 2


def _first_round(case: Case) -> str:
    return names.round_file(case.attempts()[0])


def _link_in_the_place_of(name: str) -> Edit:
    def edit(case: Case) -> None:
        target = case.path / "elsewhere"
        (case.path / name).rename(target)
        (case.path / name).symlink_to(target)

    return edit


def _subject(name: str) -> Edit:
    """An insider adds a subject that is there, seen from the run's directory, and in order."""

    def change(statement: Any) -> None:
        digest = {"sha256": hashing.sha256(b"outside")}
        statement["subject"].append({"name": name, "digest": digest})
        statement["subject"].sort(key=lambda subject: subject["name"])

    def edit(case: Case) -> None:
        (case.path.parent / "outside").write_bytes(b"outside")
        stated(change)(case)

    return edit


def _dropped_subject(name: str) -> Edit:
    def edit(case: Case) -> None:
        case.drop(name)
        case.sign(names.STATEMENT)
        case.reseal_report()

    return edit


STEP_2 = (
    *(
        Tamper(name=f"one bit of {name}", step=2, edit=flipped(name))
        for name in (
            "config.toml",
            "metrics.jsonl",
            "model.safetensors",
            "privacy.json",
            "summary.json",
            "ledger-heads.json",
            names.LEDGER,
            names.PLAN,
            names.SBOM,
        )
    ),
    Tamper(name="one bit of a round", step=2, edit=lambda case: case.flip(_first_round(case))),
    Tamper(name="a round taken out", step=2, edit=lambda case: (case.path / _first_round(case)).unlink()),
    Tamper(
        name="a round of another run",
        step=2,
        edit=lambda case: case.write(_first_round(case), (case.other / _first_round(case)).read_bytes()),
    ),
    Tamper(
        name="a file cut short", step=2, edit=lambda case: case.write("summary.json", case.read("summary.json")[:-9])
    ),
    Tamper(name="a file too many in evidence/", step=2, edit=lambda case: case.write("evidence/more.txt", b"more")),
    Tamper(name="a link in the place of a file", step=2, edit=_link_in_the_place_of(names.PLAN)),
    Tamper(name="a link in the place of a folder", step=2, edit=_link_in_the_place_of(names.ROUNDS)),
    Tamper(name="a subject outside of the run, insider", step=2, edit=_subject("../outside")),
    Tamper(name="a subject at an absolute path, insider", step=2, edit=_subject("/etc/hostname")),
    Tamper(name="subjects in another order, insider", step=2, edit=stated(lambda s: s["subject"].reverse())),
    Tamper(
        name="a subject twice, insider", step=2, edit=stated(lambda s: s["subject"].insert(0, dict(s["subject"][0])))
    ),
    Tamper(name="the SBOM left out, insider", step=2, edit=_dropped_subject(names.SBOM)),
    Tamper(name="the ledger left out, insider", step=2, edit=_dropped_subject(names.LEDGER)),
)

# Step 3


def _another_roster(change: Callable[[Any], None]) -> Callable[[Case], Options]:
    def options(case: Case) -> Options:
        roster = case.roster()
        change(roster)
        return Options(roster=msgspec.convert(roster, formats.Roster), ledger_key=None, today="2026-01-01")

    return options


STRANGER = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
STEP_3 = (
    Tamper(
        name="another bank's key than in --roster",
        step=3,
        edit=lambda _: None,
        options=_another_roster(lambda roster: roster["members"].__setitem__(3, STRANGER)),
    ),
    Tamper(
        name="another coordinator than in --roster",
        step=3,
        edit=lambda _: None,
        options=_another_roster(lambda roster: roster.update(server=STRANGER)),
    ),
    Tamper(
        name="a bank fewer than in --roster",
        step=3,
        edit=lambda _: None,
        options=_another_roster(lambda roster: roster["members"].append(STRANGER)),
    ),
)

# Step 4


def _plan_of_the_other(case: Case) -> None:
    case.edit_plan(lambda plan: plan.update(msgspec.msgpack.decode((case.other / names.PLAN).read_bytes())))
    case.reseal()


def _session(case: Case, record: Record) -> None:
    session = msgspec.msgpack.decode(record["session"])
    session[-1] = 61
    record["session"] = msgspec.msgpack.encode(session)


def _classical(case: Case, record: Record) -> None:
    session = msgspec.msgpack.decode(record["session"])
    session[14] = "x25519"
    record["session"] = msgspec.msgpack.encode(session)


def _rounds_swapped(case: Case) -> None:
    one, other = (names.round_file(attempt) for attempt in case.attempts()[:2])
    first, second = case.read(one), case.read(other)
    case.write(one, second)
    case.write(other, first)
    case.reseal()


def _round_of_the_other(case: Case) -> None:
    name = _first_round(case)
    case.write(name, (case.other / name).read_bytes())
    case.reseal()


def _signed_by_a_bank(case: Case) -> None:
    signature = case.bank(0).sign(hashing.fields(hashing.PLAN, case.read(names.PLAN)))
    stated(lambda s: s["predicate"]["plan"].update(signature=signature.hex()))(case)


STEP_4 = (
    Tamper(name="the plan signed by a bank", step=4, edit=_signed_by_a_bank),
    Tamper(name="a threshold with 2t <= n + c", step=4, edit=of_cohort(threshold=3)),
    Tamper(name="fewer survivors than the threshold", step=4, edit=of_cohort(min_survivors=2)),
    Tamper(name="no bank corrupt", step=4, edit=under_plan(lambda plan: plan.update(corrupt=0))),
    Tamper(name="h of one", step=4, edit=of_cohort(corrupt=3, threshold=4)),
    Tamper(name="more corrupt than honest", step=4, edit=of_cohort(corrupt=2, threshold=3, min_survivors=3)),
    Tamper(name="a plan of another task", step=4, edit=under_plan(lambda plan: plan.update(task="another"))),
    Tamper(name="a rate above one", step=4, edit=of_training(sampling_rate=1.5)),
    Tamper(name="a mechanism for fewer banks", step=4, edit=of_training(clients=4)),
    Tamper(
        name="a grid that is not the mechanism's",
        step=4,
        edit=under_plan(lambda plan: plan["sums"][1]["quantiser"].__setitem__(0, 2.0)),
    ),
    Tamper(name="more banks than in the roster", step=4, edit=of_plan(lambda plan: plan.update(clients=6))),
    Tamper(name="the plan of another run", step=4, edit=_plan_of_the_other),
    Tamper(name="another field in the plan", step=4, edit=of_plan(lambda plan: plan.update(more=1))),
    Tamper(name="noise that counts on too many shares", step=4, edit=of_training(honest_inputs=4)),
    Tamper(name="noise sized for another multiplier", step=4, edit=of_training(noise_multiplier=100.0)),
    Tamper(name="a smaller clip than the noise's", step=4, edit=of_training(clip=1e-9)),
    Tamper(name="no floating-point error", step=4, edit=of_training(float_error=0.0)),
    Tamper(name="a histogram's sensitivity for gradients", step=4, edit=of_training(integral=True)),
    Tamper(name="fewer slots than the largest bank", step=4, edit=of_training(max_slots=1)),
    Tamper(name="inputs without noise", step=4, edit=under_plan(lambda plan: plan["sums"][1].update(noised=False))),
    Tamper(
        name="a ring in which the sum wraps", step=4, edit=under_plan(lambda plan: plan["sums"][1].update(ring_bits=12))
    ),
    Tamper(
        name="no room for the noise",
        step=4,
        edit=under_plan(lambda plan: plan["sums"][1]["quantiser"].__setitem__(2, 1)),
    ),
    Tamper(name="the brand that it is not private", step=4, edit=predicate(brands=["NOT PRIVATE"])),
    Tamper(name="said not to be private", step=4, edit=predicate(private=False)),
    Tamper(
        name="deterministic noise, said to be private",
        step=4,
        edit=under_plan(lambda plan: plan.update(insecure_deterministic_noise=True)),
    ),
    Tamper(name="another δ", step=4, edit=predicate(delta=1e-7)),
    Tamper(name="a larger η", step=4, edit=predicate(eta=1e-3)),
    Tamper(name="another session, signed", step=4, edit=of_round(_session, sign=True)),
    Tamper(name="a session without the hybrid, signed", step=4, edit=of_round(_classical, sign=True)),
    Tamper(name="two rounds swapped", step=4, edit=_rounds_swapped),
    Tamper(name="a round of another run, insider", step=4, edit=_round_of_the_other),
    Tamper(name="an attempt of another release", step=4, edit=line_of(release="scaling")),
    Tamper(name="an attempt that was never planned", step=4, edit=line_of(attempt=10_000)),
)

# Step 5


def _signature_of_another_attempt(case: Case) -> None:
    one, other = case.attempts()[:2]
    donor = msgspec.msgpack.decode(case.read(names.round_file(other)))["agreed"]
    case.edit_round(names.round_file(one), lambda record: record["agreed"][0].__setitem__(2, donor[0][2]))
    case.reseal()


def _by_a_stranger(case: Case, record: Record) -> None:
    record["members_signature"] = Ed25519PrivateKey.generate().sign(b"members")


def _model(case: Case, record: Record) -> None:
    config = msgspec.msgpack.decode(record["round_config"])
    config[1] = bit(config[1])
    record["round_config"] = msgspec.msgpack.encode(config)


def _optimiser(case: Case, record: Record) -> None:
    config = msgspec.msgpack.decode(record["round_config"])
    config[2] = config[2] + b"\0"
    record["round_config"] = msgspec.msgpack.encode(config)


def _reordered(case: Case, record: Record) -> None:
    record["agreed"].reverse()


def _repeated(case: Case, record: Record) -> None:
    record["agreed"].append(record["agreed"][-1])


def _unspelled(case: Case) -> None:
    name = _first_round(case)
    case.write(name, case.read(name).replace(b"\xa7version\x01", b"\xa7version\xcc\x01", 1))
    case.reseal()


def _trailing(case: Case) -> None:
    case.write(_first_round(case), case.read(_first_round(case)) + b"\xc0")
    case.reseal()


def _one_key_for_two(case: Case, record: Record) -> None:
    record["advertised"][1][2] = record["advertised"][0][2]


def _low_order(case: Case, record: Record) -> None:
    record["advertised"][0][3] = b"\1" + bytes(31)


def _second_spelling(case: Case, record: Record) -> None:
    record["advertised"][0][3] = (2**255 - 19 + 9).to_bytes(32, "little")


def _large(case: Case, record: Record) -> None:
    record["advertised"][0][4] = b"\xff" * 1184


def _without_kem(case: Case, record: Record) -> None:
    record["advertised"][0][4] = b""


STEP_5 = (
    Tamper(name="a bank's public key", step=5, edit=of_round(message("advertised", 2))),
    Tamper(name="a signature on keys", step=5, edit=of_round(message("advertised", -1))),
    Tamper(name="one public key for two banks, signed", step=5, edit=of_round(_one_key_for_two, sign=True)),
    Tamper(name="a key with which everybody knows the secret, signed", step=5, edit=of_round(_low_order, sign=True)),
    Tamper(name="a second spelling of a key, signed", step=5, edit=of_round(_second_spelling, sign=True)),
    Tamper(name="an ML-KEM key with a coefficient too large, signed", step=5, edit=of_round(_large, sign=True)),
    Tamper(name="keys without the hybrid, signed", step=5, edit=of_round(_without_kem, sign=True)),
    Tamper(name="the signature on the session", step=5, edit=of_round(field("session_signature"))),
    Tamper(name="the list of U1 signed by a stranger", step=5, edit=of_round(_by_a_stranger)),
    Tamper(name="a dealer's root", step=5, edit=of_round(message("dealings", 2))),
    Tamper(name="a dealer's commitment", step=5, edit=of_round(message("dealings", 3))),
    Tamper(name="a dealer's signature", step=5, edit=of_round(message("dealings", -1))),
    Tamper(name="the signature on the list of U2", step=5, edit=of_round(field("dealers_signature"))),
    Tamper(name="the signature on the round", step=5, edit=of_round(field("round_config_signature"))),
    Tamper(name="another model digest, signed", step=5, edit=of_round(_model, sign=True)),
    Tamper(name="other constants of the optimiser, signed", step=5, edit=of_round(_optimiser, sign=True)),
    Tamper(name="a masked input's digest", step=5, edit=of_round(message("masked", 2))),
    Tamper(name="a signature on a masked input", step=5, edit=of_round(message("masked", -1))),
    Tamper(name="a signature on U3", step=5, edit=of_round(message("agreed", -1))),
    Tamper(name="a signature on U3 of another attempt", step=5, edit=_signature_of_another_attempt),
    Tamper(name="signatures on U3 in another order", step=5, edit=of_round(_reordered)),
    Tamper(name="a signature on U3 twice", step=5, edit=of_round(_repeated)),
    Tamper(name="the coordinator's signature on U3", step=5, edit=of_round(field("agreement_signature"))),
    Tamper(name="the digest of revealed shares", step=5, edit=of_round(message("revealed", 2))),
    Tamper(name="a signature on revealed shares", step=5, edit=of_round(message("revealed", -1))),
    Tamper(name="the opened sum", step=5, edit=of_round(field("total"))),
    Tamper(name="a survivor taken out", step=5, edit=of_round(lambda _, r: r["masked"].pop())),
    Tamper(name="a member of U1 taken out", step=5, edit=of_round(lambda _, r: r["advertised"].pop())),
    Tamper(name="another spelling of a round's file", step=5, edit=_unspelled),
    Tamper(name="bytes behind a round's file", step=5, edit=_trailing),
    Tamper(name="keys of an aborted attempt", step=5, edit=of_round(message("advertised", 2), status="aborted")),
    *(
        Tamper(name=f"{name} in the statement", step=5, edit=line_of(**{name: "00" * 32}))
        for name in ("kid", "t1", "sid", "t2", "before", "total")
    ),
    *(
        Tamper(name=f"{name} in the statement", step=5, edit=line_of(**{name: [0, 1]}))
        for name in ("members", "dealers", "survivors", "responders", "convicted")
    ),
    Tamper(name="an opened attempt said to be aborted", step=5, edit=line_of(status="aborted")),
)

# Step 6: all of it signed by everybody, so only the rules of who may be where are left


def _few_agree(case: Case, record: Record) -> None:
    cut(record, "agreed", threshold(case) - 1)
    signed = {entry[1] for entry in record["agreed"]}
    record["revealed"] = [entry for entry in record["revealed"] if entry[1] in signed]


def _few_respond(case: Case, record: Record) -> None:
    cut(record, "revealed", threshold(case) - 1)


def _few_survive(case: Case, record: Record) -> None:
    cut(record, "masked", threshold(case) - 1)
    left = {entry[1] for entry in record["masked"]}
    for kind in ("agreed", "revealed"):
        record[kind] = [entry for entry in record[kind] if entry[1] in left]


def _survivor_never_dealt(case: Case, record: Record) -> None:
    record["dealings"] = [entry for entry in record["dealings"] if entry[1] != record["masked"][0][1]]


def _dealer_never_advertised(case: Case, record: Record) -> None:
    record["advertised"] = [entry for entry in record["advertised"] if entry[1] != record["masked"][0][1]]


def _signer_no_survivor(case: Case, record: Record) -> None:
    record["masked"].pop(0)


def _responder_never_agreed(case: Case, record: Record) -> None:
    record["agreed"].pop(0)


def _all_convicted(case: Case, record: Record) -> None:
    record["convicted"] = [entry[1] for entry in record["revealed"]]


def _huge_total(case: Case, record: Record) -> None:
    total = np.frombuffer(record["total"], "<i8").copy()
    total[0] = 2**62
    record["total"] = total.tobytes()


def _short_total(case: Case, record: Record) -> None:
    record["total"] = record["total"][8:]


STEP_6 = tuple(
    Tamper(name=f"{name}, signed by all", step=6, edit=of_round(change, sign=True))
    for name, change in (
        ("U3 agreed to by fewer than t", _few_agree),
        ("shares of fewer than t", _few_respond),
        ("fewer survivors than the minimum", _few_survive),
        ("a survivor who never dealt", _survivor_never_dealt),
        ("a dealer who never advertised", _dealer_never_advertised),
        ("a signer of U3 who is not in it", _signer_no_survivor),
        ("a responder who never agreed", _responder_never_agreed),
        ("all responders convicted", _all_convicted),
        ("a sum that no inputs have", _huge_total),
        ("a sum that is one value short", _short_total),
    )
)

# Step 7


def _attempt_left_out(case: Case) -> None:
    attempt = case.attempts("aborted")[0]
    case.drop(names.round_file(attempt))
    lines = case.statement()["predicate"]["attempts"]
    _metrics(case, [place for place, line in enumerate(lines) if line["attempt"] != attempt])
    case.edit_statement(lambda s: s["predicate"].update(attempts=[one for one in lines if one["attempt"] != attempt]))
    case.reseal()


def _metrics(case: Case, kept: list[int]) -> None:
    lines = case.read("metrics.jsonl").splitlines(keepends=True)
    case.write("metrics.jsonl", b"".join(lines[place] for place in kept))


def _line_left_out(case: Case) -> None:
    case.edit_statement(lambda s: s["predicate"]["attempts"].pop())
    case.reseal()


def _metrics_left_out(case: Case) -> None:
    _metrics(case, list(range(len(case.statement()["predicate"]["attempts"]) - 1)))
    case.reseal()


def _lines_swapped(case: Case) -> None:
    def change(statement: Any) -> None:
        lines = statement["predicate"]["attempts"]
        lines[-1], lines[-2] = lines[-2], lines[-1]

    case.edit_statement(change)
    case.reseal()


def _attempt_twice(case: Case) -> None:
    case.edit_statement(lambda s: s["predicate"]["attempts"].append(s["predicate"]["attempts"][-1]))
    case.reseal()


def _metrics_survivors(case: Case) -> None:
    lines = [json.loads(line) for line in case.read("metrics.jsonl").splitlines()]
    next(line for line in lines if line["status"] == "opened")["survivors"] -= 1
    case.write("metrics.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    case.reseal()


def _said_to_be_interrupted(case: Case) -> None:
    """An opened attempt that claims nothing any more, while its file is still there."""
    attempt = case.attempts()[0]
    before = case.line(case.statement(), attempt)["before"]
    nothing: dict[str, Any] = dict.fromkeys(("kid", "t1", "sid", "t2", "total"), "")
    nothing |= {name: [] for name in ("members", "dealers", "survivors", "responders", "convicted")}
    line_of(status="interrupted", reason="gone", before=before, after=before, **nothing)(case)


STEP_7 = (
    Tamper(name="an opened attempt said to be interrupted", step=7, edit=_said_to_be_interrupted),
    Tamper(name="an aborted attempt left out everywhere", step=7, edit=_attempt_left_out),
    Tamper(name="the last attempt left out of the statement", step=7, edit=_line_left_out),
    Tamper(name="the last attempt left out of metrics.jsonl", step=7, edit=_metrics_left_out),
    Tamper(name="more rounds than the plan aims at", step=7, edit=of_plan(lambda plan: plan.update(rounds=3))),
    Tamper(name="fewer rounds than the plan aims at", step=7, edit=of_plan(lambda plan: plan.update(rounds=6))),
    Tamper(name="two attempts in another order", step=7, edit=_lines_swapped),
    Tamper(name="one attempt twice", step=7, edit=_attempt_twice),
    Tamper(name="a survivor fewer in metrics.jsonl", step=7, edit=_metrics_survivors),
)

# Step 8


def _first_input(case: Case) -> str:
    attempt = case.attempts()[0]
    bank = case.line(case.statement(), attempt)["survivors"][0]
    return names.masked_file(attempt, bank)


def _input_flipped(case: Case) -> None:
    case.flip(_first_input(case), 0)
    case.reseal()


def _inputs_swapped(case: Case) -> None:
    attempt = case.attempts()[0]
    one, other = (names.masked_file(attempt, i) for i in case.line(case.statement(), attempt)["survivors"][:2])
    first, second = case.read(one), case.read(other)
    case.write(one, second)
    case.write(other, first)
    case.reseal()


def _input_replaced_and_signed(case: Case) -> None:
    attempt, name = case.attempts()[0], _first_input(case)
    data = bit(case.read(name))
    case.write(name, data)

    def change(record: Record) -> None:
        record["masked"][0][2] = hashing.digest(hashing.MASKED_INPUT, data)

    case.edit_round(names.round_file(attempt), change)
    case.resign_round(attempt)
    case.reseal()


def _input_left_out(case: Case) -> None:
    case.drop(_first_input(case))
    case.reseal()


def _total(case: Case, record: Record) -> None:
    total = np.frombuffer(record["total"], "<i8").copy()
    total[0] += 1
    record["total"] = total.tobytes()


def _attempt_with_dropouts(case: Case) -> int:
    """An opened training attempt in which a dealer sent no masked input."""
    lines = case.statement()["predicate"]["attempts"]
    return next(
        line["attempt"]
        for line in lines
        if line["status"] == "opened" and len(line["survivors"]) < len(line["dealers"])
    )


def _of_dropout(change: Callable[[Record], None]) -> Edit:
    def edit(case: Case) -> None:
        case.edit_round(names.round_file(_attempt_with_dropouts(case)), change)
        case.reseal()

    return edit


def _seed(kind: str) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        record["seeds"][kind][0][1] = bit(record["seeds"][kind][0][1])

    return change


def _path(record: Record) -> None:
    record["seeds"]["pairs"][0]["path"][0] = bit(record["seeds"]["pairs"][0]["path"][0])


def _commitment(record: Record) -> None:
    record["seeds"]["pairs"][0]["entry"][5][3] = bit(record["seeds"]["pairs"][0]["entry"][5][3])


def _pair_left_out(record: Record) -> None:
    record["seeds"]["pairs"].pop()


def _seeds_in(case: Case, record: Record) -> None:
    record["seeds"] = {"self": [], "mask": [], "pairs": []}


def _input_of_nobody(case: Case) -> None:
    name = names.masked_file(case.attempts()[0], 99)
    case.write(name, b"input")

    def change(statement: Any) -> None:
        statement["subject"].append({"name": name, "digest": {"sha256": ""}})
        statement["subject"].sort(key=lambda subject: subject["name"])

    case.edit_statement(change)
    case.reseal()


STEP_8 = (
    Tamper(name="a masked input flipped, insider", step=8, edit=_input_flipped, kept=True),
    Tamper(name="two banks' masked inputs swapped, insider", step=8, edit=_inputs_swapped, kept=True),
    Tamper(name="a masked input replaced, signed by its bank", step=8, edit=_input_replaced_and_signed, kept=True),
    Tamper(name="a masked input left out", step=8, edit=_input_left_out, kept=True),
    Tamper(name="a masked input of nobody", step=8, edit=_input_of_nobody, kept=True),
    Tamper(name="the opened sum off by one, signed by all", step=8, edit=of_round(_total, sign=True), kept=True),
    Tamper(name="a survivor's seed", step=8, edit=_of_dropout(_seed("self")), kept=True),
    Tamper(name="a dropped dealer's seed", step=8, edit=_of_dropout(_seed("mask")), kept=True),
    Tamper(name="the path of a pair secret", step=8, edit=_of_dropout(_path), kept=True),
    Tamper(name="the commitment to a pair secret", step=8, edit=_of_dropout(_commitment), kept=True),
    Tamper(name="a pair secret left out", step=8, edit=_of_dropout(_pair_left_out), kept=True),
    Tamper(name="seeds left out", step=8, edit=of_round(lambda _, r: r.update(seeds=None)), kept=True),
    Tamper(name="seeds where none were kept", step=8, edit=of_round(_seeds_in)),
    Tamper(
        name="masked inputs said not to be kept",
        step=2,
        edit=predicate(masked_inputs={"kept": False, "expires": None}),
        kept=True,
    ),
    Tamper(
        name="masked inputs said to be kept",
        step=8,
        edit=predicate(masked_inputs={"kept": True, "expires": "2027-01-01"}),
    ),
    Tamper(
        name="kept without a day of expiry",
        step=8,
        edit=predicate(masked_inputs={"kept": True, "expires": None}),
        kept=True,
    ),
)

# Step 19


def of_sbom(change: Callable[[Any], None]) -> Edit:
    def edit(case: Case) -> None:
        case.edit_json(names.SBOM, change)
        case.reseal()

    return edit


def _other_python(bom: Any) -> None:
    next(component for component in bom["components"] if component["name"] == "python")["version"] = "2.7"


STEP_19 = (
    Tamper(
        name="another version of fedsec in the SBOM",
        step=19,
        edit=of_sbom(lambda bom: bom["metadata"]["component"].update(version="9.9")),
    ),
    Tamper(name="another Python in the SBOM", step=19, edit=of_sbom(_other_python)),
    Tamper(name="no components in the SBOM", step=19, edit=of_sbom(lambda bom: bom.update(components=[]))),
    Tamper(
        name="a component without its digest", step=19, edit=of_sbom(lambda bom: bom["components"][0].pop("hashes"))
    ),
    Tamper(name="an SBOM of another format", step=19, edit=of_sbom(lambda bom: bom.update(bomFormat="SPDX"))),
)

TAMPERS = (*STEP_1, *STEP_2, *STEP_3, *STEP_4, *STEP_5, *STEP_6, *STEP_7, *STEP_8, *STEP_19)
