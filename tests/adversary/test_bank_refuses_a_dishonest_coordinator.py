"""A coordinator that replays, repeats, goes back, asks beyond the plan or bends it gets nothing from a bank.

The coordinator here holds the real server key, so signatures are never what stops it.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from dp.mechanism import SumMechanism
from fedsec.errors import FedsecError, LedgerError, LocalProtocolError, RemoteProtocolError
from fedsec.exclusive import Exclusive
from fl_engine import bank as bank_module
from fl_engine import sums as sums_module
from fl_engine.bank import Bank
from fl_engine.data.dataset import BankData, synthetic_dataset
from fl_engine.messages import (
    OFFER_BYTES,
    Answer,
    Offer,
    Reply,
    Request,
    RoundInputs,
    decode,
    encode,
    inputs_digest,
    request_limit,
)
from fl_engine.model import ModelSpec, initial_weights
from fl_engine.plan import PLAN_CONTEXT, PlannedSum, TaskPlan
from fl_engine.planning import build_plan
from fl_engine.policy import BankPolicy
from fl_engine.scaling import Standardiser
from fl_engine.settings import RunSettings
from fl_engine.stopwatch import Stopwatch
from fl_engine.sums import Sums
from secagg.config import QuantiserParameters, RoundConfig, SessionConfig
from secagg.identity import Identity, Roster
from secagg.policy import ClientPolicy
from secagg.server import Server
from secagg.states import State

torch.set_num_threads(1)
DATASET = synthetic_dataset(banks=5, rows=1000, seed=1, split_key=bytes(32), holdout=0.2)
SERVER = Identity.generate()
IDENTITIES = [Identity.generate() for _ in range(5)]
ROSTER = Roster(server=SERVER.public_key, members=tuple((i, key.public_key) for i, key in enumerate(IDENTITIES)))
VICTIM = 2
STEPS = ("advertise", "share", "mask", "agree", "unmask")
LAX = BankPolicy(  # so that the plan, not the policy, is what protects
    sessions=ClientPolicy(
        tasks=frozenset({"task"}),
        purposes=frozenset({"scaling", "training", "evaluation"}),
        modes=frozenset({"distributed", "local"}),
        min_corrupt=0,
        max_corrupt=4,
        min_honest_inputs=1,
        min_noise_multiplier=0.0,
    ),
    max_epsilon=1000.0,
    max_delta=1.0,
    architectures=frozenset({(64, 32)}),
)


def stricter(**sessions: Any) -> BankPolicy:
    return dataclasses.replace(LAX, sessions=dataclasses.replace(LAX.sessions, **sessions))


SLOTS = tuple(bank.slots for bank in DATASET.banks)


def plan_for(*, slots: tuple[int, ...] = SLOTS, **settings: Any) -> TaskPlan:
    return build_plan(
        RunSettings(**{"rounds": 3, **settings}),
        task="task",
        slots=slots,
        model=ModelSpec(inputs=DATASET.schema.width),
        numeric_width=DATASET.schema.numeric_width,
        federated_evaluation=True,
    )


PLAN = plan_for()
INPUTS = RoundInputs(
    weights=initial_weights(PLAN.model, 1).astype("<f4").tobytes(),
    standardiser=Standardiser(
        means=np.zeros(PLAN.numeric_width).tobytes(), deviations=np.ones(PLAN.numeric_width).tobytes()
    ),
)


def offer_of(plan: TaskPlan, signer: Identity = SERVER) -> bytes:
    data = encode(plan)
    return encode(Offer(plan=data, signature=signer.sign(PLAN_CONTEXT, data)))


def read_reply(data: bytes, sender: int) -> Reply:
    return decode(data, Reply, limit=len(data), peer=sender)


@dataclass
class Federation:
    """Five honest banks that accepted a plan, and a coordinator without scruples."""

    plan: TaskPlan = PLAN
    policy: BankPolicy = LAX
    admit: Callable[[TaskPlan], None] = lambda _: None
    burns: list[tuple[str, int]] = field(default_factory=list)
    burnt: frozenset[tuple[str, int]] = frozenset()
    masked: list[int] = field(default_factory=list)  # attempts of which the victim's masked input left
    asked: dict[str, bytes] = field(default_factory=dict)  # by step, the victim's latest request

    def __post_init__(self) -> None:
        self.banks = [self.bank(index, data) for index, data in enumerate(DATASET.banks)]
        for bank in self.banks:
            bank.consider(offer_of(self.plan))
        self.victim = self.banks[VICTIM]

    def bank(self, index: int, data: BankData) -> Bank:
        burn = self.burn if index == VICTIM else lambda *_: None
        return Bank(
            index=index,
            identity=IDENTITIES[index],
            roster=ROSTER,
            policy=self.policy,
            data=data,
            admit=self.admit,
            burn=burn,
            burnt=self.burnt if index == VICTIM else frozenset(),
            stopwatch=Stopwatch(),
        )

    def burn(self, release: str, ordinal: int) -> None:
        self.burns.append((release, ordinal))

    def session(self, attempt: int, **changes: Any) -> SessionConfig:
        place = self.plan.attempt(attempt)
        planned = self.plan.sums[0] if place is None else place[0]
        return msgspec.structs.replace(self.plan.session(planned, attempt, ROSTER.digest), **changes)

    def attempt(
        self,
        number: int,
        *,
        session: SessionConfig | None = None,
        inputs: bytes | None = None,
        claimed: bytes | None = None,
        until: str = "unmask",
    ) -> Server:
        """Carry the attempt through with all banks, up to and with the step ``until``."""
        session = session or self.session(number)
        inputs = INPUTS.encode() if inputs is None else inputs
        server = Server(identity=SERVER, roster=ROSTER, session=session)
        requests = server.open()
        for step in STEPS:
            for index, payload in requests.items():
                carried = inputs if step == "mask" else b""
                request = encode(Request(attempt=number, step=step, payload=payload, inputs=carried))
                if index == VICTIM:
                    self.asked[step] = request
                reply = read_reply(self.banks[index].handle(request), index)
                if step == "mask" and index == VICTIM:
                    self.masked.append(number)
                server.receive(index, reply.payload)
            if step == until:
                return server
            config = None
            if step == "share":
                digest = claimed or inputs_digest(inputs)
                config = RoundConfig(kid=session.kid, model_digest=digest, optimiser=b"")
            requests = server.advance(config)
        return server

    def mask_request(
        self, number: int, *, inputs: bytes | None = None, claimed: bytes | None = None, labelled: int | None = None
    ) -> bytes:
        """The victim's request of the step "mask", all steps before it done; ``labelled``: as of another attempt."""
        inputs = INPUTS.encode() if inputs is None else inputs
        server = self.attempt(number, until="share")
        digest = claimed or inputs_digest(inputs)
        payload = server.advance(RoundConfig(kid=self.session(number).kid, model_digest=digest, optimiser=b""))[VICTIM]
        attempt = number if labelled is None else labelled
        return encode(Request(attempt=attempt, step="mask", payload=payload, inputs=inputs))

    def is_silent(self) -> bool:
        """Whether the victim has aborted the attempt under way and forgotten what it knew of it."""
        client = self.victim._client
        assert client is not None
        return client.state is State.ABORTED and client._phase is None and self.victim._masked is None


