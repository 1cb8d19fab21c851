"""The draw of a sparse graph's order: all get one seed, and nobody who is not alone in it has chosen it.

The attacks are those of the server, of members, and of both together. The controls show the same attack on a draw
without the check or without commitments, where it succeeds.
"""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from fedsec.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from fedsec.exclusive import Exclusive
from secagg import Identity, Roster, draw
from secagg.config import SEMI_HONEST
from secagg.draw import Commit, Drawer, Drawn, DrawServer, DrawState, Reveal, RevealRequest
from secagg.encoding import number
from secagg.graph import Harary, neighbourhood
from tests.secagg.helpers import POLICY, Federation, change, decode, draw_seed, flip, make_session

N = 5
FEDERATION = Federation(n=N)
ROSTER, SERVER = FEDERATION.roster, FEDERATION.server_identity
HONEST = 0  # the one member that the others would like to surround


def drawer(index: int, nonce: bytes | None = None) -> Drawer:
    member = Drawer(index=index, identity=FEDERATION.identities[index], roster=ROSTER)
    if nonce is not None:
        member._nonce = nonce
    return member


def commitment(index: int, nonce: bytes) -> bytes:
    return draw._commitment(ROSTER.digest, index, nonce)


def listed(*commitments: bytes, by: Identity = SERVER, digest: bytes = ROSTER.digest) -> bytes:
    """A list that the server signs, whatever is on it."""
    signature = by.sign(*draw._list(digest, commitments))
    return draw.encode(RevealRequest(commitments=commitments, signature=signature))


def revealed(index: int, nonce: bytes) -> bytes:
    """A member's signature on whatever nonce it likes."""
    statement = (draw.labels.SIGN_DRAW_REVEAL, ROSTER.digest, number(index), nonce)
    return draw.encode(Reveal(index=index, nonce=nonce, signature=FEDERATION.identities[index].sign(*statement)))


def committed(index: int, value: bytes) -> bytes:
    """A member's signature on whatever commitment it likes."""
    statement = (draw.labels.SIGN_DRAW_COMMIT, ROSTER.digest, number(index), value)
    return draw.encode(Commit(index=index, commitment=value, signature=FEDERATION.identities[index].sign(*statement)))


def nonces(*, of: int = 0) -> list[bytes]:
    """Values that the coalition fixes: the server and every member but the honest one."""
    return [bytes([of, index]) + bytes(30) for index in range(N)]


def seed_of(values: list[bytes]) -> bytes:
    return draw._seed(ROSTER.digest, tuple(values))


def at_reveal(honest: bytes | None = None) -> tuple[Drawer, list[bytes]]:
    """The honest member once it has committed, and everybody's commitments."""
    member = drawer(HONEST, honest)
    own = decode(member.commit(), Commit).commitment
    return member, [own, *(commitment(i, nonce) for i, nonce in enumerate(nonces()) if i != HONEST)]


def at_finish(honest: bytes) -> tuple[Drawer, list[bytes]]:
    """The honest member once it has revealed, and everybody's nonces."""
    member, commitments = at_reveal(honest)
    member.reveal(listed(*commitments))
    return member, [honest, *nonces()[1:]]


def refused(call: Callable[[], Any], rule: str, peer: int | None = None) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        call()
    assert (caught.value.rule, caught.value.peer) == (rule, peer)


def assert_silent(member: Drawer, *requests: bytes) -> None:
    """No call reveals anything any more."""
    assert member._state is DrawState.ABORTED
    for call in (member.commit, *(lambda r=r: member.reveal(r) for r in requests)):
        with pytest.raises(LocalProtocolError):
            call()
    with pytest.raises(LocalProtocolError):
        member.finish(draw.encode(Drawn(nonces=tuple(nonces()))))


def test_every_member_and_the_server_get_one_seed() -> None:
    seed, sent = draw_seed(FEDERATION)  # asserts that the members agree with the server
    assert seed == seed_of(list(decode(sent["drawn"], Drawn).nonces))
    assert seed != draw_seed(FEDERATION)[0]
    assert len(seed) == 32


def test_nothing_of_a_nonce_is_out_before_all_have_committed() -> None:
    member = drawer(HONEST)
    assert member._nonce not in member.commit()
    server = DrawServer(identity=SERVER, roster=ROSTER)
    server.receive_commit(HONEST, member_commit := drawer(HONEST).commit())
    with pytest.raises(LocalProtocolError, match="4 members have not committed, the first of them bank 1"):
        server.list_commitments()
    with pytest.raises(LocalProtocolError):
        server.finish()
    assert decode(member_commit, Commit).commitment  # control: it did take the one
    for index in range(1, N):
        server.receive_commit(index, drawer(index).commit())
    server.list_commitments()


