"""The signed log: reads are checked against earlier reads, writes are chained, signed and committed.

The hash chain and the signature of the last entry, which covers all before it, are checked on every read; the
verifier checks every signature. Opening also compares the entries with the heads that this machine keeps.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from dp.ledger.agreement import Agreement, Disagreement, compare
from dp.ledger.entries import EARLIER_FORMAT, GENESIS, Entry, is_chained, is_of_before, is_signed, make_entry
from dp.ledger.heads import Head, head_of
from dp.ledger.kept import Kept, KeptHeads
from dp.ledger.keys import create_key_file, load_signing_key, public_bytes
from dp.ledger.location import Location
from dp.ledger.payloads import Burnt, Lost, Opened, Payload, Refused, Reserved, decode
from dp.ledger.postgres import LockedError, TransientError
from dp.ledger.public_form import salt_of
from dp.ledger.state import State
from dp.ledger.store import BUSY_SECONDS, Store, append, entries_from, has_good_types
from fedsec.errors import ConfigError, LedgerError, LocalProtocolError

_RETRY_SECONDS = 0.05
_BEGIN_ANEW = "read its balances with the fedsec that wrote it; name a new ledger, with what is left as its budgets"
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

    @property
    def salt(self) -> str:
        """That of the ledger, for a payload that names a data set.

        Raises:
            LedgerError: the signing key, which it is derived from, is missing.
        """
        return salt_of(self._signing_key)

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
            LedgerError: the signing key is missing, the entries cannot be read or written, or whether they were written
                is not known.
            TransientError: the server is away, or another process came first: nothing was written.
        """
        with self.locked():
            pending: list[Payload] = []
            written: list[Entry] = []
            decided = False
            try:
                with self._store.writing() as connection:
                    self._catch_up(connection)
                    yield pending
                    decided = True
                    written = self._append(connection, pending)
            except TransientError as error:
                if not decided:
                    raise
                written = self._write_again(pending, written, error)
            # Committed: only now may the state know of it, and it takes what a reader would take.
            for entry in written:
                self._advance(entry, decode(entry.payload, seq=entry.seq))
            # Not after a burn, for the time it takes: a burn that is cut off gives nothing back, since its run's
            # reservation counts in full until it is settled.
            if any(not isinstance(payload, Burnt) for payload in pending):
                self._keep_head()

    def _write_again(self, pending: list[Payload], tried: list[Entry], error: TransientError) -> list[Entry]:
        """After a failure that may have struck after the commit: find ``tried`` in the ledger, or write ``pending``.

        Whoever holds the writers' lock knows that the broken session has ended, so what is not there by now never
        comes; if it did, its number would be taken. Entries of others in between do no harm to a payload that still
        keeps the rules, but a reservation was weighed against a balance that they changed.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        unknown = list(tried)
        done = overtaken = False
        while time.monotonic() < deadline:
            written: list[Entry] = []
            try:
                with self._store.writing() as connection:
                    fresh = self._catch_up(connection)
                    done = done or any(entry in unknown for entry in fresh)
                    overtaken = overtaken or bool(fresh)
                    if not done and overtaken and any(isinstance(payload, Reserved | Refused) for payload in pending):
                        break
                    if not done:
                        written = self._append(connection, pending)
                        unknown += written
            except (TransientError, LockedError):
                if not done:
                    time.sleep(_RETRY_SECONDS)
                    continue
            return [] if done else written
        if overtaken or not unknown:
            raise error
        raise LedgerError(
            f"the connection to the ledger {self._location.label} broke while entry {unknown[0].seq} was written: "
            "whether it is there is not known, so nothing may leave",
            remedy="`fedsec ledger show` tells, once the server is back",
        ) from error

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
        if self._key is None:  # only now: the key is older than entry 0
            self._key = load_signing_key(self._location.key_path, self.public_key)
        if self._key is not None:
            self._know_salt(salt_of(self._key))
        if give_up:
            self._give_up(agreement.disagreements)
        with self.locked():
            self._heads.note(self.head, at=now(), lost=self.state.lost)

    def _know_salt(self, salt: str) -> None:
        """From here on an entry under another salt is refused, whoever wrote it."""
        if self.state.salt not in ("", salt):
            raise LedgerError(
                f"the names in the ledger {self._location.label} stand under a salt that is not of its signing key, so "
                "other software wrote them",
                remedy=_RESTORE,
            )
        self.state.salt = salt

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
            with contextlib.suppress(ConfigError, LedgerError):
                self._heads.note(self.head, at=now(), lost=self.state.lost)

    def _found(self) -> None:
        with self.writing() as pending:
            if self._head is not None:
                return  # another process was first
            self._location.key_path.parent.mkdir(parents=True, exist_ok=True)
            self._key = create_key_file(self._location.key_path)
            public_key = public_bytes(self._key)
            pending.append(Opened(ledger=secrets.token_hex(16), public_key=public_key, at=now()))
        self._key = None  # the draft gets its name, now that the ledger names it

    def _append(self, connection: Connection, payloads: list[Payload]) -> list[Entry]:
        entries: list[Entry] = []
        for payload in payloads:
            entries.append(self._made(payload, after=entries[-1] if entries else self._head))
            append(connection, entries[-1])
        return entries

    def _made(self, payload: Payload, *, after: Entry | None) -> Entry:
        self.state.check(payload)
        seq, previous = (0, GENESIS) if after is None else (after.seq + 1, after.hash)
        return make_entry(self._signing_key, seq=seq, previous=previous, payload=payload)

    @property
    def _signing_key(self) -> Ed25519PrivateKey:
        if self._key is None:
            raise LedgerError(
                f"the ledger {self._location.label} cannot be continued: "
                f"its signing key {self._location.key_path} is missing or another one",
                remedy="restore the key file; without it the ledger can only be shown and verified",
            )
        return self._key

    def _catch_up(self, connection: Connection) -> list[Entry]:
        """Replay and return what other processes appended, after checking that it continues what was read before."""
        fresh = entries_from(connection, 0 if self._head is None else self._head.seq)
        if self._head is not None:
            if not fresh or fresh[0] != self._head:
                raise self._broken(self._head.seq, "was taken back or rewritten while the ledger was open")
            fresh = fresh[1:]
        if not fresh:
            return fresh
        previous = self._head
        payloads = []
        for entry in fresh:
            seq, chained_to = (0, GENESIS) if previous is None else (previous.seq + 1, previous.hash)
            if not (has_good_types(entry) and entry.seq == seq and is_chained(entry, chained_to)):
                if has_good_types(entry) and seq == 0 and is_of_before(entry):
                    raise LedgerError(f"the ledger {self._location.label} {EARLIER_FORMAT}", remedy=_BEGIN_ANEW)
                raise self._broken(seq, "does not continue the chain of hashes")
            payloads.append(decode(entry.payload, seq=seq))
            previous = entry
        first = payloads[0]
        public_key = first.public_key if isinstance(first, Opened) else self.public_key
        if not is_signed(fresh[-1], public_key):
            raise self._broken(fresh[-1].seq, "is not signed by the ledger's key")
        for entry, payload in zip(fresh, payloads, strict=True):
            self._advance(entry, payload)
        return fresh

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