def refused(action: Callable[[], Any]) -> str:
    """The rule by which the coordinator, and nobody else, was found out."""
    with pytest.raises(RemoteProtocolError) as caught:
        action()
    assert caught.value.peer is None
    return caught.value.rule


def test_an_honest_coordinator_gets_through() -> None:
    """Control for the whole file: nothing below fails because the set-up would."""
    federation = Federation()
    for number in (0, 3, 4, PLAN.first_attempt("evaluation")):
        federation.attempt(number)
    assert federation.masked == [0, 3, 4, PLAN.first_attempt("evaluation")]
    assert federation.burns == [("scaling", 0), ("training", 0), ("training", 1), ("evaluation", 0)]


def test_a_finished_attempt_is_not_played_again() -> None:
    federation = Federation()
    federation.attempt(3)
    federation.attempt(4)
    assert refused(lambda: federation.attempt(4, inputs=other_model())) != ""
    assert refused(lambda: federation.attempt(3)) == "one-use-of-an-attempt"
    assert federation.masked == [3, 4]
    assert federation.burns == [("training", 0), ("training", 1)]


def other_model() -> bytes:
    weights = np.frombuffer(INPUTS.weights, "<f4") + np.float32(0.5)
    return RoundInputs(weights=weights.tobytes(), standardiser=INPUTS.standardiser).encode()


