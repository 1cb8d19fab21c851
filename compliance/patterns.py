"""Things that identify somebody whoever they are: account and card numbers, addresses, paths, keys, bank indices.

Formats and check digits are those of ``python-stdnum``; the expressions here only find candidates in running text.
:func:`classes_in` finds what is never an accident, also in bytes that an encoding gave. :func:`suspicions_in` finds
what is only likely, for text that should hold figures and members of fixed lists alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from stdnum import bic, iban, lei, luhn
from stdnum.eu import vat

from compliance.normalise import MASK, latin

_IBAN = re.compile(
    r"(?=(?<![A-Za-z0-9])([A-Za-z][\s._-]{0,2}[A-Za-z][\s._-]{0,2}\d[\s._-]{0,2}\d(?:[\s._-]{0,2}[A-Za-z0-9]){11,30}))"
)
_CARD = re.compile(r"(?<![\d.,])\d(?:[ _-]{0,2}\d){12,18}(?!\d)")
_LEI = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{4}(?:[ -]?[A-Za-z0-9]{4}){3}[ -]?[A-Za-z0-9]{2}\d{2}(?![A-Za-z0-9])")
_EMAIL = re.compile(
    r"[\w.%+-]{1,64}(?:@|\s?[(\[]at[)\]]\s?)(?:[\w-]+(?:\.|\s?[(\[]dot[)\]]\s?))+[^\W\d_]{2,}", re.IGNORECASE
)
_UNIX_PATH = re.compile(r"(?<![\w.:/<*])~?/(?:[\w.@+-]{2,}/)+[\w.@+-]{2,}|(?<![\w/])~/[\w.-]{2,}|\bfile:/+\w")
_WINDOWS_PATH = re.compile(r"(?<![A-Za-z])[A-Za-z]:\\{1,2}[\w .-]{2,}\\|\\\\[\w.-]{2,}\\[\w.-]{2,}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|AKIA[A-Z0-9]{16}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
)
_BIC = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Z]{4}[ -]?[A-Z]{2}[ -]?[A-Z0-9]{2}(?:[ -]?[A-Z0-9]{3})?"
    r"|[a-z]{6}(?=[a-z0-9]*\d)[a-z0-9]{2}(?:[a-z0-9]{3})?)(?![A-Za-z0-9])"
)
_VAT = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2} ?[A-Za-z0-9](?:[ .-]?[A-Za-z0-9]){6,12}(?![A-Za-z0-9])")
_HOST = re.compile(r"(?<![\w.@/-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}(?![\w.-]*\w)", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])|(?<![\w:])[0-9a-f:]{2,}:[0-9a-f:]*[0-9a-f](?![\w:])", re.IGNORECASE
)
_KEY = re.compile(r"(?<![A-Za-z0-9])(?:[0-9A-Fa-f][:\s-]?){31,}[0-9A-Fa-f](?![A-Za-z0-9])|[A-Za-z0-9+/_-]{40,}")
# one bank by its number; plain numbers of banks ("of 10 banks") have their number in front
_BANK_INDEX = re.compile(
    r"\b(?:bank|client|member|participant|institution|index)(?:\s(?:no\b\.?|number|index|id))?\s?[#:=]?\s?\d",
    re.IGNORECASE,
)
_ORDINAL = "second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|\\d+(?:st|nd|rd|th)"
_COUNT = "one|two|three|four|five|six|seven|eight|nine|ten|\\d+"
_WHO = "banks?|clients?|members?|participants?|part(?:y|ies)|institutions?|index|indices|sites?|nodes?|holders?"
_INDEX = re.compile(
    rf"\b(?:{_WHO})\b[\s_\\\"'=:#\[(-]{{0,4}}(?:no\b\.?|number|id|index|#)?[\s_\\\"'=:#\[(-]{{0,4}}(?:{_COUNT})\b"
    rf"|\b(?:{_ORDINAL}) (?:bank|client|member|participant|institution)\b",
    re.IGNORECASE,
)
_HEX = re.compile(r"[0-9\s:-]*[A-Fa-f][0-9A-Fa-f\s:-]*")
_SHORTEST_SEGMENT = 8


def classes_in(text: str) -> Iterator[str]:
    """The classes of general identifiers that occur in ``text``: those with check digits or an unmistakable form."""
    plain = latin(text)
    if any(_is_iban(match[1]) for match in _IBAN.finditer(plain)):
        yield "an account number (IBAN)"
    if any(_is_card(match[0]) for match in _CARD.finditer(plain)):
        yield "a payment card number"
    if any(_is_lei(match[0]) for match in _LEI.finditer(plain)):
        yield "a legal entity identifier (LEI)"
    if _EMAIL.search(plain):
        yield "an e-mail address"
    if _UNIX_PATH.search(plain) or _WINDOWS_PATH.search(plain):
        yield "a file system path"
    if _PRIVATE_KEY.search(plain):
        yield "a secret key"
    if _BANK_INDEX.search(plain):
        yield "a bank's index"


def suspicions_in(text: str, *, binary: bool) -> Iterator[str]:
    """The classes that ``text`` looks as if it held, where no name, address or key has any business.

    Args:
        text: with everything that is the same for all runs taken out.
        binary: whether an encoding gave it, so that what is short is more likely chance.
    """
    plain = latin(text)
    if binary:
        plain = MASK.join(piece for piece in plain.split(MASK) if len(piece) >= _SHORTEST_SEGMENT)
    if any(bic.is_valid(match[0]) for match in _BIC.finditer(plain)):
        yield "a bank identifier code (BIC)"
    if any(_is_vat(match[0]) for match in _VAT.finditer(plain)):
        yield "a VAT number"
    if _HOST.search(plain) or any(_is_address(match[0]) for match in _ADDRESS.finditer(plain)):
        yield "a host's name or address"
    if any(_is_key(match[0]) for match in _KEY.finditer(plain)):
        yield "a key or a digest"
    if _INDEX.search(plain):
        yield "a bank's index"


def _is_iban(candidate: str) -> bool:
    """A candidate may run on into following words, so each length is tried; countries as in the registry."""
    compact = re.sub(r"[\W_]", "", candidate)
    return any(iban.is_valid(compact[:length], check_country=False) for length in range(15, min(len(compact), 34) + 1))


def _is_card(candidate: str) -> bool:
    digits = re.sub(r"\D", "", candidate)
    return len(set(digits)) > 1 and luhn.is_valid(digits)


def _is_lei(candidate: str) -> bool:
    return any(c.isdigit() for c in candidate) and any(c.isalpha() for c in candidate) and lei.is_valid(candidate)


def _is_vat(candidate: str) -> bool:
    return sum(c.isdigit() for c in candidate) >= 7 and vat.is_valid(candidate)


def _is_address(candidate: str) -> bool:
    try:
        ipaddress.ip_address(candidate)
    except ValueError:
        return False
    return True


def _is_key(candidate: str) -> bool:
    """Hexadecimal of 16 bytes or more, or a long run of letters of both cases and digits."""
    kinds = (str.isdigit, str.islower, str.isupper)
    return len(candidate) >= 32 and (
        any(c.isdigit() for c in candidate)
        and (_HEX.fullmatch(candidate) is not None or all(any(map(k, candidate)) for k in kinds))
    )
