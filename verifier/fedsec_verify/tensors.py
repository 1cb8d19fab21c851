"""A reader of safetensors files (format of huggingface/safetensors 0.4), strict: every byte belongs to one tensor.

Eight bytes of little-endian length, a JSON header padded with blanks, then the tensors' bytes without a gap.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

_MOST_HEADER = 100_000_000
_METADATA = "__metadata__"
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class FormatError(ValueError):
    """The bytes are no safetensors file of float32 tensors."""


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[_Size, ...]
    data_offsets: tuple[_Size, _Size]


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """Float32 tensors by name, and the strings beside them."""

    tensors: dict[str, NDArray[np.float32]]
    metadata: dict[str, str]


def read_tensors(data: bytes) -> TensorFile:
    """The content of a file.

    Raises:
        FormatError: it is damaged, holds something other than float32, or bytes that no tensor claims.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MOST_HEADER, len(data) - 8):
        raise FormatError("the header is longer than the file")
    header, body = data[8 : 8 + length], data[8 + length :]
    try:
        json.loads(header, object_pairs_hook=_once)
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(raw.pop(_METADATA, msgspec.Raw(b"{}")), type=dict[str, str])
        found = {name: msgspec.json.decode(value, type=_Tensor) for name, value in raw.items()}
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise FormatError(f"the header cannot be read: {error}") from None
    end, tensors = 0, {}
    for name, tensor in sorted(found.items(), key=lambda item: item[1].data_offsets):
        start, stop = tensor.data_offsets
        if tensor.dtype != "F32" or start != end or stop - start != 4 * math.prod(tensor.shape) or stop > len(body):
            raise FormatError(f"the tensor {name} is not float32 or does not lie where the header says")
        tensors[name] = np.frombuffer(body[start:stop], "<f4").reshape(tensor.shape)
        end = stop
    if end != len(body):
        raise FormatError("bytes follow the last tensor")
    return TensorFile(tensors=tensors, metadata=metadata)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)
