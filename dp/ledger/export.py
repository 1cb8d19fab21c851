"""A ledger as one JSON file that can be verified without a database: every entry, and countersigned heads.

``{"version": 1, "form": ..., "public_key": ..., "entries": [{"seq", "payload", "hash", "signature"}, ...], "heads":
[...]}``, binary values in lower-case hex. In the form "full" each payload is the text that the ledger holds; in the
form "public", an extract, the text that its hash covers, which names no data set and no holder. Neither holds a signing
key, a split key or a path. Always whole: the chain holds only with every entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec

from dp.ledger.entries import GENESIS, Entry
from dp.ledger.heads import CountersignedHead, Hex32, Hex64, check_heads
from dp.ledger.public_form import Form, public_text
from fedsec.errors import ConfigError


class ExportedEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry; its predecessor's hash is not repeated."""

    seq: int
    payload: str
    hash: Hex32
    signature: Hex64


class Export(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file; ``public_key`` is the ledger's own word and proves nothing."""

    version: Literal[1] = 1
    form: Form
    public_key: Hex32
    entries: tuple[ExportedEntry, ...]
    heads: tuple[CountersignedHead, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry], public_key: bytes, heads: Sequence[CountersignedHead], *, form: Form) -> Self:
        """The export of a ledger's ``entries``, whose chain holds, in ``form``."""
        return cls(
            form=form,
            public_key=public_key.hex(),
            entries=tuple(
                ExportedEntry(
                    seq=entry.seq,
                    payload=(entry.payload if form == "full" else public_text(entry.payload)).decode(),
                    hash=entry.hash.hex(),
                    signature=entry.signature.hex(),
                )
                for entry in entries
            ),
            heads=tuple(heads),
        )

    def encode(self) -> bytes:
        """The file's content: an entry a line, as far as a reader cares."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


class ExportedLedger:
    """An exported ledger as the verifier reads it (:class:`dp.ledger.store.Salvage` of a database).

    Attributes:
        entries: the entries; resumes, complaint, structure: None, since a file that cannot be read whole is refused;
            extras: empty, since nothing else fits the format.
        heads: the countersigned heads in the file, signatures checked.
        form: that the file says its entries have.
    """

    resumes: int | None = None
    complaint: str | None = None
    structure: str | None = None
    extras: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        """Read ``path``.

        Raises:
            ConfigError: it is no export, or a head in it has a false signature.
        """
        try:
            export = msgspec.json.decode(path.read_bytes(), type=Export)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ConfigError(
                f"{path} is damaged, or no exported ledger: {error}", remedy="get it anew from the ledger's holder"
            ) from error
        check_heads(export.heads, origin=str(path))
        self.heads = export.heads
        self.form = export.form
        self.entries: list[Entry] = []
        previous = GENESIS
        for line in export.entries:
            digest = bytes.fromhex(line.hash)
            entry = Entry(line.seq, line.payload.encode(), previous, digest, bytes.fromhex(line.signature))
            self.entries.append(entry)
            previous = digest


def is_export(path: Path) -> bool:
    """Whether the file looks like an export, and not like a database."""
    with path.open("rb") as file:
        return file.read(1) == b"{"
