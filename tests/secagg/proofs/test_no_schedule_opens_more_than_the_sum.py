"""T6, several clients at once: no schedule and no forged list makes them open more than one sum.

Hypothesis drives five production clients and the production server: honest steps, requests of other steps or for other
clients, lists of survivors and sets of signatures of its choice. Each client keeps its promises throughout. Beside
that, a server with a traitor never has t shares of both secrets of a bank, and a sum that is opened is the survivors'.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fedsec.errors import CohortError, RemoteProtocolError
from secagg import Client, messages, transcript
from secagg.states import Call, Step
from tests.secagg.helpers import STEPS, Federation, change, decode
from tests.secagg.proofs.promises import BrokenPromiseError, NeverAborts, RevealsBoth, RollsBack, Watched, forgetful

N = 5
TRAITOR = N - 1
CALLS = {step: Call.ACCEPT if step == "mask" else Call(step) for step in STEPS}
CLIENTS = st.integers(0, N - 1)
CROWDS = st.sets(CLIENTS, max_size=1).map(lambda absent: set(range(N)) - absent) | st.sets(CLIENTS)


@functools.cache
def _last_requests() -> tuple[Any, Any]:
    """Requests of steps 3 and 4 to change."""
    early, late = Federation(n=N).run(until="agree"), Federation(n=N).run(until="unmask")
    return decode(early.requests[0], messages.AgreeRequest), decode(late.requests[0], messages.UnmaskRequest)


class Schedules(RuleBasedStateMachine):
    """The server's moves."""

    client_type: ClassVar[type[Client]] = Client
    watched_type: ClassVar[type[Watched]] = Watched

    @initialize(steps=st.sampled_from([3, 3, 3, 4, 5, 0, 1, 2]), absent=CLIENTS)
    def honest_beginning(self, steps: int, absent: int) -> None:
        """So many steps: what can be done wrong is mostly done late. ``absent`` does not mask; 0 stands for nobody."""
        self.federation = Federation(n=N)
        self.federation.clients = [
            self.client_type(
                index=index, identity=identity, roster=self.federation.roster, policy=self.federation.policy
            )
            for index, identity in enumerate(self.federation.identities)
        ]
        self.watched = [self.watched_type(client) for client in self.federation.clients]
        self.federation.start()
        self.known = [(step, request) for step in STEPS[:1] for request in self.federation.requests.values()]
        self.signed: list[Any] = []
        for step in STEPS[:steps]:
            for index in range(N):
                if step != "mask" or not absent or index != absent:
                    self.honest_answer(index)
            self.close()

    @rule(index=CLIENTS)
    def honest_answer(self, index: int) -> None:
        """A client answers what it is asked at this step, and the server takes it."""
        step = self.federation.server.step
        request = self.federation.requests.get(index)
        if step.value in STEPS and request is not None:
            self._ask(index, step.value, request)

    @rule(absent=CLIENTS)
    def honest_step(self, absent: int) -> None:
        """Everybody but one answers, and the server goes on."""
        for index in set(range(N)) - {absent}:
            self.honest_answer(index)
        self.close()

    @rule()
    def close(self) -> None:
        """The server goes on to the next step, at once unless too few are left by then."""
        step = self.federation.server.step.value
        if step in STEPS and len(self.federation.requests) - len(self.federation.server.awaited) >= 4:
            try:
                self.federation.close(step)
            except CohortError:
                return
            self.known += [(self.federation.server.step.value, r) for r in self.federation.requests.values()]

    @rule(index=CLIENTS, pick=st.integers(0, 10**6), step=st.sampled_from([None, *STEPS]))
    def any_request(self, index: int, pick: int, step: str | None) -> None:
        """Any request of any step for anybody, as one of its own step or of another."""
        meant, request = self.known[pick % len(self.known)]
        self._ask(index, step or meant, request)

    @rule(survivors=CROWDS, asked=CROWDS)
    def list_of_survivors(self, survivors: set[int], asked: set[int]) -> None:
        """Any list to anybody."""
        request = change(_last_requests()[0], survivors=tuple(sorted(survivors)))
        for index in sorted(asked):
            self._ask(index, "agree", request)

    @rule(asked=CROWDS, survivors=CROWDS, pick=st.integers(0, 10**6))
    def signatures(self, asked: set[int], survivors: set[int], pick: int) -> None:
        """The latest signatures of some time, of one list or several, and the traitor's on any; to anybody."""
        latest = {agree.index: agree for agree in self.signed[: pick % (1 + len(self.signed))]}
        self._prove(latest, tuple(sorted(survivors)), sorted(asked))

    @rule(survivors=CROWDS, asked=CROWDS)
    def whole_end(self, survivors: set[int], asked: set[int]) -> None:
        """A list to a group of its members, and back to the group what it signed."""
        before = len(self.signed)
        self.list_of_survivors(survivors, asked & survivors - {TRAITOR})
        fresh = {agree.index: agree for agree in self.signed[before:]}
        self._prove(fresh, tuple(sorted(survivors)), sorted(fresh))

    @rule(index=CLIENTS)
    def abort(self, index: int) -> None:
        self.watched[index].do(Client.abort)

    @invariant()
    def no_bank_has_both_secrets_open(self) -> None:
        if not hasattr(self, "watched"):
            return
        threshold = self.federation.session.threshold
        revealed = {index: self.watched[index].revealed() for index in range(N) if index != TRAITOR}
        for dealer in range(N - 1):
            least = min(sum((dealer, kind) in places for places in revealed.values()) for kind in ("self", "mask"))
            if least + 1 >= threshold:  # the traitor has a share of either kind
                raise BrokenPromiseError(f"both secrets of bank {dealer} are known")

    def teardown(self) -> None:
        if hasattr(self, "federation") and self.federation.server.step is Step.DONE:
            opened = self.federation.opened()
            assert np.array_equal(opened.total, self.federation.plain_sum(opened.survivors))

    def _ask(self, index: int, step: str, request: bytes) -> None:
        """Call a client, mask at once where it accepted, and hand the server what is said."""
        watched, call = self.watched[index], CALLS[step]
        said = len(watched.emitted)
        watched.do(lambda client: getattr(client, call.value)(request))
        if call is Call.ACCEPT:
            watched.do(lambda client: client.mask(self.federation.inputs[index]))
        for reply in watched.emitted[said:]:
            message = decode(reply, messages.ClientMessage)
            if isinstance(message, messages.Agree):
                self.signed.append(message)
            try:
                self.federation.server.receive(index, reply)
            except RemoteProtocolError:
                continue  # an answer to a forged list is not what the server's honest part waits for

    def _prove(self, agreed: dict[int, Any], survivors: tuple[int, ...], asked: list[int]) -> None:
        """Signatures, with the traitor's on ``survivors`` where it can sign, to ``asked``."""
        template = _last_requests()[1]
        place = self.watched[TRAITOR].place
        if place is not None:
            statement = transcript.agree(place.sid, place.t2, TRAITOR, survivors)
            signature = self.federation.identities[TRAITOR].sign(*statement)
            agreed = agreed | {TRAITOR: msgspec.structs.replace(template.agreed[0], index=TRAITOR, signature=signature)}
        request = change(template, agreed=tuple(agreed[index] for index in sorted(agreed)))
        for index in asked:
            self._ask(index, "unmask", request)


