"""The negative vectors: every message that a client or the server must refuse, with all that leads up to it.

``vectors/README.md`` is the format. The messages are those of :mod:`tests.adversary.attacks` and
:mod:`tests.adversary.dishonest_bank`, made under deterministic randomness.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from secagg import ClientPolicy, messages
from secagg.config import CLASSICAL, HYBRID
from tests.adversary import dishonest_bank, dishonest_server
from tests.adversary.attacks import ATTACKS
from tests.adversary.dishonest_bank import LIES, Lie
from tests.adversary.dishonest_server import Attack
from tests.secagg.determinism import SMALL, deterministic
from tests.secagg.helpers import STEPS, Federation
from tests.secagg.replay import watch


def refusals() -> dict[str, Any]:
    """All vectors; settings by number, each once."""
    settings: dict[str, dict[str, Any]] = {}

    def number(case: Attack | Lie) -> int:
        """The setting's place, by what it hangs on; made where it is the first of its kind."""
        key = repr((type(case), case.n, case.drop, case.changes, case.hybrid, getattr(case, "victim", None)))
        if key not in settings:
            settings[key] = _client_setting(case) if isinstance(case, Attack) else _server_setting(case)
        return list(settings).index(key)

    client = [_client_vector(name, attack, number(attack)) for name, attack in ATTACKS.items()]
    server = [_server_vector(name, lie, number(lie)) for name, lie in LIES.items()]
    return {"settings": list(settings.values()), "client": client, "server": server}


def _exchange(case: Attack | Lie) -> str:
    return HYBRID if case.hybrid else CLASSICAL


def _federation(case: Attack | Lie) -> Federation:
    return Federation(n=case.n, changes=SMALL | {"key_exchange": _exchange(case)} | dict(case.changes))


def _common(federation: Federation) -> dict[str, Any]:
    return {
        "roster": messages.encode(federation.roster).hex(),
        "session": federation.session.encode().hex(),
        "round": federation.round.encode().hex(),
    }


def _client_setting(attack: Attack) -> dict[str, Any]:
    """One client's whole life in an honest round: who it is, what it is told, what it draws."""
    with deterministic(_exchange(attack)):
        federation = _federation(attack)
        lives = watch(federation, attack.victim)
        federation.run(drop=attack.drop)
    life, index = lives[attack.victim], attack.victim
    client = federation.clients[index]
    return {
        "role": "client",
        **_common(federation),
        "index": index,
        "identity": federation.identities[index].private_bytes().hex(),
        "policy": _policy(client._policy),
        "entropy": [drawn.hex() for drawn in life.entropy],
        "encapsulations": [[secret.hex(), ciphertext.hex()] for secret, ciphertext in life.encapsulations],
        "input": federation.inputs[index].tolist(),
        "requests": {step: data.hex() for step, data in life.requests.items()},
        "replies": {step: federation.sent[step, index].hex() for step in STEPS},
    }


def _policy(policy: ClientPolicy) -> dict[str, Any]:
    terms = dataclasses.asdict(policy)
    return {name: sorted(term) if isinstance(term, frozenset) else term for name, term in terms.items()}


def _client_vector(name: str, attack: Attack, setting: int) -> dict[str, Any]:
    with deterministic(_exchange(attack)):
        _, forged = dishonest_server.stage(attack, **SMALL | {"key_exchange": _exchange(attack)})
    return {
        "name": name,
        "setting": setting,
        "step": attack.step,
        **_bytes("request", forged),
        "rule": attack.rule,
        "at_fault": "server" if attack.peer is None else attack.peer,
    }


def _server_setting(lie: Lie) -> dict[str, Any]:
    """The server's identity, and the honest messages of every step."""
    with deterministic(_exchange(lie)):
        federation = _federation(lie).run(drop=lie.drop)
    return {
        "role": "server",
        **_common(federation),
        "identity": federation.server_identity.private_bytes().hex(),
        "messages": {
            step: {str(index): data.hex() for (at, index), data in federation.sent.items() if at == step}
            for step in STEPS
        },
    }


def _server_vector(name: str, lie: Lie, setting: int) -> dict[str, Any]:
    with deterministic(_exchange(lie)):
        federation, data = dishonest_bank.stage(lie, **SMALL | {"key_exchange": _exchange(lie)})
    return {
        "name": name,
        "setting": setting,
        "step": lie.step,
        "after": sorted(federation.server._seen),
        "sender": lie.sender,
        **_bytes("message", data),
        "rule": lie.rule,
        "at_fault": lie.sender,
    }


def _bytes(name: str, data: bytes) -> dict[str, Any]:
    """Long runs of zeros at the end are counted, not written."""
    end = data.rstrip(b"\x00")
    zeros = len(data) - len(end)
    return {name: end.hex(), "zeros": zeros} if zeros > 100 else {name: data.hex()}
