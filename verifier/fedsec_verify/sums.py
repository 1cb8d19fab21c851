"""Step 8: where masked inputs were kept, every opened sum again, from the inputs and the seeds of their masks.

What convinces a bank that its own input is in a sum unmodified is here and nowhere else: the file of its masked input
has the digest that it signed, and the sum of these files, without the masks of seeds that were committed to before, is
the total.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedsec_verify.bundle import MASKED, STATEMENT, Attempt, Bundle, Options, masked_file
from fedsec_verify.findings import Refused, require
from fedsec_verify.formats import Advertise, Dealing, PairSecret, PlannedSum, Round, Seeds
from fedsec_verify.hashing import (
    CIPHERTEXT,
    COMMITMENT,
    MASKED_INPUT,
    PAIR,
    PAIR_COMMITMENT,
    TREE_ENTRY,
    digest,
    number,
    root_from_path,
)
from fedsec_verify.masks import (
    agreed,
    lift,
    mask_kem_key,
    mask_key,
    packed_size,
    pair_secret,
    pair_stream_key,
    received_secret,
    self_stream_key,
    stream,
    unpack,
)
from fedsec_verify.policy import attempt_of
from fedsec_verify.steps import ATTESTED, RECOMPUTED, Outcome
from fedsec_verify.transcripts import Places, indices, places


def check_sums(bundle: Bundle, options: Options) -> Outcome:
    """Step 8: sum of the masked inputs minus the masks = total, where they were kept."""
    kept = bundle.statement.masked_inputs
    require(kept.kept is (kept.expires is not None), STATEMENT, "a day of expiry exactly if masked inputs were kept")
    require(kept.expires is None or _is_day(kept.expires), STATEMENT, "a day of the calendar", str(kept.expires))
    opened = 0
    expected: set[str] = set()
    for attempt in bundle.attempts:
        record = attempt.record
        if record is None:
            continue
        require(kept.kept or record.seeds is None, attempt.file, "no seeds, since no masked inputs were kept")
        if record.total:
            opened += 1
            if kept.kept:
                _check_digests(bundle, attempt, record)
                _check_sum(bundle, attempt, record)
                expected.update(masked_file(attempt.line.attempt, masked.index) for masked in record.masked)
    extra = sorted({name for name in bundle.subjects if name.startswith(f"{MASKED}/")} - expected)
    require(not extra, extra[0] if extra else "", "no masked input but those of opened sums")
    if not kept.kept:
        return Outcome(
            kind=ATTESTED, detail=f"{opened} sums by the coordinator's signature: masked inputs were not kept"
        )
    assert kept.expires is not None
    state = "EXPIRED" if options.today > kept.expires else "not to be relied upon after"
    return Outcome(kind=RECOMPUTED, detail=f"{opened} sums of the inputs that the banks signed; {state} {kept.expires}")


def _is_day(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_digests(bundle: Bundle, attempt: Attempt, record: Round) -> None:
    """Every masked input of an opened sum is there, as its bank signed it."""
    planned = _planned(bundle, attempt)
    for masked in record.masked:
        name = masked_file(attempt.line.attempt, masked.index)
        found = digest(MASKED_INPUT, bundle.read(name, packed_size(planned.dimension, planned.ring_bits)))
        require(found == masked.digest, name, f"the masked input that bank {masked.index} signed")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One opened sum: what was signed, the seeds that were revealed, and where that was.

    Attributes:
        count: d, length of the vectors; bits: b.
    """

    record: Round
    seeds: Seeds
    at: Places
    clients: int
    file: str
    count: int
    bits: int

    @property
    def survivors(self) -> tuple[int, ...]:
        """U3."""
        return indices(self.record.masked)

    @property
    def dropped(self) -> tuple[int, ...]:
        """U2 without U3."""
        return tuple(bank for bank in indices(self.record.dealings) if bank not in self.survivors)

    @cached_property
    def advertised(self) -> dict[int, Advertise]:
        """U1's keys, by index."""
        return {entry.index: entry for entry in self.record.advertised}

    @cached_property
    def dealings(self) -> dict[int, Dealing]:
        """U2's roots and commitments, by index."""
        return {dealing.index: dealing for dealing in self.record.dealings}


def _check_sum(bundle: Bundle, attempt: Attempt, record: Round) -> None:
    planned, file = _planned(bundle, attempt), attempt.file
    if record.seeds is None:
        raise Refused(file, "the seeds of the masks, since masked inputs were kept")
    count, bits, clients = planned.dimension, planned.ring_bits, len(bundle.banks)
    at = places(record, clients)
    opening = Opening(record=record, seeds=record.seeds, at=at, clients=clients, file=file, count=count, bits=bits)
    size = packed_size(count, bits)
    payloads = {bank: bundle.read(masked_file(attempt.line.attempt, bank), size) for bank in opening.survivors}
    total: NDArray[np.int64] = np.frombuffer(record.total, "<i8")
    same = np.array_equal(lift(opened_words(opening, payloads), bits), total)
    require(same, file, "the sum of the masked inputs without their masks as total")


