"""The coordinator: opens one sum after another and turns each into the next model; it sees nothing but sums.

The object takes and returns bytes; a runtime moves them, runs timers and keeps :class:`Progress` on disk between
attempts. Order of a task: scaling, then training rounds, then (federated evaluation only) one histogram. An attempt
that finds too few banks is aborted and the next number is used: never the same number, never the same input again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedsec.errors import CohortError, LocalProtocolError, RemoteProtocolError
from fl_engine.evaluation import fraud_share, histogram_metrics
from fl_engine.evidence.envelope import sign
from fl_engine.evidence.statement import AttemptLine
from fl_engine.messages import (
    ANSWER_BYTES,
    Answer,
    Offer,
    Reply,
    Request,
    RoundInputs,
    decode,
    encode,
    inputs_digest,
    reply_limit,
)
from fl_engine.model import initial_weights
from fl_engine.optimiser import AdamState, adam_step, released_weights
from fl_engine.plan import PLAN_CONTEXT, TRAINING, PlannedSum, TaskPlan
from fl_engine.records import Metrics, RoundRecord
from fl_engine.scaling import Standardiser
from fl_engine.stopwatch import Stopwatch
from secagg.config import RoundConfig
from secagg.evidence import RoundEvidence
from secagg.identity import Identity, Roster
from secagg.server import Server
from secagg.unmasking import IN_PROCESS, Unmasker

KeepInput = Callable[[int, int, memoryview], None]
End = Callable[[int, RoundEvidence], None]
STEPS = ("advertise", "share", "mask", "agree", "unmask")
Evaluate = Callable[[NDArray[np.float32], Standardiser], Metrics]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the coordinator must remember between attempts, and nothing secret.

    Attributes:
        begun: attempts begun so far, by the sum's name; each is charged, opened or not.
        rounds: training rounds opened.
        adam: optimiser state (in local mode its weights alone are used).
        standardiser: None until the scaling sum was opened.
        final: metrics after the last opened attempt that measured any.
        intervals: 95 % intervals of a federated evaluation; fraud_share: of its records, None: not told.
        records: one per attempt; attempts: what the statement of the run will say of each.
        finished: whether nothing is left to open.
    """

    begun: dict[str, int]
    rounds: int
    adam: AdamState
    standardiser: Standardiser | None
    final: Metrics
    intervals: dict[str, tuple[float, float]]
    fraud_share: float | None
    records: tuple[RoundRecord, ...]
    attempts: tuple[AttemptLine, ...]
    finished: bool

    @classmethod
    def start(cls, plan: TaskPlan) -> Progress:
        """Before the first attempt of ``plan``."""
        weights = initial_weights(plan.model, plan.initial_seed).astype(np.float64)
        return cls(
            begun={planned.name: 0 for planned in plan.sums},
            rounds=0,
            adam=AdamState.start(weights),
            standardiser=None,
            final=Metrics(),
            intervals={},
            fraud_share=None,
            records=(),
            attempts=(),
            finished=False,
        )

    def inputs(self) -> RoundInputs:
        """What the next attempt is computed from."""
        weights = released_weights(self.adam).astype("<f4").tobytes()
        return RoundInputs(weights=weights, standardiser=self.standardiser)


