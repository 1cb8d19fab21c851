"""What a dishonest server, and banks that work with it, forge: honest messages with some fields replaced.

A server signs what it likes as itself, and has the corrupt banks' signatures. It has no honest bank's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from compliance.attacks.cohort import Cohort
from secagg import RoundConfig, Server, kem, keys, messages, transcript
from secagg.rounds import Place


def other_session(cohort: Cohort, **changes: Any) -> bytes:
    """A session with ``changes`` that the server signs and nobody validated."""
    fields = msgspec.structs.asdict(cohort.session) | changes
    encoded = msgspec.msgpack.encode(list(fields.values()))
    signature = cohort.server_identity.sign(*transcript.session(encoded))
    return messages.encode(messages.AdvertiseRequest(session=encoded, signature=signature))


class DishonestServer(Server):
    """The server's own program, less the checks that a dishonest one would leave out: it lists and signs anything."""

    def _check_signature(self, index: int, signature: bytes, statement: transcript.Statement) -> None:
        """Whoever signed it, or nobody."""

    def _need(self, needed: int) -> tuple[int, ...]:  # noqa: ARG002 (the server's signature)
        """However few they are."""
        return tuple(sorted(self._seen))

    def _need_near(self, owners: Iterable[int], present: tuple[int, ...]) -> None:
        """Wherever they are."""


def members(cohort: Cohort, index: int, keep: Iterable[int]) -> bytes:
    """A list of who advertised for bank ``index``, with the members ``keep`` alone, in good order and signed."""
    return _listed(cohort, index, {member: cohort.sent["advertise", member] for member in keep})


def with_own_keys(cohort: Cohort, index: int, names: Sequence[str], peers: set[int] | None) -> bytes:
    """The same list in which the keys ``names`` of ``peers`` (None: of all but itself) are fresh ones of the server."""
    sent = {member: cohort.sent["advertise", member] for member in range(cohort.banks)}
    for peer in (peers or set(sent)) - {index}:
        mine = {name: _fresh(name) for name in names}
        sent[peer] = _replaced(sent[peer], messages.Advertise, **mine)
    return _listed(cohort, index, sent)


def other_model(cohort: Cohort, index: int, digest: bytes) -> bytes:
    """The request for a masked input of bank ``index`` with another model, in good order and signed."""
    server = _server(cohort)
    for step in ("advertise", "share"):
        for member in range(cohort.banks):
            server.receive(member, cohort.sent[step, member])
        config = RoundConfig(kid=cohort.session.kid, model_digest=digest, optimiser=b"")
        requests = server.advance(config if step == "share" else None)
    return requests[index]


def _listed(cohort: Cohort, index: int, advertised: Mapping[int, bytes]) -> bytes:
    server = _server(cohort)
    for member, message in advertised.items():
        server.receive(member, message)
    return server.advance()[index]


def _server(cohort: Cohort) -> DishonestServer:
    """A second server with the keys of the first, for the same session."""
    server = DishonestServer(identity=cohort.server_identity, roster=cohort.roster, session=cohort.session)
    server.open()
    return server


def _fresh(name: str) -> bytes:
    """A public key of the server for a field of an advertisement."""
    if name.endswith("_kem"):
        return kem.public_bytes(kem.private_key(os.urandom(kem.KEY_SEED_BYTES)))
    return keys.public_bytes(keys.private_key(os.urandom(keys.SEED_BYTES)))


def _replaced(data: bytes, kind: type[msgspec.Struct], **fields: bytes) -> bytes:
    return messages.encode(msgspec.structs.replace(msgspec.msgpack.decode(data, type=kind), **fields))


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
