"""The clipped gradient sum of one bank: every record's gradient, clipped to L2 norm C, added up.

What is proved, for any weights and any records (docs/noise.md, section 3):

1. **One record adds at most C (1 + 2^-20)**: what is measured is what is added, in the same float64 numbers.
2. **A record whose norm is not finite adds zero**, and leaves the others' sum as it would be without it.
3. **The reduction errs by at most E in a coordinate**, E = ``dp.mechanism.reduction_error(slots, C)``.

Emptying one record hence moves the float64 sum by at most C (1 + 2^-20) + 2 E sqrt(d) in L2.

A row is computed alike whatever the other rows hold: the shapes of the micro-batches follow from the number of slots,
rows keep their place, and layers that mix records are refused by ``dp.training.architecture``. Which kernels run, on
how many threads and on buffers at which addresses, may change a row's rounding, but follows from shapes, not from
records: it is a coin that neighbouring data share. Assumed, and tested with extreme neighbours: a row of a matrix
product reads no other row, an elementwise function no other element.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dp.training.architecture import check_architecture
from dp.training.book_keeping import BookKeeping, Factors, Rows
from fedsec.errors import ConfigError

MICRO_BATCH = 1024


class ClippedGradientSum:
    """Computes clipped sums for one architecture; reusable over rounds, keeps no record between calls.

    Args:
        model: the architecture, of layers that ``check_architecture`` lets in; copied, its values unused.
        loss: maps (model output, labels), both float32, labels ``(n,)``, to the records' own losses, float32
            ``(n,)``; must treat each row on its own.
        clip: C, L2 bound of a record's gradient, in [2^-100, 2^100].
        micro_batch: most rows computed at once (>= 1), so that memory does not grow with the slots; public, as the
            shape of the computation follows from it.

    Raises:
        ConfigError: the architecture, clip or micro-batch is refused.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        clip: float,
        micro_batch: int = MICRO_BATCH,
    ) -> None:
        check_architecture(model)
        if not 2.0**-100 <= clip <= 2.0**100:
            raise ConfigError(f"the clipping bound {clip} is not a positive number of reasonable size")
        if micro_batch < 1:
            raise ConfigError("a micro-batch needs at least one row")
        own = copy.deepcopy(model).to(torch.float32).train()
        self._model = BookKeeping(own)
        self._parameters = list(own.parameters())
        self._weights = parameters_to_vector(self._parameters).detach()
        vector_to_parameters(self._weights, self._parameters)  # as views, so that a copy loads all at once
        self._loss = loss
        self._clip = clip
        self._micro_batch = micro_batch

    @property
    def dimension(self) -> int:
        """d, the number of parameters."""
        return len(self._weights)

    def __call__(
        self,
        weights: NDArray[np.float64] | NDArray[np.float32],
        features: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64],
        labels: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64] | NDArray[np.bool_],
        include: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """The clipped gradient sum at ``weights`` over the rows that ``include`` marks, float64 ``(d,)``.

        Args:
            weights: ``(d,)`` in the order of ``model.parameters()``; any values, non-finite ones included. They, the
                features and the labels are rounded to float32.
            features: ``(slots, inputs)``, a row for each declared slot; integers for an Embedding.
            labels: ``(slots,)``.
            include: ``(slots,)``; False for empty slots and rows that sit out. They cost the same time.

        Raises:
            ConfigError: shapes do not fit.
        """
        slots = len(features)
        if weights.shape != (self.dimension,) or labels.shape != (slots,) or include.shape != (slots,):
            raise ConfigError("weights, labels or include do not have the model's and the features' shape")
        self._weights.copy_(single(weights))
        total = torch.zeros(self.dimension, dtype=torch.float64)
        parts = torch.split(total, [parameter.numel() for parameter in self._parameters])
        sums: dict[Tensor, Tensor] = {
            parameter: part.view(parameter.shape) for parameter, part in zip(self._parameters, parts, strict=True)
        }
        for start in range(0, slots, self._micro_batch):
            part = slice(start, start + self._micro_batch)
            rows = features[part]
            self._add(
                sums,
                single(rows) if rows.dtype.kind == "f" else torch.from_numpy(rows.copy()),
                single(labels[part]),
                torch.from_numpy(include[part].copy()),
            )
        return total.numpy()

    def _add(self, sums: dict[Tensor, Tensor], features: Tensor, labels: Tensor, include: Tensor) -> None:
        """Add one micro-batch to ``sums``."""
        losses = self._loss(self._model(features), labels)
        if losses.shape != labels.shape:
            raise ConfigError("the loss must give one value a record")
        books = self._model.books(losses)
        with torch.no_grad():
            norms = torch.linalg.vector_norm(torch.stack([norm for book in books for norm in book.norms()]), dim=0)
            counted = include & (norms < math.inf)  # false for NaN, too
            coefficients = torch.where(counted, (self._clip / norms).clamp_(max=1.0), 0.0)
            for book in books:
                _reduce(sums, book, coefficients)


def single(values: NDArray[np.generic]) -> Tensor:
    """A float32 copy; what is too large for float32 becomes infinite, and its record counts as zero."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.astype(np.float32))


def _reduce(sums: dict[Tensor, Tensor], book: Factors | Rows, coefficients: Tensor) -> None:
    """Add ``sum_i c_i * gradient_i``; a record with ``c_i = 0`` adds zeros, whatever its book holds."""
    if isinstance(book, Rows):
        sums[book.parameter].view(-1).addmv_(_finite(book.gradients).T, coefficients)
        return
    scaled = _finite(book.backprops).mul_(coefficients[:, None])
    sums[book.layer.weight].addmm_(scaled.T, _finite(book.activations))
    if book.layer.bias is not None:
        sums[book.layer.bias].add_(scaled.sum(0))


def _finite(rows: Tensor) -> Tensor:
    """``rows`` with 0 in place of NaN and infinities, which only records with coefficient 0 have."""
    return rows.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
