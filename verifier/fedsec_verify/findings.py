"""What a check can find, and how it says so."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 (it is a verdict, no error of this program)
    """A check does not hold.

    Attributes:
        file: the file in which it shows, relative to the run's directory; "" where it is none alone.
        expected: what should have been found there, in words.
        found: what was found instead; may be empty.
    """

    def __init__(self, file: str, expected: str, found: str = "") -> None:
        super().__init__(f"{file}: expected {expected}" + (f", found {found}" if found else ""))
        self.file = file
        self.expected = expected
        self.found = found


def require(holds: bool, file: str, expected: str, found: str = "") -> None:
    """Raise :class:`Refused` unless it ``holds``."""
    if not holds:
        raise Refused(file, expected, found)
