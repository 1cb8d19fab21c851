"""A bank: holds records, answers requests, and lets nothing out that its ledger has not been charged for.

The object takes and returns bytes; a runtime moves them. What leaves is listed in docs/releases.md: an answer to the
offer (one bit), and secure-aggregation replies. The order inside the step "mask" is the whole point of the class:

1. every protocol check of the step (``Client.accept``), and the inputs against their digest;
2. the sum over the bank's own records, clipped;
3. the burn, durable before anything leaves;
4. rounding, the noise share, the mask.

An attempt's number is used once, ever: attempts count upwards, and a number at or below the last one seen, or one
that the ledger says was burnt before this object existed, is refused. An attempt in which the coordinator deviates is
over: its secrets and its cached reply are dropped, and nothing more is answered in it.

A bank works on one request at a time. It refuses a second call at once, copies, and forked processes: each could answer
one attempt twice. A runtime with threads hands requests over one after the other.
"""

from __future__ import annotations

from collections.abc import Callable

from fedsec.errors import FedsecError, LocalProtocolError, RemoteProtocolError
from fedsec.exclusive import Exclusive
from fl_engine.contribution import Contribution
from fl_engine.data.dataset import BankData
from fl_engine.evidence.countersigning import Countersigning, Memory
from fl_engine.evidence.envelope import sign
from fl_engine.evidence.statement import sha256
from fl_engine.insecure import deterministic_coins
from fl_engine.messages import (
    OFFER_BYTES,
    Answer,
    Countersign,
    Countersigned,
    Offer,
    Reply,
    Request,
    RoundInputs,
    countersign_limit,
    decode,
    encode,
    inputs_digest,
    inputs_limit,
    request_limit,
)
from fl_engine.plan import PLAN_CONTEXT, PlannedSum, TaskPlan
from fl_engine.policy import BankPolicy
from fl_engine.stopwatch import Stopwatch
from fl_engine.sums import is_sound
from secagg.client import Client
from secagg.identity import Identity, Roster, verify
from secagg.messages import client_limit, decode_client

Admit = Callable[[TaskPlan], None]
Burn = Callable[[str, int], None]


