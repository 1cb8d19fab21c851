"""One target under atheris, libFuzzer for Python: inputs that reach new lines are kept and mutated further.

A process of its own, ``python -m tests.fuzz.guided TARGET [libFuzzer's options]``: libFuzzer never gives the process
back, and code is instrumented as it is imported.
"""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.campaign import Result
from tests.fuzz.target import Target

LARGEST = 32_768
HANG_SECONDS = 60
ROOT = Path(__file__).parents[2]


def is_available() -> bool:
    """Whether atheris is installed (extra ``fuzz``)."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(make: Callable[[], Target], arguments: list[str]) -> None:
    """Hand this process to libFuzzer; never returns. ``make`` imports what is to be instrumented."""
    import atheris

    with atheris.instrument_imports(include=["secagg", "fl_engine.messages", "fl_engine.plan", "fl_engine.scaling"]):
        target = make()
    from tests.fuzz.mutations import mutate

    donors = [seed[target.selectors :] for seed in target.seeds]

    def alter(data: bytes, size: int, seed: int) -> bytes:
        """libFuzzer's own mutations half of the time, ours of the message's structure otherwise."""
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, min(size, len(data) + 64)))
        chosen, body = data[: target.selectors], data[target.selectors :]
        return (chosen + mutate(body, rng, donors))[:size]

    def check(data: bytes) -> None:
        target.check(data)

    atheris.Setup(["fuzz", *arguments, f"-max_len={LARGEST}", "-print_final_stats=1"], check, custom_mutator=alter)
    atheris.Fuzz()


def run(name: str, target: Target, inputs: int, *, seed: int) -> tuple[Result, int]:
    """``inputs`` inputs to the target ``name`` in a process of its own; also how many branches were reached."""
    return run_program(["-m", "tests.fuzz.guided", name], target, inputs, seed=seed)


def run_program(program: list[str], target: Target, inputs: int, *, seed: int) -> tuple[Result, int]:
    """The same for any ``program`` that calls :func:`fuzz`; ``target`` gives the seeds and the name."""
    with tempfile.TemporaryDirectory(prefix="fedsec-fuzz-") as folder:
        for number, data in enumerate(target.seeds):
            Path(folder, f"seed-{number}").write_bytes(data)
        found = Path(folder, "found-")
        options = [f"-runs={inputs}", f"-seed={seed}", f"-timeout={HANG_SECONDS}", f"-artifact_prefix={found}"]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *program, *options, folder], cwd=ROOT, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        result = Result(target=target.name, inputs=_number(r"number_of_executed_units: (\d+)", output))
        result.seconds = time.monotonic() - began
        result.peak = _number(r"peak_rss_mb: +(\d+)", output) << 20
        result.findings = [(path.read_bytes(), output[-4000:]) for path in Path(folder).glob("found-*")]
        if done.returncode and not result.findings:
            result.findings = [(b"", output[-4000:])]  # it did not start
    return result, _number(r"cov: (\d+)", output)


def _number(pattern: str, output: str) -> int:
    """The last number that ``pattern`` finds, or 0."""
    return int(([*re.findall(pattern, output)] or ["0"])[-1])


def main() -> None:
    """Fuzz the target that the first argument names."""

    def make() -> Target:
        from tests.fuzz.registry import TARGETS

        return TARGETS[sys.argv[1]].make()

    fuzz(make, sys.argv[2:])


if __name__ == "__main__":
    main()
