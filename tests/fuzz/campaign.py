"""Many inputs through one target: what was found, how fast, and whether memory grew."""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import os
import random
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.target import Target

CORPUS = Path(__file__).with_name("corpus")
PAGE = os.sysconf("SC_PAGE_SIZE")
WARM_UP = 0.3  # of the inputs, before memory is looked at: caches fill, the allocator settles
GROWTH = 8 << 20  # bytes of resident memory that the rest may add


@dataclass(kw_only=True)
class Result:
    """What a campaign against one target gave."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[bytes, str]] = field(default_factory=list)  # input and traceback, one of each kind
    grown: int = 0  # bytes of resident memory after the warm-up
    peak: int = 0  # bytes of resident memory

    @property
    def leaks(self) -> bool:
        """Whether memory grew with the number of inputs."""
        return self.grown > GROWTH


def resident() -> int:
    """Bytes of memory of this process that are in use now."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE


def run(target: Target, inputs: int, *, seed: int, most: int = 5, patience: float | None = None) -> Result:
    """Give ``inputs`` mutated inputs to ``target``; stop after ``most`` different findings.

    With ``patience`` the process ends with a traceback if a thousand inputs take longer than as many seconds: a hang.
    """
    rng = random.Random(seed)
    result = Result(target=target.name)
    seen: set[str] = set()
    settled = 0
    began = time.monotonic()
    for count in range(inputs):
        if count == int(WARM_UP * inputs):
            gc.collect()
            settled = resident()
        if patience is not None and count % 1000 == 0:
            faulthandler.dump_traceback_later(patience, exit=True)
        data = target.draw(rng)
        result.inputs += 1
        try:
            result.outcomes[target.check(data)] += 1
        except Exception as error:  # whatever comes out is the finding
            result.outcomes["found"] += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} {place.filename}:{place.lineno}"
            if kind not in seen:
                seen.add(kind)
                result.findings.append((data, traceback.format_exc()))
            if len(seen) >= most:
                break
    faulthandler.cancel_dump_traceback_later()
    gc.collect()
    result.seconds = time.monotonic() - began
    result.peak = resident()
    result.grown = max(0, result.peak - settled) if settled else 0
    return result


def save(target: str, data: bytes, folder: Path = CORPUS) -> Path:
    """Keep an input that found something; :func:`saved` and with it the tests replay it from then on."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


def saved(target: str, folder: Path = CORPUS) -> list[bytes]:
    """The inputs that once found something in ``target``."""
    return [path.read_bytes() for path in sorted(folder.glob(f"{target}-{'[0-9a-f]' * 12}.bin"))]
