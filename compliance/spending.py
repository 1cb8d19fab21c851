"""What a narrative cost: requests, bytes, tokens as the server counted them, and money at the operator's prices.

No price is kept here: prices change, and a bank's own server has none. Without the operator's prices no cost is stated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fedsec.errors import ConfigError

_MOST_TOKENS = 10_000_000
_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one answer, by the server's word.

    Attributes:
        input_tokens: of the request, >= 0.
        output_tokens: of the answer, a model's thoughts included where the server counts them here, >= 0.
        total_tokens: of both, and of thoughts that a server counts nowhere else; at least the sum.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int

    @classmethod
    def read(cls, input_tokens: object, output_tokens: object, total_tokens: object) -> Usage | None:
        """The three numbers of an answer, or None where a server sent none that can be meant seriously."""
        counts = (input_tokens, output_tokens, total_tokens)
        if not all(type(count) is int and 0 <= count <= _MOST_TOKENS for count in counts):
            return None
        asked, answered, total = (int(count) for count in counts if isinstance(count, int))
        if total < asked + answered:
            return None
        return cls(input_tokens=asked, output_tokens=answered, total_tokens=total)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What the operator pays per million tokens, in whatever currency, each finite and >= 0.

    Raises:
        ConfigError: a price is negative or no number.
    """

    input: float
    output: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(price) and price >= 0 for price in (self.input, self.output)):
            raise ConfigError(
                "a price per million tokens is a number from 0 on",
                remedy="Check --price-input and --price-output, OPENAI_PRICE_INPUT and OPENAI_PRICE_OUTPUT.",
            )

    def cost(self, usage: Usage) -> float:
        """What ``usage`` costs; tokens in the total alone are charged as output, the dearer of the two."""
        return (usage.input_tokens * self.input + (usage.total_tokens - usage.input_tokens) * self.output) / _MILLION


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What one report's narrative cost.

    Attributes:
        requests: how many were made, retries included.
        sent_bytes: of all their bodies.
        usage: of the one answer that was read to its end; None where there was none, or no usable count in it.
        prices: the operator's; None where none were given.
    """

    requests: int = 0
    sent_bytes: int = 0
    usage: Usage | None = None
    prices: Prices | None = None

    @property
    def cost(self) -> float | None:
        """In the currency of the prices; None where tokens or prices are unknown."""
        return None if self.usage is None or self.prices is None else self.prices.cost(self.usage)

    @property
    def sentence(self) -> str:
        """For people: one line, empty where nothing was asked."""
        if not self.requests:
            return ""
        many = "request" if self.requests == 1 else "requests"
        sent = f"{self.requests} {many}, {self.sent_bytes:,} bytes of text; "
        if self.usage is None:
            return f"{sent}tokens unknown, the service gave no usable count, so neither is the cost"
        tokens = (
            f"{self.usage.total_tokens:,} tokens by the service's count"
            f" ({self.usage.input_tokens:,} input, {self.usage.output_tokens:,} output)"
        )
        if self.prices is None or self.cost is None:
            return f"{sent}{tokens}; no prices were given, so no cost is stated"
        priced = f"{self.prices.input:g} and {self.prices.output:g} per million input and output tokens"
        return f"{sent}{tokens}; cost {self.cost:.4g} at the operator's prices of {priced}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "requests": self.requests,
            "sent_bytes": self.sent_bytes,
            "tokens": None
            if self.usage is None
            else {
                "input": self.usage.input_tokens,
                "output": self.usage.output_tokens,
                "total": self.usage.total_tokens,
            },
            "cost": self.cost,
            "price_per_million": None
            if self.prices is None
            else {"input": self.prices.input, "output": self.prices.output},
        }
