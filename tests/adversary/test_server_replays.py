"""A step is answered once: the same request gets the same bytes, any other ends the client."""

from __future__ import annotations

import pytest

from secagg import messages
from tests.adversary.dishonest_server import VICTIM, assert_refused
from tests.secagg.helpers import STEPS, Federation, change, decode, send


@pytest.mark.parametrize("step", STEPS)
def test_replay_gets_the_same_bytes_and_a_changed_request_aborts(step: str) -> None:
    federation = Federation().run(until=step)
    client, request = federation.clients[VICTIM], federation.requests[VICTIM]
    first = federation.reply(step, VICTIM, request)
    state = client.state
    assert federation.reply(step, VICTIM, request) == first
    assert client.state is state
    error = assert_refused(client, request + b"\x00", step=step, honest=request)
    assert (error.rule, error.peer) == ("once", None)


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_request_of_another_session_is_refused(step: str) -> None:
    """Replayed from the round before, whose banks, roster and server are the same."""
    federation, before = Federation(changes={"round": 1}).run(until=step), Federation().run(until=step)
    client, honest = federation.clients[VICTIM], federation.requests[VICTIM]
    if step == "agree":  # names no session, hence is the same: what binds it is the signature that answers it
        assert before.requests[VICTIM] == honest
        assert before.reply(step, VICTIM, honest) != federation.reply(step, VICTIM, honest)
        return
    error = assert_refused(client, before.requests[VICTIM], step=step, honest=honest)
    expected = {"share": "own-entry", "mask": "signature", "unmask": "signature"}
    assert (error.rule, error.peer) == (expected[step], None)


@pytest.mark.parametrize("step", STEPS)
def test_control_the_request_of_its_own_session_is_answered(step: str) -> None:
    federation = Federation(changes={"round": 1}).run(until=step)
    assert send(federation.clients[VICTIM], step, federation.requests[VICTIM])


def _smaller_cohort(federation: Federation) -> bytes:
    honest = decode(federation.requests[VICTIM], messages.MaskRequest)
    return change(honest, dealings=honest.dealings[:4], deliveries=honest.deliveries[:3])


def test_a_round_with_another_cohort_gets_no_second_mask() -> None:
    """A client that masked for U2 is asked again with a smaller U2."""
    federation = Federation().run(until="mask")
    federation.reply("mask", VICTIM, federation.requests[VICTIM])
    client, honest = federation.clients[VICTIM], federation.requests[VICTIM]
    error = assert_refused(client, _smaller_cohort(federation), step="mask", honest=honest)
    assert (error.rule, error.peer) == ("once", None)


@pytest.mark.parametrize("step", STEPS)
def test_control_a_client_that_forgets_what_it_answered_names_no_repetition(step: str) -> None:
    """Without its memory the client meets the changed request, or one at the wrong time, with another rule or none."""
    federation = Federation().run(until=step)
    client, request = federation.clients[VICTIM], federation.requests[VICTIM]
    federation.reply(step, VICTIM, request)
    client._answered = {}
    with pytest.raises(Exception, match=r"is not for a client") as caught:
        send(client, step, request + b"\x00")
    assert not hasattr(caught.value, "rule")
