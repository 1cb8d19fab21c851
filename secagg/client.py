"""A client of one session: bytes in, bytes out, no clock, no disk, no network.

Each call takes the server's request of one step and returns the reply. The checks are the table of
docs/protocol.md, in its order. A request that breaks one raises :class:`fedsec.errors.RemoteProtocolError`;
then every secret is dropped, nothing more is ever emitted, and further calls are refused: the client is a
dropout. An illegal call raises :class:`fedsec.errors.LocalProtocolError` and leaves the state as it was.

**Once.** A step is answered once: the identical request gets the byte-identical cached reply, a different
request for the same step aborts. A call while another one is under way, from a second thread say, is refused with
:class:`fedsec.errors.LocalProtocolError` and does nothing.

**Duties of the caller**, which this object cannot see to:

1. Use one object for one session, one call at a time. It refuses to be copied, to work in a forked process, and a
   second call at once; a runtime with threads hands requests over one after the other.
2. Take part in a (task, round) once, whatever the ``kid``: record it durably before :meth:`Client.mask`,
   and never mask the same records again because a round failed, unless their budget is charged again.
3. Compare ``RoundConfig.model_digest`` with the model's bytes that came beside it before training on them;
   on a difference call :meth:`Client.abort`.
4. Pin the roster's digest out of band, and set the policy.
5. Send what a call returns to the server only, over a channel that hides it from others.
6. When an error is raised, send nothing, not even the reason.
7. Pass fresh noise of the session's privacy parameters inside ``values``; nothing is added here but masks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedsec.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from fedsec.exclusive import Exclusive
from fedsec.keystream import KeyStream
from secagg import kem, keys, labels, masking, messages, rounds, transcript
from secagg.config import RoundConfig, SessionConfig
from secagg.dealing import deal
from secagg.encoding import digest
from secagg.exchange import Private, agree_all
from secagg.identity import Identity, Roster
from secagg.policy import ClientPolicy
from secagg.states import CLIENT_TRANSITIONS, Call, State

Reply = TypeVar("Reply", bytes, RoundConfig)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Answered:
    """The request of a step, by digest, and the reply that it got."""

    request: bytes
    reply: Any  # bytes, or a RoundConfig where the call is accept()


class Client(Exclusive):
    """One bank in one session.

    Args:
        index: this bank's index in the roster, and in the cohort.
        identity: its key pair, whose public key the roster has at ``index``.
        roster: as pinned.
        policy: what it takes part in.

    Raises:
        ConfigError: the roster has another key at ``index``.
    """

    def __init__(self, *, index: int, identity: Identity, roster: Roster, policy: ClientPolicy) -> None:
        if not 0 <= index < len(roster.members) or roster.public_key(index) != identity.public_key:
            raise ConfigError(f"the roster does not list this identity as member {index}")
        super().__init__()
        self._index = index
        self._identity = identity
        self._roster = roster
        self._policy = policy
        self._state = State.NEW
        self._aborted = False  # never unset; apart from the state, which a call under way may still move
        self._session: SessionConfig | None = None
        self._phase: rounds.Phase | None = None  # the secrets of the current state, and nothing older
        self._answered: dict[Call, _Answered] = {}

    @property
    def state(self) -> State:
        """Where this client stands; read only."""
        return State.ABORTED if self._aborted else self._state

    @property
    def session(self) -> SessionConfig:
        """The session that it advertised for.

        Raises:
            LocalProtocolError: it has not advertised.
        """
        if self._session is None:
            raise LocalProtocolError("no session before advertise()")
        return self._session

    def abort(self) -> None:
        """Drop every secret and stay silent from now on. Legal in every state, also twice, and from another thread.

        A call that is under way answers nothing any more, and drops the secrets as it ends.
        """
        self._aborted = True
        if self._busy.acquire(blocking=False):
            self._phase = None
            self._answered = {}
            self._busy.release()

    def advertise(self, request: bytes) -> bytes:
        """Step 0: check the session against roster and policy, answer with fresh public keys.

        Raises:
            RemoteProtocolError: rules "size", "format", "canonical", "signature", "roster", "policy".
            ConfigError: the session is hybrid, and ML-KEM is missing here.
        """
        return self._answer(Call.ADVERTISE, request, self._advertise)

    def share(self, request: bytes) -> bytes:
        """Step 1: check what U1 advertised, deal the two seeds.

        Raises:
            RemoteProtocolError: rules "format" etc., "members", "own-entry", "distinct", "signature", "listing",
                "point".
        """
        return self._answer(Call.SHARE, request, self._share)

    def accept(self, request: bytes) -> RoundConfig:
        """Step 2, first half: all its checks. The caller then compares the model digest (duty 3) and trains.

        Raises:
            RemoteProtocolError: rules "format" etc., "round", "members", "own-entry", "signature", "listing",
                "delivery" (the server's doing), "ciphertext", "leaf", "pair" (``peer`` is the dealer).
        """
        return self._answer(Call.ACCEPT, request, self._accept)

    def mask(self, values: NDArray[np.int64]) -> bytes:
        """Step 2, second half: the masked input, signed.

        Args:
            values: shape ``(d,)``, int64, every |q| <= M_x + T_e, noise included. Not kept and not changed.

        Returns:
            The reply. Once masked, every further call returns these same bytes, whatever ``values`` is.

        Raises:
            LocalProtocolError: wrong shape, type or range (the state stays), or not the time to mask.
        """
        return self._answer(Call.MASK, b"", lambda _: self._mask(values))

    def agree(self, request: bytes) -> bytes:
        """Step 3: check U3 and sign it, once.

        Raises:
            RemoteProtocolError: rules "format" etc., "survivors".
        """
        return self._answer(Call.AGREE, request, self._agree)

    def unmask(self, request: bytes) -> bytes:
        """Step 4: check that t members signed the same U3, reveal one share for every neighbour in U2.

        Raises:
            RemoteProtocolError: rules "format" etc., "agreement", "signature".
        """
        return self._answer(Call.UNMASK, request, self._unmask)

    def _answer(self, call: Call, request: bytes, respond: Callable[[bytes], Reply]) -> Reply:
        try:
            with self._alone():
                reply = self._answer_once(call, request, respond)
        finally:
            if self.state is State.ABORTED:
                self.abort()  # now that the call is over, what it left behind can go
        if self.state is State.ABORTED:
            raise LocalProtocolError("this client was aborted while it worked on an answer")
        return reply

    def _answer_once(self, call: Call, request: bytes, respond: Callable[[bytes], Reply]) -> Reply:
        if self.state is State.ABORTED:
            raise LocalProtocolError("this client has aborted and answers nothing more")
        seen = digest(labels.MESSAGE, request)
        answered = self._answered.get(call)
        if answered is not None and answered.request == seen:
            repeated: Reply = answered.reply
            return repeated
        if answered is not None:
            self.abort()
            raise RemoteProtocolError(
                f"the server sent a second, different request for step {call.value!r}", peer=None, rule="once"
            )
        target = CLIENT_TRANSITIONS.get((self._state, call))
        if target is None:
            raise LocalProtocolError(f"{call.value}() is not for a client that is {self._state.value}")
        try:
            reply = respond(request)
        except LocalProtocolError:
            raise
        except RemoteProtocolError as error:
            self.abort()
            # The frames below hold secrets in their locals, and a traceback would keep them for as long as
            # the caller keeps the error.
            error.__context__ = None
            raise error.with_traceback(None) from None
        except BaseException:
            self.abort()
            raise
        self._state = target
        self._answered[call] = _Answered(request=seen, reply=reply)
        return reply

    def _advertise(self, data: bytes) -> bytes:
        self._session = rounds.read_session(data, roster=self._roster)
        self._policy.check(self._session)
        kid, hybrid = self._session.kid, self._session.hybrid
        mask_seed = os.urandom(keys.SEED_BYTES)
        private = Private(
            share=keys.private_key(os.urandom(keys.SEED_BYTES)),
            mask=keys.mask_private_key(mask_seed),
            share_kem=kem.private_key(os.urandom(kem.KEY_SEED_BYTES)) if hybrid else None,
            mask_kem=kem.mask_private_key(mask_seed) if hybrid else None,
        )
        share_key, mask_key, share_kem, mask_kem = public = private.public()
        own = messages.Advertise(
            index=self._index,
            share_key=share_key,
            mask_key=mask_key,
            share_kem=share_kem,
            mask_kem=mask_kem,
            signature=self._identity.sign(*transcript.advertise(kid, self._index, *public)),
        )
        self._phase = rounds.Advertised(private=private, mask_seed=mask_seed, own=own)
        return messages.encode(own)

    def _share(self, data: bytes) -> bytes:
        phase, session = self._phase, self.session
        assert isinstance(phase, rounds.Advertised)
        entries, t1 = rounds.read_members(data, session=session, roster=self._roster, own=phase.own)
        exchange = agree_all(
            entries, phase.private, index=self._index, kid=session.kid, t1=t1, mask_seed=phase.mask_seed
        )
        self_seed = os.urandom(keys.SEED_BYTES)
        dealt = deal(
            identity=self._identity,
            exchange=exchange,
            threshold=session.threshold,
            members=entries,
            slots=session.neighbourhood(self._index),
            self_seed=self_seed,
            mask_seed=phase.mask_seed,
        )
        self._phase = rounds.Shared(
            exchange=exchange,
            members=tuple(entry.index for entry in entries),
            self_seed=self_seed,
            own_share=dealt.own_self_share,
            own=dealt.dealing,
        )
        return messages.encode(dealt.message)

    def _accept(self, data: bytes) -> RoundConfig:
        phase = self._phase
        assert isinstance(phase, rounds.Shared)
        config, self._phase = rounds.read_round(
            data, session=self.session, roster=self._roster, index=self._index, phase=phase
        )
        return config

    def _mask(self, values: NDArray[np.int64]) -> bytes:
        phase, session = self._phase, self.session
        assert isinstance(phase, rounds.Accepted)
        if values.shape != (session.dimension,):
            raise LocalProtocolError(f"an input has shape ({session.dimension},), not {values.shape}")
        pairs = phase.pair_keys.items()
        masked = masking.mask(
            values,
            ring_bits=session.ring_bits,
            bound=session.make_quantiser().input_bound,
            add=[KeyStream(phase.self_key), *(KeyStream(key) for peer, key in pairs if peer > self._index)],
            subtract=[KeyStream(key) for peer, key in pairs if peer < self._index],
        )
        payload = memoryview(masked)
        statement = transcript.mask(phase.place.sid, phase.place.t2, self._index, payload)
        reply = messages.encode(
            messages.Mask(index=self._index, signature=self._identity.sign(*statement), payload=payload)
        )
        self._phase = rounds.Masked(place=phase.place, self_shares=phase.self_shares, mask_shares=phase.mask_shares)
        return reply

    def _agree(self, data: bytes) -> bytes:
        phase, session = self._phase, self.session
        assert isinstance(phase, rounds.Masked)
        survivors = rounds.read_survivors(data, session=session, index=self._index, phase=phase)
        place = phase.place
        signature = self._identity.sign(*transcript.agree(place.sid, place.t2, self._index, survivors))
        self._phase = rounds.agreed(phase, survivors)
        return messages.encode(messages.Agree(index=self._index, signature=signature))

    def _unmask(self, data: bytes) -> bytes:
        phase = self._phase
        assert isinstance(phase, rounds.Agreed)
        rounds.check_agreement(data, session=self.session, roster=self._roster, phase=phase)
        statement = transcript.unmask(
            phase.place.sid,
            phase.place.t2,
            self._index,
            phase.survivors,
            self_shares=phase.self_shares,
            mask_shares=phase.mask_shares,
        )
        self._phase = None
        return messages.encode(
            messages.Unmask(
                index=self._index,
                self_shares=phase.self_shares,
                mask_shares=phase.mask_shares,
                signature=self._identity.sign(*statement),
            )
        )
