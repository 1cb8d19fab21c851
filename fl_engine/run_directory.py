"""A run's directory: ``NAME.partial`` while the run goes on, ``NAME`` once it is complete.

``latest`` points at the last complete one.

Every file is written whole: to a temporary name, synced, renamed. A directory without ``.partial`` is complete.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

from fedsec.errors import ConfigError

PARTIAL = ".partial"
LATEST = "latest"


class RunDirectory:
    """One run's files under ``out``; see the module."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    @classmethod
    def create(cls, out: Path) -> RunDirectory:
        """A new ``.partial`` directory under ``out``, named by the time and four random hex digits.

        Raises:
            ConfigError: ``out`` cannot be written to.
        """
        name = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(2)
        path = out / (name + PARTIAL)
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(
                f"--out: {out} cannot be written to: {error.strerror}",
                remedy="Name a folder of your own with --out.",
            ) from None
        return cls(path, name)

    @classmethod
    def reopen(cls, path: Path) -> RunDirectory:
        """The directory of an unfinished run, named with or without ``.partial``.

        Raises:
            ConfigError: there is none, or the run is complete.
        """
        path = path if path.name else path.absolute()  # "." has no name
        partial = path if path.name.endswith(PARTIAL) else path.with_name(path.name + PARTIAL)
        final = partial.with_name(partial.name.removesuffix(PARTIAL))
        if not partial.is_dir():
            told = f"the run {path} does not exist"
            if (final / "summary.json").exists():
                told = f"the run {path} is complete, there is nothing to resume or settle"
            elif final.is_dir():
                told = f"{path} is no run's directory"
            raise ConfigError(told, remedy="Unfinished runs end in .partial.")
        return cls(partial, partial.name.removesuffix(PARTIAL))

    def write(self, name: str, content: bytes | str) -> Path:
        """Write a file whole, or not at all; ``name`` may have folders, which are made."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name("." + target.name + ".tmp")
        data = content.encode() if isinstance(content, str) else content
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        return target

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def delete(self) -> None:
        """Take away the directory and all in it."""
        shutil.rmtree(self.path)

    def publish(self) -> Path:
        """Give the complete directory its final name and point ``latest`` at it; returns the new path."""
        final = self.path.with_name(self.name)
        self.path.rename(final)
        self.path = final
        link = final.with_name(f".{LATEST}.tmp")
        with contextlib.suppress(OSError):  # a file system without symbolic links: the run is complete all the same
            link.unlink(missing_ok=True)
            link.symlink_to(final.name)
            link.replace(final.with_name(LATEST))
        return final
