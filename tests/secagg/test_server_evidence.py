"""What a server can show of a session at any time: each signature verifies, and no input, share or seed is in it."""

from __future__ import annotations

import msgspec
import pytest

from fedsec.errors import CohortError, ConfigError, LocalProtocolError
from secagg import Server, transcript
from secagg.config import CLASSICAL
from secagg.evidence import RoundEvidence
from secagg.identity import verify
from secagg.messages import Mask, Unmask, decode
from tests.secagg.helpers import STEPS, Federation

LIMIT = 1 << 20


def false_signatures(federation: Federation, found: RoundEvidence) -> list[str]:
    """Everything in ``found`` that is not signed by whom it should be."""
    places, server = found.places(), federation.roster.server
    kid, t1, sid, t2 = places.kid, places.t1, places.sid, places.t2
    survivors = tuple(entry.index for entry in found.masked)
    members = transcript.members_root(found.advertised, federation.n)[0]
    dealers = transcript.dealers_root(found.dealings, federation.n)[0]
    own = {
        "session": (found.session_signature, transcript.session(found.session)),
        "members": (found.members_signature, transcript.members(kid, members)),
        "round": (found.round_config_signature, transcript.round_config(kid, found.round_config)),
        "dealers": (found.dealers_signature, transcript.dealers(kid, t1, dealers)),
        "agreement": (found.agreement_signature, transcript.agreement(sid, t2, survivors)),
    }
    wrong = [name for name, (mark, statement) in own.items() if mark and not verify(server, mark, *statement)]
    for kind, entries, statement_of in (
        ("advertise", found.advertised, lambda e: transcript.advertise(kid, e.index, *_public(e))),
        ("share", found.dealings, lambda e: transcript.share(kid, t1, e.index, e.root, e.commitment)),
        ("mask", found.masked, lambda e: transcript.masked(sid, t2, e.index, e.digest)),
        ("agree", found.agreed, lambda e: transcript.agree(sid, t2, e.index, survivors)),
        ("unmask", found.revealed, lambda e: transcript.revealed(sid, t2, e.index, survivors, e.digest)),
    ):
        wrong += [
            f"{kind} of {entry.index}"
            for entry in entries
            if not verify(federation.roster.public_key(entry.index), entry.signature, *statement_of(entry))
        ]
    return wrong


def _public(entry):
    return (entry.share_key, entry.mask_key, entry.share_kem, entry.mask_kem)


@pytest.mark.parametrize("until", [*STEPS, None])
def test_at_any_time_it_shows_what_was_signed_so_far(until: str | None) -> None:
    federation = Federation().run(until=until, drop={"mask": (1,)})
    found = federation.server.evidence()
    assert RoundEvidence.decode(found.encode()) == found
    reached = STEPS.index(until) if until else len(STEPS)
    sizes = [len(each) for each in (found.advertised, found.dealings, found.masked, found.agreed, found.revealed)]
    assert sizes == [5, 5, 4, 4, 4][:reached] + [0] * (5 - reached)
    closed = (found.members_signature, found.dealers_signature, found.dealers_signature, found.agreement_signature)
    assert [bool(mark) for mark in closed] == [reached > 0, reached > 1, reached > 1, reached > 3]
    assert (found.members, found.dealers) == (tuple(range(5)) * (reached > 0), tuple(range(5)) * (reached > 1))
    assert found.survivors == (0, 2, 3, 4) * (reached > 3) and found.responders == (0, 2, 3, 4) * (reached > 4)
    assert bool(found.total) == (until is None)
    assert false_signatures(federation, found) == []
    other = Federation(seed=1).run(until=until)  # control: another session's evidence, under these keys
    mixed = {"advertised": other.server.evidence().advertised} if reached else {"session": b"\xc0"}
    assert _fails(federation, found, mixed)


def _fails(federation: Federation, found: RoundEvidence, fields: dict) -> bool:
    try:
        return false_signatures(federation, msgspec.structs.replace(found, **fields)) != []
    except ConfigError:
        return True


def test_an_aborted_session_shows_why_it_could_not_go_on() -> None:
    federation = Federation().run(until="unmask")
    federation.collect("unmask", without=(0, 1))
    with pytest.raises(CohortError):
        federation.close("unmask")
    found = federation.server.evidence()
    assert (found.survivors, found.responders, found.total, found.seeds) == ((0, 1, 2, 3, 4), (2, 3, 4), b"", None)
    assert false_signatures(federation, found) == []


def test_no_masked_input_share_or_seed_is_in_it_unless_inputs_are_kept() -> None:
    def secret(federation: Federation) -> list[bytes]:
        masks = [decode(federation.sent["mask", i], Mask, limit=LIMIT, peer=i) for i in (0, 2, 3, 4)]
        unmasks = [decode(federation.sent["unmask", i], Unmask, limit=LIMIT, peer=i) for i in (0, 2, 3, 4)]
        shares = [share for each in unmasks for share in (*each.self_shares, *each.mask_shares)]
        return [*(bytes(each.payload) for each in masks), *shares]

    federation = Federation().run(drop={"mask": (1,)})
    found = federation.server.evidence()
    assert found.seeds is None and not any(each in found.encode() for each in secret(federation))
    kept: dict[int, bytes] = {}
    keeping = Federation()
    keeping.server = keeper(keeping, lambda index, payload: kept.update({index: bytes(payload)}))
    keeping.run(drop={"mask": (1,)})
    shown = keeping.server.evidence()
    assert shown.seeds is not None and sorted(kept) == [0, 2, 3, 4]
    assert [index for index, _ in shown.seeds.own] == [0, 2, 3, 4] and [index for index, _ in shown.seeds.mask] == [1]
    assert [(pair.lower, pair.higher) for pair in shown.seeds.pairs] == [(0, 1), (1, 2), (1, 3), (1, 4)]
    assert list(kept.values()) == secret(keeping)[:4]
    assert not any(share in shown.encode() for share in secret(keeping)[4:])


def keeper(federation: Federation, keep) -> Server:
    return Server(identity=federation.server_identity, roster=federation.roster, session=federation.session, keep=keep)


def test_an_input_that_cannot_be_kept_is_not_in_the_sum_either() -> None:
    """The disk is full once: the bank's repetition is taken, and counts once."""
    federation = Federation()
    calls: list[int] = []

    def full_once(index: int, payload: memoryview) -> None:
        calls.append(index)
        if len(calls) == 1:
            raise OSError("no space left on device")

    federation.server = keeper(federation, full_once)
    federation.run(until="mask")
    replies = {index: federation.reply("mask", index, request) for index, request in federation.requests.items()}
    with pytest.raises(OSError, match="no space"):
        federation.server.receive(0, replies[0])
    assert 0 in federation.server.awaited and federation.server.evidence().masked == ()
    for index, reply in replies.items():
        federation.server.receive(index, reply)
    federation.close("mask")
    for step in ("agree", "unmask"):
        federation.collect(step)
        federation.close(step)
    assert (federation.opened().total == federation.plain_sum(range(5))).all()
    assert calls == [0, 0, 1, 2, 3, 4]  # control: it did fail, and was asked again


def test_inputs_are_kept_under_the_hybrid_alone_and_nothing_is_shown_before_a_beginning() -> None:
    classical = Federation(changes={"key_exchange": CLASSICAL})
    with pytest.raises(ConfigError, match="hybrid"):
        keeper(classical, lambda *_: None)
    keeper(Federation(), lambda *_: None)  # control
    with pytest.raises(LocalProtocolError):
        classical.server.evidence()
    assert classical.start().server.evidence().session == classical.session.encode()