def test_an_attempt_that_was_masked_is_not_masked_again_with_another_model() -> None:
    federation = Federation()
    federation.attempt(3, until="mask")
    refused(lambda: federation.attempt(3, inputs=other_model()))
    assert federation.masked == [3]
    assert federation.burns == [("training", 0)]


def test_an_attempt_that_never_got_to_masks_is_not_begun_again_after_a_later_one() -> None:
    federation = Federation()
    federation.attempt(3, until="share")
    federation.attempt(5, until="share")
    assert refused(lambda: federation.attempt(4)) == "one-use-of-an-attempt"
    assert refused(lambda: federation.attempt(3)) == "one-use-of-an-attempt"
    assert federation.masked == []
    assert federation.burns == []


def test_a_number_that_comes_with_another_session_ends_the_attempt() -> None:
    federation = Federation()
    federation.attempt(3, until="share")
    session = federation.session(3, step_timeout_seconds=61)
    assert refused(lambda: federation.attempt(3, session=session)) == "once"
    with pytest.raises((RemoteProtocolError, LocalProtocolError)):
        federation.attempt(3)
    assert federation.masked == []


def test_an_attempt_burnt_before_a_restart_is_over() -> None:
    federation = Federation(burnt=frozenset({("training", 0)}))
    assert refused(lambda: federation.attempt(3)) == "one-use-of-an-attempt"
    assert federation.masked == []
    federation.attempt(4)  # control: the next number is not
    assert federation.masked == [4]


@pytest.mark.parametrize("number", [-1, sum(s.attempts for s in PLAN.sums), 10**6])
def test_an_attempt_beyond_the_plan_is_refused(number: int) -> None:
    federation = Federation()
    session = federation.session(max(number, 0))
    assert refused(lambda: federation.attempt(number, session=session)) == "plan"
    assert federation.burns == []


def less_noise(session: SessionConfig) -> dict[str, Any]:
    privacy = session.privacy
    return {
        "privacy": msgspec.structs.replace(
            privacy,
            noise_multiplier=privacy.noise_multiplier / 4,
            share_variance=privacy.share_variance / 16,
        )
    }


BENT_SESSIONS: dict[str, Callable[[SessionConfig], dict[str, Any]]] = {
    "less noise": less_noise,
    "a smaller threshold": lambda s: {"threshold": 3, "corrupt": 0, "min_survivors": 3},
    "fewer survivors, of more": lambda s: {"min_survivors": 5},
    "another dimension": lambda s: {"dimension": s.dimension - 1},
    "a coarser grid": lambda s: {"quantiser": msgspec.structs.replace(s.quantiser, scale=s.quantiser.scale / 2)},
    "a wider ring": lambda s: {"ring_bits": s.ring_bits + 1},
    "another purpose": lambda s: {"purpose": "evaluation"},
    "another round": lambda s: {"round": s.round + 1},
    "another clip": lambda s: {"privacy": msgspec.structs.replace(s.privacy, clip=s.privacy.clip / 2)},
}


@pytest.mark.parametrize("bent", BENT_SESSIONS)
def test_a_session_that_differs_from_the_plan_is_refused(bent: str) -> None:
    federation = Federation()
    session = federation.session(3)
    changed = msgspec.structs.replace(session, **BENT_SESSIONS[bent](session))
    assert refused(lambda: federation.attempt(3, session=changed)) == "plan"
    # It is over: not even the right session revives the number, and no mask step follows.
    with pytest.raises((RemoteProtocolError, LocalProtocolError)):
        federation.attempt(3)
    assert federation.burns == []
    assert federation.masked == []


def test_control_a_bank_that_does_not_compare_would_give_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation()
    session = federation.session(3)
    changed = msgspec.structs.replace(session, **less_noise(session))
    monkeypatch.setattr(TaskPlan, "session", lambda *_: changed)
    federation.attempt(3, session=changed, until="mask")
    assert federation.masked == [3]


def test_a_bank_that_was_shown_another_model_is_silent_from_then_on() -> None:
    federation = Federation()
    request = federation.mask_request(3, claimed=inputs_digest(other_model()))
    assert refused(lambda: federation.victim.handle(request)) == "model-digest"
    assert federation.is_silent()
    with pytest.raises(LocalProtocolError):
        federation.victim.handle(request)
    assert federation.burns == []


def test_inputs_that_do_not_match_their_digest_are_refused() -> None:
    federation = Federation()
    assert refused(lambda: federation.attempt(3, claimed=inputs_digest(other_model()))) == "model-digest"
    with pytest.raises((RemoteProtocolError, LocalProtocolError)):
        federation.attempt(3)
    assert federation.burns == []
    assert federation.masked == []


