"""A record of every byte that left for a language model, written before it leaves, and of what came back.

``request-001.json`` is the body exactly as sent, ``request-001.headers.txt`` the request line and headers with the key
taken out, ``response-001.json`` the body that came back. A later report goes on counting; nothing is overwritten.
"""

from __future__ import annotations

from pathlib import Path

from compliance.spending import Usage


class Outbox:
    """The folder of one report's requests.

    Args:
        folder: made when the first request is recorded.

    Attributes:
        first: body of the first request of this report; None while there is none.
        requests: how many requests were recorded.
        sent_bytes: of all their bodies.
        usage: tokens of the answer, by the server's count, once it was read; None where it gave no usable count.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self.first: Path | None = None
        self.requests = 0
        self.sent_bytes = 0
        self.usage: Usage | None = None

    def request(self, *, head: str, body: bytes) -> None:
        """Record a request that is about to leave."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number = 1 + max(
            (int(path.stem[8:11]) for path in self._folder.glob("request-[0-9][0-9][0-9].json")), default=0
        )
        path = self._folder / f"request-{self._number:03}.json"
        path.write_bytes(body)
        path.with_suffix(".headers.txt").write_text(head, "utf-8")
        self.first = self.first or path
        self.requests += 1
        self.sent_bytes += len(body)

    def response(self, body: bytes) -> None:
        """Record what came back for the last request."""
        (self._folder / f"response-{self._number:03}.json").write_bytes(body)
