"""Step 5: the hashes of every attempt, and every signature in it, recomputed as docs/protocol.md prescribes.

kid, T1, sid and T2 stand for the session, for all that was advertised, for the round with its model and for all that
was dealt; each later signature is over them, so a message of another round, or of the same round under another list,
verifies nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fedsec_verify.bundle import STATEMENT, Attempt, Bundle, Options
from fedsec_verify.decoding import from_msgpack
from fedsec_verify.findings import require
from fedsec_verify.formats import Advertise, Agree, AttemptLine, Dealing, Masked, Revealed, Round, RoundConfig
from fedsec_verify.hashing import (
    DEALER,
    KID,
    MEMBER,
    SID,
    SIGN_ADVERTISE,
    SIGN_AGREE,
    SIGN_AGREEMENT,
    SIGN_DEALERS,
    SIGN_MASK,
    SIGN_MEMBERS,
    SIGN_ROUND,
    SIGN_SESSION,
    SIGN_SHARE,
    SIGN_UNMASK,
    T1,
    T2,
    digest,
    is_signed,
    number,
    numbers,
    sha256,
    slots_root,
)
from fedsec_verify.masks import is_sound, is_sound_kem
from fedsec_verify.steps import RECOMPUTED, Outcome


@dataclass(frozen=True, kw_only=True)
class Places:
    """kid, T1, sid, T2 of an attempt, 32 bytes each; empty where it was not reached."""

    kid: bytes
    t1: bytes = b""
    sid: bytes = b""
    t2: bytes = b""


def check_transcripts(bundle: Bundle, _: Options) -> Outcome:
    """Step 5: kid, T1, sid, T2, every signature, and the statement's line of every attempt."""
    signatures = 0
    for attempt in bundle.attempts:
        record = attempt.record
        if record is None:
            _check_interrupted(attempt.line)
        else:
            signatures += _check_attempt(bundle, attempt, record)
    return Outcome(kind=RECOMPUTED, detail=f"{len(bundle.attempts)} attempts, {signatures:,} signatures")


def places(record: Round, clients: int) -> Places:
    """The hashes of an attempt of ``clients`` banks, from what is in its file."""
    kid = digest(KID, record.session)
    if not record.members_signature:
        return Places(kid=kid)
    t1 = digest(T1, kid, slots_root({entry.index: _member(entry) for entry in record.advertised}, clients))
    if not record.dealers_signature:
        return Places(kid=kid, t1=t1)
    sid = digest(SID, kid, record.round_config)
    root = slots_root({dealing.index: _dealer(dealing) for dealing in record.dealings}, clients)
    return Places(kid=kid, t1=t1, sid=sid, t2=digest(T2, sid, t1, root))


def _member(entry: Advertise) -> bytes:
    public = (entry.share_key, entry.mask_key, entry.share_kem, entry.mask_kem)
    return digest(MEMBER, number(entry.index), *public, entry.signature)


def _dealer(dealing: Dealing) -> bytes:
    return digest(DEALER, number(dealing.index), dealing.root, dealing.commitment, dealing.signature)


def indices(messages: Sequence[Advertise | Dealing | Masked | Agree | Revealed]) -> tuple[int, ...]:
    """Who sent the messages, in their order."""
    return tuple(message.index for message in messages)


def _check_interrupted(line: AttemptLine) -> None:
    """An attempt that was cut off left nothing behind, and claims nothing."""
    told = (line.kid, line.t1, line.sid, line.t2, line.total, line.members, line.dealers, line.survivors)
    nothing = not any((*told, line.responders, line.convicted))
    require(nothing and line.before == line.after, STATEMENT, f"nothing of the interrupted attempt {line.attempt}")


def _check_attempt(bundle: Bundle, attempt: Attempt, record: Round) -> int:
    """All of one attempt; how many signatures it has."""
    file, clients = attempt.file, len(bundle.banks)
    for messages in (record.advertised, record.dealings, record.masked, record.agreed, record.revealed):
        found = indices(messages)
        require(found == tuple(sorted(set(found))), file, "the banks of each step by rising index, each once")
        require(not found or found[-1] < clients, file, "banks of the roster only")
    _check_keys(record, file)
    _check_order(record, file)
    at = places(record, clients)
    count = check_signatures_of(record, at, coordinator=bundle.coordinator, banks=bundle.banks, file=file)
    if at.t2:
        _check_config(bundle, attempt, record, at.kid)
    _check_line(attempt.line, record, at, file)
    return count


