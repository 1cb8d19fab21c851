"""The many spellings of one text: folding it to plain letters, and undoing the encodings that could hide a name.

:func:`spellings` maps what a reader takes for the same word to the same letters: case, compatibility forms (NFKD),
accents, invisible characters, letters of other alphabets that look Latin (Unicode's UTS 39 confusables, from the
package ``confusable-homoglyphs``), and digits that stand for letters ("N0rdhafen"). :func:`views` lists a text and what
comes out when JSON, URL, HTML, hexadecimal, base64 and base32 encodings in it are undone, up to three times over.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
import urllib.parse
from dataclasses import dataclass
from functools import cache

from confusable_homoglyphs import confusables

MASK = "\x00"
_WORD = re.compile(r"\x00|\d+|[^\W\d_]+")
_CAMEL = re.compile(r"([^\W\d_A-Z])(?=[A-Z])")
_MIXED = re.compile(r"[A-Za-z]*(?:[A-Za-z][0-9$@!|]|[0-9$@!|][A-Za-z])[A-Za-z0-9$@!|]*")
_LEET = str.maketrans("0134578$@!|", "oleastbsall")
_UPRIGHT = str.maketrans("ij", "ll")
_UMLAUTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ø": "oe", "Ø": "Oe", "å": "aa", "Å": "Aa"}
)
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # blank, yet no format character
_INVISIBLE = frozenset({"Mn", "Me", "Cf"})
_HEX_RUN = re.compile(r"(?:(?:0x|\\+x)?[0-9A-Fa-f]{2}[\s:,;_.|-]{0,2}){3,}")
_NO_HEX = re.compile(r"0x|\\+x|[^0-9A-Fa-f]")
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_\-]{6,}")
_BASE32_RUN = re.compile(r"[A-Z2-7]{7,}")
_BASE32_LOWER = re.compile(r"[a-z2-7]{14,}")
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\"\\/bfnrt]))")
_JSON_SIGNS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?!\s*:)')
_GAP = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]+")
_DEPTH = 3
_KEY_BYTES = 16
_SHORTEST_PIECE = 4


@dataclass(frozen=True, slots=True)
class Folded:
    """A text as plain letters and digits.

    Attributes:
        letters: lower-case letters and digits only, and :data:`MASK` where text was taken out.
        starts: one byte per letter, 1 where a word begins.
    """

    letters: str
    starts: bytes


def fold(text: str) -> Folded:
    """``text`` in lower-case letters without accents and without what cannot be seen; look-alikes stay as they are."""
    return _folded(_visible(text))


def spellings(text: str) -> tuple[Folded, ...]:
    """``text`` folded in each way in which a reader could take it for another spelling, each once.

    Look-alikes are resolved before and after lowering the case, since capitals and small letters of another alphabet
    look like different Latin ones, and not at all, so that a name in that alphabet is found in any case.
    """
    seen = _visible(text)
    forms = [seen]
    if not seen.isascii():
        table = _look_alikes()
        forms += [_visible(seen.translate(table)), _visible(seen.casefold().translate(table))]
    folded = [_folded(form) for form in forms]
    folded += [_folded(_loosened(form)) for form in forms[:2]]
    return tuple(dict.fromkeys(folded))


def without_umlauts(text: str) -> str:
    """``text`` as it is typed where there are no umlauts: ``ue`` for ``ü``."""
    return unicodedata.normalize("NFC", text).translate(_UMLAUTS)


def readable(text: str) -> str:
    """``text`` in compatibility form, digits of all scripts as 0 to 9, without accents and what cannot be seen."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in _visible(text))


def latin(text: str) -> str:
    """:func:`readable`, and letters that look Latin as Latin letters."""
    return text if text.isascii() else readable(_visible(text).translate(_look_alikes()))


def views(text: str) -> list[tuple[str, bool]]:
    """``text`` and what its encodings hide, each once, with whether it came out of a binary encoding."""
    found: dict[str, bool] = {text: False}
    frontier = [text]
    for _ in range(_DEPTH):
        reached: list[str] = []
        for view in frontier:
            opened = [(plain, found[view]) for plain in unescaped(view)] + [(hidden, True) for hidden in _decoded(view)]
            for candidate, binary in opened:
                if candidate not in found:
                    found[candidate] = binary
                    reached.append(candidate)
        frontier = reached
    return list(found.items())


def unescaped(text: str) -> list[str]:
    """``text`` with JSON's, URLs' and HTML's escapes undone, one at a time."""
    escapes = _JSON_ESCAPE.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else _JSON_SIGNS.get(match[2], match[2]), text
    )
    pairs = escapes.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return [pairs, urllib.parse.unquote_plus(text), html.unescape(text)]


def joined_strings(text: str) -> str:
    """The string values of the JSON document ``text`` without what stands between them, keys left out."""
    return "".join(_JSON_STRING.findall(text))


