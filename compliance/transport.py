"""The only way out: an HTTP transport that rebuilds the headers, scans every byte, records them, and then sends.

It sits below the OpenAI SDK and below its HTTP client, so a header, a retry or a query that either of them adds passes
through here like everything else. What the SDK says about the machine (operating system, architecture, Python, package
versions, organisation and project from the environment) is dropped: headers are not filtered but written anew from a
short list. Proxies and ``.netrc`` from the environment are not used, since either would add bytes below this layer.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from compliance.narrative import NarratorError
from compliance.outbox import Outbox
from compliance.redaction import Scanner
from fedsec.errors import RedactionError

CHANNEL = "language model request"
ANSWER_CHANNEL = "language model answer"
_LARGEST_ANSWER = 1 << 17
_HEADERS = (
    ("Accept", "application/json"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
    ("Content-Type", "application/json"),
    ("User-Agent", "fedsec"),
)
_KEY_NOTE = "Authorization: (the operator's key, not recorded)"
FIXED_HEADERS = (*(f"{name}: {value}" for name, value in _HEADERS), "Content-Length:", _KEY_NOTE)


class NotSent(Exception):  # noqa: N818 - a dry run that ends before the network is no error
    """A request that passed the scan and was to be shown, not sent."""

    def __init__(self, head: str, body: bytes) -> None:
        super().__init__()
        self.head = head
        self.body = body


@dataclass(frozen=True, kw_only=True)
class _Outgoing:
    request: httpx2.Request
    headers: str
    body: bytes

    @property
    def head(self) -> str:
        return f"{self.request.method} {self.request.url.raw_path.decode('ascii')} HTTP/1.1\n{self.headers}"


class GuardedTransport(httpx2.BaseTransport):
    """Scans and records, then sends through a plain HTTP/1.1 connection.

    Args:
        scanner: of outgoing bytes; None only in a test that shows what the scanner is for.
        reply_scanner: of bytes that came back, before they are kept.
        outbox: where exact bytes are kept; None for a dry run, which raises :class:`NotSent` instead of sending.
        api_key: for the Authorization header, the one thing that is exempt from the scan.
    """

    def __init__(
        self, *, scanner: Scanner | None, reply_scanner: Scanner, outbox: Outbox | None, api_key: str | None
    ) -> None:
        self._scanner = scanner
        self._reply_scanner = reply_scanner
        self._outbox = outbox
        self._api_key = api_key
        self._stopped = False
        self._gate = threading.Lock()
        # the system's authorities, and SSL_CERT_FILE for a bank's own
        self._wire = httpx2.HTTPTransport(verify=ssl.create_default_context(), trust_env=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request`` if nothing in it identifies anybody.

        Raises:
            RedactionError: something does; nothing was sent.
            NotSent: this is a dry run.
            NarratorError: the answer is too large or mentions an identifier.
        """
        outgoing = self._rebuilt(request)
        if self._scanner is not None:
            for part in (str(request.url).encode(), outgoing.headers.encode(), outgoing.body):
                self._scanner.check(part, CHANNEL)
        if self._outbox is None:
            raise NotSent(outgoing.head, outgoing.body)
        with self._passing():
            self._outbox.request(head=outgoing.head, body=outgoing.body)
        response = self._wire.handle_request(outgoing.request)
        try:
            body = _bounded(response)
        finally:
            response.close()
        try:
            self._reply_scanner.check_answer(body.decode("utf-8", errors="replace"), ANSWER_CHANNEL)
        except RedactionError:
            raise NarratorError("the language model's answer held an identifier and was not kept") from None
        with self._passing():
            self._outbox.response(body)
        headers = {name: response.headers[name] for name in ("content-type", "retry-after") if name in response.headers}
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)

    def stop(self) -> None:
        """Let nothing more leave, nor into the outbox: another thread that still waits finds the way closed."""
        with self._gate:
            self._stopped = True

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """Held while the outbox changes, so that what :meth:`stop` leaves behind is what a report then states."""
        with self._gate:
            if self._stopped:
                raise NarratorError("the report was already written without the language model")
            yield

    def _rebuilt(self, request: httpx2.Request) -> _Outgoing:
        body = request.read()
        named = [("Host", request.url.netloc.decode("ascii")), *_HEADERS, ("Content-Length", str(len(body)))]
        headers = [f"{name}: {value}" for name, value in named]
        if self._api_key:
            headers.append(_KEY_NOTE)
        secret = [("Authorization", f"Bearer {self._api_key}")] if self._api_key else []
        clean = httpx2.Request(
            request.method, request.url, headers=named + secret, content=body, extensions=request.extensions
        )
        return _Outgoing(request=clean, headers="\n".join(headers) + "\n", body=body)


def _bounded(response: httpx2.Response) -> bytes:
    received = bytearray()
    for chunk in response.iter_raw():
        received += chunk
        if len(received) > _LARGEST_ANSWER:
            raise NarratorError("the language model's answer was larger than a report can be")
    return bytes(received)
