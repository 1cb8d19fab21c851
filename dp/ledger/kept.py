"""The heads that this machine keeps: the last one that it saw of each ledger, apart from the ledger's own folder.

One heads file for each place and key under ``heads/`` in the operator's private folder (:mod:`fedsec.home`), signed by
a key of this machine. Whoever can write that folder can forge both, so they guard against an old copy put back, a
ledger cut off or changed by somebody else, and mistakes; not against the machine's owner, for whom heads that others
keep are meant.

Heads only move forward: under a lock between processes, and written whole. A head is written after its entry is
committed, so a kill between the two leaves an older head, which the chain still contains. For the same reason heads
are to be read *before* the entries that they are compared with.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dp.ledger.heads import CountersignedHead, Head, countersign, decode_heads, encode_heads
from dp.ledger.keys import load_key_file, new_key_file, write_durably
from dp.ledger.location import Location
from dp.ledger.payloads import Lost
from fedsec.errors import ConfigError, LedgerError
from fedsec.home import private_folder

_DIGITS = 16


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A kept head: ``file`` is where it is, ``here`` whether it was seen at the place that was asked for."""

    file: Path
    here: bool
    countersigned: CountersignedHead


class KeptHeads:
    """The heads kept on this machine, asked about one place.

    Args:
        location: of the ledger.
    """

    def __init__(self, location: Location) -> None:
        self._place = hashlib.sha256(location.label.encode()).hexdigest()[:_DIGITS]

    def read(self) -> tuple[Kept, ...]:
        """Every kept head.

        Raises:
            ConfigError: the private folder cannot be made.
            LedgerError: a file in it is damaged.
        """
        kept = []
        for file in sorted(_folder().glob("*-*.json")):
            try:
                heads = decode_heads(file.read_bytes(), origin=str(file))
            except FileNotFoundError:
                continue
            except (ConfigError, OSError) as error:
                raise LedgerError(
                    f"a head that this machine keeps cannot be read: {error}",
                    remedy="restore the file from a backup; without it an older copy of the ledger is not noticed",
                ) from error
            here = file.name.startswith(self._place)
            kept += [Kept(file=file, here=here, countersigned=head) for head in heads]
        return tuple(kept)

    def here(self) -> tuple[Kept, ...]:
        """The heads that were seen at this place."""
        return tuple(line for line in self.read() if line.here)

    def of(self, kept: Sequence[Kept], public_key: bytes | None) -> tuple[CountersignedHead, ...]:
        """Those of ``kept`` that concern the ledger at this place: of its key, wherever seen, or seen here."""
        return tuple(
            line.countersigned
            for line in kept
            if line.here or (public_key is not None and line.countersigned.head.ledger == public_key.hex())
        )

    def note(self, head: Head, *, at: str, lost: Sequence[Lost]) -> None:
        """Keep ``head``, unless a later one is kept; ``lost`` are the ledger's entries that give heads up.

        Raises:
            ConfigError: it cannot be written.
        """
        file = _folder() / f"{self._place}-{head.ledger[:_DIGITS]}.json"
        try:
            with locked():
                for known in decode_heads(file.read_bytes(), origin=str(file)) if file.exists() else ():
                    given_up = any(known.head.hash == line.hash.hex() for line in lost)
                    if known.head.entry >= head.entry and not given_up:
                        return
                write_durably(file, encode_heads([_signed(head, at=at)]))
        except OSError as error:
            raise ConfigError(
                f"the ledger's head cannot be kept in {file}: {error.strerror}",
                remedy="set FEDSEC_HOME to a folder that you can write to",
            ) from error

    @staticmethod
    def sign(head: Head, *, at: str) -> CountersignedHead:
        """``head``, countersigned with this machine's own key, which is made the first time."""
        with locked():
            return _signed(head, at=at)


@contextmanager
def locked() -> Iterator[None]:
    """Keep this machine's other processes from its key and its heads files, which are read and written anew.

    Raises:
        ConfigError: the private folder cannot be written.
    """
    lock = _folder() / "lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{lock} cannot be opened: {error.strerror}", remedy="set FEDSEC_HOME to a folder that you can write to"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _signed(head: Head, *, at: str) -> CountersignedHead:
    path = _folder() / "witness.key"
    key = load_key_file(path)
    return countersign(head, [new_key_file(path) if key is None else key], at=at)


def _folder() -> Path:
    folder = private_folder() / "heads"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder {folder} cannot be made: {error.strerror}", remedy="set FEDSEC_HOME to a folder of your own"
        ) from error
    return folder