def bent_inputs() -> dict[str, bytes]:
    good = INPUTS.standardiser
    assert good is not None
    return {
        "no scaling": RoundInputs(weights=INPUTS.weights, standardiser=None).encode(),
        "a weight too few": RoundInputs(weights=INPUTS.weights[:-4], standardiser=good).encode(),
        "half a weight": RoundInputs(weights=INPUTS.weights[:-2], standardiser=good).encode(),
        "a mean too few": RoundInputs(
            weights=INPUTS.weights, standardiser=Standardiser(means=good.means[:-8], deviations=good.deviations)
        ).encode(),
        "half a deviation": RoundInputs(
            weights=INPUTS.weights, standardiser=Standardiser(means=good.means, deviations=good.deviations[:-4])
        ).encode(),
        "one mean for all": RoundInputs(
            weights=INPUTS.weights, standardiser=Standardiser(means=bytes(8), deviations=bytes(8))
        ).encode(),
        "no message": b"\xc1",
        "nothing": b"",
    }


@pytest.mark.parametrize("bent", bent_inputs())
def test_inputs_of_another_shape_are_refused_before_the_charge(bent: str) -> None:
    federation = Federation()
    assert refused(lambda: federation.attempt(3, inputs=bent_inputs()[bent])) in {"inputs", "encoding"}
    assert federation.burns == []
    assert federation.masked == []


@pytest.mark.parametrize("bent", bent_inputs())
def test_a_bank_that_got_inputs_of_another_shape_is_silent_from_then_on(bent: str) -> None:
    federation = Federation()
    request = federation.mask_request(3, inputs=bent_inputs()[bent])
    refused(lambda: federation.victim.handle(request))
    assert federation.is_silent()
    with pytest.raises(LocalProtocolError):
        federation.victim.handle(request)


def test_in_local_mode_weights_that_are_no_numbers_are_refused_before_the_charge() -> None:
    federation = Federation(plan=plan_for(dp_mode="local"))
    weights = np.full(PLAN.model.parameters, np.nan, "<f4").tobytes()
    inputs = RoundInputs(weights=weights, standardiser=INPUTS.standardiser).encode()
    assert refused(lambda: federation.attempt(3, inputs=inputs)) == "inputs"
    assert federation.burns == []


def test_a_step_out_of_order_or_unknown_gives_nothing() -> None:
    federation = Federation()
    for step in ("share", "mask", "agree", "unmask"):
        request = encode(Request(attempt=3, step=step, payload=b"", inputs=INPUTS.encode()))
        assert refused(lambda request=request: federation.victim.handle(request)) == "one-use-of-an-attempt"
    request = encode(Request(attempt=3, step="confess", payload=b""))
    assert refused(lambda: federation.victim.handle(request)) == "unknown-step"


def test_a_bank_that_accepted_no_task_answers_nothing() -> None:
    bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    request = encode(Request(attempt=0, step="advertise", payload=b""))
    with pytest.raises(LocalProtocolError):
        bank.handle(request)


def test_a_refused_burn_lets_nothing_out_and_the_same_request_may_be_tried_again() -> None:
    federation = Federation()
    broken = [True]

    def burn(release: str, ordinal: int) -> None:
        if broken[0]:
            raise LedgerError("the disk is full")
        federation.burns.append((release, ordinal))

    federation.banks[VICTIM]._burn = burn
    with pytest.raises(LedgerError):
        federation.attempt(3)
    assert federation.masked == []
    broken[0] = False
    federation.attempt(3)
    assert federation.masked == [3]
    assert federation.burns == [("training", 0)]


def test_the_identical_mask_request_gets_the_identical_reply_and_one_burn() -> None:
    """Else a second, freshly rounded and noised vector under the same masks would show the difference."""
    federation = Federation()
    requests: list[bytes] = []
    handle = federation.victim.handle

    def remember(request: bytes) -> bytes:
        requests.append(request)
        return handle(request)

    federation.banks[VICTIM].handle = remember
    federation.attempt(3, until="mask")
    first, second = handle(requests[-1]), handle(requests[-1])
    assert first == second
    assert federation.burns == [("training", 0)]


