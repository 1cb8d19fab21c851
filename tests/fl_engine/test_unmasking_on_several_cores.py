"""Helper processes take off the same masks as one process does, leave nothing behind, and cost no sum if they fail."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dp.ledger import Ledger
from fedsec.keystream import KEY_BYTES, TILE_BYTES, KeyStream
from fl_engine import unmasking
from fl_engine.unmasking import PAGE_BYTES, SeveralCores, available_cores, unmasker_for
from secagg import Server, Step, masking
from secagg.packing import word_type
from secagg.unmasking import IN_PROCESS
from tests.fl_engine.run_helpers import begin, own_place
from tests.secagg.helpers import Federation

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory files without a name are Linux's")

UNIT = PAGE_BYTES // 4
LONG = 3 * UNIT + 5


def _keys(count: int, seed: int = 0) -> list[bytes]:
    return [bytes([seed, place]) * (KEY_BYTES // 2) for place in range(count)]


def _filled(words: np.ndarray, seed: int = 0) -> np.ndarray:
    words[:] = np.random.default_rng(seed).integers(0, np.iinfo(words.dtype).max, len(words), dtype=words.dtype)
    return words


def _alone(words: np.ndarray, *, add: Sequence[bytes], subtract: Sequence[bytes]) -> np.ndarray:
    """The same by one call over the whole vector, in this process."""
    expected = words.copy()
    IN_PROCESS.combine(expected, add=add, subtract=subtract)
    return expected


@pytest.fixture(scope="module")
def cores() -> Iterator[SeveralCores]:
    with SeveralCores(3) as several:
        yield several


@pytest.mark.parametrize("bits", [1, 20, 24, 32, 33, 40, 64])
@pytest.mark.parametrize("count", [1, 77, UNIT, UNIT + 1, 2 * UNIT, 6 * UNIT - 1, 2 * TILE_BYTES // 4 + 333])
def test_the_same_sum_as_in_one_process(cores: SeveralCores, bits: int, count: int) -> None:
    """At the edges of pages and tiles, with odd lengths. Control: one stream more or less is another sum."""
    words = _filled(cores.zeros(count, word_type(bits)))
    add, subtract = _keys(3), _keys(4, seed=1)
    expected = _alone(words, add=add, subtract=subtract)
    fewer = _alone(words, add=add, subtract=subtract[1:])
    cores.combine(words, add=add, subtract=subtract)
    assert np.array_equal(words, expected)
    assert not np.array_equal(words, fewer)
    assert len(cores.processes) == 2


@pytest.mark.parametrize(("plus", "minus"), [(0, 0), (1, 0), (0, 1), (0, 3000)])
def test_any_number_of_streams(cores: SeveralCores, plus: int, minus: int) -> None:
    """Also none, and more keys than a socket holds at once."""
    words = _filled(cores.zeros(LONG, word_type(32)))
    before = words.copy()
    add = [b"a" * KEY_BYTES] * plus
    subtract = [place.to_bytes(KEY_BYTES, "big") for place in range(minus)]
    expected = _alone(words, add=add, subtract=subtract)
    cores.combine(words, add=add, subtract=subtract)
    assert np.array_equal(words, expected)
    assert np.array_equal(words, before) == (plus + minus == 0)


def test_zeros_are_zeros_and_apart(cores: SeveralCores) -> None:
    first, second = (cores.zeros(LONG, word_type(40)) for _ in range(2))
    assert not first.any() and first.dtype == np.uint64 and first.ctypes.data % 64 == 0
    cores.combine(first, add=_keys(1), subtract=[])
    assert first.all() and not second.any()
    with pytest.raises(KeyError):
        SeveralCores(1).combine(np.zeros(LONG, dtype=np.uint32), add=[], subtract=[])


@pytest.mark.parametrize("wrong", [16, -16, 4096])
def test_control_a_part_at_a_wrong_place_of_the_stream_is_seen(wrong: int) -> None:
    """Were a helper to begin elsewhere in a stream, the sum would differ behind its first word and nowhere before."""
    words = masking.zeros(LONG, word_type(32))
    expected = _alone(words, add=_keys(1), subtract=[])
    first, second = unmasking._parts(words, 2)
    for part, start in ((first, 0), (second, 4 * second.start + wrong)):
        masking.combine(words[part], add=[KeyStream(key, start=start) for key in _keys(1)], subtract=[])
    assert np.array_equal(words[first], expected[first])
    assert not np.array_equal(words[second], expected[second])


@pytest.mark.parametrize("count", [0, 1, UNIT - 1, UNIT, 2 * UNIT + 1, 100 * UNIT])
@pytest.mark.parametrize("number", [1, 2, 3, 16])
def test_parts_cover_every_word_once_from_page_beginnings(count: int, number: int) -> None:
    words = np.zeros(count, dtype=np.uint32)
    parts = unmasking._parts(words, number)
    for part in parts:
        words[part] += 1
        assert part.start * 4 % PAGE_BYTES == 0
    assert (words == 1).all() and len(parts) <= number
    assert max(part.stop - part.start for part in parts) <= count // number + 2 * UNIT


class TestAHelperThatFails:
    """Its part is done by the main process: the sum is right, and somebody is told."""

    def test_killed_before(self) -> None:
        with SeveralCores(3) as several:
            words = _filled(several.zeros(LONG, word_type(32)))
            expected = _alone(words, add=_keys(2), subtract=_keys(3, seed=1))
            dead, alive = several.processes
            os.kill(dead, signal.SIGKILL)
            with pytest.warns(RuntimeWarning, match="helper process"):
                several.combine(words, add=_keys(2), subtract=_keys(3, seed=1))
            assert np.array_equal(words, expected)
            assert several.processes == (alive,)
            with warnings.catch_warnings():  # and the next sum goes on with the one that is left
                warnings.simplefilter("error")
                several.combine(words, add=_keys(3, seed=1), subtract=_keys(2))
            assert np.array_equal(words, _alone(expected, add=_keys(3, seed=1), subtract=_keys(2)))

    def test_stopped_for_good(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It neither works nor ends, so it is given up after a while, and not before."""
        monkeypatch.setattr(unmasking, "PATIENCE_SECONDS", 5)
        with SeveralCores(2) as several:
            words = _filled(several.zeros(LONG, word_type(32)))
            several.combine(words, add=[], subtract=[])  # it is up and waits
            (stuck,) = several.processes
            expected = _alone(words, add=_keys(2), subtract=[])
            os.kill(stuck, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.warns(RuntimeWarning, match="helper process"):
                several.combine(words, add=_keys(2), subtract=[])
            assert time.monotonic() - began >= 5
            assert np.array_equal(words, expected) and several.processes == ()

    def test_killed_in_the_middle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With its part half done. Control: left as it was found, the part would be wrong."""
        left: list[np.ndarray] = []
        with SeveralCores(2) as several:
            words = _filled(several.zeros(200 * UNIT, word_type(32)))
            several.combine(words, add=[], subtract=[])  # it is up and waits
            keys = _keys(200)
            expected = _alone(words, add=keys, subtract=[])
            before = words.copy()
            part = unmasking._parts(words, 2)[1]
            end, combine_part = unmasking._Helper.end, unmasking._combine_part
            calls = []

            def kill_at_first_progress(target: np.ndarray, own: slice, *keys_of: Sequence[bytes]) -> None:
                calls.append(own)
                if len(calls) == 1:
                    while words[part.start] == before[part.start]:
                        time.sleep(0.001)
                    os.kill(several.processes[0], signal.SIGKILL)
                combine_part(target, own, *keys_of)

            def look(helper: unmasking._Helper) -> None:
                end(helper)
                left.append(words[part].copy())

            monkeypatch.setattr(unmasking, "_combine_part", kill_at_first_progress)
            monkeypatch.setattr(unmasking._Helper, "end", look)
            with pytest.warns(RuntimeWarning, match="helper process"):
                several.combine(words, add=keys, subtract=[])
        assert calls == unmasking._parts(words, 2)
        assert np.array_equal(words, expected)
        assert not np.array_equal(left[0], before[part])
        assert not np.array_equal(left[0], expected[part])

    def test_that_cannot_be_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        with pytest.warns(RuntimeWarning, match="could be started"):
            several = SeveralCores(2)
        words = several.zeros(LONG, word_type(32))
        several.combine(words, add=_keys(1), subtract=[])
        assert np.array_equal(words, _alone(np.zeros_like(words), add=_keys(1), subtract=[]))

    def test_that_answers_something_else(self) -> None:
        """Only the word for "done" counts as done. Control: with it, nothing is put back."""
        for answer, right in ((b"\x02", False), (unmasking.DONE, True)):
            with SeveralCores(2) as several:
                helper = several._helpers[0]
                ours, theirs = unmasking.socket.socketpair()
                helper._socket.close()
                helper._socket = ours
                theirs.sendall(answer)
                assert helper.finish() == right
                theirs.close()


def test_an_interrupt_ends_the_helpers_and_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer to an order that was given up must not be taken for the next one's, nor half a sum be gone on with."""
    combine_part = unmasking._combine_part

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with SeveralCores(2) as several:
        federation = Federation(changes={"dimension": LONG, "ring_bits": 32})
        federation.server = Server(
            identity=federation.server_identity,
            roster=federation.roster,
            session=federation.session,
            unmasker=several,
        )
        federation.run(until="unmask")
        federation.collect("unmask")
        monkeypatch.setattr(unmasking, "_combine_part", interrupted)
        with pytest.raises(KeyboardInterrupt):
            federation.close("unmask")
        assert federation.server.step is Step.FAILED and several.processes == ()
        monkeypatch.setattr(unmasking, "_combine_part", combine_part)
        words = several.zeros(LONG, word_type(32))
        several.combine(words, add=_keys(2), subtract=[])  # alone from now on
        assert np.array_equal(words, _alone(np.zeros_like(words), add=_keys(2), subtract=[]))


def test_a_session_opens_the_same_sum(cores: SeveralCores) -> None:
    """Through the real server, with dropouts. Control: an unmasker that forgets a stream is found."""

    class Forgetful(SeveralCores):
        def combine(self, words: np.ndarray, *, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
            super().combine(words, add=add, subtract=subtract[1:])

    def opened(unmasker: SeveralCores) -> bool:
        federation = Federation(n=6, changes={"dimension": LONG, "ring_bits": 32})
        federation.server = Server(
            identity=federation.server_identity,
            roster=federation.roster,
            session=federation.session,
            unmasker=unmasker,
        )
        federation.run(until="unmask", drop={"mask": (1,)})
        federation.collect("unmask")
        try:
            federation.close("unmask")
        except Exception:  # random words, far out of range
            return False
        return np.array_equal(federation.opened().total, federation.plain_sum((0, 2, 3, 4, 5)))

    assert opened(cores)
    with Forgetful(2) as forgetful:
        assert not opened(forgetful)


def _memory_files() -> list[str]:
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if "fedsec-sum" in link]


def test_memory_and_processes_end_with_it() -> None:
    """And it has no name that could be left behind. Control: before, both are there."""
    gc.collect()
    known = len(_memory_files())
    several = SeveralCores(2)
    words = several.zeros(LONG, word_type(32))
    several.combine(words, add=_keys(1), subtract=[])
    (process,) = several.processes
    assert len(_memory_files()) > known and Path(f"/proc/{process}").exists()
    assert not [name for name in Path("/dev/shm").iterdir() if re.match(r"fedsec-(?!faults|pg)|fedsec$", name.name)]
    del words
    assert len(_memory_files()) == known
    several.close()
    several.close()
    assert not Path(f"/proc/{process}").exists() and several.processes == ()
    forgotten = SeveralCores(2)
    (process,) = forgotten.processes
    del forgotten
    gc.collect()
    assert not Path(f"/proc/{process}").exists()


def test_helpers_end_when_their_parent_is_killed() -> None:
    script = (
        "import os, signal; from fl_engine.unmasking import SeveralCores; several = SeveralCores(2);"
        "print(several.processes[0], flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    helper = Path(f"/proc/{int(done.stdout)}")
    for _ in range(1000):
        if not helper.exists() or "\nState:\tZ" in (helper / "status").read_text():  # a zombie where nobody reaps
            break
        time.sleep(0.01)
    else:
        pytest.fail("the helper goes on without its parent")


def test_keys_are_in_the_socket_alone(cores: SeveralCores) -> None:
    """No argument and no variable of a helper has one, in any spelling. Control: what is there is found."""
    key = bytes(range(100, 132))
    words = cores.zeros(LONG, word_type(32))
    cores.combine(words, add=[key], subtract=[key])
    for process in cores.processes:
        folder = Path(f"/proc/{process}")
        seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        assert b"fl_engine.unmasking_worker" in seen and b"PYTHONPATH=" in seen
        assert key not in seen and key.hex().encode() not in seen.lower()
        files = {link.name: str(link.readlink()) for link in (folder / "fd").iterdir()}
        assert all(file.startswith(("socket:", "/dev/null")) for name, file in files.items() if name != "2")


def test_a_run_with_large_sums_has_helpers_until_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the same run with the sums that it really has starts none."""
    monkeypatch.setattr(unmasking, "available_cores", lambda: 2)
    for worth, helpers in ((1, 1), (unmasking.WORTH_BYTES, 0)):
        monkeypatch.setattr(unmasking, "WORTH_BYTES", worth)
        folder = tmp_path / str(worth)
        folder.mkdir()
        with own_place(folder), Ledger.open() as ledger:
            run = begin(folder, ledger, rounds=1)
            processes = getattr(run._unmasker, "processes", ())
            assert len(processes) == helpers
            assert all(record.status == "opened" for record in run.attempts())
            assert getattr(run._unmasker, "processes", ()) == processes  # none failed
            run.close()
            assert not any(Path(f"/proc/{process}").exists() for process in processes)


def test_small_sums_are_opened_in_process() -> None:
    """A default run pays for no process; a large one gets one for each core."""
    assert unmasker_for(unmasking.WORTH_BYTES - 1) is IN_PROCESS
    large = unmasker_for(unmasking.WORTH_BYTES)
    if available_cores() == 1:
        assert large is IN_PROCESS
    else:
        assert isinstance(large, SeveralCores) and len(large.processes) == available_cores() - 1
        large.close()


@pytest.mark.parametrize("everything", [False, True])
def test_a_helper_sees_no_environment_but_what_python_reads(everything: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: one that is given everything sees the secret."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret-of-the-parent")
    if everything:
        monkeypatch.setattr(unmasking, "_environment", lambda: dict(os.environ))
    with SeveralCores(2) as several:
        several.combine(several.zeros(LONG, word_type(32)), add=[], subtract=[])  # it is up
        seen = Path("/proc", str(several.processes[0]), "environ").read_bytes()
    assert b"PYTHONPATH=" in seen
    assert (b"a-secret-of-the-parent" in seen) == everything
