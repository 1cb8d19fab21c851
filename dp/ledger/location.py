"""Where the ledger is: an option, the environment, or a file in the user's data folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from fedsec.errors import ConfigError
from fedsec.home import private_folder

ENVIRONMENT_VARIABLE = "FEDSEC_LEDGER"
_SERVERS = ("postgresql", "postgresql+psycopg")
_SECRET_PARAMETERS = ("password", "sslpassword")  # of libpq's that a URL may carry


@dataclass(frozen=True, kw_only=True)
class Location:
    """A resolved place.

    Attributes:
        url: of the database.
        path: the file of an embedded ledger; ``None`` for a database server.
        key_path: the signing key, secret to the holder.
        secrets_path: the split keys, secret to the holder; not part of what an auditor gets.
        label: how messages call it; holds no password.
    """

    url: URL = field(repr=False)
    path: Path | None
    key_path: Path
    secrets_path: Path
    label: str

    @property
    def passwords(self) -> tuple[str, ...]:
        """The secrets in the URL, for messages to leave out."""
        named = [self.url.query.get(name, "") for name in _SECRET_PARAMETERS]
        values = [*(named if self.path is None else ()), self.url.password or ""]
        return tuple(str(value) for value in values if value)

    @property
    def reference(self) -> str:
        """What :func:`resolve` takes to find this place again; holds a server's password, so it stays private."""
        return str(self.path) if self.path is not None else self.url.render_as_string(hide_password=False)


def resolve(option: str | os.PathLike[str] | None = None) -> Location:
    """The ledger that ``option`` names (a path, or a database URL with ``://``), else ``FEDSEC_LEDGER``, else
    the default.

    Raises:
        ConfigError: the URL cannot be read or names no database, or the path is a folder.
    """
    named = os.fspath(option) if option is not None else os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        return _embedded(private_folder() / "ledger.sqlite")
    if "://" not in named:
        return _embedded(Path(named).expanduser())
    try:
        url = make_url(named)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "the ledger's database URL cannot be read",
            remedy="write it as postgresql+psycopg://USER@HOST/DATABASE",
        ) from error
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigError("a ledger in memory keeps no budget", remedy="name a file")
        return _embedded(Path(url.database))
    if url.drivername in _SERVERS and not url.database:
        raise ConfigError(
            "the ledger's database URL names no database",
            remedy="write it as postgresql+psycopg://USER@HOST/DATABASE",
        )
    if url.drivername not in _SERVERS:
        raise ConfigError(
            f"a ledger is a file, or a database of PostgreSQL through psycopg, not {url.drivername}",
            remedy="write it as postgresql+psycopg://USER@HOST/DATABASE",
        )
    url = url.set(drivername="postgresql+psycopg")
    label = url._replace(password=None).difference_update_query(_SECRET_PARAMETERS).render_as_string()
    folder = private_folder()
    stem = "ledger-" + hashlib.sha256(label.encode()).hexdigest()[:16]
    return Location(
        url=url,
        path=None,
        key_path=folder / f"{stem}.key",
        secrets_path=folder / f"{stem}.splits",
        label=label,
    )


def _embedded(path: Path) -> Location:
    if path.is_dir():
        raise ConfigError(f"the ledger {path} is a folder", remedy="name a file in it")
    path = path.absolute()
    return Location(
        url=URL.create("sqlite", database=str(path)),
        path=path,
        key_path=path.with_name(path.name + ".key"),
        secrets_path=path.with_name(path.name + ".splits"),
        label=str(path),
    )
