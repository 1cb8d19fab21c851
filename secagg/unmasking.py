"""Who does the server's vector work: this process alone, or one that has help.

The server is sans-IO and starts no process. An engine that has several cores passes it another :class:`Unmasker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedsec.keystream import KeyStream
from secagg import masking


class Unmasker(Protocol):
    """Holds the accumulator of a session, and takes the masks off it."""

    def zeros(self, count: int, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """A new accumulator: ``count`` zeros of ``dtype``, uint32 or uint64; freed when nothing refers to it."""

    def combine(self, words: NDArray[np.unsignedinteger], *, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
        """Add and subtract, in place, the streams of 32-byte keys to all of ``words``, which :meth:`zeros` made.

        Either all streams are combined when it returns, or it raises and ``words`` is of no more use.
        """


class InProcess:
    """One core, in the calling thread."""

    def zeros(self, count: int, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """See :meth:`Unmasker.zeros`."""
        return masking.zeros(count, dtype)

    def combine(self, words: NDArray[np.unsignedinteger], *, add: Sequence[bytes], subtract: Sequence[bytes]) -> None:
        """See :meth:`Unmasker.combine`."""
        masking.combine(words, add=[KeyStream(key) for key in add], subtract=[KeyStream(key) for key in subtract])


IN_PROCESS = InProcess()