def test_a_masked_input_is_not_sent_again_once_the_attempt_was_aborted() -> None:
    federation = Federation()
    federation.attempt(3, until="mask")
    again = federation.asked["mask"]
    federation.victim.handle(again)  # control: before, the cached reply comes
    for step in ("advertise", "agree"):
        junk = encode(Request(attempt=3, step=step, payload=b"junk"))
        with pytest.raises((RemoteProtocolError, LocalProtocolError)):
            federation.victim.handle(junk)
        assert federation.is_silent()
        with pytest.raises(LocalProtocolError):
            federation.victim.handle(again)
    federation.attempt(4)  # the next attempt is not touched
    assert federation.masked == [3, 4]
    assert refused(lambda: federation.victim.handle(again)) == "one-use-of-an-attempt"
    assert not federation.is_silent()  # a stray request of an attempt that is over ends no other one


def test_a_request_that_names_another_attempt_burns_nothing() -> None:
    federation = Federation()
    request = federation.mask_request(3, labelled=4)
    assert refused(lambda: federation.victim.handle(request)) == "one-use-of-an-attempt"
    assert federation.burns == []


def test_control_without_comparing_attempts_another_one_is_computed_and_burnt(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation()
    request = federation.mask_request(3, labelled=4)
    monkeypatch.setattr(Bank, "_current", lambda bank, _: bank._client)
    federation.victim.handle(request)
    assert federation.burns == [("training", 1)]


# One call at a time, one holder


def second_request(federation: Federation) -> list[Any]:
    """The victim gets its mask request again, from inside the burn of the first; what came of the second."""
    request = federation.mask_request(3)
    outcome: list[Any] = []

    def burn(release: str, ordinal: int) -> None:
        federation.burn(release, ordinal)
        if not outcome:
            outcome.append(None)
            try:
                outcome[0] = federation.victim.handle(request)
            except FedsecError as error:
                outcome[0] = error

    federation.victim._burn = burn
    read_reply(federation.victim.handle(request), VICTIM)
    return outcome


def test_a_second_request_while_one_is_under_way_does_nothing() -> None:
    federation = Federation()
    outcome = second_request(federation)
    assert isinstance(outcome[0], LocalProtocolError)
    assert federation.burns == [("training", 0)]
    assert federation.victim._client is not None
    assert federation.victim._client.state is State.MASKED


def test_control_without_the_lock_a_second_request_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exclusive, "_alone", lambda _: nullcontext())
    federation = Federation()
    second_request(federation)
    assert federation.burns == [("training", 0), ("training", 0)]


def test_an_offer_while_a_request_is_under_way_is_not_considered() -> None:
    federation = Federation()
    request = federation.mask_request(3)
    outcome: list[LocalProtocolError] = []

    def burn(release: str, ordinal: int) -> None:
        with pytest.raises(LocalProtocolError) as caught:
            federation.victim.consider(offer_of(PLAN))
        outcome.append(caught.value)

    federation.victim._burn = burn
    federation.victim.handle(request)
    assert len(outcome) == 1


def test_a_bank_cannot_be_copied_or_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation()
    request = federation.mask_request(3)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(LocalProtocolError, match="a Bank cannot be copied"):
            duplicate(federation.victim)
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    for call in (lambda: federation.victim.handle(request), lambda: federation.victim.consider(offer_of(PLAN))):
        with pytest.raises(LocalProtocolError, match="fork"):
            call()
    assert federation.burns == []
    monkeypatch.undo()
    federation.victim.handle(request)  # control: in its own process it works
    assert federation.burns == [("training", 0)]


# Bytes that are no message


