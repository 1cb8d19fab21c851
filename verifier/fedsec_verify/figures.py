"""Numbers in texts that a person or a language model reads: each must be a figure of report.json, or one rounded."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_NUMBER = re.compile(r"(\d(?:[\d.,'’]*\d)?)(?:[eE]([-+−]?\d{1,3}))?(\s?(?:%|percent\b|per cent\b))?")
_PLAIN = re.compile(r"\d+(?:\.\d+)?|\d{1,3}(?:[,'’]\d{3})+(?:\.\d+)?")
_POWER = re.compile(r"\b10(?:\^\{?([-+−]?\d+)\}?|([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+))")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺−", "0123456789-+-")


@dataclass(frozen=True)
class Number:
    """A number as written: its value (NaN where it cannot be read), the value of its last digit, how many digits."""

    text: str
    value: float
    unit: float
    digits: int

    def is_one_of(self, figures: Iterable[float]) -> bool:
        """Whether it is one of ``figures``, or one of them :func:`rounded`, or rounded to two digits or more."""
        for figure in figures:
            shown = float(rounded(abs(figure)).replace(",", ""))
            if any(math.isclose(self.value, one, rel_tol=1e-9, abs_tol=1e-300) for one in (abs(figure), shown)):
                return True
            if self.digits >= 2 and abs(self.value - abs(figure)) <= self.unit * (0.5 + 1e-9):
                return True
        return False


def numbers_in(text: str) -> list[Number]:
    """Every number that is written in digits in ``text``."""
    powers = _POWER.sub(lambda found: "1e" + (found[1] or found[2]).translate(_RAISED), text)
    return [_read(found) for found in _NUMBER.finditer(unicodedata.normalize("NFKC", powers))]


def without_numbers(text: str) -> str:
    """``text`` with "#" in the place of every number."""
    return _NUMBER.sub("#", text)


def rounded(value: float) -> str:
    """A figure as texts show it: four significant digits, or a whole number from 1,000 on."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return re.sub(r"e([+-])0+", r"e\1", f"{value:.4g}").replace("e+", "e")


def figures_of(facts: Any) -> Iterator[float]:
    """Every number in a part of report.json."""
    if isinstance(facts, dict):
        for value in facts.values():
            yield from figures_of(value)
    elif isinstance(facts, list):
        for value in facts:
            yield from figures_of(value)
    elif isinstance(facts, int | float) and not isinstance(facts, bool):
        yield float(facts)


def _read(found: re.Match[str]) -> Number:
    written, exponent, percent = found[1], found[2] or "0", found[3]
    if not _PLAIN.fullmatch(written):
        return Number(found[0], math.nan, 0.0, 0)
    bare = re.sub(r"[,'’]", "", written)
    power = int(exponent.translate(_RAISED)) - (2 if percent else 0)
    decimals = len(bare.partition(".")[2])
    significant = len(bare.replace(".", "").lstrip("0"))
    return Number(found[0], float(f"{bare}e{power}"), 10.0 ** (power - decimals), significant)
