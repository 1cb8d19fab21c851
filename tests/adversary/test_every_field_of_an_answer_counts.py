"""Every field of every answer of a bank, replaced, spliced from another session, or swapped: refused, its sender named.

As in :mod:`tests.adversary.test_every_field_of_a_request_counts`, from the other side.
"""

from __future__ import annotations

from functools import cache

import pytest

from fedsec.errors import RemoteProtocolError
from secagg import messages
from tests.adversary.dishonest_bank import BANK, LIES, assert_refused, honest
from tests.adversary.mutations import mutated
from tests.adversary.unchecked import leave_out_at_server
from tests.secagg.helpers import REPLIES, STEPS, Federation, decode


@cache
def _another_session() -> Federation:
    return Federation(changes={"round": 1}).run(drop={"mask": (4,)})


def _at(step: str) -> tuple[Federation, bytes, dict[str, bytes]]:
    """The server at ``step``, bank 3's honest answer, and every mutation of it."""
    federation = Federation().run(until=step, drop={"mask": (4,)})
    own = honest(federation, step)
    foreign = decode(_another_session().sent[step, BANK], REPLIES[step])
    made = {name: messages.encode(other) for name, other in mutated(own, foreign, step)}
    data = messages.encode(own)
    return federation, data, {name: other for name, other in made.items() if other != data}


@pytest.mark.parametrize("step", STEPS)
def test_refused_by_name_and_nothing_has_changed(step: str) -> None:
    federation, own, found = _at(step)
    assert len(found) > 3 * len(REPLIES[step].__struct_fields__)
    for name, forged in found.items():
        with pytest.raises(RemoteProtocolError) as caught:
            federation.server.receive(BANK, forged)
        assert caught.value.peer == BANK, name
        assert caught.value.rule in {lie.rule for lie in LIES.values()}, name
        assert_refused(federation, forged, caught.value.rule)  # again, and the server is as before
    federation.server.receive(BANK, own)
    assert BANK not in federation.server.awaited


@pytest.mark.parametrize("step", STEPS)
def test_control_a_blind_server_takes_nearly_all_of_them(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it still refuses is no message by its type."""
    federation, _, found = _at(step)
    for rule in ("signature", "sender", "distinct", "point", "entries", "payload", "shares"):
        leave_out_at_server(rule, monkeypatch)
    refused = {}
    for name, forged in found.items():
        federation.server._seen.clear()
        try:
            federation.server.receive(BANK, forged)
        except RemoteProtocolError as error:
            refused[name] = error.rule
        except (ValueError, KeyError, IndexError):
            refused[name] = "crash"  # of what follows the check
    assert len(refused) <= len(found) / 3
    assert set(refused.values()) <= {"format", "crash"}