class Bank(Exclusive):
    """One bank in one task.

    Args:
        index: its place in the roster.
        identity: its long-lived signing key.
        roster: pinned roster.
        policy: what this bank agrees to.
        data: its records; never leave.
        admit: called with a plan that passed every other check; returns once this bank's own ledger has the whole plan
            reserved, or raises: then the bank declines.
        burn: called with (sum's name, ordinal); returns once the charge is durable, or raises.
        burnt: attempts that the ledger says were burnt before.
        stopwatch: where its seconds are counted.
    """

    def __init__(
        self,
        *,
        index: int,
        identity: Identity,
        roster: Roster,
        policy: BankPolicy,
        data: BankData,
        admit: Admit,
        burn: Burn,
        burnt: frozenset[tuple[str, int]],
        stopwatch: Stopwatch,
    ) -> None:
        super().__init__()
        self._index = index
        self._identity = identity
        self._roster = roster
        self._policy = policy
        self._data = data
        self._admit = admit
        self._burn = burn
        self._burnt = burnt
        self._watch = stopwatch
        self._plan: TaskPlan | None = None
        self._declined = False
        self._contribution: Contribution | None = None
        self._attempt = -1
        self._client: Client | None = None
        self._masked: tuple[bytes, bytes] | None = None
        self._memory = Memory()
        self._countersigned: str | None = None  # SHA-256 of the one statement that it signed

    def consider(self, offer: bytes) -> bytes:
        """Answer the offer of a task (encoded :class:`Offer` to encoded :class:`Answer`).

        A bank that declined once declines everything after it, so that offer after offer cannot find out its policy.

        Raises:
            RemoteProtocolError: the offer is not the coordinator's, or a second, different task is offered.
            LocalProtocolError: another call is under way, or this is a forked process.
        """
        with self._alone():
            message = decode(offer, Offer, limit=OFFER_BYTES, peer=None)
            if not verify(self._roster.server, message.signature, PLAN_CONTEXT, message.plan):
                raise RemoteProtocolError(
                    "the offered plan is not signed by the coordinator", peer=None, rule="signature"
                )
            plan = decode(message.plan, TaskPlan, limit=OFFER_BYTES, peer=None)
            if self._plan is None:
                self._declined = self._declined or not self._accepts(plan)
            elif plan != self._plan:
                raise RemoteProtocolError("a second plan was offered for the task", peer=None, rule="one-plan")
            return encode(Answer(accepted=not self._declined))

    def handle(self, request: bytes) -> bytes:
        """Answer a secure-aggregation request (encoded :class:`Request` to encoded :class:`Reply`).

        A bank that countersigned the run's statement answers nothing more: what it would take part in is not in there.

        Raises:
            RemoteProtocolError: the coordinator or, through it, a bank deviated; the attempt is over for this bank.
            LocalProtocolError: no task was accepted, the attempt is over, another call is under way, or this is a
                forked process.
            LedgerError, BudgetError: the attempt could not be charged; nothing left.
        """
        with self._alone():
            message = decode(request, Request, limit=request_limit(self._agreed()), peer=None)
            if self._countersigned is not None:
                raise RemoteProtocolError(
                    "an attempt was asked for after the statement of the run", peer=None, rule="run-is-over"
                )
            try:
                payload = self._answer(request, message)
            except RemoteProtocolError:
                if message.attempt == self._attempt:  # else the attempt under way has nothing to do with it
                    self._abandon()
                raise
            self._remember(message.attempt, payload)
            return encode(Reply(attempt=message.attempt, step=message.step, payload=payload))

    def countersign(self, request: bytes) -> bytes:
        """Sign the statement of the run, if it is true as far as this bank knows (:class:`Countersign` to
        :class:`Countersigned`, both encoded); what it checks is in :mod:`fl_engine.evidence.countersigning`.

        It signs one statement, as often as it is asked for it: of two, each true as far as it knows, the coordinator
        could show each to somebody else, with another model's file or another report key.

        Raises:
            RemoteProtocolError: rule "evidence": it is not; rule "one-statement": it signed another one before.
            LocalProtocolError: no task was accepted, another call is under way, or this is a forked process.
        """
        with self._alone():
            plan = self._agreed()
            message = decode(request, Countersign, limit=countersign_limit(plan), peer=None)
            Countersigning(
                index=self._index, roster=self._roster, plan=plan, charged=self._burnt, memory=self._memory
            ).check(message.payload, message.rounds)
            digest = sha256(message.payload)
            if self._countersigned not in (None, digest):
                raise RemoteProtocolError(
                    "a second statement of the run was shown to be signed", peer=None, rule="one-statement"
                )
            self._countersigned = digest
            self._abandon()
            return encode(Countersigned(signature=sign(message.payload, self._identity)))

    def _answer(self, request: bytes, message: Request) -> bytes:
        if message.step == "mask":
            return self._mask(request, message)
        with self._watch.measure("secure_aggregation"):
            if message.step == "advertise":
                return self._begin(message)
            if message.step == "share":
                return self._current(message).share(message.payload)
            if message.step == "agree":
                return self._current(message).agree(message.payload)
            if message.step == "unmask":
                return self._current(message).unmask(message.payload)
        raise RemoteProtocolError("there is no such step", peer=None, rule="unknown-step")

    def _remember(self, attempt: int, payload: bytes) -> None:
        """Note what is about to leave, so that no statement of the run can say otherwise later."""
        assert self._client is not None  # it made the payload
        limit = client_limit(self._client.session)
        self._memory.note(attempt, decode_client(payload, limit=limit, peer=self._index))

    def _abandon(self) -> None:
        """Answer nothing more in the attempt under way, if there is one, and forget its secrets."""
        if self._client is not None:
            self._client.abort()
        self._masked = None

    def _accepts(self, plan: TaskPlan) -> bool:
        """Whether this bank takes part, noted if so; every reason to decline looks the same from outside."""
        declared = plan.slots[self._index] if self._index < len(plan.slots) else -1
        if declared != len(self._data.labels) or plan.model.inputs != self._data.features.shape[1]:
            return False
        if not is_sound(plan):
            return False
        try:
            self._policy.check(plan, roster_digest=self._roster.digest)
            if not plan.within_budget():
                return False
            contribution = Contribution(plan, index=self._index, data=self._data)
            self._admit(plan)  # last: a plan that is declined for another reason costs this bank nothing
        except FedsecError:  # the policy or the ledger declines, or the plan is none that could be carried out
            return False
        self._contribution = contribution
        self._plan = plan
        return True

    def _agreed(self) -> TaskPlan:
        if self._plan is None:
            raise LocalProtocolError("a bank was asked to take part in a task that it has not accepted")
        return self._plan

    def _computation(self) -> Contribution:
        if self._contribution is None:
            raise LocalProtocolError("a bank was asked to take part in a task that it has not accepted")
        return self._contribution

    def _begin(self, message: Request) -> bytes:
        """The step "advertise": a new attempt, with a number never used before, or the one under way once more."""
        plan = self._agreed()
        if self._client is not None and message.attempt == self._attempt:
            return self._client.advertise(message.payload)
        planned, ordinal = self._place(message.attempt)
        if message.attempt <= self._attempt or (planned.name, ordinal) in self._burnt:
            raise RemoteProtocolError(f"attempt {message.attempt} is over", peer=None, rule="one-use-of-an-attempt")
        self._abandon()
        self._attempt = message.attempt
        self._client = Client(
            index=self._index, identity=self._identity, roster=self._roster, policy=self._policy.sessions
        )
        payload = self._client.advertise(message.payload)
        if self._client.session != plan.session(planned, message.attempt, self._roster.digest):
            raise RemoteProtocolError(
                "the session is not the one that the accepted plan prescribes", peer=None, rule="plan"
            )
        return payload

    def _place(self, attempt: int) -> tuple[PlannedSum, int]:
        place = self._agreed().attempt(attempt)
        if place is None:
            raise RemoteProtocolError(f"attempt {attempt} was never planned", peer=None, rule="plan")
        return place

    def _current(self, message: Request) -> Client:
        if self._client is None or message.attempt != self._attempt:
            raise RemoteProtocolError(
                f"attempt {message.attempt} is not under way at this bank",
                peer=None,
                rule="one-use-of-an-attempt",
            )
        return self._client

    def _mask(self, request: bytes, message: Request) -> bytes:
        """The step "mask", in the order of the module's docstring; an identical request gets the identical reply."""
        client = self._current(message)
        if self._masked is not None and self._masked[0] == request:
            return self._masked[1]
        with self._watch.measure("secure_aggregation"):
            round_config = client.accept(message.payload)
        if inputs_digest(message.inputs) != round_config.model_digest:
            raise RemoteProtocolError(
                "the model that came is not the one that the round is bound to",
                peer=None,
                rule="model-digest",
            )
        inputs = decode(message.inputs, RoundInputs, limit=inputs_limit(self._agreed()), peer=None)
        planned, ordinal = self._place(message.attempt)
        coins = deterministic_coins(self._agreed(), bank=self._index, attempt=message.attempt)
        with self._watch.measure("training"):
            values = self._computation().vector(planned, inputs, coins=coins)
        self._burn(planned.name, ordinal)
        with self._watch.measure("training"):
            grid = self._agreed().released(planned, values, coins=coins)
        with self._watch.measure("secure_aggregation"):
            payload = client.mask(grid)
        self._masked = (request, payload)
        return payload