class _Unwatched(Watched):
    """Whose own promises nobody looks at."""

    def check(self) -> None:
        pass


def _run(client: type[Client] = Client, **changes: Any) -> None:
    class Machine(Schedules):
        client_type = client

    values: dict[str, Any] = {"max_examples": 120, "stateful_step_count": 15, "deadline": None, "database": None}
    run_state_machine_as_test(Machine, settings=settings(**(values | changes), suppress_health_check=[*HealthCheck]))


def test_no_schedule_opens_more_than_the_sum() -> None:
    _run()


@pytest.mark.parametrize("absent", [0, 1, 4])
def test_the_honest_schedule_opens_the_sum(absent: int) -> None:
    """So the last check above is reached. Control: it fails if the inputs had been others."""
    machine = Schedules()
    machine.honest_beginning(steps=5, absent=absent)
    assert machine.federation.server.step is Step.DONE
    assert len(machine.federation.opened().survivors) == N - bool(absent)
    machine.teardown()
    machine.federation.inputs[0, 0] += 1
    with pytest.raises(AssertionError):
        machine.teardown()


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (forgetful(Call.AGREE), "two lists of survivors"),
        (RevealsBoth, "two kinds of share for a peer"),
        (NeverAborts, "knows secrets after an abort"),
    ],
)
def test_control_broken_clients_are_found(broken: type[Client], promise: str) -> None:
    """Always by the same schedules, whereas production clients see new ones each time."""
    with pytest.raises(BrokenPromiseError, match=promise):
        _run(broken, max_examples=300, derandomize=True, phases=[Phase.generate], print_blob=False)


def test_control_clients_that_are_rolled_back_give_two_secrets() -> None:
    """Two lists to everybody, each with its signatures. Production clients abort on the second one."""
    for broken, watched in ((RollsBack, _Unwatched), (Client, _Unwatched), (Client, Watched)):
        machine = Schedules()
        machine.client_type, machine.watched_type = broken, watched
        machine.honest_beginning(steps=3, absent=0)
        everybody = set(range(N))
        machine.whole_end(survivors=everybody, asked=everybody)
        machine.no_bank_has_both_secrets_open()
        machine.whole_end(survivors=everybody - {1}, asked=everybody)
        if broken is Client:
            machine.no_bank_has_both_secrets_open()
        else:
            with pytest.raises(BrokenPromiseError, match="both secrets of bank 1"):
                machine.no_bank_has_both_secrets_open()
