"""What a dishonest server, and banks that work with it, forge: honest messages with some fields replaced.

A server signs what it likes as itself, and has the corrupt banks' signatures. It has no honest bank's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from compliance.attacks.cohort import Cohort
from secagg import RoundConfig, keys, messages, transcript
from secagg.rounds import Place


def other_session(cohort: Cohort, **changes: Any) -> bytes:
    """A session with ``changes`` that the server signs and nobody validated."""
    fields = msgspec.structs.asdict(cohort.session) | changes
    encoded = msgspec.msgpack.encode(list(fields.values()))
    signature = cohort.server_identity.sign(*transcript.session(encoded))
    return messages.encode(messages.AdvertiseRequest(session=encoded, signature=signature))


def members(cohort: Cohort, index: int, keep: Iterable[int]) -> bytes:
    """The list of who advertised as bank ``index`` gets it, with the members ``keep`` alone."""
    request = msgspec.msgpack.decode(cohort.asked["share"][index], type=messages.ShareRequest)
    kept = set(keep)
    entries = tuple(entry for entry in request.entries if entry.index in kept)
    return messages.encode(msgspec.structs.replace(request, entries=entries))


def with_own_keys(cohort: Cohort, index: int, names: Sequence[str], peers: set[int] | None) -> bytes:
    """The same list in which the keys ``names`` of ``peers`` (None: of all but itself) are fresh ones of the server."""
    request = msgspec.msgpack.decode(cohort.asked["share"][index], type=messages.ShareRequest)
    entries = []
    for entry in request.entries:
        mine = {name: keys.public_bytes(keys.private_key(os.urandom(keys.SEED_BYTES))) for name in names}
        swap = entry.index != index and (peers is None or entry.index in peers)
        entries.append(msgspec.structs.replace(entry, **mine) if swap else entry)
    return messages.encode(msgspec.structs.replace(request, entries=tuple(entries)))


def other_model(cohort: Cohort, index: int, digest: bytes) -> bytes:
    """The request for a masked input that bank ``index`` gets, with another model, signed by the server."""
    request = msgspec.msgpack.decode(cohort.asked["mask"][index], type=messages.MaskRequest)
    encoded = RoundConfig(kid=cohort.session.kid, model_digest=digest, optimiser=b"").encode()
    signature = cohort.server_identity.sign(*transcript.round_config(cohort.session.kid, encoded))
    return messages.encode(msgspec.structs.replace(request, round_config=encoded, signature=signature))


def survivors(indices: Iterable[int]) -> bytes:
    """A list of survivors of the server's choosing."""
    return messages.encode(messages.AgreeRequest(survivors=tuple(sorted(indices))))


def agreement(cohort: Cohort, place: Place, agreed: Sequence[bytes], survivors: Iterable[int]) -> bytes:
    """Honest signatures ``agreed`` and those of all corrupt banks on ``survivors``, in the transcript of ``place``."""
    listed = tuple(sorted(survivors))
    signed = {message.index: message for message in (msgspec.msgpack.decode(a, type=messages.Agree) for a in agreed)}
    for index in cohort.corrupt:
        statement = transcript.agree(place.sid, place.t2, index, listed)
        signed[index] = messages.Agree(index=index, signature=cohort.identities[index].sign(*statement))
    proof = tuple(signed[index] for index in sorted(signed) if index in listed)
    return messages.encode(messages.UnmaskRequest(agreed=proof))
