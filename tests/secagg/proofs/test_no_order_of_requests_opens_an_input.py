"""T6, the state machine: whatever a dishonest server says in whatever order, a client keeps its promises.

Breadth-first over the production client, to the end: every state that it can be brought to, and in each every message
of ``dishonest_server.py``. A client cannot be copied, so a state is made again by its path. In every state: never two
kinds of share for a peer, one signature on survivors, one masked input, silence without secrets after an abort; a
second, different request for a step aborts; and a client goes on only for what an honest server could have sent.
Sessions of three and four are used, for which the least number of five is lowered here. That a (task, round) is used
once over several clients is their caller's duty.
"""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import pytest

import secagg.config
import secagg.rounds
from secagg import Client, State
from secagg.identity import verify
from secagg.states import Call
from tests.secagg.proofs.dishonest_server import VICTIM, Deed, DishonestServer, Party, Path, call
from tests.secagg.proofs.promises import (
    BrokenPromiseError,
    NeverAborts,
    RepeatsItself,
    RevealsBoth,
    ShrugsOff,
    Watched,
    forgetful,
)


@pytest.fixture(scope="module", autouse=True)
def _small_cohorts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secagg.config, "MIN_CLIENTS", 3)
        # A function of its arguments alone, and half of the time: states are made again for every message tried.
        patch.setattr(secagg.rounds, "verify", functools.cache(verify))
        yield


@pytest.fixture(scope="module")
def three() -> DishonestServer:
    """Three banks, threshold 2. One works with the server, which is one more than the session is made for."""
    return DishonestServer(n=3, models=1)


def _act(server: DishonestServer, deed: Deed | None) -> Any:
    """``None``: the client's owner aborts."""
    if deed is None:
        return Client.abort
    return lambda client: call(client, Party(VICTIM), deed, server.inputs)


def _at(server: DishonestServer, kind: type[Client], path: Path) -> Watched:
    victim = Watched(server.client(kind))
    for deed in path:
        victim.do(_act(server, deed))
    return victim


def _is_second(path: Path, deed: Deed) -> bool:
    """Whether ``deed`` asks differently for a step that was answered. To mask is the owner's call, not a request."""
    name, request = deed
    return name is not Call.MASK and dict(path).get(name, request) != request


def _explore(server: DishonestServer, kind: type[Client] = Client) -> tuple[Counter[State], int]:
    """Visit every state; return how many of each name there are, and how many deeds were done in them.

    Raises:
        BrokenPromiseError: in some state.
    """
    states: Counter[State] = Counter()
    done = 0
    pending: deque[Path] = deque([()])
    silenced: set[frozenset[bytes]] = set()
    while pending:
        path = pending.popleft()
        victim = _at(server, kind, path)
        states[victim.client.state] += 1
        deeds = (*server.deeds(path), None)
        for deed in deeds:
            done += 1
            moved = victim.do(_act(server, deed))
            if deed and _is_second(path, deed) and not victim.aborted:
                raise BrokenPromiseError("lets a second, different request pass")
            if not moved:
                continue
            emitted = frozenset(victim.emitted)
            if victim.aborted and emitted not in silenced:
                # Whatever the message that they aborted on, clients with the same emissions are alike.
                silenced.add(emitted)
                states[victim.client.state] += 1
                assert not any(victim.do(_act(server, later)) for later in deeds)
            elif deed and not victim.aborted:
                if not server.is_honest(path, deed):
                    raise BrokenPromiseError("goes on for what no honest server sends")
                if not server.is_mirrored((*path, deed)):
                    pending.append((*path, deed))
            victim = _at(server, kind, path)
    return states, done


def test_every_state_of_a_session_of_three() -> None:
    """Lists of who advertised: bank 1, the traitor with one of two sets of keys, or both, 5 in all.

    For these there are 1, 2, 2, 5 and 5 lists of who dealt, the traitor in one of two ways. 4 of them have three
    dealers and give 3 lists of survivors, 11 have two and give 1. All that for either of two models.
    """
    states, done = _explore(DishonestServer(n=3, models=2))
    assert set(states) == set(State)
    names = (State.ADVERTISED, State.SHARED, State.ACCEPTED, State.MASKED, State.AGREED)
    assert [states[name] for name in names] == [1, 5, 2 * 15, 2 * 15, 2 * 23]
    assert done > 5000


def test_every_state_of_a_session_of_four_with_its_traitor() -> None:
    """c = 1, threshold 3: 7 lists of who advertised, 1 + 4 * 2 + 2 * 7 of who dealt, 4 of survivors where all dealt."""
    states, done = _explore(DishonestServer(n=4, models=1))
    names = (State.SHARED, State.ACCEPTED, State.MASKED, State.AGREED)
    assert [states[name] for name in names] == [7, 23, 23, 19 + 4 * 4]
    assert done > 4000


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (forgetful(Call.ADVERTISE), "two answers to one step"),
        (forgetful(Call.SHARE), "two answers to one step"),
        (forgetful(Call.MASK), "two masked inputs"),
        (forgetful(Call.AGREE), "two lists of survivors"),
        (RevealsBoth, "two kinds of share for a peer"),
        (NeverAborts, "knows secrets after an abort"),
        (RepeatsItself, "speaks after an abort"),
        (ShrugsOff, "lets a second, different request pass"),
    ],
)
def test_control_a_client_that_breaks_a_promise_is_found(
    broken: type[Client], promise: str, three: DishonestServer
) -> None:
    with pytest.raises(BrokenPromiseError, match=promise):
        _explore(three, broken)


@pytest.mark.parametrize(
    ("check", "without"),
    [("verify", lambda *_: True), ("check_agreement", lambda *_, **__: None)],
)
def test_control_a_check_that_is_left_out_is_found(
    check: str, without: Any, three: DishonestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secagg.rounds, check, without)
    with pytest.raises(BrokenPromiseError, match="no honest server"):
        _explore(three)
