"""The server of one session: relays, adds masked inputs as they arrive, opens their sum. Sans-IO.

:meth:`Server.receive` checks one message; :meth:`Server.advance` closes a step and gives the next requests.
When to close is the caller's decision (its clock, or :attr:`Server.awaited` being empty). Memory is O(d)
for the vectors plus O(n k) for keys and shares, k being the neighbours of a client (n - 1 with the complete graph):
no masked input is kept, unless the caller keeps it (``keep``).

A message that breaks a rule raises :class:`fedsec.errors.RemoteProtocolError` naming its sender and changes
nothing: the caller logs it and goes on, the sender may still answer rightly before the step closes. A
message for a step that has closed is discarded: a late masked input of a declared dropout is never added to
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsec.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from secagg import kem, labels, masking, messages, shamir, transcript, tree
from secagg.config import RoundConfig, SessionConfig
from secagg.dealing import entries_root
from secagg.encoding import digest
from secagg.evidence import Masked, Record, Revealed, RoundEvidence, revealed_seeds
from secagg.exchange import are_sound
from secagg.graph import Complete
from secagg.identity import Identity, Roster, verify
from secagg.messages import CIPHERTEXT_BYTES, KEM_CIPHERTEXT_BYTES, Advertise, Agree, Mask, Share, Unmask
from secagg.opening import Opening, mask_keys
from secagg.packing import has_clean_padding, packed_size, word_type
from secagg.quorum import need, need_near
from secagg.states import ORDER, SERVER_TRANSITIONS, STEP_OF, Step
from secagg.unmasking import IN_PROCESS, Unmasker

Keep = Callable[[int, memoryview], None]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An opened sum.

    Attributes:
        total: sum of the survivors' inputs in grid units, exact, int64, shape ``(d,)``.
        survivors: U3, by rising index.
        dropped_at: by step, the clients that it lost; a convicted responder is lost at "unmask".
    """

    total: NDArray[np.int64]
    survivors: tuple[int, ...]
    dropped_at: dict[str, tuple[int, ...]]


