"""Unmasking on several cores: each takes the masks off its own part of the sum, in memory that they share.

The cipher holds the interpreter's lock, so threads would wait for each other; helpers are processes
(:mod:`fl_engine.unmasking_worker`), started once and told what to do over a socket. The accumulator lies in a
memory file without a name, which reaches a helper through that socket: nothing is left in the file system
whoever is killed when, and keys are in no argument, environment or file.

**A helper that fails costs time, never the sum.** Its part is kept as it was until it reports that it is done. If
it ends before, it is made sure that it has ended, and its part is put back and done here.
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedsec.keystream import KeyStream
from fl_engine.unmasking_worker import DONE, ORDER
from secagg import masking
from secagg.unmasking import IN_PROCESS, Unmasker

PAGE_BYTES = 1 << 16  # a multiple of every system's pages, where memory can be mapped from, and of the cipher's blocks
PATIENCE_SECONDS = 120  # for a helper that hangs, be it stopped from outside; a part takes a few at most
WORTH_BYTES = 1 << 26  # key stream of one opening; below it, what a helper takes over is a few milliseconds


class SeveralCores:
    """An unmasker (:class:`secagg.unmasking.Unmasker`) with helper processes. Linux only.

    Args:
        cores: how many to use, this process included; at least 1.

    Close it, or use it as a context manager: helpers also end when it is forgotten, and when this process ends.
    A closed one goes on alone.
    """

    def __init__(self, cores: int) -> None:
        self._helpers: list[_Helper] = []
        self._files: dict[int, int] = {}
        self._one_at_a_time = threading.Lock()
        self._finalizer = weakref.finalize(self, _end, self._helpers)
        for _ in range(cores - 1):
            try:
                self._helpers.append(_Helper())
            except OSError as error:
                _warn(f"no helper process for unmasking could be started ({error})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def processes(self) -> tuple[int, ...]:
        """Ids of the helpers that are at work."""
        return tuple(helper.process.pid for helper in self._helpers)

    def close(self) -> None:
        """End the helpers; legal at any time, also twice."""
        self._finalizer()

    def zeros(self, count: int, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """``count`` zeros of ``dtype`` in memory that helpers can be given; freed with the last reference to it."""
        file = os.memfd_create("fedsec-sum", os.MFD_CLOEXEC)
        try:
            size = max(1, count * dtype.itemsize)
            os.truncate(file, size)
            words: NDArray[np.unsignedinteger] = np.frombuffer(mmap.mmap(file, size), dtype=dtype, count=count)
        except BaseException:
            os.close(file)
            raise
        self._files[id(words)] = file
        weakref.finalize(words, _forget, self._files, id(words))
        return words

    def combine(self, words: NDArray[np.unsignedinteger], *, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
        """Add and subtract, in place, the streams of 32-byte keys to all of ``words``, which :meth:`zeros` made.

        Raises:
            KeyError: ``words`` is not an array of :meth:`zeros`.
        """
        with self._one_at_a_time:
            try:
                self._combine(words, self._files[id(words)], add, subtract)
            except BaseException:
                # Helpers may be in the middle of an order, whose answer must not be taken for the next one's.
                self.close()
                raise

    def _combine(
        self, words: NDArray[np.unsignedinteger], file: int, add: Sequence[bytes], subtract: Sequence[bytes]
    ) -> None:
        own, *others = _parts(words, 1 + len(self._helpers))
        given = []
        for helper, part in zip(list(self._helpers), others, strict=False):
            before = helper.keep(words[part])
            helper.begin(file, words.dtype.itemsize, part, add, subtract)
            given.append((helper, part, before))
        _combine_part(words, own, add, subtract)
        for helper, part, before in given:
            if not helper.finish():
                helper.end()
                self._helpers.remove(helper)
                _warn("a helper process for unmasking ended; its part of the sum was done by the main process")
                words[part] = before
                _combine_part(words, part, add, subtract)


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unmasker_for(stream_bytes: int) -> Unmasker:
    """The unmasker for sums that take about so many bytes of key stream to open.

    Helpers take a quarter of a second to start and a core while they work: small sums are opened in process.
    """
    cores = available_cores()
    if stream_bytes < WORTH_BYTES or cores == 1 or not hasattr(os, "memfd_create"):
        return IN_PROCESS
    return SeveralCores(cores)


class _Helper:
    """One helper process and the socket to it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            # It imports from where this process does; -P: and not from the folder that it was started in.
            path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fl_engine.unmasking_worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**_environment(), "PYTHONPATH": path},
                start_new_session=True,  # so that Ctrl-C reaches this process alone
            )
        self._socket.settimeout(PATIENCE_SECONDS)
        self._broken = False
        self._kept: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def keep(self, part: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """A copy of its part, in memory that is used again for the next one: fresh pages cost as much as the copy."""
        if self._kept.nbytes < part.nbytes:
            self._kept = np.empty(part.nbytes, dtype=np.uint8)
        copy: NDArray[np.unsignedinteger] = self._kept[: part.nbytes].view(part.dtype)
        copy[:] = part
        return copy

    def begin(self, file: int, size: int, part: slice, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
        """Give it an order; a failure shows in :meth:`finish`."""
        order = ORDER.pack(size, part.start, part.stop - part.start, len(add), len(subtract))
        try:
            socket.send_fds(self._socket, [order], [file])
            self._socket.sendall(b"".join([*add, *subtract]))
        except OSError:
            self._broken = True

    def finish(self) -> bool:
        """Wait for the end of its order; whether it was carried out."""
        if self._broken:
            return False
        try:
            return self._socket.recv(len(DONE)) == DONE
        except OSError:
            return False

    def end(self) -> None:
        """End it, whatever it is doing; it has ended when this returns."""
        self.process.kill()
        self.process.wait()
        self._socket.close()


def _environment() -> dict[str, str]:
    """What Python and numpy read of the environment; a helper has no use for the rest, and no right to its secrets."""
    kept = ("PATH", "LD_", "DYLD_", "OPENBLAS", "OMP_", "LANG", "LC_", "TMPDIR")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


def _parts(words: NDArray[np.unsignedinteger], number: int) -> list[slice]:
    """Up to ``number`` parts of about the same length, each from a page's beginning; only the first may be empty."""
    unit = PAGE_BYTES // words.dtype.itemsize
    units = len(words) // unit
    edges = [unit * (units * place // number) for place in range(number)] + [len(words)]
    parts = [slice(begin, end) for begin, end in pairwise(edges)]
    return parts[:1] + [part for part in parts[1:] if part.start < part.stop]


def _combine_part(
    words: NDArray[np.unsignedinteger], part: slice, add: Sequence[bytes], subtract: Sequence[bytes]
) -> None:
    start = part.start * words.dtype.itemsize
    masking.combine(
        words[part],
        add=[KeyStream(key, start=start) for key in add],
        subtract=[KeyStream(key, start=start) for key in subtract],
    )


def _forget(files: dict[int, int], key: int) -> None:
    os.close(files.pop(key))


def _end(helpers: list[_Helper]) -> None:
    while helpers:
        with suppress(OSError):
            helpers.pop().end()


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
