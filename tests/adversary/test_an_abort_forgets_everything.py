"""The attacks' own property is one that can fail: a client that forgets to forget is found."""

from __future__ import annotations

import pytest

from fedsec.errors import RemoteProtocolError
from secagg import Client, State, messages
from tests.adversary.attacks import KEYS
from tests.adversary.dishonest_server import VICTIM, assert_refused, stage
from tests.secagg.helpers import POLICY, STEPS, Federation, send
from tests.secagg.memory import frames_of_package, round_secrets, still_known


class _Forgetful(Client):
    def abort(self) -> None:
        self._state = State.ABORTED


class _Talkative(Client):
    @property
    def state(self) -> State:
        return State.NEW if self._aborted else self._state


def _refuse_one_survivor(kind: type[Client]) -> None:
    federation = Federation()
    federation.clients[VICTIM] = kind(
        index=VICTIM, identity=federation.identities[VICTIM], roster=federation.roster, policy=POLICY
    )
    federation.run(until="agree")
    forged = messages.encode(messages.AgreeRequest(survivors=(0,)))
    assert_refused(federation.clients[VICTIM], forged, step="agree", honest=federation.requests[VICTIM])


def test_an_honest_client_forgets() -> None:
    _refuse_one_survivor(Client)


def test_control_a_client_that_forgets_to_forget_is_found() -> None:
    with pytest.raises(AssertionError, match="still knows"):
        _refuse_one_survivor(_Forgetful)


def test_control_a_client_that_hides_its_abort_is_found() -> None:
    with pytest.raises(AssertionError, match="has not aborted"):
        _refuse_one_survivor(_Talkative)


@pytest.mark.parametrize("step", STEPS)
def test_control_the_honest_request_is_answered(step: str) -> None:
    federation = Federation().run(until=step)
    send(federation.clients[VICTIM], step, federation.requests[VICTIM])
    assert federation.clients[VICTIM].state is not State.ABORTED


def test_control_a_traceback_would_keep_secrets() -> None:
    federation, forged = stage(KEYS["low-order-point-0-mask_key"])
    client = federation.clients[VICTIM]
    secrets = round_secrets(client)
    with pytest.raises(RemoteProtocolError) as caught:
        client._share(forged)  # without the wrapper that cuts the traceback
    client.abort()
    assert still_known(secrets, *frames_of_package(caught.value))
