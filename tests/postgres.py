"""A real PostgreSQL server for tests: its own data folder, a free port, a password, fsync as in production."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

USER, PASSWORD, DATABASE = "fedsec", "not-a-secret-7c1e", "postgres"


def missing() -> str | None:
    """Why there can be no server here, or ``None`` where there can."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed"
    if _binary("postgres") is None or _binary("initdb") is None:
        return "no PostgreSQL server is installed (postgres, initdb)"
    if os.geteuid() == 0 and _unprivileged() is None:
        return "the server refuses to run as root, and there is no user postgres or nobody"
    return None


def _binary(name: str) -> str | None:
    if found := shutil.which(name):
        return str(Path(found).resolve())
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else None


def _unprivileged() -> str | None:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


def _as_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    name = _unprivileged()
    assert name is not None
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Server:
    """Use :func:`server`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        user = _as_user()
        if user:
            os.chown(self.folder, user["user"], user["group"])
            os.chown(secret, user["user"], user["group"])
        arguments = ["-D", str(self.data), "-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8"]
        command = [str(_binary("initdb")), *arguments, "--locale=C", "--no-sync"]
        done = subprocess.run(command, capture_output=True, cwd=self.folder, check=False, **user)
        assert done.returncode == 0, done.stderr.decode()

    def start(self, **settings: str) -> None:
        """Start it and wait until it answers; ``settings`` are the server's own."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "shared_buffers": "16MB",
            "max_connections": "40",
            **settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_binary("postgres")), "-D", str(self.data), *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                **_as_user(),
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("SELECT 1")
            except Exception:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast; SIGQUIT: at once, recovery at the next start; SIGKILL: as if the machine's memory failed."""
        if self._process is None:
            return
        backends = [] if how is not signal.SIGKILL else self._children()
        self._process.send_signal(how)
        self._process.wait(60)
        for child in backends:  # a killed postmaster leaves them; a new one would refuse to start beside them
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for child in backends:
            while Path(f"/proc/{child}/stat").exists() and ") Z " not in Path(f"/proc/{child}/stat").read_text():
                time.sleep(0.01)
        self._process = None
        if how is signal.SIGKILL:
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _children(self) -> list[int]:
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(child) for child in tasks.read_text().split()]

    def connect(self, **arguments: Any) -> Any:
        import psycopg

        given = {"user": USER, "password": PASSWORD, "dbname": DATABASE, **arguments}
        return psycopg.connect(host="127.0.0.1", port=self.port, autocommit=True, connect_timeout=5, **given)

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run ``query`` as the server's owner."""
        with self.connect() as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def url(self, *, schema: str = "public", user: str = USER, password: str = PASSWORD, port: int = 0) -> str:
        """Of a ledger in ``schema``."""
        options = f"?options=-csearch_path%3D{schema}"
        return f"postgresql+psycopg://{user}:{password}@127.0.0.1:{port or self.port}/{DATABASE}{options}"

    def fresh(self, schema: str) -> str:
        """The URL of a ledger in an empty schema."""
        with self.connect() as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            connection.execute(f"CREATE SCHEMA {schema}")
        return self.url(schema=schema)


@contextmanager
def server() -> Iterator[Server]:
    """A running server that is gone afterwards."""
    memory = Path("/dev/shm")  # what is killed here are processes, not the machine: the kernel's memory is as good
    folder = Path(tempfile.mkdtemp(prefix="fedsec-pg-", dir=memory if os.access(memory, os.W_OK) else None))
    made = Server(folder)
    try:
        made.make()
        made.start()
        yield made
    finally:
        made.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
