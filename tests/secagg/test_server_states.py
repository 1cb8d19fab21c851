"""The server goes from step to step as its table says; an illegal call changes nothing, and the agreement is signed."""

from __future__ import annotations

import msgspec
import pytest

from fedsec.errors import ConfigError, LocalProtocolError
from secagg import Identity, Roster, RoundConfig, Server, Step, keys, transcript
from secagg.identity import verify
from tests.secagg.helpers import Federation


def test_the_agreement_is_signed_by_server_and_banks() -> None:
    federation = Federation().run(until="unmask", drop={"agree": (2,)})
    agreement = federation.server.agreement
    statement = transcript.agreement(agreement.sid, agreement.transcript, agreement.survivors)
    assert verify(federation.roster.server, agreement.signature, *statement)
    assert [agree.index for agree in agreement.agreed] == [0, 1, 3, 4]
    for agree in agreement.agreed:
        signed = transcript.agree(agreement.sid, agreement.transcript, agree.index, agreement.survivors)
        assert verify(federation.roster.public_key(agree.index), agree.signature, *signed)
        wrong = transcript.agree(agreement.sid, agreement.transcript, agree.index, agreement.survivors[1:])
        assert not verify(federation.roster.public_key(agree.index), agree.signature, *wrong)


def test_the_server_cannot_be_misused() -> None:
    federation = Federation()
    server = federation.server
    for illegal in (server.advance, server.result, lambda: server.agreement):
        with pytest.raises(LocalProtocolError):
            illegal()
    federation.start()
    with pytest.raises(LocalProtocolError):
        server.open()
    with pytest.raises(LocalProtocolError):
        server.advance(federation.round)
    federation.collect("advertise")
    federation.close("advertise")
    federation.collect("share")
    with pytest.raises(LocalProtocolError):
        server.advance()
    with pytest.raises(LocalProtocolError):
        server.advance(RoundConfig(kid=bytes(32), model_digest=bytes(32), optimiser=b""))
    assert server.step is Step.SHARE
    federation.close("share")  # control: the right call goes on from the unchanged state
    other = Roster(server=keys.public_bytes(keys.private_key(bytes(32))), members=federation.roster.members)
    session, server_identity = federation.session, federation.server_identity
    for identity, roster, config in (
        (Identity.generate(), federation.roster, session),
        (server_identity, other, session),
        (server_identity, federation.roster, msgspec.structs.replace(session, roster_digest=bytes(32))),
        (server_identity, federation.roster, msgspec.structs.replace(session, clients=6)),
    ):
        with pytest.raises(ConfigError):
            Server(identity=identity, roster=roster, session=config)