def test_a_request_that_does_not_decode_or_is_too_long_is_the_coordinators_fault() -> None:
    federation = Federation()
    good = encode(Request(attempt=0, step="advertise", payload=b""))
    for bad in (
        good.replace(b"advertise", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7"),
        good.replace(b"payload", b"p\xffyload"),
        b"\x91" * 9_000,
        b"\xdd\xff\xff\xff\xff",
        b"",
    ):
        assert refused(lambda bad=bad: federation.victim.handle(bad)) == "encoding"
    long = encode(Request(attempt=0, step="advertise", payload=bytes(request_limit(PLAN))))
    assert refused(lambda: federation.victim.handle(long)) == "size"
    federation.attempt(0)  # control: nothing happened to the bank


# Offers


def bent(plan: TaskPlan, name: str, /, **changes: Any) -> TaskPlan:
    sums = tuple(msgspec.structs.replace(s, **changes) if s.name == name else s for s in plan.sums)
    return msgspec.structs.replace(plan, sums=sums)


def with_mechanism(plan: TaskPlan, name: str, **changes: Any) -> TaskPlan:
    """Another mechanism, its quantiser and ring in step with it."""
    mechanism: SumMechanism = msgspec.structs.replace(plan.sum(name).mechanism, **changes)
    quantiser = QuantiserParameters(
        scale=mechanism.grid_scale, saturation=mechanism.saturation, noise_bound=mechanism.noise_bound
    )
    return bent(plan, name, mechanism=mechanism, quantiser=quantiser, ring_bits=mechanism.ring_bits)


def finer(planned: PlannedSum) -> QuantiserParameters:
    return msgspec.structs.replace(planned.quantiser, scale=1024 * planned.quantiser.scale)


LIES: dict[str, TaskPlan] = {
    "a sum without its noise": bent(PLAN, "training", noised=False),
    "a grid finer than the noise was sized for": bent(PLAN, "training", quantiser=finer(PLAN.sum("training"))),
    "sampling that nobody does": with_mechanism(PLAN, "training", sampling_rate=0.01),
    "openings that are not counted": bent(PLAN, "training", openings_per_attempt=0),
    "rounding that is not counted": with_mechanism(PLAN, "training", integral=True, float_error=0.0),
    "float errors that are not counted": with_mechanism(PLAN, "training", float_error=0.0),
    "a count that would weigh less than one": with_mechanism(PLAN, "evaluation", clip=2.0**-10),
    "noise shares of banks that may be missing": with_mechanism(PLAN, "scaling", honest_inputs=4),
    "the holdout charged to the training part": bent(PLAN, "evaluation", part="train"),
    "the training charged to the holdout": bent(PLAN, "training", part="holdout"),
    "more attempts than epsilon pays for": bent(PLAN, "training", attempts=400),
    "no attempts": bent(PLAN, "training", attempts=0),
    "a sum that does not exist": bent(PLAN, "evaluation", name="confession"),
    "a sum twice": msgspec.structs.replace(PLAN, sums=(*PLAN.sums, PLAN.sums[1])),
    "no training": msgspec.structs.replace(PLAN, sums=PLAN.sums[:1]),
    "a bank too few": msgspec.structs.replace(PLAN, slots=PLAN.slots[:4]),
    "another model": msgspec.structs.replace(PLAN, model=ModelSpec(inputs=PLAN.model.inputs, hidden=(8,))),
    "a threshold that traitors reach": msgspec.structs.replace(PLAN, threshold=3),
    "an epsilon that the noise does not reach": msgspec.structs.replace(PLAN, epsilon=PLAN.epsilon / 2),
    "local mode by name only": msgspec.structs.replace(PLAN, mode="local"),
    "a delta out of range": msgspec.structs.replace(PLAN, delta=0.0),
    "a clip that vanishes": with_mechanism(PLAN, "training", clip=5e-324),
}
LOCAL = plan_for(dp_mode="local")


def too_many_numeric_inputs() -> TaskPlan:
    """A scaling sum for more columns than the model has, sized as such a sum has to be."""
    scaling, width = PLAN.sum("scaling"), PLAN.model.inputs + 5
    sums = Sums(slots=PLAN.slots, honest_inputs=PLAN.honest_inputs, local=None)
    wider = sums.scaling(
        numeric_width=width,
        clip=scaling.mechanism.clip,
        noise_multiplier=scaling.mechanism.noise_multiplier,
        attempts=scaling.attempts,
    )
    return msgspec.structs.replace(PLAN, numeric_width=width, sums=(wider, *PLAN.sums[1:]))


def odd_histogram() -> TaskPlan:
    evaluation = PLAN.sum("evaluation")
    sums = Sums(slots=PLAN.slots, honest_inputs=PLAN.honest_inputs, local=None)
    odd = sums.evaluation(bins=15, noise_multiplier=evaluation.mechanism.noise_multiplier, attempts=evaluation.attempts)
    return msgspec.structs.replace(PLAN, bins=15, sums=(*PLAN.sums[:2], odd))


def extreme_clip(clip: float) -> TaskPlan:
    training = PLAN.sum("training")
    sums = Sums(slots=PLAN.slots, honest_inputs=PLAN.honest_inputs, local=None)
    extreme = sums.training(
        model=PLAN.model,
        clip=clip,
        noise_multiplier=training.mechanism.noise_multiplier,
        sampling_rate=1.0,
        attempts=training.attempts,
    )
    return msgspec.structs.replace(PLAN, sums=(PLAN.sums[0], extreme, PLAN.sums[2]))


def with_adam(**changes: float) -> TaskPlan:
    return msgspec.structs.replace(PLAN, optimiser=msgspec.structs.replace(PLAN.optimiser, **changes))


def with_local(**changes: Any) -> TaskPlan:
    assert LOCAL.local is not None
    return msgspec.structs.replace(LOCAL, local=msgspec.structs.replace(LOCAL.local, **changes))


UNWORKABLE: dict[str, TaskPlan] = {
    "more numeric inputs than inputs": too_many_numeric_inputs(),
    "an odd number of bins": odd_histogram(),
    "a clip beyond what gradients are clipped to": extreme_clip(2.0**101),
    "a clip beneath it": extreme_clip(2.0**-101),
    "no denominator": msgspec.structs.replace(PLAN, denominator=0.0),
    "a negative denominator": msgspec.structs.replace(PLAN, denominator=-1.0),
    "an infinite denominator": msgspec.structs.replace(PLAN, denominator=math.inf),
    **{f"a learning rate of {rate}": with_adam(learning_rate=rate) for rate in (math.nan, math.inf, 0.0, -1.0, 1e300)},
    "a decay of 1": with_adam(beta1=1.0),
    "a second decay of 1": with_adam(beta2=1.0),
    "a negative decay": with_adam(beta1=-0.1),
    "an epsilon of 0": with_adam(epsilon=0.0),
    **{f"a local rate of {rate}": with_local(learning_rate=rate) for rate in (math.nan, math.inf, 0.0, -1.0, 1e300)},
    "no local steps": bent(with_local(steps=0), "training", openings_per_attempt=0),
    "a bank without slots": msgspec.structs.replace(PLAN, slots=(0, *SLOTS[1:])),
    "slots that add up to none": msgspec.structs.replace(PLAN, slots=(SLOTS[0] - sum(SLOTS), *SLOTS[1:])),
}


@pytest.mark.parametrize("what", UNWORKABLE)
def test_a_plan_that_a_bank_could_not_carry_out_is_declined_before_any_charge(what: str) -> None:
    bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    assert bank.consider(offer_of(UNWORKABLE[what])) == encode(Answer(accepted=False))


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_control_such_a_plan_would_fail_at_the_bank_after_the_burn(
    rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums_module, "_is_workable", lambda _: True)
    federation = Federation(plan=with_local(learning_rate=rate))
    request = federation.mask_request(LOCAL.first_attempt("training"))
    with pytest.raises((ValueError, FedsecError)):
        federation.victim.handle(request)


def records(data: BankData, count: int) -> BankData:
    return BankData(features=data.features[:count], labels=data.labels[:count], holdout=data.holdout[:count])


def test_a_plan_for_other_slots_than_the_banks_own_is_declined() -> None:
    """Sound throughout, sized by other slots: a bank's index, data and sensitivity would not fit its declaration."""
    other = plan_for(slots=(*SLOTS[:VICTIM], 50, *SLOTS[VICTIM + 1 :]))
    bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    assert bank.consider(offer_of(other)) == encode(Answer(accepted=False))
    smaller = Federation().bank(VICTIM, records(DATASET.banks[VICTIM], 50))  # control: who has 50 takes part
    assert smaller.consider(offer_of(other)) == encode(Answer(accepted=True))


def test_offer_after_offer_does_not_find_out_the_policy() -> None:
    """Plans with ever more noise, from below the bank's least multiplier: the first refusal is the only answer."""

    def with_noise(multiplier: float) -> TaskPlan:
        scaling, training, evaluation = (planned.attempts for planned in PLAN.sums)
        clip, size = PLAN.sum("scaling").mechanism.clip, PLAN.sum("training").mechanism.clip
        sums = Sums(slots=SLOTS, honest_inputs=PLAN.honest_inputs, local=None)
        z: dict[str, Any] = {"noise_multiplier": multiplier}
        made = (
            sums.scaling(numeric_width=PLAN.numeric_width, clip=clip, attempts=scaling, **z),
            sums.training(model=PLAN.model, clip=size, sampling_rate=1.0, attempts=training, **z),
            sums.evaluation(bins=PLAN.bins, attempts=evaluation, **z),
        )
        return msgspec.structs.replace(PLAN, sums=made)

    strict = stricter(min_noise_multiplier=31.0)
    federation = Federation(policy=strict)
    bank, control = (federation.bank(VICTIM, DATASET.banks[VICTIM]) for _ in range(2))
    answers = [bank.consider(offer_of(with_noise(z))) for z in (30.0, 30.5, 31.5, 40.0)]
    assert answers == [encode(Answer(accepted=False))] * 4
    assert control.consider(offer_of(with_noise(40.0))) == encode(Answer(accepted=True))


def test_a_mode_that_the_bank_did_not_agree_to_is_declined() -> None:
    strict = stricter(modes=frozenset({"distributed"}))
    bank = Federation(policy=strict).bank(VICTIM, DATASET.banks[VICTIM])
    assert bank.consider(offer_of(LOCAL)) == encode(Answer(accepted=False))


@pytest.mark.parametrize("lie", LIES)
def test_a_plan_whose_epsilon_would_not_be_true_is_declined(lie: str) -> None:
    bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    answer = bank.consider(offer_of(LIES[lie]))
    assert answer == encode(Answer(accepted=False))  # the same bytes whatever the reason
    request = encode(Request(attempt=0, step="advertise", payload=b""))
    with pytest.raises(LocalProtocolError):
        bank.handle(request)
    assert bank.consider(offer_of(PLAN)) == encode(Answer(accepted=False))  # whatever comes after a refusal
    other = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    assert other.consider(offer_of(PLAN)) == encode(Answer(accepted=True))  # control: the true plan is accepted


def test_control_sums_taken_on_trust_would_let_most_lies_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "is_sound", lambda _: True)
    believed = set()
    for lie, plan in LIES.items():
        bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
        try:
            if bank.consider(offer_of(plan)) == encode(Answer(accepted=True)):
                believed.add(lie)
        except (FedsecError, StopIteration):
            continue
    assert {
        "a sum without its noise",
        "sampling that nobody does",
        "openings that are not counted",
        "a count that would weigh less than one",
    } <= believed


