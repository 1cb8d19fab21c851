"""A message with one thing in it changed, in every way that its type allows: for attacks that go field by field."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from secagg import messages
from tests.secagg.helpers import flip


def _others(value: Any) -> Iterator[tuple[str, Any]]:
    """Other values of the type of ``value``."""
    match value:
        case bytes():
            if value:
                yield "first bit", flip(value)
                yield "last bit", flip(value, len(value) - 1)
                yield "zeros", bytes(len(value))
        case memoryview():
            yield from _others(bytes(value))
        case int():
            yield "one more", value + 1
            if value:
                yield "one less", value - 1
        case tuple():
            if value:
                yield "without the last", value[:-1]
                yield "without the first", value[1:]
                yield "last twice", (*value, value[-1])
                yield "nothing", ()
            if len(value) > 1:
                yield "reversed", value[::-1]
                yield "first two swapped", (value[1], value[0], *value[2:])
        case messages.Pair():
            yield "taken away", None


def mutated(value: Any, foreign: Any, path: str) -> Iterator[tuple[str, Any]]:
    """``value`` with one thing in it changed; ``foreign`` is what stands in its place in another session."""
    yield from ((f"{path}: {how}", other) for how, other in _others(value))
    if type(foreign) is type(value):
        yield f"{path}: spliced", foreign
    if isinstance(value, tuple):
        shown = range(len(value)) if len(value) <= 6 else (0, 1, len(value) - 1)
        for place in shown:
            inner = foreign[place] if isinstance(foreign, tuple) and place < len(foreign) else None
            for name, other in mutated(value[place], inner, f"{path}[{place}]"):
                yield name, (*value[:place], other, *value[place + 1 :])
            neighbour = value[(place + 1) % len(value)]
            if isinstance(neighbour, msgspec.Struct):
                for name in value[place].__struct_fields__:
                    theirs = getattr(neighbour, name)
                    swapped = msgspec.structs.replace(value[place], **{name: theirs})
                    yield f"{path}[{place}].{name}: the neighbour's", (*value[:place], swapped, *value[place + 1 :])
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        for name in names:
            inner = getattr(foreign, name) if foreign is not None else None
            for found, other in mutated(getattr(value, name), inner, f"{path}.{name}"):
                yield found, msgspec.structs.replace(value, **{name: other})
        for one, other in pairwise(names):
            ours, theirs = getattr(value, one), getattr(value, other)
            if type(ours) is type(theirs):
                both = {one: theirs, other: ours}
                yield f"{path}: {one} and {other} swapped", msgspec.structs.replace(value, **both)
