"""The masks themselves: a stream used twice, a seed that is too short, and a key exchange that is broken one day."""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.cohort import Cohort, on_grid, without_streams
from compliance.attacks.controls.careless_policy import CarelessPolicy
from compliance.attacks.deviations import first_inputs, first_records, taken
from compliance.attacks.naive_server import VICTIM, NaiveCohort
from compliance.attacks.records import update
from compliance.attacks.results import Finding, Findings, Outcome
from compliance.attacks.setting import Setting
from fedsec.keystream import KeyStream
from secagg import keys

FOLDED_BITS = 20
LONGER_BITS = 32  # to say how long a seed of a common size would take
TRIES = 1 << 18
CLASSICAL = "x25519"
_PROBE_WORDS = 4  # enough: a wrong key passes with a chance far below one in all that are tried
_YEAR = 365.25 * 24 * 3600


def keystream_reuse(setting: Setting) -> Findings:
    """Two masked inputs of one bank, subtracted: y1 - y2 = x1 - x2 where a stream is used twice."""
    first = first_inputs(setting)
    second = _one_record_less(setting)
    wanted = first[VICTIM] - second
    naive = NaiveCohort(setting)
    others = naive.keys(range(1, len(naive.banks)))
    words = [naive.banks[VICTIM].mask(values, others) for values in (first[VICTIM], second)]
    plain = naive.quantiser.lift(words[0] - words[1])
    inputs = first.copy()
    inputs[VICTIM] = second
    one = Cohort(setting, first).until("mask")
    other = Cohort(setting, inputs, parties=(one.server_identity, one.identities), round=1).until("mask")
    for cohort in (one, other):
        cohort.answer("mask")
    seen = one.lift(one.masked(VICTIM) - other.masked(VICTIM))
    return Findings(
        plain=taken(plain, wanted, bits=naive.bits, what="the difference"),
        fedsec=taken(seen, wanted, bits=one.session.ring_bits, what="the difference"),
    )


def folded_seed(setting: Setting) -> Findings:
    """Every key of a folded seed's size is tried on a masked input, all its other streams being given away."""
    inputs = first_inputs(setting)
    weak = NaiveCohort(setting, seed_bits=FOLDED_BITS)
    words = weak.banks[VICTIM].mask(inputs[VICTIM], {})
    key, tried, seconds = _search(words, limit=weak.quantiser.input_bound, bits=weak.bits, tries=1 << FOLDED_BITS)
    rate = tried / seconds
    opened = np.zeros_like(words) if key is None else without_streams(words, VICTIM, self_key=key, pair_keys={})
    plain = taken(weak.quantiser.lift(opened), inputs[VICTIM], bits=weak.bits)
    strong = Cohort(setting, inputs).until("mask")
    left = strong.mask_less_the_pairs_streams(VICTIM)
    limit, bits = strong.session.make_quantiser().input_bound, strong.session.ring_bits
    hit, tries, _ = _search(left, limit=limit, bits=bits, tries=TRIES)
    hours = 2.0**LONGER_BITS / rate / 3600
    digits = math.log10(2) * 8 * keys.SEED_BYTES - math.log10(rate * _YEAR)
    return Findings(
        plain=Finding(
            outcome=plain.outcome,
            evidence=f"{FOLDED_BITS} bits fell after {tried:,} keys, {seconds:.1f} s; "
            f"{LONGER_BITS} bits: {hours:,.0f} hours at this rate, that of Python on one processor",
            figures=plain.figures | {"keys_tried": float(tried), "keys_per_second": rate, "hours_for_32_bits": hours},
        ),
        fedsec=Finding(
            outcome=Outcome.FAILED if hit is None else Outcome.SUCCEEDED,
            evidence=f"{tries:,} keys tried, {'none fits' if hit is None else 'one fits'}: as many of "
            f"2^{8 * keys.SEED_BYTES} say nothing, all of them take 10^{digits:.0f} years at this rate",
            figures={"keys_tried": float(tries), "log10_years_for_all": digits},
        ),
    )


def harvest(setting: Setting) -> Findings:
    """Traffic is recorded; one day X25519 falls, and every key that it alone protects is computed."""
    inputs = first_inputs(setting)
    control = Cohort(setting, inputs, policy=CarelessPolicy, key_exchange=CLASSICAL)
    default = Cohort(setting, inputs)
    bits = default.session.ring_bits
    found = taken(_decrypt_later(default), inputs[VICTIM], bits=bits)
    unprotected = default.session.key_exchange == CLASSICAL and found.outcome is Outcome.SUCCEEDED
    return Findings(
        plain=taken(_decrypt_later(control), inputs[VICTIM], bits=bits),
        fedsec=Finding(
            outcome=Outcome.NOT_PROTECTED if unprotected else found.outcome,
            evidence=f"{found.evidence}; key exchange {default.session.key_exchange}",
            figures=found.figures,
        ),
    )


def _decrypt_later(cohort: Cohort) -> NDArray[np.int64]:
    """The victim's input from a whole recorded round, and from X25519 private keys that a quantum computer would give.

    The server was given the seed of every survivor's own mask when the sum was opened; the rest is the pairs' streams.
    """
    cohort.until("share")
    broken = {index: cohort.curve_key(index) for index in range(cohort.banks)}
    public = {index: keys.public_bytes(key) for index, key in broken.items()}
    for step in ("share", "mask", "agree", "unmask"):
        cohort.answer(step)
        cohort.close(step)
    secrets = {peer: keys.agree(broken[VICTIM], public[peer]) for peer in broken if peer != VICTIM}
    t2 = cohort.server.agreement.transcript
    pairs = {peer: keys.pair_key(secret, t2, VICTIM, peer) for peer, secret in secrets.items() if secret is not None}
    own = keys.self_key(cohort.revealed_seed(VICTIM), t2)
    return cohort.lift(without_streams(cohort.masked(VICTIM), VICTIM, self_key=own, pair_keys=pairs))


def _search(
    words: NDArray[np.unsignedinteger], *, limit: int, bits: int, tries: int
) -> tuple[bytes | None, int, float]:
    """The first of so many ``tries`` under which ``words`` open to a vector in range, or None; keys tried; seconds."""
    mask = (1 << bits) - 1
    width = words.dtype.itemsize
    head = [int(word) for word in words[:_PROBE_WORDS]]
    buffer = bytearray(width * len(head))
    view = memoryview(buffer)
    began = time.perf_counter()
    for candidate in range(tries):
        key = candidate.to_bytes(32, "big")
        KeyStream(key).read_into(view)
        for place, word in enumerate(head):
            left = (word - int.from_bytes(buffer[place * width : (place + 1) * width], "little")) & mask
            if limit < left < mask + 1 - limit:
                break
        else:
            if _in_range(words, key, limit=limit, bits=bits):
                return key, candidate + 1, time.perf_counter() - began
    return None, tries, time.perf_counter() - began


def _in_range(words: NDArray[np.unsignedinteger], key: bytes, *, limit: int, bits: int) -> bool:
    left = without_streams(words, VICTIM, self_key=key, pair_keys={}).astype(np.uint64) & np.uint64((1 << bits) - 1)
    return bool(((left <= limit) | (left >= np.uint64((1 << bits) - limit))).all())


def _one_record_less(setting: Setting) -> NDArray[np.int64]:
    """The victim's update in a later round, for which one of its records has gone."""
    features, labels = first_records(setting)
    return on_grid(setting, update(setting, setting.weights, features[1:], labels[1:], clipped=True))