def check_signatures_of(record: Round, at: Places, *, coordinator: bytes, banks: Sequence[bytes], file: str) -> int:
    """Every signature of one attempt, in the order of the protocol; how many they are.

    Raises:
        Refused: one does not hold.
    """
    signatures = _Signatures(coordinator, banks, file)
    signatures.server("session", record.session_signature, SIGN_SESSION, record.session)
    for entry in record.advertised:
        public = (entry.share_key, entry.mask_key, entry.share_kem, entry.mask_kem)
        signatures.bank("keys", entry, SIGN_ADVERTISE, at.kid, number(entry.index), *public)
    if at.t1:
        root = slots_root({entry.index: _member(entry) for entry in record.advertised}, len(banks))
        signatures.server("list of U1", record.members_signature, SIGN_MEMBERS, at.kid, root)
    for dealing in record.dealings:
        shared = (at.kid, at.t1, number(dealing.index), dealing.root, dealing.commitment)
        signatures.bank("dealing", dealing, SIGN_SHARE, *shared)
    if at.t2:
        root = slots_root({dealing.index: _dealer(dealing) for dealing in record.dealings}, len(banks))
        signatures.server("list of U2", record.dealers_signature, SIGN_DEALERS, at.kid, at.t1, root)
        signatures.server("round", record.round_config_signature, SIGN_ROUND, at.kid, record.round_config)
    for masked in record.masked:
        signatures.bank("masked input", masked, SIGN_MASK, at.sid, at.t2, number(masked.index), masked.digest)
    survivors = numbers(indices(record.masked))
    for agree in record.agreed:
        signatures.bank("agreement", agree, SIGN_AGREE, at.sid, at.t2, number(agree.index), survivors)
    if record.agreement_signature:
        signatures.server("agreement", record.agreement_signature, SIGN_AGREEMENT, at.sid, at.t2, survivors)
    for revealed in record.revealed:
        said = (at.sid, at.t2, number(revealed.index), survivors, revealed.digest)
        signatures.bank("shares", revealed, SIGN_UNMASK, *said)
    return signatures.count


class _Signatures:
    """Verifies and counts the signatures of one file."""

    def __init__(self, coordinator: bytes, banks: Sequence[bytes], file: str) -> None:
        self._coordinator = coordinator
        self._banks = banks
        self._file = file
        self.count = 0

    def server(self, what: str, signature: bytes, context: bytes, *parts: bytes) -> None:
        """One of the coordinator."""
        holds = is_signed(self._coordinator, signature, context, *parts)
        require(holds, self._file, f"the coordinator's signature on its {what}")
        self.count += 1

    def bank(
        self, what: str, message: Advertise | Dealing | Masked | Agree | Revealed, context: bytes, *parts: bytes
    ) -> None:
        """One of the bank that sent ``message``."""
        holds = is_signed(self._banks[message.index], message.signature, context, *parts)
        require(holds, self._file, f"the signature of bank {message.index} on its {what}")
        self.count += 1


def _check_keys(record: Round, file: str) -> None:
    """Fresh keys: none twice, those of the hybrid there, and none with which everybody knows the secret."""
    public = [key for e in record.advertised for key in (e.share_key, e.mask_key, e.share_kem, e.mask_kem)]
    require(len(set(public)) == len(public), file, "no public key twice")
    for entry in record.advertised:
        sound = all(map(is_sound, (entry.share_key, entry.mask_key)))
        sound = sound and all(map(is_sound_kem, (entry.share_kem, entry.mask_kem)))
        require(sound, file, f"sound X25519 and ML-KEM-768 keys of bank {entry.index}")


def _check_order(record: Round, file: str) -> None:
    """Nothing of a step is there before the coordinator closed the one before it."""
    closed = bool(record.members_signature)
    require(closed or not record.dealings, file, "no dealing before the list of U1 was signed")
    require(closed or not record.dealers_signature, file, "no list of U2 before that of U1")
    closed = bool(record.dealers_signature)
    same = closed is bool(record.round_config) is bool(record.round_config_signature)
    require(same, file, "a round configuration exactly if the list of U2 was signed")
    require(closed or not record.masked, file, "no masked input before the list of U2 was signed")
    require(bool(record.masked) or not (record.agreed or record.agreement_signature), file, "no agreement on nobody")
    agreed = bool(record.agreement_signature)
    require(agreed or not record.revealed, file, "no shares before the agreement was signed")
    require(bool(record.revealed) or not (record.total or record.convicted), file, "no sum before shares were revealed")


def _check_config(bundle: Bundle, attempt: Attempt, record: Round, kid: bytes) -> None:
    config = from_msgpack(record.round_config, RoundConfig, attempt.file)
    require(config.kid == kid, attempt.file, "a round configuration of this session")
    require(config.model_digest.hex() == attempt.line.before, attempt.file, "the model digest that the statement says")
    constants = msgspec.msgpack.encode(bundle.plan.optimiser)
    require(config.optimiser == constants, attempt.file, "the optimiser's constants of the plan")


def _check_line(line: AttemptLine, record: Round, at: Places, file: str) -> None:
    """The statement says of the attempt what its file says."""
    members = indices(record.advertised) if at.t1 else ()
    dealers = indices(record.dealings) if at.t2 else ()
    survivors = indices(record.masked) if record.agreement_signature else ()
    told = {
        "kid": (line.kid, at.kid.hex()),
        "T1": (line.t1, at.t1.hex()),
        "sid": (line.sid, at.sid.hex()),
        "T2": (line.t2, at.t2.hex()),
        "U1": (line.members, members),
        "U2": (line.dealers, dealers),
        "U3": (line.survivors, survivors),
        "U4": (line.responders, indices(record.revealed)),
        "the convicted": (line.convicted, record.convicted),
        "the sum's digest": (line.total, sha256(record.total) if record.total else ""),
    }
    for what, (said, found) in told.items():
        require(said == found, STATEMENT, f"of attempt {line.attempt} {what} as in {file}")
    require(
        (line.status == "opened") is bool(record.total), STATEMENT, f"attempt {line.attempt} opened if it has a sum"
    )
    require(
        (line.reason is None) is bool(record.total), STATEMENT, f"a reason exactly if attempt {line.attempt} failed"
    )