class Coordinator:
    """The server's role in one task.

    Args:
        plan: what the banks are asked to agree to.
        identity: the server's signing key.
        roster: who takes part.
        progress: where to go on; :meth:`Progress.start` for a new task.
        evaluate: measures released weights on a public holdout after every round; None for federated evaluation.
        stopwatch: where its seconds are counted.
        unmasker: takes the masks off the sums.
        end: called with an attempt's number and its evidence when it ends, before its record is made.
        keep_input: called with attempt, bank and packed masked input of each that was accepted; the evidence then
            holds the revealed seeds.
    """

    def __init__(
        self,
        *,
        plan: TaskPlan,
        identity: Identity,
        roster: Roster,
        progress: Progress,
        evaluate: Evaluate | None,
        stopwatch: Stopwatch,
        unmasker: Unmasker = IN_PROCESS,
        end: End | None = None,
        keep_input: KeepInput | None = None,
    ) -> None:
        self.plan = plan
        self.progress = progress
        self._identity = identity
        self._roster = roster
        self._evaluate = evaluate
        self._watch = stopwatch
        self._unmasker = unmasker
        self._end = end
        self._keep_input = keep_input
        self._server: Server | None = None
        self._planned: PlannedSum | None = None
        self._attempt = -1
        self._step = ""
        self._began = 0.0
        self._before = ""

    def offer(self) -> bytes:
        """The offer of the task, for every bank (encoded :class:`Offer`)."""
        plan = encode(self.plan)
        return encode(Offer(plan=plan, signature=self._identity.sign(PLAN_CONTEXT, plan)))

    def sign(self, payload: bytes) -> bytes:
        """The coordinator's signature on an envelope with ``payload``, 64 bytes."""
        return sign(payload, self._identity)

    def count(self, answers: Mapping[int, bytes]) -> None:
        """Take the banks' answers to the offer, by index.

        Raises:
            CohortError: not every bank of the roster agreed; the plan's noise is sized for all of them.
        """
        agreed = sum(decode(data, Answer, limit=ANSWER_BYTES, peer=index).accepted for index, data in answers.items())
        if agreed < self.plan.clients:
            raise CohortError(
                f"{self.plan.clients - agreed} of {self.plan.clients} banks declined the task before it began",
                survivors=agreed,
                needed=self.plan.clients,
                step="offer",
                remedy="Banks give no reason; ask them what their policy requires.",
            )

    def due(self) -> PlannedSum | None:
        """The sum to open next; None when the task is finished."""
        plan, progress = self.plan, self.progress
        if progress.finished:
            return None
        if progress.standardiser is None:
            return plan.sum("scaling")
        if progress.rounds < plan.rounds:
            return plan.sum("training")
        return plan.sum("evaluation")

    def begin(self) -> dict[int, bytes]:
        """Open the next attempt: its first requests, by bank (encoded :class:`Request`).

        Raises:
            CohortError: the attempts that were reserved for the sum that is due are used up.
        """
        planned = self.due()
        if planned is None or self._server is not None:
            raise LocalProtocolError("there is no attempt to begin")
        begun = self.progress.begun
        if begun[planned.name] >= planned.attempts:
            raise CohortError(
                f"all {planned.attempts} attempts reserved for {planned.name} are used up"
                + (f" after {self.progress.rounds} of {self.plan.rounds} rounds" if planned.name == "training" else ""),
                survivors=0,
                needed=self.plan.min_survivors,
                step=planned.name,
                remedy="Nothing beyond the reservation was released; declare a higher --drop-rate to reserve more.",
            )
        self._planned = planned
        self._attempt = self.plan.first_attempt(planned.name) + begun[planned.name]
        self._began = self._watch.total
        self._before = inputs_digest(self.progress.inputs().encode()).hex()
        self.progress = msgspec.structs.replace(self.progress, begun={**begun, planned.name: begun[planned.name] + 1})
        with self._watch.measure("secure_aggregation"):
            self._session = self.plan.session(planned, self._attempt, self._roster.digest)
            keep = None if self._keep_input is None else partial(self._keep_input, self._attempt)
            self._server = Server(
                identity=self._identity,
                roster=self._roster,
                session=self._session,
                unmasker=self._unmasker,
                keep=keep,
            )
            return self._requests("advertise", self._server.open())

    def receive(self, sender: int, reply: bytes) -> None:
        """Take one bank's reply (encoded :class:`Reply`).

        Raises:
            RemoteProtocolError: the bank deviated; it counts as dropped from here on, the attempt goes on.
        """
        if self._server is None:
            raise RemoteProtocolError(f"bank {sender} answered where nothing was asked", peer=sender, rule="wrong-step")
        message = decode(reply, Reply, limit=reply_limit(self._session), peer=sender)
        if message.attempt != self._attempt or message.step != self._step:
            raise RemoteProtocolError(f"bank {sender} answered another request", peer=sender, rule="wrong-step")
        with self._watch.measure("secure_aggregation"):
            self._server.receive(sender, message.payload)

    def advance(self) -> dict[int, bytes]:
        """Close the step: the next step's requests by bank, or nothing once the sum is open.

        Raises:
            CohortError: too few banks are left; call :meth:`abort`.
            RemoteProtocolError: a bank spoilt its shares so that the sum cannot be opened; call :meth:`abort`.
        """
        server = self._running()
        with self._watch.measure("secure_aggregation"):
            if self._step == "unmask":
                server.advance()
                opened = server.result()
            elif self._step == "share":
                inputs = self.progress.inputs().encode()
                config = RoundConfig(
                    kid=self._session.kid,
                    model_digest=inputs_digest(inputs),
                    optimiser=encode(self.plan.optimiser),
                )
                return self._requests("mask", server.advance(config), inputs)
            else:
                return self._requests(STEPS[STEPS.index(self._step) + 1], server.advance())
        self._use(opened.total, survivors=len(opened.survivors), dropped=opened.dropped_at)
        return {}

    def abort(self, reason: str) -> None:
        """Give the attempt up; it stays charged. ``reason`` must name no bank."""
        dropped = self._running().dropped_at
        self._record(status="aborted", survivors=0, dropped=dropped, reason=reason, metrics=None)

    def _running(self) -> Server:
        if self._server is None:
            raise LocalProtocolError("no attempt is under way")
        return self._server

    def _requests(self, step: str, payloads: Mapping[int, bytes], inputs: bytes = b"") -> dict[int, bytes]:
        self._step = step
        return {
            index: encode(Request(attempt=self._attempt, step=step, payload=payload, inputs=inputs))
            for index, payload in payloads.items()
        }

    def _use(self, total: NDArray[np.int64], *, survivors: int, dropped: Mapping[str, tuple[int, ...]]) -> None:
        """Turn an opened sum into scaling, the next model, or final metrics."""
        planned, plan, progress = self._planned, self.plan, self.progress
        if planned is None:
            raise LocalProtocolError("no attempt is under way")
        values = plan.grid(planned).dequantise(total)
        metrics: Metrics | None = None
        if planned.name == "scaling":
            progress = msgspec.structs.replace(progress, standardiser=Standardiser.from_moments(values))
        elif planned.name == "training":
            adam = (
                adam_step(progress.adam, values / plan.denominator, plan.optimiser)
                if plan.local is None
                else msgspec.structs.replace(progress.adam, weights=progress.adam.weights + values)
            )
            progress = msgspec.structs.replace(progress, adam=adam, rounds=progress.rounds + 1)
            if self._evaluate is not None and progress.standardiser is not None:
                with self._watch.measure("evaluation"):
                    metrics = self._evaluate(released_weights(adam), progress.standardiser)
            last = progress.rounds == plan.rounds
            progress = msgspec.structs.replace(progress, finished=last and plan.bins == 0)
        else:
            with self._watch.measure("evaluation"):
                deviation = plan.noise_deviation(planned, survivors)
                told = histogram_metrics(values, noise_deviation=deviation, generator=np.random.default_rng())
            metrics = told.metrics
            share = fraud_share(values, noise_deviation=deviation)
            progress = msgspec.structs.replace(progress, intervals=told.intervals, fraud_share=share, finished=True)
        self.progress = msgspec.structs.replace(progress, final=metrics or progress.final)
        self._record(status="opened", survivors=survivors, dropped=dropped, reason=None, metrics=metrics)

    def _record(
        self,
        *,
        status: str,
        survivors: int,
        dropped: Mapping[str, tuple[int, ...]],
        reason: str | None,
        metrics: Metrics | None,
    ) -> None:
        planned = self._planned
        if planned is None:
            raise LocalProtocolError("no attempt is under way")
        opened_round = planned.name == "training" and status == "opened"
        record = RoundRecord(
            release=planned.name,
            index=self._attempt,
            round=self.progress.rounds if opened_round else None,
            status=status,
            cohort=self.plan.clients,
            survivors=survivors,
            dropped_at={step: len(banks) for step, banks in dropped.items() if banks},
            reason=reason,
            epsilon=self.spent(),
            metrics=metrics,
            seconds=self._watch.total - self._began,
        )
        evidence = self._running().evidence()
        if self._end is not None:
            self._end(self._attempt, evidence)
        line = AttemptLine.of(
            evidence,
            attempt=self._attempt,
            release=planned.name,
            reason=reason,
            before=self._before,
            after=inputs_digest(self.progress.inputs().encode()).hex(),
        )
        records, attempts = (*self.progress.records, record), (*self.progress.attempts, line)
        self.progress = msgspec.structs.replace(self.progress, records=records, attempts=attempts)
        self._server = self._planned = None

    def spent(self) -> float:
        """Epsilon that the training account has spent so far in this task, at the plan's delta."""
        return self.plan.spent_epsilon(TRAINING, self.progress.begun)
