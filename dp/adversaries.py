"""One bound for each adversary: who sees what, and how many noise shares count (docs/privacy.md).

A bank adds its share whatever happens to others, so the shares that an adversary does not know are what
protects a record of an honest bank. Shares of banks that collude with the adversary count for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from dp.accounting import epsilon
from dp.events import DpEvent
from dp.statement import AdversaryBound, AdversaryName
from fedsec.errors import ConfigError

SEES: dict[AdversaryName, str] = {
    "released-model": "the sequence of models, while every surviving bank added its share",
    "colluding-banks": "up to c banks without the server: the sequence of models and their own shares",
    "server-and-banks": "the server with up to c banks: every opened sum, after the worst allowed dropouts",
    "everyone-else": "the server with all other banks: one bank's own contribution, under its share alone",
}

_GENERATOR = "the operating system's randomness cannot be predicted and AES-256-CTR cannot be told from random"
_OWN_BANK = "the bank that holds the record: it clips, adds its whole share of noise and tells nobody its sum"
_OWN_COINS = "the same bank: it draws its batches by secret coins"
_SERVER_OUTSIDE = "the server: it shows this adversary the models and none of the sums' masks, shares or messages"


def trusts(name: AdversaryName, *, local: bool, corrupt: int, shares: int) -> tuple[str, ...]:
    """What must hold for the bound against the adversary ``name``: who is trusted with what (docs/privacy.md).

    Args:
        name: of the adversary; local: of local mode, where the record's own bank is relied on and nobody else.
        corrupt: c; shares: how many noise shares count.
    """
    if local:
        return (_OWN_BANK, _OWN_COINS, _GENERATOR)
    if name == "everyone-else":
        return (_OWN_BANK, _GENERATOR)
    honest = (
        f"at least {shares} banks in every opened sum: each clips, adds its whole share of noise and tells it nobody"
    )
    if name == "released-model":
        return (honest, _SERVER_OUTSIDE, _GENERATOR)
    few = f"no more than {corrupt} banks work together" + ("" if name == "colluding-banks" else " with the server")
    if name == "colluding-banks":
        return (honest, few, _SERVER_OUTSIDE, _GENERATOR)
    return (
        honest,
        few,
        "nobody with what happens to messages: secure aggregation opens nothing but sums over at least the threshold "
        "of banks, under the assumptions of docs/proof.md",
        "whoever admits banks: the roster's keys belong to different banks",
        _GENERATOR,
    )


def adversary_bounds(
    accounts: Callable[[int], Sequence[DpEvent]],
    *,
    mode: Literal["distributed", "local"],
    corrupt: int,
    honest_inputs: int,
    min_survivors: int,
    delta: float,
    eta: float,
) -> tuple[AdversaryBound, ...]:
    """Bounds against the four adversaries of docs/privacy.md, weakest first.

    Args:
        accounts: given how many shares count, what was released to the charge of each account; a record is
            in one account's part of the data, so the largest epsilon holds for every record.
        mode: "distributed" calibrates for the server with c banks; "local" for everyone else together, so
            that a bank's own noise suffices and no other share is relied on.
        corrupt: c (>= 0).
        honest_inputs: h (>= 1).
        min_survivors: least number of inputs in a sum that is opened (>= h + c).
        delta: of every bound; eta: statistical distance of the whole task's noise.

    Raises:
        ConfigError: fewer survivors than h + c, which contradicts h.
    """
    if honest_inputs < 1 or corrupt < 0 or min_survivors < honest_inputs + corrupt:
        raise ConfigError("a sum is opened only with at least h + c inputs")
    local = mode == "local"
    target = "everyone-else" if local else "server-and-banks"
    shares: dict[AdversaryName, int] = {
        "released-model": min_survivors,
        "colluding-banks": min_survivors - corrupt,
        "server-and-banks": honest_inputs,
        "everyone-else": 1,
    }
    bounds = []
    for name, sees in SEES.items():
        counted = 1 if local else shares[name]
        value = max((epsilon(event, delta, eta) for event in accounts(counted)), default=0.0)
        bounds.append(
            AdversaryBound(
                name=name,
                sees=sees,
                trusts=trusts(name, local=local, corrupt=corrupt, shares=counted),
                shares=counted,
                epsilon=value if math.isfinite(value) else None,
                target=name == target,
            )
        )
    return tuple(bounds)
