"""The ledger's Ed25519 keys: the signing key in a file beside it, public keys as an auditor brings them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedsec.errors import ConfigError, LedgerError

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


def public_bytes(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """The 32 bytes of the public key (RFC 8032)."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(*_RAW)


def signed_message(label: bytes, message: bytes) -> bytes:
    """What is signed: the label's length in one byte, the label, the message; no two uses share a text."""
    return bytes([len(label)]) + label + message


def sign(key: Ed25519PrivateKey, label: bytes, message: bytes) -> bytes:
    """The 64-byte signature of ``message`` under the context ``label``."""
    return key.sign(signed_message(label, message))


def verifies(public_key: bytes, signature: bytes, label: bytes, message: bytes) -> bool:
    """Whether ``signature`` is ``public_key``'s on ``message`` under ``label``; False for a malformed key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed_message(label, message))
    except (InvalidSignature, ValueError):
        return False
    return True


def create_key_file(path: Path) -> Ed25519PrivateKey:
    """A fresh signing key (PKCS8 PEM, mode 0600), durably in the draft beside ``path``, for a ledger without an entry.

    It gets its name by :func:`load_signing_key`, once the ledger names it. Until then nothing was signed with it, so a
    draft of a process that was killed is simply written over.

    Raises:
        LedgerError: there is a key at ``path``, so a ledger that it signed is missing.
        ConfigError: the folder cannot be written.
    """
    if path.exists():
        raise LedgerError(
            f"there is a signing key {path} but no ledger that it signed: was the ledger deleted or moved?",
            remedy="restore the ledger from a backup; to start with nothing spent, move the key file away",
        )
    key = Ed25519PrivateKey.generate()
    write_durably(_draft(path), _pem(key))
    return key


def new_key_file(path: Path) -> Ed25519PrivateKey:
    """Write a fresh signing key to ``path`` (PKCS8 PEM, mode 0600), durably.

    Raises:
        FileExistsError: there is such a file.
        ConfigError: the folder cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    write_durably(path, _pem(key), exclusive=True)
    return key


def load_signing_key(path: Path, public_key: bytes) -> Ed25519PrivateKey | None:
    """The key in ``path`` if it is the ``public_key``'s; a draft that is gets that name first.

    Raises:
        LedgerError: the file holds no Ed25519 key.
    """
    if not path.exists():
        try:
            fresh = load_key_file(_draft(path))
        except LedgerError:
            fresh = None
        if fresh is not None and public_bytes(fresh) == public_key:
            with contextlib.suppress(FileNotFoundError):  # another process was first
                _draft(path).replace(path)
    key = load_key_file(path)
    return key if key is not None and public_bytes(key) == public_key else None


def load_key_file(path: Path) -> Ed25519PrivateKey | None:
    """The signing key in ``path``, or ``None`` where there is no such file.

    Raises:
        LedgerError: the file holds no Ed25519 key.
    """
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise LedgerError(f"{path} holds no signing key", remedy="restore it from a backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise LedgerError(f"{path} holds a key that is not Ed25519", remedy="restore it from a backup")
    return key


def read_public_key(source: str) -> bytes:
    """The 32-byte public key that ``source`` names: 64 hex digits, or a file with these or a PEM key of
    either half.

    Raises:
        ConfigError: it is neither.
    """
    text = source.strip().encode()
    if (key := _from_hex(text)) is not None:
        return key
    try:
        text = Path(source).expanduser().read_bytes().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{source!r} is neither a public key nor a file that can be read",
            remedy="give 64 hex digits, or a file that holds them or a PEM key",
        ) from error
    if (key := _from_hex(text)) is not None:
        return key
    for load in (
        serialization.load_pem_public_key,
        lambda pem: serialization.load_pem_private_key(pem, None),
    ):
        try:
            loaded = load(text)
        except (ValueError, TypeError):
            continue
        if isinstance(loaded, Ed25519PublicKey | Ed25519PrivateKey):
            return public_bytes(loaded)
    raise ConfigError(f"the file {source} holds no Ed25519 key", remedy="give 64 hex digits or a PEM key")


def write_durably(path: Path, data: bytes, *, exclusive: bool = False) -> None:
    """Write ``data`` to ``path`` (mode 0600) so that it survives a power cut: all of it or the file as it
    was.

    Raises:
        FileExistsError: ``exclusive`` and the file exists.
        ConfigError: it cannot be written, because the disk is full for one.
    """
    try:
        _write_durably(path, data, exclusive=exclusive)
    except FileExistsError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", remedy="make room or get access") from error


def _write_durably(path: Path, data: bytes, *, exclusive: bool) -> None:
    # One name for all processes, which the ledger's write lock keeps apart: a killed one leaves no second secret about.
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(temporary, path)  # unlike a rename it fails where the name is taken
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in the folder survive a power cut."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _from_hex(text: bytes) -> bytes | None:
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return None
    return key if len(key) == PUBLIC_KEY_BYTES else None
