"""What a run keeps so that it can go on after a kill: public progress in its directory, private facts elsewhere.

No secret of a round is kept anywhere: the attempt that was interrupted is charged and never repeated. Signing keys, of
the coordinator and of the simulated banks, and the data's whereabouts lie in the private folder until the run is done.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from fedsec.errors import ConfigError
from fedsec.home import private_folder
from fl_engine.coordinator import Progress
from fl_engine.data.schema import Schema
from fl_engine.plan import TaskPlan
from fl_engine.settings import DataSettings, RunSettings
from secagg.identity import Identity


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Plan, settings and progress, as ``checkpoint.msgpack`` holds them until the run is complete."""

    started: str
    plan: TaskPlan
    settings_json: str
    schema_toml: str
    progress: Progress

    @classmethod
    def new(cls, plan: TaskPlan, settings: RunSettings, progress: Progress, *, schema: Schema) -> Self:
        """The checkpoint of a run's beginning."""
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return cls(
            started=started,
            plan=plan,
            settings_json=settings.model_dump_json(),
            schema_toml=schema.to_toml(),
            progress=progress,
        )

    def settings(self) -> RunSettings:
        """The run's public settings."""
        return RunSettings.model_validate_json(self.settings_json)

    def encode(self) -> bytes:
        """Canonical bytes; arrays as little-endian float64."""
        return msgspec.msgpack.encode(self, enc_hook=_array_to_bytes)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a checkpoint.

        Raises:
            ConfigError: it is missing or damaged.
        """
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=cls, dec_hook=_bytes_to_array)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(
                f"the run cannot be resumed: its checkpoint cannot be read ({error})",
                remedy="Start a new run; this one stays charged.",
            ) from None


class PrivateRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator's private folder remembers of a run: never part of its directory.

    Attributes:
        coordinator_key: 32-byte Ed25519 private key that signs for the coordinator of this run.
        bank_keys: those of the simulated banks, by index, so that a resumed run has the roster that it began with.
        data_json: :class:`DataSettings`.
        ledger: which ledger was charged, as ``dp.ledger.resolve`` takes it.
    """

    coordinator_key: bytes
    bank_keys: tuple[bytes, ...]
    data_json: str
    ledger: str

    @classmethod
    def new(cls, data: DataSettings, *, banks: int, ledger: str) -> Self:
        """With fresh keys for the coordinator and so many banks."""
        files = {"data": data.data, "schema_file": data.schema_file}
        absolute = data.model_copy(update={name: path.resolve() for name, path in files.items() if path})
        return cls(
            coordinator_key=Identity.generate().private_bytes(),
            bank_keys=tuple(Identity.generate().private_bytes() for _ in range(banks)),
            data_json=absolute.model_dump_json(),
            ledger=ledger,
        )

    def data(self) -> DataSettings:
        """Where the records are."""
        return DataSettings.model_validate_json(self.data_json)

    def save(self, run: str) -> None:
        """Store under the run's name, mode 0600."""
        path = _private_path(run)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self))

    @classmethod
    def load(cls, run: str) -> Self:
        """Read what was stored for ``run``.

        Raises:
            ConfigError: nothing was, on this machine and in this private folder.
        """
        path = _private_path(run)
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            raise ConfigError(
                f"nothing private is known here of the run {run}: {path} cannot be read",
                remedy="Resume it on the machine, and with the FEDSEC_HOME, where it began.",
            ) from None

    @staticmethod
    def forget(run: str) -> None:
        """Delete what was stored for a run that is complete; its keys sign nothing more."""
        _private_path(run).unlink(missing_ok=True)


class RunLock:
    """Held by the one process that works on a run; the system lets it go when that process dies.

    Two processes on one run would each open an attempt that the ledger charges once.

    Raises:
        ConfigError: another process holds it.
    """

    def __init__(self, run: str) -> None:
        self._file = _private_path(run).open("rb")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ConfigError(
                f"the run {run} is still going on in another process",
                remedy="Wait for it, or interrupt it first.",
            ) from None

    def release(self) -> None:
        """Let another process go on with the run; twice does no harm."""
        self._file.close()


def _private_path(run: str) -> Path:
    return private_folder() / "runs" / f"{run}.json"


def _array_to_bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.astype("<f8").tobytes()
    raise NotImplementedError


def _bytes_to_array(_kind: type, value: Any) -> Any:
    return np.frombuffer(value, "<f8").astype(np.float64)
