"""A proxy before a PostgreSQL server that cuts the line just before or just after a commit."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Literal

Moment = Literal["before the commit", "after the commit"]


class Proxy:
    """Forwards until armed; then the COMMIT after the next INSERT is lost, or its answer is. Cuts once."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._moment: Moment | None = None
        self._meanwhile: Callable[[], object] = lambda: None
        self._swallow = False
        self._answered = threading.Event()
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, moment: Moment, meanwhile: Callable[[], object] = lambda: None) -> None:
        """``meanwhile`` happens when the line is cut, before the client can know."""
        self._moment, self._meanwhile = moment, meanwhile

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._server))
        with client, server:
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()
            inserted = False
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    inserted = inserted or b"INSERT INTO entries" in data
                    if self._moment is not None and inserted and b"COMMIT" in data:
                        moment, self._moment = self._moment, None
                        self.cuts += 1
                        self._cut(server, data, moment)
                        return
                    inserted = inserted and b"COMMIT" not in data
                    server.sendall(data)

    def _cut(self, server: socket.socket, data: bytes, moment: Moment) -> None:
        if moment == "after the commit":
            self._swallow = True
            self._answered.clear()
            server.sendall(data)
            self._answered.wait(10)
        else:
            server.shutdown(socket.SHUT_RDWR)
        self._meanwhile()

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self._swallow and b"COMMIT" in data:
                    self._swallow = False
                    self._answered.set()
                    return
                client.sendall(data)
