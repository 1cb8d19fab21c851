"""The narrative of a report: written by a language model from facts alone, or by fixed sentences, never a lost run.

A model is asked only where the operator set up one *and* the run's identifiers are on this machine to check the request
against. Whatever goes wrong, the offline text stands in and the reason is stated in the report.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import pydantic

from compliance.facts import Facts
from compliance.identifiers import Identifiers
from compliance.spending import Prices, Spending
from fedsec.errors import ConfigError, RedactionError

DEFAULT_MODEL = "gpt-5-mini"
NOT_CONFIGURED = "none was asked for (neither OPENAI_API_KEY nor OPENAI_BASE_URL, or --offline)"
UNENCRYPTED = (
    "the language model's address is plain http to another machine, so the key and the figures would travel in clear;"
    " nothing was sent"
)
OPENAI = "https://api.openai.com/v1"
NO_IDENTIFIERS = (
    "the run's identifiers are not on this machine, so a request could not be checked against them and none was made"
)


class Api(StrEnum):
    """How a service is asked (docs/adr/0024)."""

    RESPONSES = "responses"
    CHAT = "chat"


class Sections(pydantic.BaseModel):
    """The narrative's four paragraphs, plain text; also the schema of a model's structured answer."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    summary: str = pydantic.Field(description="What was done and what came of it.")
    result: str = pydantic.Field(description="How good the model is and how far that figure can be trusted.")
    privacy: str = pydantic.Field(description="What the privacy guarantee says, for whom and against whom.")
    limits: str = pydantic.Field(description="What is not protected or not known.")

    @property
    def text(self) -> str:
        """All four paragraphs."""
        return "\n".join((self.summary, self.result, self.privacy, self.limits))


@dataclass(frozen=True, kw_only=True)
class NarratorSettings:
    """Which language model may be asked, and for how long.

    Attributes:
        model: name at the service.
        base_url: of an OpenAI-compatible service, up to and with ``/v1``; None: OpenAI's own.
        api: what the service speaks.
        api_key: goes into the Authorization header and nowhere else; None where the service wants none.
        prices: per million tokens; None: no cost is stated.
        timeout_seconds: of one wait for data, > 0; a connection must stand after ten seconds.
        retries: how often a failed request is tried again, >= 0.
        deadline_seconds: of everything together, > 0.
    """

    model: str = DEFAULT_MODEL
    base_url: str | None = None
    api: Api = Api.RESPONSES
    api_key: str | None = field(default=None, repr=False)
    prices: Prices | None = None
    timeout_seconds: float = 100.0
    retries: int = 2
    deadline_seconds: float = 120.0

    @property
    def host(self) -> str:
        """The machine that would be asked, without user, password, port and path; empty where the address has none."""
        try:
            return urlsplit((self.base_url or OPENAI).strip()).hostname or ""
        except ValueError:
            return ""

    @property
    def refusal(self) -> str | None:
        """Why nothing is sent to this address; None where nothing speaks against it."""
        plain = (self.base_url or OPENAI).strip().lower().startswith("http:")
        return UNENCRYPTED if plain and not _is_loopback(self.host) else None

    @classmethod
    def from_environment(
        cls,
        *,
        model: str | None = None,
        base_url: str | None = None,
        api: str | None = None,
        price_input: float | None = None,
        price_output: float | None = None,
    ) -> Self:
        """The operator's settings; arguments come before the environment.

        Read are ``OPENAI_API_KEY``, ``OPENAI_BASE_URL``, ``OPENAI_MODEL``, ``OPENAI_API``, ``OPENAI_PRICE_INPUT`` and
        ``OPENAI_PRICE_OUTPUT``.

        Raises:
            ConfigError: no such API, a price that is none, or one price without the other.
        """
        return cls(
            model=model or os.environ.get("OPENAI_MODEL") or DEFAULT_MODEL,
            base_url=base_url or os.environ.get("OPENAI_BASE_URL") or None,
            api=_api(api or os.environ.get("OPENAI_API") or Api.RESPONSES),
            api_key=os.environ.get("OPENAI_API_KEY") or None,
            prices=_prices(
                _price("OPENAI_PRICE_INPUT") if price_input is None else price_input,
                _price("OPENAI_PRICE_OUTPUT") if price_output is None else price_output,
            ),
        )

    @property
    def configured(self) -> bool:
        """Whether the operator set a model up, by a key or an address: without either, none is asked."""
        return self.api_key is not None or self.base_url is not None


@dataclass(frozen=True, kw_only=True)
class Narrative:
    """What was written, by whom, and what left the machine for it.

    Attributes:
        sections: the paragraphs.
        writer: "openai" or "offline".
        reason: why it is the offline text; None for "openai".
        model: that wrote it, as the operator named it; None for "offline".
        api: how that was asked; None for "offline".
        sent: record of the first request's body; None where no request was made.
        spending: what it cost; all zero where no request was made.
    """

    sections: Sections
    writer: Literal["openai", "offline"]
    reason: str | None
    model: str | None = None
    api: Api | None = None
    sent: Path | None = None
    spending: Spending = field(default_factory=Spending)

    @property
    def requests(self) -> int:
        """How many requests were made, retries included."""
        return self.spending.requests


class NarratorError(Exception):
    """A language model gave nothing that can be used; the message is safe to print and names no address."""


def narrate(
    facts: Facts, *, settings: NarratorSettings | None, identifiers: Identifiers | None, outbox: Path
) -> Narrative:
    """The narrative of ``facts``; requests, if any, are recorded in the folder ``outbox`` before they leave."""
    from compliance.offline_writer import write_offline
    from compliance.outbox import Outbox

    def offline(reason: str) -> Narrative:
        return Narrative(sections=write_offline(facts), writer="offline", reason=reason)

    if settings is None or not settings.configured:
        return offline(NOT_CONFIGURED)
    if identifiers is None:
        return offline(NO_IDENTIFIERS)
    if settings.refusal is not None:
        return offline(settings.refusal)
    from compliance.openai_writer import write_with_model

    box = Outbox(outbox)
    try:
        sections = write_with_model(facts, settings=settings, identifiers=identifiers, outbox=box)
        written = Narrative(sections=sections, writer="openai", reason=None, model=settings.model, api=settings.api)
    except (RedactionError, NarratorError) as error:
        written = offline(str(error))
    spent = Spending(requests=box.requests, sent_bytes=box.sent_bytes, usage=box.usage, prices=settings.prices)
    return replace(written, sent=box.first, spending=spent)


def _api(name: str) -> Api:
    try:
        return Api(name)
    except ValueError:
        raise ConfigError(
            "OPENAI_API is neither responses nor chat",
            remedy="It says how the language model's service is asked; leave it out for the Responses API.",
        ) from None


def _price(variable: str) -> float | None:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{variable} is no number", remedy="It is a price per million tokens.") from None


def _prices(price_input: float | None, price_output: float | None) -> Prices | None:
    if price_input is None and price_output is None:
        return None
    if price_input is None or price_output is None:
        raise ConfigError(
            "one price of two: input and output tokens are priced apart",
            remedy="Give --price-input and --price-output, or OPENAI_PRICE_INPUT and _OUTPUT; 0 is a price.",
        )
    return Prices(input=price_input, output=price_output)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
