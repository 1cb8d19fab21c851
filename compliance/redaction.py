"""The last gate before the network: every byte that would leave is held against what must not.

It is the second of two barriers. The first is structural: the prompt is a fixed template filled from
:class:`compliance.disclosed.Disclosed`, which has no field that a name, a path or a bank's figure could enter. This
gate assumes that the first one broke. It fails closed: an error in here stops the request too.

*Names that are ordinary words.* A bank called "Loss", a user called "user" or a column called "Class" would block
every clean request if the whole text were searched. So the scanner is told the fixed texts (template, schema,
skeleton of the request), which were written before there was a bank. An identifier that occurs in them is searched
for only in what is left once those exact texts are taken out, hence a planted "Loss" is found and the template's
own "loss" is not; every other identifier is searched for everywhere.

*Short names.* Fewer than eight letters must stand as a word of their own ("ING" is not in "training"), may be
written with other separators ("i n g", "Bank-A" for "bank a") and are looked for inside encodings from four letters
on. Names of one letter and numbers below four digits cannot be told from anything else and are left to the first
barrier.

*Parts.* A word of five letters or more of a bank's name counts as the name ("Nordhafen" of "Nordhafen Privatbank").
A name of eight letters or more is also found where it is spelled backwards, and where it was cut in two and the
halves stand in neighbouring values of the request, with nothing but fixed texts and figures between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath

from compliance.identifiers import Identifiers
from compliance.normalise import (
    MASK,
    Folded,
    fold,
    joined_strings,
    keys_in,
    spellings,
    unescaped,
    views,
    without_umlauts,
)
from compliance.numbers import values_in
from compliance.patterns import classes_in, suspicions_in
from fedsec.errors import RedactionError

_ALONE_BELOW = 8
_SHORTEST = 2
_SHORTEST_PART = 5
_SHORTEST_ENCODED = 4
_SIGNIFICANT_DIGITS = 4
_SHORTEST_MASK = 6
_PART = "a word of a bank's name"
# The service's own address at the start of what the transport gives: the operator chose it, it is no suspicion.
_PROTOCOL = ("http://", "https://", "Host: ")  # words of every request, so that a bank may be called "Host"
_DESTINATION = re.compile(r"\A(?:https?://[^/?#]*|Host: [^\n]*)", re.IGNORECASE)
# Identifiers of answers, made by the service: "resp_67ccd2bed1ec8190".
_ANSWER_ID = re.compile(r'"(?:resp|msg|rs|req|chatcmpl|cmpl)[_-][0-9A-Za-z-]{8,}"')


@dataclass(frozen=True, slots=True)
class _Needle:
    kind: str
    folded: Folded

    def occurs_in(self, hay: Folded) -> bool:
        letters, length = self.folded.letters, len(self.folded.letters)
        own_words = sum(self.folded.starts[1:])
        at = hay.letters.find(letters)
        while at >= 0:
            end = at + length
            alone = hay.starts[at] and (end == len(hay.letters) or hay.starts[end])
            words = sum(hay.starts[at + 1 : end])
            if length >= _ALONE_BELOW or (alone and (length >= _SHORTEST_MASK or words in (0, own_words, length - 1))):
                return True
            at = hay.letters.find(letters, at + 1)
        return False


class Scanner:
    """Looks for identifiers in bytes that are about to leave, or that came back.

    Args:
        identifiers: what must not be there.
        fixed: texts that are the same for every run, whatever the data; see the module's text.
        secrets: further strings that must not be there, such as the key of the model's service.
    """

    def __init__(self, identifiers: Identifiers, *, fixed: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        with _closed("language model request"):
            self._fixed = tuple(sorted({text for text in (*fixed, *_PROTOCOL) if len(text) >= _SHORTEST_MASK}))
            needles = _needles(identifiers, secrets)
            vocabulary = _vocabulary(self._fixed)
            self._common = [n for n in needles if any(n.occurs_in(form) for form in vocabulary)]
            known = frozenset(self._common)
            self._distinct = [n for n in needles if n not in known]
            self._figures = frozenset(f for f in identifiers.figures if _significant(f) >= _SIGNIFICANT_DIGITS)

    def check(self, data: bytes, channel: str) -> None:
        """Let ``data`` pass, or say which class of identifier it holds and never which one.

        Args:
            data: exact bytes, any length.
            channel: where they would go, for the message.

        Raises:
            RedactionError: something that must not leave is in ``data``, plain or encoded.
        """
        with _closed(channel):
            text = data.decode("utf-8", errors="replace").replace(MASK, " ")
            self._search(text, self._distinct, channel, figures=True)
            own = self._variable(text)
            self._search(own, self._common, channel, figures=False)
            for view, binary in views(self._variable(_DESTINATION.sub("", text))):
                for kind in suspicions_in(view, binary=binary):
                    raise _refusal(kind, channel)
            for pieces in (own.replace(MASK, ""), re.sub(r"[\d.,%\s\x00]+", "", own)):
                self._search_names(pieces, _long(self._common + self._distinct), channel)
            self._search_names(joined_strings(text), _long(self._distinct), channel)

    def check_answer(self, answer: str, channel: str, *, figures: bool = False) -> None:
        """The same for text that came back, where words of our own fixed texts are no evidence of anything.

        Args:
            answer: what came back.
            channel: where it would go, for the message.
            figures: whether single banks' figures are searched for; no need where a request was free of them, since
                a token count or a time would only coincide with one.

        Raises:
            RedactionError: the answer holds an identifier that is no word of the fixed texts.
        """
        with _closed(channel):
            telling = [
                n for n in self._distinct if n.kind != _PART and (n.kind != "a column's name" or _unusual(n.folded))
            ]
            self._search(_ANSWER_ID.sub(" ", answer.replace(MASK, " ")), telling, channel, figures=figures)

    def _variable(self, text: str) -> str:
        """``text`` without every place where a fixed text stands, whole; they may overlap."""
        fixed = bytearray(len(text))
        for fragment in self._fixed:
            at = text.find(fragment)
            while at >= 0:
                fixed[at : at + len(fragment)] = b"\x01" * len(fragment)
                at = text.find(fragment, at + 1)
        return "".join(MASK if mark else character for character, mark in zip(text, fixed, strict=True))

    def _search(self, text: str, needles: list[_Needle], channel: str, *, figures: bool) -> None:
        for view, _ in self._search_names(text, needles, channel):
            if figures and any(_is_figure(value, self._figures) for value in values_in(view)):
                raise _refusal("a figure of a single bank", channel)
            for kind in classes_in(view):
                raise _refusal(kind, channel)

    @staticmethod
    def _search_names(text: str, needles: list[_Needle], channel: str) -> list[tuple[str, bool]]:
        """Refuse ``text`` where one of ``needles`` is in any view of it; returns the views."""
        seen = views(text)
        keys = MASK.join(keys_in(view) for view, _ in seen)
        for needle in needles:
            if needle.kind == "a public key" and needle.folded.letters in keys:
                raise _refusal(needle.kind, channel)
        for view, binary in seen:
            for hay in spellings(view):
                for needle in needles:
                    if binary and len(needle.folded.letters) < _SHORTEST_ENCODED:
                        continue
                    if needle.occurs_in(hay):
                        raise _refusal(needle.kind, channel)
        return seen


def _long(needles: list[_Needle]) -> list[_Needle]:
    return [n for n in needles if len(n.folded.letters) >= _ALONE_BELOW]


@contextmanager
def _closed(channel: str) -> Iterator[None]:
    """Whatever goes wrong while searching stops what was to be searched, and says nothing of it."""
    try:
        yield
    except RedactionError:
        raise
    except Exception as error:
        raise _refusal(f"something that the scanner failed on ({type(error).__name__})", channel) from None


@cache
def _vocabulary(fixed: tuple[str, ...]) -> tuple[Folded, ...]:
    return spellings(MASK.join(form for text in fixed for form in (text, *unescaped(text))))


def _refusal(kind: str, channel: str) -> RedactionError:
    return RedactionError(
        f"{kind} would have left in the {channel}; nothing was sent",
        channel=channel,
        remedy="The offline text needs no request; a name inside the model's name or address is a common cause.",
    )


def _needles(identifiers: Identifiers, secrets: Iterable[str]) -> list[_Needle]:
    listed = [
        ("a bank's name", identifiers.banks),
        ("a file system path", identifiers.paths),
        ("a file's name", [*identifiers.files, *(_name(path) for path in (*identifiers.paths, *identifiers.files))]),
        ("a data-set id", identifiers.datasets),
        ("a column's name", identifiers.columns),
        ("this machine's name", identifiers.hosts),
        ("a user's name", identifiers.users),
        ("a public key", identifiers.keys),
        ("a secret key", secrets),
    ]
    listed.append((_PART, [word for name in identifiers.banks for word in _words(name)]))
    needles = [_Needle(kind, form) for kind, values in listed for value in values for form in _forms(value)]
    backwards = [
        _Needle(n.kind, Folded(n.folded.letters[::-1], n.folded.starts))
        for n in needles
        if len(n.folded.letters) >= _ALONE_BELOW
    ]
    return [n for n in dict.fromkeys(needles + backwards) if _searchable(n.folded.letters)]


def _forms(value: str) -> tuple[Folded, ...]:
    return tuple(dict.fromkeys(form for text in (value, without_umlauts(value)) for form in spellings(text)))


def _words(name: str) -> list[str]:
    """The words of a name of several, those that are long enough to tell."""
    words = re.findall(r"[^\W\d_]+", name)
    return [word for word in words if len(fold(word).letters) >= _SHORTEST_PART] if len(words) > 1 else []


def _name(path: str) -> str:
    """The last part without its ending, whichever system wrote the path."""
    return PurePosixPath(PureWindowsPath(path).name).stem


def _searchable(letters: str) -> bool:
    shortest = _SIGNIFICANT_DIGITS if letters.isdigit() else _SHORTEST
    return len(letters) >= shortest


def _unusual(name: Folded) -> bool:
    """Whether a column's name is more than an everyday word such as "amount"."""
    return len(name.letters) >= _ALONE_BELOW or (len(name.letters) >= _SHORTEST_ENCODED and any(name.starts[1:]))


def _significant(figure: float) -> int:
    return len(f"{abs(figure):.12g}".partition("e")[0].replace(".", "").lstrip("0"))


def _is_figure(value: float, figures: frozenset[float]) -> bool:
    return value in figures or any(abs(value - figure) <= 1e-9 * abs(figure) for figure in figures)
