"""Asking a language model for the narrative, through the OpenAI SDK, and checking what comes back.

The SDK repeats a request after a timeout, a broken connection, 408, 409, 429 and 5xx, each time after a longer pause or
the one that the server names; the deadline ends that. How a server is asked is in :mod:`compliance.apis`, what may
leave in :mod:`compliance.transport`.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator

import httpx2
import openai
import pydantic

from compliance.apis import Answer, ask, fixed_parts
from compliance.claims import absolute_claim
from compliance.facts import Facts
from compliance.identifiers import Identifiers
from compliance.narrative import DEFAULT_MODEL, OPENAI, Api, NarratorError, NarratorSettings, Sections
from compliance.numbers import numbers_in, unsupported
from compliance.outbox import Outbox
from compliance.prompt import fixed_texts, render_prompt
from compliance.redaction import Scanner
from compliance.transport import ANSWER_CHANNEL, CHANNEL, FIXED_HEADERS, GuardedTransport, NotSent
from fedsec.errors import RedactionError

_LONGEST_PARAGRAPH = 3000
_CONNECT_SECONDS = 10.0
# Names of standards and algorithms whose digits are no figures of the run.
_TERMS = ("SP 800-226", "AES-256", "SHA-256", "X25519", "Ed25519")


def scanner_for(identifiers: Identifiers, settings: NarratorSettings) -> Scanner:
    """The scanner of requests made with ``settings`` and of answers; what is the same for all runs counts as fixed."""
    fixed = [*fixed_texts(), *fixed_parts(), *FIXED_HEADERS, f'"model":"{DEFAULT_MODEL}"']
    if settings.base_url is None:
        fixed += [OPENAI, "Host: api.openai.com"]
    secrets = [settings.api_key] if settings.api_key else []
    return Scanner(identifiers.with_machine(), fixed=fixed, secrets=secrets)


def write_with_model(facts: Facts, *, settings: NarratorSettings, identifiers: Identifiers, outbox: Outbox) -> Sections:
    """The narrative of ``facts`` by the model of ``settings``.

    Raises:
        RedactionError: the request held an identifier; nothing was sent.
        NarratorError: the model gave no usable answer, whatever the cause; says which, without an address.
    """
    scanner = scanner_for(identifiers, settings)
    transport = GuardedTransport(scanner=scanner, reply_scanner=scanner, outbox=outbox, api_key=settings.api_key)
    prompt = render_prompt(facts)
    answer = _within(settings.deadline_seconds, transport, settings, prompt)
    outbox.usage = answer.usage
    if answer.text is None:
        raise NarratorError(answer.problem or "the language model's answer has no text")
    sections = _checked(answer.text, prompt)
    try:
        scanner.check_answer(sections.text, ANSWER_CHANNEL)
    except RedactionError:
        raise NarratorError("the language model's answer held an identifier and was dropped") from None
    return sections


def preview(facts: Facts, *, settings: NarratorSettings, identifiers: Identifiers) -> NotSent:
    """The request that :func:`write_with_model` would make first, scanned like it; nothing is sent.

    Raises:
        RedactionError: it held an identifier, or would have travelled in clear.
    """
    if settings.refusal is not None:
        raise RedactionError(settings.refusal, channel=CHANNEL, remedy="Use an https address.")
    scanner = scanner_for(identifiers, settings)
    transport = GuardedTransport(scanner=scanner, reply_scanner=scanner, outbox=None, api_key=settings.api_key)
    try:
        _complete(transport, settings, render_prompt(facts))
    except NotSent as request:
        return request
    raise AssertionError("a dry run reached the network")


def _within(deadline: float, transport: GuardedTransport, settings: NarratorSettings, prompt: str) -> Answer:
    """The answer, or an error after ``deadline`` seconds even if a server drips a byte now and then."""
    outcome: list[Answer | Exception] = []

    def wait() -> None:
        try:
            outcome.append(_complete(transport, settings, prompt))
        except Exception as error:  # the caller raises it in its own thread
            outcome.append(error)

    thread = threading.Thread(target=wait, daemon=True, name="fedsec-narrator")
    thread.start()
    thread.join(deadline)
    if not outcome:
        transport.stop()
        raise NarratorError("the language model did not answer in time")
    if isinstance(outcome[0], Exception):
        raise _explained(outcome[0], settings.api) from outcome[0]
    return outcome[0]


def _complete(transport: GuardedTransport, settings: NarratorSettings, prompt: str) -> Answer:
    wait = settings.timeout_seconds
    with (
        httpx2.Client(transport=transport, trust_env=False, follow_redirects=False) as http,
        openai.OpenAI(
            api_key=settings.api_key or "none",
            base_url=settings.base_url or OPENAI,
            timeout=httpx2.Timeout(wait, connect=min(wait, _CONNECT_SECONDS)),
            max_retries=settings.retries,
            http_client=http,
        ) as client,
    ):
        return ask(client, settings, prompt)


def _checked(answer: str, prompt: str) -> Sections:
    try:
        sections = Sections.model_validate_json(answer)
    except pydantic.ValidationError:
        raise NarratorError("the language model's answer does not fit the schema that was asked for") from None
    paragraphs = [getattr(sections, name) for name in Sections.model_fields]
    if any(not paragraph.strip() or len(paragraph) > _LONGEST_PARAGRAPH for paragraph in paragraphs):
        raise NarratorError("the language model's answer has an empty or an overlong paragraph")
    plain = sections.text
    for term in _TERMS:
        plain = plain.replace(term, "")
    if unsupported(plain, [number.value for number in numbers_in(prompt)]):
        raise NarratorError("the language model's answer held a figure that is not among the facts")
    if absolute_claim(sections.text):
        raise NarratorError("the language model's answer held an absolute claim, such as that something is safe")
    if "://" in plain or "www." in plain:
        raise NarratorError("the language model's answer held a web address")
    return sections


def _explained(error: Exception, api: Api) -> Exception:
    """``error`` in words that name no address, no key and nothing that a server wrote."""
    service = "the language model's service"
    match error:
        case RedactionError() | NarratorError():
            return error
        case openai.APITimeoutError():
            return NarratorError("the language model did not answer in time")
        case openai.APIStatusError():
            return NarratorError(f"{service} answered with HTTP status {error.status_code}{_hint(error, api)}")
        case openai.APIConnectionError():
            return NarratorError(f"{service} could not be reached{_cause(error)}")
        case json.JSONDecodeError() | openai.APIResponseValidationError():
            return NarratorError(f"{service} answered with something that is no JSON")
        case _:
            return NarratorError(f"asking the language model failed ({type(error).__name__})")


def _hint(error: openai.APIStatusError, api: Api) -> str:
    match error.status_code:
        case 401 | 403:
            return ": it does not take the key"
        case 404 | 405 if api is Api.RESPONSES:
            return ": it lacks the model or the Responses API; `--api chat` or OPENAI_API=chat asks the older way"
        case 404 | 405:
            return ": it lacks the model or chat completions"
        case 429:
            return ": too many requests, or nothing left to pay them with"
        case status if 300 <= status < 400:
            return ": it points to another address, which is not followed"
    return ""


def _cause(error: Exception) -> str:
    for each in _causes(error):
        match each:
            case ssl.SSLCertVerificationError():
                return ": its certificate is not from an authority that is known here (SSL_CERT_FILE can name one)"
            case ssl.SSLError():
                return ": no encrypted connection could be made"
            case socket.gaierror():
                return ": its name leads to no address"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