class Server:
    """The server's side of one session.

    Args:
        identity: the server's, whose public key the roster has.
        roster: as the clients pinned it.
        session: for this roster.
        unmasker: holds the sum and takes the masks off it.
        keep: called with index and packed masked input of each that was accepted; the evidence of an opened sum then
            holds the revealed seeds too. Kept inputs are as safe as the key exchange, so it has to be the hybrid.

    Raises:
        ConfigError: identity, roster and session do not belong together, ML-KEM is missing here, or inputs are to be
            kept without it.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        roster: Roster,
        session: SessionConfig,
        unmasker: Unmasker = IN_PROCESS,
        keep: Keep | None = None,
    ) -> None:
        if identity.public_key != roster.server:
            raise ConfigError("the roster names another server")
        if session.roster_digest != roster.digest or session.clients != len(roster.members):
            raise ConfigError("the session is for another roster")
        if session.hybrid:
            kem.check_supported()
        elif keep is not None:
            raise ConfigError("masked inputs are kept only where the key exchange is the post-quantum hybrid")
        self._identity = identity
        self._roster = roster
        self._session = session
        self._unmasker = unmasker
        self._keep = keep
        self._record = Record()
        self._kid = session.kid
        self._step = Step.NEW
        self._asked: tuple[int, ...] = ()
        self._seen: dict[int, bytes] = {}  # digest of each accepted message of this step, by sender
        self._dropped_at: dict[str, tuple[int, ...]] = {}
        self._taken: set[bytes] = set()  # public keys
        self._entries: dict[int, dict[int, messages.Entry]] = {}  # by dealer, by receiver
        self._paths: dict[int, dict[int, tree.Path]] = {}  # by dealer, by receiver
        self._revealed: dict[int, Unmask] = {}
        self._t1 = self._t2 = self._sid = b""
        self._survivors: tuple[int, ...] = ()
        self._sum: NDArray[np.unsignedinteger] = np.zeros(0, dtype=word_type(session.ring_bits))
        self._agreement: messages.Agreement | None = None
        self._opened: Opened | None = None

    @property
    def step(self) -> Step:
        """Which answers the server waits for; read only."""
        return self._step

    @property
    def awaited(self) -> tuple[int, ...]:
        """Who was asked at this step and has not answered yet, by rising index."""
        return tuple(index for index in self._asked if index not in self._seen)

    @property
    def dropped_at(self) -> dict[str, tuple[int, ...]]:
        """By closed step, the clients that it lost."""
        return dict(self._dropped_at)

    @property
    def convicted(self) -> tuple[int, ...]:
        """Banks that revealed a share which is not the one that they were dealt, known once step 4 is closed."""
        return self._record.convicted

    @property
    def agreement(self) -> messages.Agreement:
        """The signed record of U3, once step 3 is closed.

        Raises:
            LocalProtocolError: it is not.
        """
        if self._agreement is None:
            raise LocalProtocolError("there is no agreement before step 3 closes")
        return self._agreement

    def evidence(self) -> RoundEvidence:
        """What the session left behind so far, for whoever checks it afterwards.

        Raises:
            LocalProtocolError: it was not opened.
        """
        return self._record.evidence()

    def open(self) -> dict[int, bytes]:
        """Start step 0: the signed session, for every client by index.

        Raises:
            LocalProtocolError: it was started before.
        """
        if self._step is not Step.NEW:
            raise LocalProtocolError("a session is opened once")
        encoded = self._record.session = self._session.encode()
        signature = self._sign("session", transcript.session(encoded))
        request = messages.encode(messages.AdvertiseRequest(session=encoded, signature=signature))
        everyone = tuple(range(self._session.clients))
        self._go_on(everyone)
        return dict.fromkeys(everyone, request)

    def receive(self, sender: int, data: bytes) -> None:
        """Take one message that the transport attributes to client ``sender``.

        Raises:
            LocalProtocolError: nothing was asked yet.
            RemoteProtocolError: the message breaks a rule; nothing has changed. Rules: "size", "format",
                "canonical", "sender", "order", "once", "signature", "point", "distinct", "entries", "payload",
                "shares".
        """
        if self._step is Step.NEW:
            raise LocalProtocolError("no message can arrive before open()")
        if self._step in (Step.DONE, Step.FAILED):
            return
        small = self._step in (Step.ADVERTISE, Step.SHARE)
        limit = messages.small_limit(self._session.clients) if small else messages.client_limit(self._session)
        message = messages.decode_client(data, limit=limit, peer=sender)
        if message.index != sender:
            _refuse(sender, "sender", f"bank {sender} sent a message of bank {message.index}")
        due = STEP_OF[type(message)]
        if ORDER.index(due) < ORDER.index(self._step):
            return
        if due is not self._step:
            _refuse(sender, "order", f"bank {sender} answered step {due.value!r} before it was asked")
        if sender not in self._asked:
            _refuse(sender, "sender", f"bank {sender} is not part of step {due.value!r}")
        seen = digest(labels.MESSAGE, data)
        if self._seen.get(sender) == seen:
            return
        if sender in self._seen:
            _refuse(sender, "once", f"bank {sender} answered step {due.value!r} twice, differently")
        self._take(message)
        self._seen[sender] = seen

    def advance(self, round_config: RoundConfig | None = None) -> dict[int, bytes]:
        """Close the step and start the next.

        Args:
            round_config: the round with its model, at the close of step "share" and nowhere else.

        Returns:
            The next requests by client; empty when the sum is open.

        Raises:
            LocalProtocolError: nothing to close; ``round_config`` missing, superfluous or of another session.
            CohortError: too few are left, of all or around one; the session has failed and its data are dropped.
            RemoteProtocolError: rule "dealing" (``peer`` dealt shares of a wrong seed) or "range" (``peer`` is
                ``None``: the sum is impossible, and who spoilt it cannot be seen); the session has failed.
        """
        close = {
            Step.ADVERTISE: self._close_advertise,
            Step.SHARE: lambda: self._close_share(round_config),
            Step.MASK: self._close_mask,
            Step.AGREE: self._close_agree,
            Step.UNMASK: self._close_unmask,
        }.get(self._step)
        if close is None:
            raise LocalProtocolError(f"there is no step to close: the server is {self._step.value}")
        if (self._step is Step.SHARE) != (round_config is not None):
            raise LocalProtocolError("the round configuration is due when step 'share' closes, and only then")
        if round_config is not None and round_config.kid != self._kid:
            raise LocalProtocolError("the round configuration is of another session")
        answered = tuple(sorted(self._seen))
        lost = tuple(index for index in self._asked if index not in self._seen)
        self._dropped_at[self._step.value] = lost
        try:
            requests = close()
        except BaseException:  # even a Ctrl-C: what was begun on the sum must not be begun again
            self._step = Step.FAILED
            self._sum = self._sum[:0].copy()
            self._revealed = {}
            raise
        self._go_on(answered)
        return requests

    def result(self) -> Opened:
        """The opened sum.

        Raises:
            LocalProtocolError: it is not open.
        """
        if self._opened is None:
            raise LocalProtocolError("the sum is not open")
        return self._opened

    def _go_on(self, asked: tuple[int, ...]) -> None:
        self._step = SERVER_TRANSITIONS[self._step]
        self._asked = asked
        self._seen = {}

    def _need(self, needed: int) -> tuple[int, ...]:
        return need(self._seen, needed, self._step)

    def _need_near(self, owners: Iterable[int], present: tuple[int, ...]) -> None:
        need_near(owners, present, self._session, self._step)

    def _sign(self, what: str, statement: transcript.Statement) -> bytes:
        signature = self._record.signatures[what] = self._identity.sign(*statement)
        return signature

    def _check_signature(self, index: int, signature: bytes, statement: transcript.Statement) -> None:
        if not verify(self._roster.public_key(index), signature, *statement):
            _refuse(index, "signature", f"a message of bank {index} is not signed by it for this step")

    def _take(self, message: messages.ClientMessage) -> None:
        match message:
            case Advertise():
                self._take_advertise(message)
            case Share():
                self._take_share(message)
            case Mask():
                self._take_mask(message)
            case Agree():
                self._take_agree(message)
            case Unmask():
                self._take_unmask(message)

    def _take_advertise(self, message: Advertise) -> None:
        index = message.index
        public = (message.share_key, message.mask_key, message.share_kem, message.mask_kem)
        used = [key for key in public if key]
        if not self._taken.isdisjoint(used) or len(set(used)) < len(used):
            _refuse(index, "distinct", f"bank {index} advertised a key that is taken")
        if not are_sound(message, hybrid=self._session.hybrid):
            _refuse(index, "point", f"bank {index} advertised a key with which no secret can be agreed")
        self._check_signature(index, message.signature, transcript.advertise(self._kid, index, *public))
        self._taken.update(used)
        self._record.advertised[index] = message

    def _take_share(self, message: Share) -> None:
        index = message.index
        slots = self._session.neighbourhood(index)
        members = [member for member in slots if member in self._record.advertised]
        found = [_shape(entry) for entry in message.entries]
        if found != [self._shape_from(index, member) for member in members]:
            _refuse(index, "entries", f"bank {index} did not deal to every member")
        entries = dict(zip(members, message.entries, strict=True))
        root, paths = entries_root(entries, slots)
        statement = transcript.share(self._kid, self._t1, index, root, message.commitment)
        self._check_signature(index, message.signature, statement)
        self._entries[index] = entries
        self._record.dealings[index] = messages.Dealing(
            index=index, root=root, commitment=message.commitment, signature=message.signature
        )
        self._paths[index] = dict(zip(slots, paths, strict=True))

    def _shape_from(self, dealer: int, receiver: int) -> tuple[int, int, bool]:
        """Which parts an entry has, and how long they are."""
        if dealer == receiver:
            return (0, 0, False)
        hybrid = self._session.hybrid
        return (CIPHERTEXT_BYTES, KEM_CIPHERTEXT_BYTES if hybrid else 0, hybrid and receiver > dealer)

    def _take_mask(self, message: Mask) -> None:
        index, bits, dimension = message.index, self._session.ring_bits, self._session.dimension
        if len(message.payload) != packed_size(dimension, bits) or not has_clean_padding(
            message.payload, dimension, bits
        ):
            _refuse(index, "payload", f"bank {index} sent no vector of {dimension} values of {bits} bits")
        statement = transcript.mask(self._sid, self._t2, index, message.payload)
        self._check_signature(index, message.signature, statement)
        if self._keep is not None:
            self._keep(index, message.payload)  # first: if it fails, nothing has changed
        masking.add_packed(self._sum, message.payload, bits)
        self._record.masked[index] = Masked(index=index, digest=statement[-1], signature=message.signature)

    def _take_agree(self, message: Agree) -> None:
        statement = transcript.agree(self._sid, self._t2, message.index, self._survivors)
        self._check_signature(message.index, message.signature, statement)
        self._record.agreed[message.index] = message

    def _take_unmask(self, message: Unmask) -> None:
        index = message.index
        near = [dealer for dealer in self._session.neighbourhood(index) if dealer in self._entries]
        alive = len(set(self._survivors).intersection(near))
        counts = (len(message.self_shares), len(message.mask_shares))
        expected = (alive, len(near) - alive)
        shares = message.self_shares + message.mask_shares
        if counts != expected or any(shamir.from_bytes(share) is None for share in shares):
            _refuse(index, "shares", f"bank {index} did not reveal one share for every dealer")
        statement = transcript.unmask(
            self._sid,
            self._t2,
            index,
            self._survivors,
            self_shares=message.self_shares,
            mask_shares=message.mask_shares,
        )
        self._check_signature(index, message.signature, statement)
        self._revealed[index] = message
        self._record.revealed[index] = Revealed(index=index, digest=statement[-1], signature=message.signature)

    def _close_advertise(self) -> dict[int, bytes]:
        members = self._need(self._session.min_survivors)
        self._need_near(members, members)
        root, paths = transcript.members_root(self._record.advertised.values(), self._session.clients)
        signature = self._sign("members", transcript.members(self._kid, root))
        self._t1 = transcript.t1(self._kid, root)

        def request(receiver: int, near: tuple[int, ...]) -> bytes:
            entries = tuple(self._record.advertised[index] for index in near)
            return messages.encode(
                messages.ShareRequest(entries=entries, listing=self._listing(root, signature, paths, receiver))
            )

        return self._for_each(members, request)

    def _close_share(self, config: RoundConfig | None) -> dict[int, bytes]:
        assert config is not None
        dealers = self._need(self._session.min_survivors)
        self._need_near(dealers, dealers)
        encoded = self._record.round_config = config.encode()
        signature = self._sign("round_config", transcript.round_config(self._kid, encoded))
        root, paths = transcript.dealers_root(self._record.dealings.values(), self._session.clients)
        root_signature = self._sign("dealers", transcript.dealers(self._kid, self._t1, root))
        self._sid = config.sid
        self._t2 = transcript.t2(self._sid, self._t1, root)
        self._sum = self._unmasker.zeros(self._session.dimension, self._sum.dtype)
        present = set(dealers)
        requests = {}
        for receiver in dealers:
            near = tuple(dealer for dealer in self._session.neighbourhood(receiver) if dealer in present)
            deliveries = tuple(
                messages.Delivery(
                    dealer=dealer, entry=self._entries[dealer][receiver], path=self._paths[dealer][receiver]
                )
                for dealer in near
                if dealer != receiver
            )
            requests[receiver] = messages.encode(
                messages.MaskRequest(
                    round_config=encoded,
                    signature=signature,
                    dealings=tuple(self._record.dealings[dealer] for dealer in near),
                    listing=self._listing(root, root_signature, paths, receiver),
                    deliveries=deliveries,
                )
            )
        return requests

    def _listing(self, root: bytes, signature: bytes, paths: Sequence[tree.Path], receiver: int) -> messages.Listing:
        """The proof of a list: its receiver computes the root of a whole tree; of a part it needs the path of each
        slot, those of absent neighbours as well, so that none can be left out unseen."""
        whole = isinstance(self._session.graph, Complete)
        return messages.Listing(
            root=root,
            signature=signature,
            paths=() if whole else tuple(paths[index] for index in self._session.neighbourhood(receiver)),
        )

    def _for_each(
        self, receivers: tuple[int, ...], request: Callable[[int, tuple[int, ...]], bytes]
    ) -> dict[int, bytes]:
        """``request`` for each of ``receivers``, of those of them that it knows; made once where all know all."""
        if isinstance(self._session.graph, Complete):
            return dict.fromkeys(receivers, request(receivers[0], receivers))
        present = set(receivers)
        return {
            receiver: request(receiver, tuple(v for v in self._session.neighbourhood(receiver) if v in present))
            for receiver in receivers
        }

    def _close_mask(self) -> dict[int, bytes]:
        self._survivors = self._need(self._session.min_survivors)
        self._need_near(self._entries, self._survivors)
        request = messages.encode(messages.AgreeRequest(survivors=self._survivors))
        return dict.fromkeys(self._survivors, request)

    def _close_agree(self) -> dict[int, bytes]:
        signers = self._need(self._session.threshold)
        self._need_near(self._entries, signers)
        agreed = tuple(self._record.agreed[index] for index in signers)
        signature = self._sign("agreement", transcript.agreement(self._sid, self._t2, self._survivors))
        self._agreement = messages.Agreement(
            sid=self._sid,
            transcript=self._t2,
            survivors=self._survivors,
            agreed=agreed,
            signature=signature,
        )

        def request(_: int, near: tuple[int, ...]) -> bytes:
            # t signatures prove the agreement; more would only cost every client time to verify.
            proof = tuple(self._record.agreed[index] for index in near[: self._session.threshold])
            return messages.encode(messages.UnmaskRequest(agreed=proof))

        return self._for_each(signers, request)

    def _close_unmask(self) -> dict[int, bytes]:
        self._need(self._session.threshold)
        opening = Opening(
            kid=self._kid,
            t1=self._t1,
            advertised=self._record.advertised,
            entries=self._entries,
            commitments={index: dealing.commitment for index, dealing in self._record.dealings.items()},
            survivors=self._survivors,
            revealed=self._revealed,
            threshold=self._session.threshold,
        )
        try:
            self_seeds, mask_seeds = opening.self_seeds(), opening.mask_seeds()
            pairs = list(opening.pair_secrets(mask_seeds))
        finally:
            self._record.convicted = opening.convicted
        add, subtract = mask_keys(self_seeds, pairs, self._t2)
        self._unmasker.combine(self._sum, add=add, subtract=subtract)
        quantiser = self._session.make_quantiser()
        total = quantiser.lift(self._sum)
        bound = quantiser.input_bound * len(self._survivors)
        if int(total.max()) > bound or int(total.min()) < -bound:
            raise RemoteProtocolError(
                "the opened sum is larger than its inputs can be: a bank sent values out of range",
                peer=None,
                rule="range",
                remedy="Masks hide which bank it was; run again with another cohort.",
            )
        lost = {*self._dropped_at[Step.UNMASK.value], *self._record.convicted}
        self._dropped_at[Step.UNMASK.value] = tuple(sorted(lost))
        kept = None
        if self._keep is not None:
            kept = revealed_seeds(self_seeds, mask_seeds, opening.pairs(), entries=self._entries, paths=self._paths)
        self._record.opened(total, kept)
        self._opened = Opened(total=total, survivors=self._survivors, dropped_at=dict(self._dropped_at))
        self._sum = self._sum[:0].copy()
        self._revealed = {}
        return {}


def _shape(entry: messages.Entry) -> tuple[int, int, bool]:
    return (len(entry.ciphertext), len(entry.kem), entry.pair is not None)


def _refuse(sender: int, rule: str, message: str) -> None:
    raise RemoteProtocolError(message, peer=sender, rule=rule)