def _decoded(text: str) -> list[str]:
    joined = re.sub(r"\s+", "", text)
    hexadecimal = [
        binascii.unhexlify(digits[phase : phase + (len(digits) - phase) // 2 * 2])
        for run in dict.fromkeys(_HEX_RUN.findall(text))
        for digits in [_NO_HEX.sub("", run)]
        for phase in (0, 1)
    ]
    runs = dict.fromkeys(_BASE64_RUN.findall(text) + _BASE64_RUN.findall(joined))
    sixes = [_base64(run[phase:]) for run in runs for phase in range(4)]
    runs = dict.fromkeys(_BASE32_RUN.findall(text) + _BASE32_RUN.findall(joined) + _BASE32_LOWER.findall(text))
    fives = [_base32(run[phase:]) for run in runs for phase in range(8)]
    wide = [each for each in (*hexadecimal, *sixes, *fives) if len(each) >= 2 * _SHORTEST_PIECE]
    return [_legible(kind) for kind in (hexadecimal, sixes, fives)] + [_wide(wide)]


def keys_in(text: str) -> str:
    """What base64 in ``text`` stands for, in hexadecimal: a key in its usual spelling."""
    runs = dict.fromkeys(_BASE64_RUN.findall(text) + _BASE64_RUN.findall(re.sub(r"\s+", "", text)))
    sixes = [_base64(run[phase:]) for run in runs if len(run) * 3 >= _KEY_BYTES * 4 for phase in range(4)]
    return MASK.join(each.hex() for each in sixes)


def _base64(run: str) -> bytes:
    standard = run.replace("-", "+").replace("_", "/")
    if len(standard) % 4 == 1:
        standard = standard[:-1]
    return binascii.a2b_base64(standard + "=" * (-len(standard) % 4))


def _base32(run: str) -> bytes:
    whole = len(run) % 8
    run = run[: len(run) - {1: 1, 3: 1, 6: 1}.get(whole, 0)].upper()
    return base64.b32decode(run + "=" * (-len(run) % 8))


def _legible(pieces: list[bytes]) -> str:
    """The pieces of ``pieces`` that could be text: UTF-8, or Latin-1 of mostly plain letters; the rest is a gap."""
    found = []
    for data in pieces:
        found += _GAP.split(data.decode("utf-8", errors="replace"))
        if any(data[at] > 127 for at in range(len(data))):
            found += [piece for piece in _GAP.split(data.decode("latin-1")) if _mostly_letters(piece)]
    return MASK.join(dict.fromkeys(piece for piece in found if len(piece) >= _SHORTEST_PIECE))


def _wide(pieces: list[bytes]) -> str:
    """The pieces that could be UTF-16 of one alphabet: every other byte takes one of two values."""
    found = [each.decode("utf-16-le", errors="replace") for each in pieces if len(set(each[1::2])) <= 2]
    found += [each.decode("utf-16-be", errors="replace") for each in pieces if len(set(each[::2])) <= 2]
    return MASK.join(dict.fromkeys(found))


def _mostly_letters(piece: str) -> bool:
    return sum(c.isascii() and (c.isalpha() or c == " ") for c in piece) * 4 >= len(piece) * 3


def _folded(plain: str) -> Folded:
    words = [word.casefold() for word in _WORD.findall(_CAMEL.sub(r"\1 ", plain))]
    return Folded("".join(words), b"".join(b"\x01" + bytes(len(word) - 1) for word in words))


def _visible(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not _hidden(c))


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE or character in _FILLERS


def _loosened(plain: str) -> str:
    """Digits and signs inside words as the letters that they look like, and "rn" as m; i, j and l are one letter."""
    letters = _MIXED.sub(lambda match: match[0].translate(_LEET), _CAMEL.sub(r"\1 ", plain).casefold())
    return letters.replace("rn", "m").replace("vv", "w").translate(_UPRIGHT)


@cache
def _look_alikes() -> dict[int, str]:
    """From each character that looks like Latin letters or digits to them: UTS 39's pairs, marks left out.

    A letter that the list leaves out looks like what its other case looks like ("к" like "К", hence like "K").
    """
    table: dict[int, str] = {}
    for character, others in confusables.confusables_data.items():
        if len(character) != 1 or character.isascii():
            continue
        plain = (_visible(other["c"]) for other in others)
        latin = sorted(
            (text for text in plain if text.isascii() and text.isalnum()), key=lambda text: (len(text), text)
        )
        if latin:
            table[ord(character)] = latin[0]
    others = {
        ord(chr(code).swapcase()): latin.swapcase() for code, latin in table.items() if len(chr(code).swapcase()) == 1
    }
    return {code: latin for code, latin in others.items() if code > 127} | table
