"""A tracer in a hundred lines: runs a forked child from one system call to the next, and strikes at the N-th.

What counts is what touches a file or a socket: SQLite's and libpq's calls happen in C, where Python sees nothing.
Linux on x86-64; see ptrace(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Strike = Literal["none", "kill before", "kill after", "torn", "full disk", "meanwhile"]

_TRACEME, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 12, 13, 24, 0x4200
_OPTIONS = 0x00000001 | 0x00100000  # TRACESYSGOOD, EXITKILL
_ENOSPC = 28

# x86-64 numbers. The writing ones have their length in the third argument and can be torn or find the disk full.
WRITING = {1: "write", 18: "pwrite64", 20: "writev", 44: "sendto", 46: "sendmsg"}
_TEARABLE = (1, 18, 44)
_GROWING = {1: "write", 18: "pwrite64", 77: "ftruncate", 285: "fallocate", 257: "openat", 74: "fsync", 75: "fdatasync"}
OPERATIONS = {
    **WRITING,
    **_GROWING,
    **{0: "read", 2: "open", 3: "close", 7: "poll", 17: "pread64", 19: "readv", 41: "socket", 42: "connect"},
    **{45: "recvfrom", 47: "recvmsg", 48: "shutdown", 54: "setsockopt", 55: "getsockopt", 72: "fcntl", 73: "flock"},
    **{76: "truncate", 82: "rename", 83: "mkdir", 86: "link", 87: "unlink", 90: "chmod", 91: "fchmod", 93: "fchown"},
    **{258: "mkdirat", 263: "unlinkat", 264: "renameat", 265: "linkat", 271: "ppoll", 316: "renameat2"},
}
_O_CREAT = os.O_CREAT


def missing() -> str | None:
    """Why nothing can be traced here, or ``None``."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the tracer knows the system calls of Linux on x86-64 only"
    return None


_REGISTERS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)


class _Registers(ctypes.Structure):
    # struct user_regs_struct of sys/user.h.
    _fields_ = [(name, ctypes.c_ulonglong) for name in _REGISTERS]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the child.

    Attributes:
        operations: how many counted calls it began while traced.
        struck: name of the call that was struck, or ``None`` where the child ended before.
        killed: whether it was killed there.
        status: exit code, or minus the signal.
    """

    operations: int
    struck: str | None
    killed: bool
    status: int


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, address: int = 0, data: object = 0) -> None:
    if _LIBC.ptrace(request, pid, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}")


def ask_to_be_traced() -> None:
    """In the child, where counting begins."""
    _ptrace(_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def applies(strike: Strike, number: int, registers: _Registers) -> bool:
    """Whether the call can suffer ``strike``: only what writes is torn, only what needs room finds none."""
    if strike == "torn":
        return number in _TEARABLE and registers.rdx > 1
    if strike == "full disk":
        return number in _GROWING and (number != 257 or bool(registers.rdx & _O_CREAT))
    return True


def run(
    child: Callable[[], None],
    *,
    at: int,
    strike: Strike,
    ignored: frozenset[int] = frozenset(),
    meanwhile: Callable[[], object] = lambda: None,
) -> Outcome:
    """Fork ``child``, which calls :func:`ask_to_be_traced`; strike at its counted call number ``at`` (from 0).

    Calls on the descriptors ``ignored`` do not count: through them the child says what it released. A full disk stays
    full. ``meanwhile`` is what happens elsewhere, to the server for one, as the child is about to make the call.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    count, struck, inside, traced = 0, None, False, False
    while True:
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            return Outcome(operations=count, struck=struck, killed=False, status=os.WEXITSTATUS(status))
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return Outcome(operations=count, struck=struck, killed=number == signal.SIGKILL, status=-number)
        stopped = os.WSTOPSIG(status)
        deliver = 0
        if not traced:
            _ptrace(_SETOPTIONS, pid, 0, _OPTIONS)
            traced = True
        elif stopped == signal.SIGTRAP | 0x80:
            inside = not inside
            registers = _Registers()
            _ptrace(_GETREGS, pid, 0, ctypes.byref(registers))
            number = registers.orig_rax
            if inside and number in OPERATIONS and not (number in (0, 1, 3) and registers.rdi in ignored):
                here = strike != "none" and (count == at or (strike == "full disk" and count > at))
                count += 1
                if here and applies(strike, number, registers):
                    struck = struck or OPERATIONS[number]
                    if strike == "meanwhile":
                        meanwhile()
                        _ptrace(_SYSCALL, pid)
                        continue
                    if strike == "kill before":
                        os.kill(pid, signal.SIGKILL)
                        continue
                    if strike == "torn":
                        registers.rdx //= 2
                    if strike == "full disk":
                        registers.orig_rax = 2**64 - 1  # no such call: the kernel does nothing
                    _ptrace(_SETREGS, pid, 0, ctypes.byref(registers))
                    _finish(pid, full=strike == "full disk")
                    inside = False
                    if strike != "full disk":
                        os.kill(pid, signal.SIGKILL)
                        continue
        elif stopped != signal.SIGTRAP:
            deliver = stopped
        _ptrace(_SYSCALL, pid, 0, deliver)


def _finish(pid: int, *, full: bool) -> None:
    """Let the call happen, up to its exit; ``full``: it says that there is no room."""
    _ptrace(_SYSCALL, pid)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status)
    if full:
        registers = _Registers()
        _ptrace(_GETREGS, pid, 0, ctypes.byref(registers))
        registers.rax = 2**64 - _ENOSPC
        _ptrace(_SETREGS, pid, 0, ctypes.byref(registers))
