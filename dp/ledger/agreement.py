"""Whether a ledger still contains every head that was countersigned, and what happened where it does not.

| kind | what was found |
| --- | --- |
| cut off | the ledger ends before the head. Cutting off the end and putting an older copy back leave the same file |
| rewritten | the entry of that number is another one: rewritten, or forked, which leave the same file too |
| forked | as before, and a witness saw the version of this ledger: two versions were shown |
| replaced | a ledger under another key stands in its place |
| misnumbered | the ledger holds the entry under another number: it is the witness that is wrong |

The holder of the ledger may have put on record, as an entry, that heads are lost (:class:`dp.ledger.entries.Lost`).
Such heads are excused: from that entry on every account of the ledger is unbounded, so it claims nothing that they
could refute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from dp.ledger.heads import CountersignedHead
from dp.ledger.payloads import Lost

Kind = Literal["cut off", "rewritten", "forked", "replaced", "misnumbered"]


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """A head that a ledger does not contain, and one sentence on what that means."""

    kind: Kind
    countersigned: CountersignedHead
    message: str


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of a ledger with heads.

    Attributes:
        contained: the heads that it contains, oldest first.
        excused: heads whose loss is on record.
        disagreements: all others, the clearest first.
    """

    contained: tuple[CountersignedHead, ...]
    excused: tuple[CountersignedHead, ...]
    disagreements: tuple[Disagreement, ...]


def compare(
    heads: Iterable[CountersignedHead],
    *,
    ledger: bytes,
    hashes: Sequence[bytes],
    last_at: str,
    lost: Sequence[Lost],
) -> Agreement:
    """Look for each of ``heads`` in a ledger whose chain and signatures hold.

    Args:
        heads: with signatures that hold.
        ledger: its public key; hashes: of its entries in order; last_at: time of the last; lost: its entries
            of that kind.
    """
    ordered = sorted(heads, key=lambda countersigned: countersigned.head.entry)
    contained = [c for c in ordered if c.head.ledger == ledger.hex() and _stands(c, hashes)]
    newest = contained[-1].head.entry if contained else -1
    excused, findings = [], []
    for countersigned in ordered:
        if countersigned in contained:
            continue
        if is_excused(countersigned, lost):
            excused.append(countersigned)
        elif hashes and countersigned.head.ledger != ledger.hex():
            findings.append(_replaced(countersigned))
        elif bytes.fromhex(countersigned.head.hash) in hashes:
            findings.append(_misnumbered(countersigned, hashes))
        elif countersigned.head.entry >= len(hashes):
            findings.append(_cut_off(countersigned, len(hashes), last_at))
        else:
            findings.append(_other_entry(countersigned, contained, newest))
    findings.sort(key=lambda finding: (finding.kind != "forked", -finding.countersigned.head.entry))
    return Agreement(contained=tuple(contained), excused=tuple(excused), disagreements=tuple(findings))


def is_excused(countersigned: CountersignedHead, lost: Iterable[Lost]) -> bool:
    """Whether one of ``lost`` gives the head up."""
    head = countersigned.head
    return any(head.ledger == given_up.ledger.hex() and head.entry <= given_up.entry for given_up in lost)


def _stands(countersigned: CountersignedHead, hashes: Sequence[bytes]) -> bool:
    head = countersigned.head
    return head.entry < len(hashes) and hashes[head.entry].hex() == head.hash


def _replaced(countersigned: CountersignedHead) -> Disagreement:
    key = countersigned.head.ledger[:16]
    return Disagreement(
        kind="replaced",
        countersigned=countersigned,
        message=f"replaced: a ledger of another key, {key}, was here or is what the heads are of (compare the key with "
        f"the holder's: anybody can make a ledger), and {_seen(countersigned)}",
    )


def _misnumbered(countersigned: CountersignedHead, hashes: Sequence[bytes]) -> Disagreement:
    number = list(hashes).index(bytes.fromhex(countersigned.head.hash))
    return Disagreement(
        kind="misnumbered",
        countersigned=countersigned,
        message=f"misnumbered by its witness: {_seen(countersigned)}, but that is entry {number}",
    )


def _cut_off(countersigned: CountersignedHead, count: int, last_at: str) -> Disagreement:
    gone = countersigned.head.entry
    missing = f"entry {gone} is" if gone == count else f"entries {count} to {gone} are"
    ends = f"the ledger ends with entry {count - 1}, of {last_at}" if count else "the ledger is empty"
    return Disagreement(
        kind="cut off",
        countersigned=countersigned,
        message=f"cut off or rolled back to an older copy: {missing} missing; {_seen(countersigned)}, and {ends}",
    )


def _other_entry(countersigned: CountersignedHead, contained: list[CountersignedHead], newest: int) -> Disagreement:
    number = countersigned.head.entry
    before = max((c.head.entry for c in contained if c.head.entry < number), default=-1)
    since = "from entry 0 on" if before < 0 else f"somewhere from entry {before + 1} on"
    if newest >= number:
        witness = contained[-1]
        return Disagreement(
            kind="forked",
            countersigned=countersigned,
            message=f"forked {since}: two versions were shown; {_seen(countersigned)} with another content than it "
            f"has here, and the version here at {_seen(witness)}",
        )
    return Disagreement(
        kind="rewritten",
        countersigned=countersigned,
        message=f"rewritten or forked {since}: {_seen(countersigned)} with another content than it has here",
    )


def _seen(countersigned: CountersignedHead) -> str:
    first = min(countersigned.countersigned, key=lambda signature: signature.at)
    others = len(countersigned.countersigned) - 1
    more = "" if not others else " and 1 other" if others == 1 else f" and {others} others"
    return f"entry {countersigned.head.entry} was countersigned at {first.at} by {first.signer[:16]}{more}"
