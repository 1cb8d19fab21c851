"""A language model's server that keeps every byte it is sent, read from the raw socket, and answers as it is told."""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

GOOD = {
    "summary": "Ten sentinel paragraphs were not written; this one was.".replace("Ten ", ""),
    "result": "The joint model ranks well.",
    "privacy": "The run spent epsilon 2.973 at delta 1e-5 for one record.",
    "limits": "Banks are not covered as units.",
}
RESET = b"\x00reset"  # instead of an answer: the connection is torn down
USAGE = {
    "input_tokens": 900,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 200,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 1100,
}


def response(content: str | None, *, refusal: str | None = None, **changes: Any) -> bytes:
    """An answer's body as OpenAI's Responses API sends it, a reasoning item first, with ``changes`` to its fields."""
    parts: list[dict[str, Any]] = []
    if content is not None:
        parts.append({"type": "output_text", "annotations": [], "logprobs": [], "text": content})
    if refusal is not None:
        parts.append({"type": "refusal", "refusal": refusal})
    message = {"id": "msg_0f", "type": "message", "status": "completed", "content": parts, "role": "assistant"}
    answer: dict[str, Any] = {
        "id": "resp_0f",
        "object": "response",
        "created_at": 1_770_000_000,
        "status": "completed",
        "background": False,
        "billing": {"payer": "developer"},
        "completed_at": 1_770_000_009,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": 5987,
        "max_tool_calls": None,
        "model": "a-model",
        "output": [{"id": "rs_0f", "type": "reasoning", "summary": []}, message],
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "reasoning": {"effort": "medium", "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "json_schema", "name": "narrative", "strict": True}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USAGE,
        "user": None,
        "metadata": {},
    }
    return json.dumps({**answer, **changes}).encode()


def completion(content: str | None, *, finish: str = "stop", refusal: str | None = None) -> bytes:
    """An answer's body as OpenAI's chat completions send it."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_770_000_000,
            "model": "a-model",
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100},
        }
    ).encode()


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def good_for(request: bytes) -> bytes:
    """A good answer in the API that ``request`` speaks."""
    speak = completion if b"/chat/completions " in request.partition(b"\r\n")[0] else response
    return http(speak(json.dumps(GOOD)))


class RecordingServer:
    """Listens on a free port of this machine; ``received`` are the exact bytes of each connection.

    Args:
        answer: to every request, or by how many came so far; empty: a good one.
        hang: seconds before it.
        drip: whether it comes byte by byte.
        tls: with which to speak https; None: http.
    """

    def __init__(
        self,
        answer: bytes | Callable[[int], bytes] = b"",
        *,
        hang: float = 0.0,
        drip: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.received: list[bytes] = []
        self._answer = answer
        self._hang, self._drip, self._tls = hang, drip, tls
        self._stop = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, plain: socket.socket) -> None:
        try:
            with self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as connection:
                self._answer_on(connection)
        except OSError:
            return

    def _answer_on(self, connection: socket.socket) -> None:
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
            head, end, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            if end and length and len(body) >= int(length[1]):
                break
        self.received.append(data)
        self._stop.wait(self._hang)
        answer = self._answer(len(self.received)) if callable(self._answer) else self._answer
        answer = answer or good_for(data)
        if answer == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if not self._drip:
            connection.sendall(answer)
        for at in range(len(answer) if self._drip else 0):
            connection.sendall(answer[at : at + 1])
            time.sleep(0.05)
            if self._stop.is_set():
                return