def opened_words(opening: Opening, payloads: Mapping[int, bytes]) -> NDArray[np.uint64]:
    """The sum of the ``payloads`` by bank, without the masks of the revealed seeds, mod 2^64; its low b bits count.

    Raises:
        Refused: a seed is not the one that was committed to, or a payload is no vector.
    """
    count, bits = opening.count, opening.bits
    words = np.zeros(count, dtype=np.uint64)
    for bank, payload in payloads.items():
        values = unpack(payload, count, bits)
        if values is None:
            raise Refused(opening.file, f"{count} values of {bits} bits from bank {bank}")
        words += values
    for key in _self_keys(opening):
        words -= stream(key, count, bits)
    for survivor, dropped, key in _pair_keys(opening):
        pad = stream(key, count, bits)
        words += -pad if dropped > survivor else pad  # the survivor added the stream if the other index is higher
    return words


def _self_keys(opening: Opening) -> list[bytes]:
    """The stream key of each survivor's b_u, which is the one that was committed to."""
    seeds, at, file = opening.seeds.self_, opening.at, opening.file
    require(tuple(bank for bank, _ in seeds) == opening.survivors, file, "b_u of each survivor")
    for bank, seed in seeds:
        holds = digest(COMMITMENT, at.kid, number(bank), seed) == opening.dealings[bank].commitment
        require(holds, file, f"the seed b_u that bank {bank} committed to")
    return [self_stream_key(seed, at.t2) for _, seed in seeds]


def _pair_keys(opening: Opening) -> list[tuple[int, int, bytes]]:
    """(survivor, dropped dealer, key of the stream that they share) for each such two."""
    file, dropped = opening.file, opening.dropped
    require(tuple(bank for bank, _ in opening.seeds.mask) == dropped, file, "a_v of each dealer that dropped out")
    entries = _entries(opening)
    keys = []
    for bank, seed in opening.seeds.mask:
        private, own = mask_key(seed), opening.advertised[bank]
        same = private.public_key().public_bytes_raw() == own.mask_key
        same = same and mask_kem_key(seed).public_key().public_bytes_raw() == own.mask_kem
        require(same, file, f"the seed a_v of the mask keys that bank {bank} advertised")
        for survivor in opening.survivors:
            secret = _pair_secret(opening, entries[min(survivor, bank), max(survivor, bank)], dropped=bank, seed=seed)
            classical = agreed(private, opening.advertised[survivor].mask_key)
            if classical is None:
                raise Refused(file, f"a mask key of bank {survivor} that is sound")
            keys.append((survivor, bank, pair_stream_key(classical + secret, opening.at.t2, survivor, bank)))
    return keys


def _entries(opening: Opening) -> dict[tuple[int, int], PairSecret]:
    entries = {(pair.lower, pair.higher): pair for pair in opening.seeds.pairs}
    wanted = {(min(one, other), max(one, other)) for one in opening.survivors for other in opening.dropped}
    once = set(entries) == wanted and len(entries) == len(opening.seeds.pairs)
    require(once, opening.file, "one entry for each pair of masks that did not cancel")
    return entries


def _pair_secret(opening: Opening, given: PairSecret, *, dropped: int, seed: bytes) -> bytes:
    """r_uv from a_v of the one that dropped out, against the commitment under the root that the lower one signed."""
    lower, higher, entry, at = given.lower, given.higher, given.entry, opening.at
    pair = entry.pair
    if pair is None:
        raise Refused(opening.file, f"a pair part of bank {lower} for bank {higher}")
    part = digest(PAIR, pair.kem, pair.sealed, pair.commitment)
    sealed = digest(CIPHERTEXT, entry.ciphertext, entry.kem)
    slot = digest(TREE_ENTRY, sealed, entry.self_leaf, entry.mask_leaf, part)
    signed = root_from_path(slot, higher, opening.clients, given.path) == opening.dealings[lower].root
    require(signed, opening.file, f"an entry under the root that bank {lower} signed")
    secret = (
        pair_secret(seed, at.t1, lower, higher)
        if dropped == lower
        else received_secret(pair, seed, kid=at.kid, t1=at.t1, lower=lower, higher=higher)
    )
    if secret is None or digest(PAIR_COMMITMENT, at.kid, number(lower), number(higher), secret) != pair.commitment:
        raise Refused(opening.file, f"the pair secret that bank {lower} committed to for bank {higher}")
    return secret


def _planned(bundle: Bundle, attempt: Attempt) -> PlannedSum:
    planned = attempt_of(bundle.plan, attempt.line.attempt)
    if planned is None:
        raise Refused(STATEMENT, "attempts that the plan reserves")
    return planned
