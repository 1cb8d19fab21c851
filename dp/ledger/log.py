"""The signed log: reads are checked against earlier reads, writes are chained, signed and committed.

The hash chain and the signature of the last entry, which covers all before it, are checked on every read; the
verifier checks every signature. Opening also compares the entries with the heads that this machine keeps.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from dp.ledger.agreement import Agreement, Disagreement, compare
from dp.ledger.entries import GENESIS, Burnt, Entry, Lost, Opened, Payload, decode, is_chained, is_signed, make_entry
from dp.ledger.heads import Head, head_of
from dp.ledger.kept import Kept, KeptHeads
from dp.ledger.keys import create_key_file, load_key_file, public_bytes
from dp.ledger.location import Location
from dp.ledger.state import State
from dp.ledger.store import Store, append, entries_from, has_good_types
from fedsec.errors import ConfigError, FedsecError, LedgerError, LocalProtocolError

_RESTORE = "`fedsec ledger verify` says what holds; restore the ledger from a backup"


class Log:
    """An open log and the state that its entries give. Threads take turns; a forked child is refused.

    Attributes:
        state: after the entries seen so far; look at it inside :meth:`reading` or :meth:`writing` only.
        public_key: 32 bytes, from entry 0.
    """

    def __init__(self, location: Location, *, create: bool, give_up: bool = False) -> None:
        self.state = State()
        self.public_key = b""
        self._location = location
        self._head: Entry | None = None
        self._key: Ed25519PrivateKey | None = None
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._hashes: list[bytes] = []
        self._last_at = ""
        self._heads = KeptHeads(location)
        kept = self._heads.read()  # before any entry is read: see dp.ledger.kept
        self._store = Store.open(location, create=create)
        try:
            self._start(create=create, kept=kept, give_up=give_up)
        except BaseException:
            self._store.close()
            raise

    @property
    def head(self) -> Head:
        """The last entry seen so far; look at it inside :meth:`reading` or :meth:`writing` only."""
        if self._head is None:
            raise LedgerError(f"the ledger {self._location.label} holds no entry", remedy=_RESTORE)
        return head_of(self._head, self.public_key)

    def entries(self) -> tuple[Entry, ...]:
        """Every entry seen so far, read from the store anew; inside :meth:`reading` only."""
        with self._store.reading() as connection:
            return tuple(entries_from(connection, 0))[: len(self._hashes)]

    def close(self) -> None:
        """Keep the head and disconnect; the main file then holds every entry, unless another process still reads."""
        with self.locked():
            self._keep_head()
            self._store.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads out; no transaction.

        Raises:
            LocalProtocolError: this is not the process that opened the log.
        """
        if os.getpid() != self._process:
            raise LocalProtocolError("a ledger was carried into another process; open it anew there")
        with self._lock:
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Catch up with other processes, then keep other threads out.

        Raises:
            LedgerError: the entries do not continue those read before.
        """
        with self.locked():
            with self._store.reading() as connection:
                self._catch_up(connection)
            yield

    @contextmanager
    def writing(self) -> Iterator[list[Payload]]:
        """One write transaction: the payloads that the caller puts into the list are appended, or none.

        Raises:
            LocalProtocolError, RemoteProtocolError: a payload breaks a rule.
            LedgerError: the signing key is missing, or the entries cannot be read or written.
        """
        with self.locked():
            pending: list[Payload] = []
            with self._store.writing() as connection:
                self._catch_up(connection)
                yield pending
                written = [self._append(connection, payload) for payload in pending]
            # Committed: only now may the state know of it, and it takes what a reader would take.
            for entry in written:
                self._advance(entry, decode(entry.payload, seq=entry.seq))
            # Not after a burn, for the time it takes: a burn that is cut off gives nothing back, since its run's
            # reservation counts in full until it is settled.
            if any(not isinstance(payload, Burnt) for payload in pending):
                self._keep_head()

    def _start(self, *, create: bool, kept: Sequence[Kept], give_up: bool) -> None:
        with self.reading():
            empty = self._head is None
        agreement = self._compared(kept)
        if agreement.disagreements and not give_up:
            raise self._refused(agreement.disagreements[0])
        if empty and not create:
            raise LedgerError(f"the ledger {self._location.label} holds no entry", remedy=_RESTORE)
        if empty:
            self._found()
        if self._key is None:  # only now: the key file is older than entry 0
            self._key = load_key_file(self._location.key_path)
        if self._key is not None and public_bytes(self._key) != self.public_key:
            self._key = None
        if give_up:
            self._give_up(agreement.disagreements)
        with self.locked():
            self._heads.note(self.head, at=now(), lost=self.state.lost)

    def _compared(self, kept: Sequence[Kept]) -> Agreement:
        return compare(
            self._heads.of(kept, self.public_key),
            ledger=self.public_key,
            hashes=self._hashes,
            last_at=self._last_at,
            lost=self.state.lost,
        )

    def _refused(self, found: Disagreement) -> LedgerError:
        return LedgerError(
            f"the ledger {self._location.label} is not as this machine saw it: {found.message}",
            entry=found.countersigned.head.entry,
            remedy="put the newer file back, from where it was moved to or a backup; if it is lost for good, "
            "`fedsec ledger accept-loss --help` says what that costs",
        )

    def _give_up(self, found: Sequence[Disagreement]) -> None:
        if not found:
            raise ConfigError(
                f"the ledger {self._location.label} has lost nothing that this machine knows of",
                remedy="no loss is recorded; `fedsec ledger verify` checks it against heads that others keep",
            )
        heads = [line.countersigned.head for line in found]
        with self.writing() as pending:
            for head in heads:
                ledger, digest = bytes.fromhex(head.ledger), bytes.fromhex(head.hash)
                pending.append(Lost(ledger=ledger, entry=head.entry, hash=digest, at=now()))

    def _keep_head(self) -> None:
        """Keep the head as far as that works: what is committed stands, and the next to open the ledger keeps it."""
        if self._head is not None:
            with contextlib.suppress(ConfigError):
                self._heads.note(self.head, at=now(), lost=self.state.lost)

    def _found(self) -> None:
        try:
            with self.writing() as pending:
                if self._head is not None:
                    return  # another process was first
                self._location.key_path.parent.mkdir(parents=True, exist_ok=True)
                self._key = create_key_file(self._location.key_path)
                public_key = public_bytes(self._key)
                pending.append(Opened(ledger=secrets.token_hex(16), public_key=public_key, at=now()))
        except FedsecError:
            if self._key is not None:  # made here, and entry 0 was not written
                self._location.key_path.unlink()
            raise

    def _append(self, connection: Connection, payload: Payload) -> Entry:
        self.state.check(payload)
        if self._key is None:
            raise LedgerError(
                f"the ledger {self._location.label} cannot be continued: "
                f"its signing key {self._location.key_path} is missing or another one",
                remedy="restore the key file; without it the ledger can only be shown and verified",
            )
        seq, previous = (0, GENESIS) if self._head is None else (self._head.seq + 1, self._head.hash)
        entry = make_entry(self._key, seq=seq, previous=previous, payload=payload)
        append(connection, entry)
        return entry

    def _catch_up(self, connection: Connection) -> None:
        """Replay what other processes appended, after checking that it continues what was read before."""
        fresh = entries_from(connection, 0 if self._head is None else self._head.seq)
        if self._head is not None:
            if not fresh or fresh[0] != self._head:
                raise self._broken(self._head.seq, "was taken back or rewritten while the ledger was open")
            fresh = fresh[1:]
        if not fresh:
            return
        previous = self._head
        payloads = []
        for entry in fresh:
            seq, chained_to = (0, GENESIS) if previous is None else (previous.seq + 1, previous.hash)
            if not (has_good_types(entry) and entry.seq == seq and is_chained(entry, chained_to)):
                raise self._broken(seq, "does not continue the chain of hashes")
            payloads.append(decode(entry.payload, seq=seq))
            previous = entry
        first = payloads[0]
        public_key = first.public_key if isinstance(first, Opened) else self.public_key
        if not is_signed(fresh[-1], public_key):
            raise self._broken(fresh[-1].seq, "is not signed by the ledger's key")
        for entry, payload in zip(fresh, payloads, strict=True):
            self._advance(entry, payload)

    def _advance(self, entry: Entry, payload: Payload) -> None:
        self.state.replay(payload, seq=entry.seq)
        if isinstance(payload, Opened):
            self.public_key = payload.public_key
        self._head = entry
        self._hashes.append(entry.hash)
        self._last_at = payload.at

    def _broken(self, seq: int, what: str) -> LedgerError:
        message = f"entry {seq} of the ledger {self._location.label} {what}"
        return LedgerError(message, entry=seq, remedy=_RESTORE)


def now() -> str:
    """The time stamp of an entry, UTC, ISO 8601, to the second: information only."""
    return datetime.now(UTC).isoformat(timespec="seconds")