@pytest.mark.parametrize("mode", ["distributed", "local"])
def test_an_honest_plan_of_either_mode_is_accepted(mode: str) -> None:
    bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    assert bank.consider(offer_of(plan_for(dp_mode=mode))) == encode(Answer(accepted=True))


def test_a_plan_that_the_coordinator_did_not_sign_is_refused() -> None:
    bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    assert refused(lambda: bank.consider(offer_of(PLAN, signer=Identity.generate()))) == "signature"
    signed = decode(offer_of(PLAN), Offer, limit=OFFER_BYTES, peer=None)
    other = encode(Offer(plan=encode(plan_for(epsilon=2.0)), signature=signed.signature))
    assert refused(lambda: bank.consider(other)) == "signature"


def test_a_second_plan_for_the_task_is_refused_and_the_first_one_holds() -> None:
    federation = Federation()
    assert refused(lambda: federation.victim.consider(offer_of(plan_for(epsilon=2.0)))) == "one-plan"
    assert federation.victim.consider(offer_of(PLAN)) == encode(Answer(accepted=True))
    federation.attempt(0)
    assert federation.masked == [0]


def test_an_offer_that_is_no_offer_is_refused() -> None:
    bank = Federation().bank(VICTIM, DATASET.banks[VICTIM])
    raw = msgspec.msgpack.decode(encode(PLAN))
    raw["model"] = {"inputs": 0, "hidden": [64, 32]} if isinstance(raw["model"], dict) else [0]
    impossible = msgspec.msgpack.encode(raw)
    for plan in (b"", b"\xc0", impossible, encode(PLAN) + b"\x00"):
        offer = encode(Offer(plan=plan, signature=SERVER.sign(PLAN_CONTEXT, plan)))
        assert refused(lambda offer=offer: bank.consider(offer)) == "encoding"
    assert refused(lambda: bank.consider(b"hello")) == "encoding"
    spoilt = encode(PLAN).replace(b"training", b"\xff" * 8)
    offer = encode(Offer(plan=spoilt, signature=SERVER.sign(PLAN_CONTEXT, spoilt)))
    assert refused(lambda: bank.consider(offer)) == "encoding"
    assert refused(lambda: bank.consider(encode(Offer(plan=bytes(OFFER_BYTES), signature=b"")))) == "size"
    assert bank.consider(offer_of(PLAN)) == encode(Answer(accepted=True))  # control: what is no offer is no refusal
