"""The report key of a run: signs its reports and nothing else, for as long as the operator keeps it.

The run's statement names its public half. The private half lies in the operator's private folder, so that a report can
be written again, and signed, after all other keys of the run are gone.
"""

from __future__ import annotations

import os
from pathlib import Path

from fedsec.errors import ConfigError
from fedsec.home import private_folder
from secagg.identity import Identity


def make(run: str) -> None:
    """A new key for the run of that name, mode 0600.

    Raises:
        ConfigError: there is one already.
    """
    path = _path(run)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(Identity.generate().private_bytes())
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ConfigError(f"the run {run} has a report key already: {path}") from None


def load(run: str) -> Identity:
    """The key of the run of that name.

    Raises:
        ConfigError: this machine does not have it, or the file is damaged.
    """
    try:
        return Identity.from_private_bytes(_path(run).read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"the report key of the run {run} is not on this machine, so no report of it can be signed",
            remedy="Work where the run was made, with its FEDSEC_HOME; `fedsec report RUN --out DIR` signs nothing.",
        ) from None
    except ValueError:
        raise ConfigError(f"the report key {_path(run)} is damaged") from None


def forget(run: str) -> None:
    """Delete the key: of a run that was never finished."""
    _path(run).unlink(missing_ok=True)


def _path(run: str) -> Path:
    if run in ("", ".", "..") or Path(run).name != run or "\0" in run:  # it may come from a directory of anybody's
        raise ConfigError(f"{run[:80]!r} is no name of a run")
    return private_folder() / "report-keys" / run