def finish_under(roster: Roster) -> tuple[bytes, bytes]:
    """The honest member's commitment and the seed, with the same nonces under any roster of the same members."""
    member = Drawer(index=HONEST, identity=FEDERATION.identities[HONEST], roster=roster)
    member._nonce = nonces()[HONEST]
    own = decode(member.commit(), Commit).commitment
    commitments = [draw._commitment(roster.digest, i, nonce) for i, nonce in enumerate(nonces())]
    assert own == commitments[HONEST]
    member.reveal(listed(*commitments, digest=roster.digest))
    return own, member.finish(draw.encode(Drawn(nonces=tuple(nonces()))))


def test_commitments_and_seed_are_of_one_roster() -> None:
    """What was drawn with some members says nothing for others, even if they repeat every nonce."""
    other = Roster(server=SERVER.public_key, members=(*ROSTER.members[:-1], (N - 1, Identity.generate().public_key)))
    first, second = finish_under(ROSTER), finish_under(other)
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert first == finish_under(ROSTER)  # control: it is the roster that makes the difference


LISTS: dict[str, tuple[str, Callable[[list[bytes]], bytes]]] = {
    "own-commitment-altered": ("list", lambda c: listed(flip(c[0]), *c[1:])),
    "own-commitment-moved": ("list", lambda c: listed(c[1], c[0], *c[2:])),
    "one-short": ("list", lambda c: listed(*c[:-1])),
    "before-all-have-committed": ("list", lambda c: listed(c[0])),
    "one-too-many": ("list", lambda c: listed(*c, bytes(32))),
    "empty": ("list", lambda c: listed()),
    "signed-by-a-member": ("signature", lambda c: listed(*c, by=FEDERATION.identities[1])),
    "signed-for-another-roster": ("signature", lambda c: listed(*c, digest=bytes(32))),
    "altered-after-signing": (
        "signature",
        lambda c: change(decode(listed(*c), RevealRequest), commitments=(c[0], flip(c[1]), *c[2:])),
    ),
    "of-an-earlier-draw": ("list", lambda c: draw_seed(FEDERATION)[1]["list"]),
    "truncated": ("format", lambda c: listed(*c)[:-1]),
    "trailing-byte": ("format", lambda c: listed(*c) + b"\x00"),
    "oversized": ("size", lambda c: listed(*c) + bytes(50_000)),
    "of-another-kind": ("format", lambda c: draw.encode(Drawn(nonces=tuple(c)))),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_is_not_right_gets_no_nonce(name: str) -> None:
    rule, forge = LISTS[name]
    member, commitments = at_reveal()
    refused(lambda: member.reveal(forge(commitments)), rule)
    assert_silent(member, listed(*commitments), forge(commitments))


def test_control_the_right_list_gets_the_nonce() -> None:
    member, commitments = at_reveal()
    assert decode(member.reveal(listed(*commitments)), Reveal).nonce == member._nonce


@pytest.mark.parametrize("name", ["signed-by-a-member", "altered-after-signing"])
def test_control_without_the_signature_a_list_gets_the_nonce(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    member, commitments = at_reveal()
    monkeypatch.setattr(draw, "verify", lambda *_: True)
    member.reveal(LISTS[name][1](commitments))


def test_a_second_list_gets_no_second_nonce() -> None:
    """Nor the same list again: the server was told once."""
    member, commitments = at_reveal()
    member.reveal(listed(*commitments))
    other = [commitments[0], *(commitment(i, nonce) for i, nonce in enumerate(nonces(of=1)) if i != HONEST)]
    for request in (listed(*commitments), listed(*other)):
        with pytest.raises(LocalProtocolError):
            member.reveal(request)
    # Control: the state is as it was, and the first list is the one that counts.
    refused(lambda: member.finish(draw.encode(Drawn(nonces=(member._nonce, *nonces(of=1)[1:])))), "opening")
    assert_silent(member, listed(*other))


def test_calls_out_of_turn_change_nothing() -> None:
    member = drawer(HONEST)
    for call in (lambda: member.reveal(listed()), lambda: member.finish(b"")):
        with pytest.raises(LocalProtocolError):
            call()
    own = decode(member.commit(), Commit).commitment
    for call in (member.commit, lambda: member.finish(b"")):
        with pytest.raises(LocalProtocolError):
            call()
    member.reveal(listed(own, *(commitment(i, nonces()[i]) for i in range(1, N))))  # control
    assert member.finish(draw.encode(Drawn(nonces=(member._nonce, *nonces()[1:]))))
    for call in (member.commit, lambda: member.reveal(b""), lambda: member.finish(b"")):
        with pytest.raises(LocalProtocolError):
            call()


DRAWN: dict[str, tuple[str, Callable[[list[bytes]], list[bytes]]]] = {
    "another-nonce-of-a-colluder": ("opening", lambda v: [*v[:-1], flip(v[-1])]),
    "another-nonce-of-the-member-itself": ("opening", lambda v: [flip(v[0]), *v[1:]]),
    "swapped": ("opening", lambda v: [v[0], v[2], v[1], *v[3:]]),
    "one-short": ("opening", lambda v: v[:-1]),
    "one-too-many": ("opening", lambda v: [*v, bytes(32)]),
    "empty": ("opening", lambda v: []),
}


@pytest.mark.parametrize("name", DRAWN)
def test_nonces_that_are_not_those_committed_to_give_no_seed(name: str) -> None:
    rule, forge = DRAWN[name]
    member, values = at_finish(b"h" * 32)
    refused(lambda: member.finish(draw.encode(Drawn(nonces=tuple(forge(values))))), rule)
    assert_silent(member)
    member, values = at_finish(b"h" * 32)
    assert member.finish(draw.encode(Drawn(nonces=tuple(values)))) == seed_of(values)  # control


def test_two_lists_for_two_members_make_two_seeds_and_no_session_for_both() -> None:
    """The server tells bank 0 one list, and bank 1 another one in which bank 0's commitment is its own."""
    seeds = []
    honest = [drawer(0), drawer(1)]
    own = [decode(member.commit(), Commit).commitment for member in honest]
    for member, index in ((honest[0], 0), (honest[1], 1)):
        fakes = nonces(of=index + 1)
        commitments = [own[i] if i == index else commitment(i, fakes[i]) for i in range(N)]
        reply = decode(member.reveal(listed(*commitments)), Reveal)
        values = [reply.nonce if i == index else fakes[i] for i in range(N)]
        seeds.append(member.finish(draw.encode(Drawn(nonces=tuple(values)))))
    assert seeds[0] != seeds[1]
    session = make_session(
        ROSTER,
        graph=Harary(degree=4, seed=seeds[0]),
        adversary=SEMI_HONEST,
        corrupt=1,
        threshold=3,
        min_survivors=4,
    )
    policies = [replace(POLICY, adversaries=frozenset({SEMI_HONEST}), graph_seed=seed) for seed in seeds]
    policies[0].check(session)  # control: whose draw it is takes part
    refused(lambda: policies[1].check(session), "policy")


def test_one_list_for_two_members_cannot_end_in_two_seeds() -> None:
    honest = [drawer(0), drawer(1)]
    own = [decode(member.commit(), Commit).commitment for member in honest]
    commitments = [*own, *(commitment(i, nonces()[i]) for i in range(2, N))]
    values = [decode(member.reveal(listed(*commitments)), Reveal).nonce for member in honest] + nonces()[2:]
    other = [*values[:-1], flip(values[-1])]
    assert honest[0].finish(draw.encode(Drawn(nonces=tuple(values)))) == seed_of(values)
    refused(lambda: honest[1].finish(draw.encode(Drawn(nonces=tuple(other)))), "opening")


def collecting(*commits: bytes) -> DrawServer:
    server = DrawServer(identity=SERVER, roster=ROSTER)
    for index, message in enumerate(commits):
        server.receive_commit(index, message)
    return server


def test_a_copied_commitment_cannot_be_opened() -> None:
    """A member that repeats another's commitment as its own, and later that member's nonce."""
    victim = drawer(HONEST)
    first = victim.commit()
    copied = decode(first, Commit).commitment
    server = collecting(first, committed(1, copied), *(committed(i, commitment(i, nonces()[i])) for i in range(2, N)))
    request = server.list_commitments()
    nonce = decode(victim.reveal(request), Reveal).nonce
    server.receive_reveal(HONEST, revealed(HONEST, nonce))
    refused(lambda: server.receive_reveal(1, revealed(1, nonce)), "opening", 1)
    # A server that looks away cannot pass it on either.
    refused(lambda: victim.finish(draw.encode(Drawn(nonces=(nonce, nonce, *nonces()[2:])))), "opening")


def test_control_commitments_without_an_index_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = draw._commitment
    monkeypatch.setattr(draw, "_commitment", lambda digest, index, nonce: honest(digest, 0, nonce))
    victim = drawer(HONEST)
    first = victim.commit()
    copied = decode(first, Commit).commitment
    server = collecting(first, committed(1, copied), *(committed(i, commitment(i, nonces()[i])) for i in range(2, N)))
    nonce = decode(victim.reveal(server.list_commitments()), Reveal).nonce
    server.receive_reveal(1, revealed(1, nonce))
    assert victim.finish(draw.encode(Drawn(nonces=(nonce, nonce, *nonces()[2:]))))


def test_a_member_that_reveals_something_else_is_named_and_may_still_do_right() -> None:
    server = collecting(*(committed(i, commitment(i, nonces()[i])) for i in range(N)))
    server.list_commitments()
    refused(lambda: server.receive_reveal(3, revealed(3, flip(nonces()[3]))), "opening", 3)
    for index in range(N):
        server.receive_reveal(index, revealed(index, nonces()[index]))  # control
    seed, drawn = server.finish()
    assert (seed, decode(drawn, Drawn).nonces) == (seed_of(nonces()), tuple(nonces()))
    refused(lambda: server.receive_reveal(3, revealed(3, nonces()[3])), "once", 3)


def test_a_member_that_says_nothing_stops_the_draw() -> None:
    server = collecting(*(committed(i, commitment(i, nonces()[i])) for i in range(N)))
    for index in (0, 1, 2, 4):
        server.receive_reveal(index, revealed(index, nonces()[index]))
    with pytest.raises(LocalProtocolError, match="1 members have not revealed, the first of them bank 3"):
        server.finish()


@pytest.mark.parametrize("kind", ["commit", "reveal"])
def test_what_a_member_did_not_sign_is_refused(kind: str) -> None:
    if kind == "commit":
        server, receive = (made := DrawServer(identity=SERVER, roster=ROSTER)), made.receive_commit
        message: Any = decode(committed(3, commitment(3, nonces()[3])), Commit)
        other, taken = {"commitment": bytes(32)}, server._commitments
    else:
        server = collecting(*(committed(i, commitment(i, nonces()[i])) for i in range(N)))
        receive, message = server.receive_reveal, decode(revealed(3, nonces()[3]), Reveal)
        other, taken = {"nonce": bytes(32)}, server._nonces
    before = dict(taken)
    refused(lambda: receive(3, change(message, signature=flip(message.signature))), "signature", 3)
    refused(lambda: receive(3, change(message, **other)), "signature", 3)
    refused(lambda: receive(1, draw.encode(message)), "sender", 1)
    refused(lambda: receive(1, change(message, index=1)), "signature", 1)
    refused(lambda: receive(N, change(message, index=N)), "sender", N)
    refused(lambda: receive(3, draw.encode(message)[:-1]), "format", 3)
    refused(lambda: receive(3, draw.encode(message) + bytes(10_000)), "size", 3)
    assert taken == before
    receive(3, draw.encode(message))  # control
    refused(lambda: receive(3, draw.encode(message)), "once", 3)


def surrounds(seed: bytes) -> bool:
    """Whether the honest member's two neighbours on the ring are the banks 1 and 2: one order in six."""
    return neighbourhood(Harary(degree=2, seed=seed), N, HONEST) == (0, 1, 2)


def test_a_coalition_of_everybody_else_does_not_bias_the_order() -> None:
    """The server and four members of five have fixed all they can when the honest member reveals.

    A smoke test over fixed honest nonces: the share of orders that surround it is that of an honest draw, 1 in 6;
    1,200 seeds give 200 with a standard deviation of 13, and six of these are allowed.
    """
    caught = 0
    for number_of_draw in range(1_200):
        member, values = at_finish(number_of_draw.to_bytes(32, "big"))
        caught += surrounds(member.finish(draw.encode(Drawn(nonces=tuple(values)))))
    assert abs(caught - 200) < 78


def test_what_the_coalition_has_seen_says_nothing_of_the_seed_yet() -> None:
    """All messages before the reveal depend on the nonce through its commitment alone, and the seed on the nonce."""
    first, second = (at_finish(nonce)[1] for nonce in (b"a" * 32, b"b" * 32))
    assert first[1:] == second[1:]
    assert seed_of(first) != seed_of(second)
    message = drawer(HONEST, b"a" * 32).commit()
    assert decode(message, Commit).commitment == commitment(HONEST, b"a" * 32)
    assert b"a" * 32 not in message
    assert b"a" * 32 in at_reveal(b"a" * 32)[0].reveal(listed(*at_reveal(b"a" * 32)[1]))  # control


def grind(values: list[bytes], *, tries: int = 200) -> bytes | None:
    """The last one's nonce that makes the order it wants, once it knows all the others."""
    for attempt in range(tries):
        mine = attempt.to_bytes(32, "big")
        if surrounds(seed_of([*values[:-1], mine])):
            return mine
    return None


def test_the_last_to_reveal_cannot_grind_its_nonce() -> None:
    """It knows every nonce before it has to name its own, and finds the one it would like to have committed to."""
    for honest in (b"x" * 32, b"y" * 32, b"z" * 32):
        member, values = at_finish(honest)
        wish = grind(values)
        assert wish is not None
        server = collecting(*(committed(i, commitment(i, values[i])) for i in range(N)))
        server.list_commitments()
        refused(lambda wish=wish, server=server: server.receive_reveal(N - 1, revealed(N - 1, wish)), "opening", N - 1)
        forged = draw.encode(Drawn(nonces=(*values[:-1], wish)))
        refused(lambda member=member, forged=forged: member.finish(forged), "opening")


def test_control_without_commitments_the_last_chooses_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same grinding on a draw that does not hold anybody to a commitment succeeds, every time."""
    honest = draw._commitment
    monkeypatch.setattr(
        draw, "_commitment", lambda digest, index, nonce: honest(digest, index, b"" if index else nonce)
    )
    for nonce in (b"x" * 32, b"y" * 32, b"z" * 32):
        member, values = at_finish(nonce)
        wish = grind(values)
        assert wish is not None
        assert surrounds(member.finish(draw.encode(Drawn(nonces=(*values[:-1], wish)))))


def test_a_member_is_one_object_in_one_process() -> None:
    member, commitments = at_reveal()
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(LocalProtocolError):
            duplicate(member)
    child = os.fork()
    if child == 0:  # a second holder of the nonce, which would reveal it for another list
        try:
            member.reveal(listed(*commitments))
        except LocalProtocolError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    member.reveal(listed(*commitments))  # control


def test_two_threads_get_one_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lists at once: the second comes while the first is being checked."""

    def attempt() -> list[Any]:
        member, commitments = at_reveal()
        other = [commitments[0], *(commitment(i, nonce) for i, nonce in enumerate(nonces(of=1)) if i != HONEST)]
        outcome: list[Any] = []
        original = draw.decode

        def between(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(draw, "decode", original)
            thread = threading.Thread(target=lambda: outcome.append(_tried(lambda: member.reveal(listed(*other)))))
            thread.start()
            thread.join()
            return original(*args, **kwargs)

        monkeypatch.setattr(draw, "decode", between)
        outcome.append(_tried(lambda: member.reveal(listed(*commitments))))
        return outcome

    inner, outer = attempt()
    assert isinstance(inner, LocalProtocolError)
    assert isinstance(outer, bytes)
    # Control: two things stop the second thread, the lock, and the state, which moves before anything is checked.
    monkeypatch.setattr(Exclusive, "_alone", lambda _: nullcontext())
    monkeypatch.setattr(Drawer, "_expect", lambda *_: None)
    assert all(isinstance(reply, bytes) for reply in attempt())


def _tried(call: Callable[[], bytes]) -> Any:
    try:
        return call()
    except LocalProtocolError as error:
        return error


@pytest.mark.parametrize("index", [-1, 1, N, 10_000])
def test_a_draw_under_another_name_is_refused_at_once(index: int) -> None:
    with pytest.raises(ConfigError):
        Drawer(index=index, identity=FEDERATION.identities[0], roster=ROSTER)
    Drawer(index=0, identity=FEDERATION.identities[0], roster=ROSTER)  # control


def test_a_server_that_the_roster_does_not_name_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        DrawServer(identity=FEDERATION.identities[0], roster=ROSTER)
    DrawServer(identity=SERVER, roster=ROSTER)  # control
