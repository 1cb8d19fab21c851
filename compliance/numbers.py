"""Numbers as people write them: ``48,213``, ``1e-5``, ``10⁻⁵``, ``97.4 %``, ``two-thirds``, ``1 in 40``, ``XIV``.

A number that a language model's text states is believed only where it is one of the facts, so none may be overlooked.
What can be read in two ways is read as ``nan``, which stands for no fact. A fraction or a ratio is one number, its
value, since "3 in 10" says something that neither 3 nor 10 does; "7 of 10" names both and is two.

Not read: "one" on its own, "first" and "second", vague words ("most", "a handful"), Roman numerals of one letter and
those that are abbreviations (CI, ML), numbers in words of other languages than English, two facts set in relation
("3 over 5", "5 times as many"). A figure that is a fact is believed whatever the text says that it is a figure of.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from compliance.normalise import readable

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺−–", "0123456789-+--")
_POWER = re.compile(
    r"(?:(\d+(?:[.]\d+)?)\s?[×x·*]\s?)?\b10\s?(?:(?:\^|\*\*)\s?[{(]?([-+−–]?\d+)[)}]?|([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)"
    r"|to the (?:power (?:of )?)?([-+−–]?\d+)\b)"
)
_SPACED = re.compile(r"(?<=\d)[ \u00a0\u202f\u2009](?=\d{3}(?!\d))")
_THIN = re.compile(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3}(?!\d))")
_WRITTEN = r"(\d(?:[\d.,'’_]*\d)?|(?<![\w.])\.\d+)([eE][-+−]?\d{1,4})?"
_TOKEN = re.compile(_WRITTEN + r"|[A-Za-z]+|\S")
_FIGURE = re.compile(_WRITTEN + r"(\s?(?:%|percent\b|per cent\b))?")
_PLAIN = re.compile(r"\d*\.?\d+")
_GROUPED = re.compile(r"\d{1,3}(?:[,'’]\d{3})+(?:\.\d+)?")
# Decimal points that are no ASCII full stop, or stand apart: each would make "0.5" two small numbers, 0 and 5.
_POINT = re.compile(r"(?<=\d)(?:\s?(?:[·⋅∙•‧・٫。]|\bpoint\b)\s?|\s\.\s?)(?=\d)", re.IGNORECASE)
_NOUGHT_POINT = re.compile(r"\b(?:zero|nought|naught|oh?) point (?=\d)", re.IGNORECASE)
_NAMES = re.compile(r"\b(?:F1|L2)\b")  # of measures, no figures
_LARGEST_POWER = 200

_SMALL = {
    "zero": 0, "nought": 0, "naught": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40,
    "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_LARGE = {"dozen": 12, "hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 10**9, "trillion": 10**12}
_SCALES = _LARGE | {"k": 1_000, "K": 1_000, "m": 1_000_000, "M": 1_000_000, "mn": 1_000_000, "bn": 10**9}
_PARTS = {
    "half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12, "twentieth": 20, "hundredth": 100, "thousandth": 1_000,
    "millionth": 1_000_000,
}  # fmt: skip
# A comparison or an estimate is no fact, whatever its number.
_MULTIPLES = frozenset(
    ("twice", "double", "doubled", "couple", "pair", "thrice", "triple", "tripled", "treble", "quadruple", "halved",
     "quintuple", "fold", "squared", "cubed", "divided", "multiplied", "magnitude", "percent")
)  # fmt: skip
_MULTIPLES |= {f"{word}fold" for word in _SMALL | _LARGE} | {f"{word}s" for word in (*_LARGE, "ten")}
_PERCENT = {("%",): 1e-2, ("percent",): 1e-2, ("per", "cent"): 1e-2, ("‰",): 1e-3, ("per", "mille"): 1e-3}
_PERCENT |= {("bp",): 1e-4, ("bps",): 1e-4, ("basis", "point"): 1e-4, ("basis", "points"): 1e-4}
_PERCENT |= {("pct",): 1e-2, ("٪",): 1e-2, ("per", "-", "cent"): 1e-2, ("‱",): 1e-4, ("ppm",): 1e-6}
_PERCENT |= dict.fromkeys((("percentage",), ("pp",), ("p", ".", "p"), ("p", ".", "c")), math.nan)  # differences
_ROMAN = re.compile(r"(?=..)(M{0,3})(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ABBREVIATIONS = frozenset(
    {"CC", "CD", "CI", "CL", "CM", "CV", "DC", "DI", "DL", "DM", "LC", "LL", "MC", "MD", "MI", "ML", "MM"}
)
_SIGNS = "-−–"


@dataclass(frozen=True, slots=True)
class Number:
    """One number in a text.

    Attributes:
        value: what it says (a percentage as a fraction), ``nan`` where it cannot be read with certainty.
        unit: value of its last written digit.
        digits: how many significant digits were written.
    """

    value: float
    unit: float
    digits: int

    def stands_for(self, fact: float) -> bool:
        """Whether it is ``fact``, or ``fact`` rounded to the digits that were written, two of them at least.

        What is below one is not rounded up to it: a share of 0.97 is not "1.0".
        """
        if math.isclose(self.value, fact, rel_tol=1e-9):
            return True
        rounded = self.digits >= 2 and abs(self.value - fact) <= self.unit * (0.5 + 1e-9)
        return rounded and (abs(self.value) < 1) == (abs(fact) < 1)

    def times(self, factor: float) -> Number:
        """The same digits, ``factor`` times as much."""
        return Number(self.value * factor, self.unit * factor, self.digits)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    number: Number | None
    start: int
    end: int

    @property
    def word(self) -> str:
        return self.text.lower()


_NOTHING = _Token("", None, -1, -1)


class _Tokens:
    """The words, numbers and signs of a text, with nothing before the first and after the last."""

    def __init__(self, text: str) -> None:
        self._all = [_token(match) for match in _TOKEN.finditer(text)]

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, at: int) -> _Token:
        return self._all[at] if 0 <= at < len(self._all) else _NOTHING

    def words(self, at: int, count: int) -> tuple[str, ...]:
        return tuple(self[place].word for place in range(at, at + count))


def numbers_in(text: str) -> list[Number]:
    """Every number in ``text``, in digits or words, with its sign."""
    tokens = _Tokens(_plain(text))
    found: list[Number] = []
    at = 0
    while at < len(tokens):
        number, after = _number(tokens, at)
        if number is not None:
            found.append(Number(-number.value, number.unit, number.digits) if _is_negative(tokens, at) else number)
        at = max(after, at + 1)
    return found


def values_in(text: str) -> set[float]:
    """Every value that digits in ``text`` state, without its sign, also with thousands separated by a space."""
    found: set[float] = set()
    for form in {text, _SPACED.sub("", text)}:
        for match in _FIGURE.finditer(readable(_POWER.sub(_power, _THIN.sub(",", form)))):
            number = _digits(match[1], match[2] or "")
            found |= {number.value, number.value / 100} if match[3] else {number.value}
    return found


def unsupported(text: str, facts: Iterable[float]) -> bool:
    """Whether ``text`` holds a number that is none of ``facts``, not even rounded."""
    known = list(facts)
    return any(not any(number.stands_for(fact) for fact in known) for number in numbers_in(_SPACED.sub("", text)))


def _plain(text: str) -> str:
    plain = readable(_POWER.sub(_power, _THIN.sub(",", text)))
    return _NAMES.sub(" ", _POINT.sub(".", _NOUGHT_POINT.sub("0.", plain)))


def _power(match: re.Match[str]) -> str:
    exponent = (match[2] or match[3] or match[4]).translate(_SUPERSCRIPTS)
    return f"{match[1] or '1'}e{exponent}"


def _token(match: re.Match[str]) -> _Token:
    text = match[0]
    if match[1]:
        return _Token(text, _digits(match[1], match[2] or ""), match.start(), match.end())
    numeral = None if text.isascii() or len(text) > 1 else unicodedata.numeric(text, None)
    return _Token(text, None if numeral is None else Number(numeral, 0.0, 1), match.start(), match.end())


def _digits(digits: str, exponent: str) -> Number:
    power = int(exponent[1:].replace("−", "-")) if exponent else 0
    if not (_PLAIN.fullmatch(digits) or _GROUPED.fullmatch(digits)) or abs(power) > _LARGEST_POWER:
        return Number(math.nan, 0.0, 0)
    bare = re.sub(r"[,'’]", "", digits)
    decimals = len(bare.partition(".")[2])
    return Number(float(f"{bare}e{power}"), 10.0 ** (power - decimals), len(bare.replace(".", "").lstrip("0")))


def _number(tokens: _Tokens, at: int) -> tuple[Number | None, int]:
    """The number that begins at ``at``, if one does, and the place after it."""
    amount, after = _amount(tokens, at)
    if amount is None:
        return _lone(tokens, at)
    ratio, end = _ratio(tokens, amount, after)
    if ratio is not None:
        return ratio, end
    if after == at + 1 and tokens[at].word == "one":
        return None, after
    return amount, after


def _amount(tokens: _Tokens, at: int) -> tuple[Number | None, int]:
    """A number in digits or words with the scale, the percent sign or the part ("thirds") that follows it."""
    first = tokens[at]
    number, after = (first.number, at + 1) if first.number else _spoken(tokens, at)
    if number is None:
        return None, at
    scale = tokens[after]
    if first.number and (scale.word in _LARGE or (scale.text in _SCALES and scale.start == first.end)):
        number, after = number.times(_SCALES.get(scale.text, _SCALES.get(scale.word, 1))), after + 1
    if tokens[after].text == "-" and _part(tokens, after + 1):
        after += 1
    if part := _part(tokens, after):
        return Number(number.value / part, 0.0, number.digits), after + 1
    for words, factor in _PERCENT.items():
        if tokens.words(after, len(words)) == words:
            return number.times(factor), after + len(words)
    return number, after


def _ratio(tokens: _Tokens, top: Number, at: int) -> tuple[Number | None, int]:
    """``top`` over what follows ``/``, ``:``, "in", "of every" or, after one, "out of"; "12/12" is just 12."""
    sign = tokens[at]
    even = (sign.start == tokens[at - 1].end) == (tokens[at + 1].start == sign.end)
    shared = sign.word == "of" and tokens[at + 1].word in ("every", "each")
    if sign.word == "in" or shared or (sign.text in "/⁄:" and even and sign.text):
        after = at + 1
    elif tokens.words(at, 2) == ("out", "of") and top.value == 1:
        after = at + 2
    else:
        return None, at
    while tokens[after].word in ("every", "each", "a", "an"):
        after += 1
    bottom, end = _amount(tokens, after)
    if bottom is None or (sign.word in ("in", "of", "out") and not _smaller_count(top, bottom)):
        return None, at
    if top.value == bottom.value:
        return top, end
    return Number(top.value / bottom.value if bottom.value else math.nan, 0.0, 1), end


def _smaller_count(top: Number, bottom: Number) -> bool:
    return top.value < bottom.value and top.value.is_integer() and bottom.value.is_integer()


def _lone(tokens: _Tokens, at: int) -> tuple[Number | None, int]:
    """A number that is no amount: a part or an ordinal without a numerator, a multiple, a Roman numeral."""
    token = tokens[at]
    if token.word in ("a", "an") and (part := _part(tokens, at + 1)):
        return Number(1 / part, 0.0, 1), at + 2
    if part := _part(tokens, at):
        share = token.word in ("half", "halves", "quarter", "quarters") or tokens[at - 1].word in ("every", "each")
        return Number(1 / part if share else part, 0.0, 1), at + 1
    if token.word in _MULTIPLES:
        return Number(math.nan, 0.0, 0), at + 1
    if token.text not in _ABBREVIATIONS and len(token.text) > 1 and _ROMAN.fullmatch(token.text):
        values = [_ROMAN_VALUES[letter] for letter in token.text]
        signed = [-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True)]
        return Number(sum(signed), 0.0, 1), at + 1
    return None, at + 1


def _part(tokens: _Tokens, at: int) -> int | None:
    """What a part of a whole is called after, "thirds": 3; not in "third party"."""
    word = tokens[at].word
    if tokens[at + 1].word.startswith("part"):
        return None
    return _PARTS.get(word) or _PARTS.get(word.removesuffix("s"))


def _spoken(tokens: _Tokens, at: int) -> tuple[Number | None, int]:
    """A number in words: "two hundred and five", "ninety-five", "zero point nine seven", "point nine"."""
    total = current = 0.0
    began = at
    while True:
        word = tokens[at].word
        if word in _SMALL and not (word == "zero" and tokens.words(at + 1, 2) == ("-", "out")):
            current += _SMALL[word]
        elif word in _LARGE:
            current = (current or 1) * _LARGE[word]
            if _LARGE[word] >= 1000:
                total, current = total + current, 0.0
        elif at > began and word in ("-", "and") and tokens[at + 1].word in _SMALL | _LARGE:
            pass
        else:
            break
        at += 1
    if tokens[at].word == "point" and tokens[at + 1].word in _SMALL:
        digits = ""
        while tokens[at + 1].word in _SMALL:
            at += 1
            digits += str(_SMALL[tokens[at].word])
        return Number(float(f"{int(total + current)}.{digits}"), 10.0 ** -len(digits), len(digits)), at + 1
    return (None, at) if at == began else (Number(total + current, 0.0, 1), at)


def _is_negative(tokens: _Tokens, at: int) -> bool:
    """Whether a minus stands right before the number at ``at`` and is neither a range nor a hyphen."""
    before, further = tokens[at - 1], tokens[at - 2]
    if before.word in ("minus", "negative"):
        return True
    hyphen = further.end == before.start and further.text[-1:].isalnum()
    return (
        before.text in _SIGNS
        and bool(before.text)
        and before.end == tokens[at].start
        and not further.number
        and not hyphen
    )
