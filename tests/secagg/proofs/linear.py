"""Integer elimination with unit pivots, over many matrices at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int16]


def left_kernels(matrices: Integers) -> tuple[NDArray[np.bool_], Integers]:
    """Left kernels of integer matrices whose Smith form has no entry but 0 and 1.

    Row operations that are unimodular turn a matrix into one in which every row is zero or has a pivot of +-1 with
    zeros below it; column operations then clear everything but the pivots. So the Smith form is one unit for each
    row that is not zero, the rows of the transformation that give the zero rows are a basis of the left kernel, over
    the integers and, the units being units in every ring, modulo every R.

    Args:
        matrices: shape ``(count, rows, columns)``.

    Returns:
        Which rows became zero, shape ``(count, rows)``, and the transformations, shape ``(count, rows, rows)``.

    Raises:
        ValueError: a pivot is not a unit.
    """
    count, rows, columns = matrices.shape
    work = np.concatenate([matrices, np.broadcast_to(np.eye(rows, dtype=np.int16), (count, rows, rows))], axis=2)
    zero = np.zeros((count, rows), dtype=np.bool_)
    every = np.arange(count)
    for row in range(rows):
        place = np.argmax(work[:, row, :columns] != 0, axis=1)
        pivot = work[every, row, place]
        zero[:, row] = pivot == 0
        if np.any(np.abs(pivot) > 1):
            raise ValueError("a pivot is not a unit: the Smith form may have larger entries")
        below = work[every, row + 1 :, place] * pivot[:, None]
        work[:, row + 1 :] -= below[:, :, None] * work[:, row, None, :]
    return zero, work[:, :, columns:]
