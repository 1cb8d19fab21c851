"""Which secrets an object can still reach: a walk over everything that it refers to."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import secagg

_NOT_DATA = (types.ModuleType, type, types.CodeType, types.BuiltinFunctionType, types.TracebackType)
_PACKAGE = str(Path(secagg.__file__).parent)


def reachable(*roots: Any) -> Iterator[Any]:
    """Every object that ``roots`` refer to; modules, classes, code and tracebacks left out.

    A traceback leads to the test's own frame, which knows the secrets: see :func:`frames_of_package`.
    """
    seen: set[int] = set()
    queue = list(roots)
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, _NOT_DATA):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, types.FunctionType):
            queue.extend(item.__closure__ or ())
        elif isinstance(item, types.FrameType):
            queue.extend(item.f_locals.values())
        else:
            queue.extend(gc.get_referents(item))


def blobs(*roots: Any) -> list[bytes]:
    """All byte strings within reach, private keys in their raw form."""
    found = []
    for item in reachable(*roots):
        if isinstance(item, (bytes, bytearray)):
            found.append(bytes(item))
        elif isinstance(item, (X25519PrivateKey, MLKEM768PrivateKey)):
            found.append(item.private_bytes_raw())
    return found


def round_secrets(client: secagg.Client) -> set[bytes]:
    """The secrets of the client's current state: private keys, seeds, stream keys and shares."""
    return _secrets_of(client._phase)


def _secrets_of(part: Any) -> set[bytes]:
    public = ("own", "place", "kid", "t1", "members", "survivors")
    found: set[bytes] = set()
    for name in getattr(part, "__dataclass_fields__", {}):
        value = getattr(part, name)
        if hasattr(value, "__dataclass_fields__"):
            found |= _secrets_of(value) if name != "place" else set()
        elif name not in public:
            found |= set(blobs(value))
    return found


def still_known(secrets: set[bytes], *roots: Any) -> set[bytes]:
    """Those of ``secrets`` that some byte string within reach of ``roots`` contains."""
    found = blobs(*roots)
    return {secret for secret in secrets if any(secret in blob for blob in found)}


def frames_of_package(error: BaseException) -> list[types.FrameType]:
    """The frames of ``secagg`` that ``error``, or an error behind it, keeps alive."""
    frames = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        pending += [current.__cause__, current.__context__]
        trace = current.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
                frames.append(trace.tb_frame)
            trace = trace.tb_next
    return frames
