"""Coins that anybody can repeat, for debugging alone: noise from them hides nothing, and the run is NOT PRIVATE."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes

from fedsec.keystream import KeyStream
from fl_engine.plan import TaskPlan

NOT_PRIVATE = "NOT PRIVATE"
_LABEL = b"fedsec/v1/insecure-deterministic-noise"


def deterministic_coins(plan: TaskPlan, *, bank: int, attempt: int) -> KeyStream | None:
    """The stream of one bank's rounding, sampling and noise in an attempt; None where it is the system's, as it should.

    A function of the public seed, so that two runs with equal data and split come to equal models.
    """
    if not plan.insecure_deterministic_noise:
        return None
    digest = hashes.Hash(hashes.SHA256())
    digest.update(_LABEL)
    for number in (plan.initial_seed, bank, attempt):
        digest.update(number.to_bytes(8, "big"))
    return KeyStream(digest.finalize())
