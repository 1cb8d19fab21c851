"""The clipped gradient sum of one bank whose unit is an entity: each entity's mean gradient, clipped to C, added up.

Rows stay at their slots, as in ``dp.training.clipped_sum``, and every layer's book (activations a, backprops g of each
row) is kept until the norms of all entities are known. What is proved, for any weights and any records:

1. **A row is cut before it is averaged.** h_i = fl(r_i g_i), r_i = min(1, B C / norm_i) / k with B = ``ROW_CUT`` and k
   the entity's counted rows. As in ``clipped_sum``, norm_i has no negative term, so the row that is really averaged,
   h_i a_i^T, has norm at most (B C / k) (1 + 2^-20). Without this, hostile weights could make rows of 1e60 cancel, and
   what is left of them would be rounding noise of any size. B is so large that one loud row among the most rows allowed
   still fills the entity's clip.
2. **One entity adds at most C (1 + 2^-20).** Its exact mean is M = sum_i h_i a_i^T (and sum_i h_i for a bias), so
   S = ||M||^2 = sum_ij sum_layers (h_i . h_j) (a_i . a_j + 1). This has cancellation, but its terms add up in magnitude
   to at most (B C)^2 (1 + 2^-20)^2 by 1 and Cauchy-Schwarz, and each meets at most q roundings, so the computed value
   is within tau = gamma_q (B C)^2 (1 + 2^-10) of S. With c = min(1, C / sqrt(max(S', 0) + tau)), c ||M|| is at most C
   up to four roundings. What is added, fl(c h_i) a_i^T, differs from c h_i a_i^T by a relative 2^-53: B C 2^-53 for the
   whole entity. Products that vanish are below d^2 2^-1022 2^500 together, far below tau.
3. **The reduction errs by at most E in a coordinate**, E = ``dp.mechanism.reduction_error(slots, B C)``: by 1 the terms
   of one entity, however they cancel, add up to at most B C in magnitude; the rest is ``clipped_sum``'s point 3.

Emptying one entity leaves every row, norm and coefficient of the others as they were, to the last bit, since all are
computed at the row's own slot from the entity's own rows. It hence moves the sum by at most C (1 + 2^-20) + 2 E sqrt(d)
in L2. All shapes follow from slots and m: how many entities there are shows in none. Memory: the books of all slots,
about 2 kB a slot for the default network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dp.mechanism import ROW_CUT
from dp.training.architecture import check_architecture
from dp.training.book_keeping import BookKeeping, Factors, Rows
from dp.training.clipped_sum import MICRO_BATCH, single
from dp.training.entities import EntityRows
from fedsec.errors import ConfigError

UNIT_ROUNDOFF = 2.0**-53
LARGEST = 2.0**250  # above all float32 numbers; of rows written out in float64, so that no product of squares overflows


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What is kept of one layer over all slots, and one more row of zeros.

    Attributes:
        parameters: weight and bias, or the one parameter whose gradients are written out.
        left: float64 ``(rows + 1, out)``: backprops, or whole gradients; cut and divided by the entity's rows.
        right: float64 ``(rows + 1, in)``: activations; None where gradients are written out.
    """

    parameters: tuple[Tensor, ...]
    left: Tensor
    right: Tensor | None

    @property
    def width(self) -> int:
        """How many terms the layer's two inner products have together."""
        return self.left.shape[1] + (0 if self.right is None else self.right.shape[1])

    def products(self, rows: slice, mates: Tensor) -> Tensor:
        """Inner products of the gradients in ``rows`` with those in ``mates``, float64 ``(n,)``."""
        products = (self.left[rows] * self.left[mates]).sum(1)
        if self.right is None:
            return products
        bias = 1.0 if len(self.parameters) == 2 else 0.0
        return products * ((self.right[rows] * self.right[mates]).sum(1) + bias)

    def reduce(self, sums: dict[Tensor, Tensor], rows: slice, coefficients: Tensor) -> None:
        """Add the gradients in ``rows``, each times its coefficient, to ``sums``."""
        if self.right is None:
            sums[self.parameters[0]].view(-1).addmv_(self.left[rows].T, coefficients)
            return
        scaled = self.left[rows] * coefficients[:, None]
        sums[self.parameters[0]].addmm_(scaled.T, self.right[rows])
        for bias in self.parameters[1:]:
            sums[bias].add_(scaled.sum(0))


class EntityGradientSum:
    """As ``ClippedGradientSum``, with the mean over an entity's counted rows in the place of a record's gradient.

    Args:
        model, loss, clip, micro_batch: as ``ClippedGradientSum`` takes them.
        rows: which slots are one entity's; every call has as many slots.

    Raises:
        ConfigError: the architecture, clip or micro-batch is refused, or more rows may count than ``ROW_CUT``.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        rows: EntityRows,
        *,
        clip: float,
        micro_batch: int = MICRO_BATCH,
    ) -> None:
        check_architecture(model)
        if not 2.0**-100 <= clip <= 2.0**100 or micro_batch < 1:
            raise ConfigError("the clipping bound or the micro-batch is not a positive number of reasonable size")
        slots, most = rows.mates.shape
        if most > ROW_CUT:
            raise ConfigError(f"at most {ROW_CUT:.0f} rows of an entity may count")
        own = copy.deepcopy(model).to(torch.float32).train()
        self._model = BookKeeping(own)
        self._parameters = list(own.parameters())
        self._loss = loss
        self._clip = clip
        self._parts = [slice(start, start + micro_batch) for start in range(0, slots, micro_batch)]
        self._padding = len(self._parts) * micro_batch - slots
        self._slots = slots
        mates = np.where(rows.mates == slots, slots + self._padding, rows.mates)
        self._mates = torch.from_numpy(self._pad(mates, fill=slots + self._padding))
        self._counted = rows.counted
        self._shares = torch.from_numpy(self._pad(1.0 / np.maximum(rows.size, 1)))

    @property
    def dimension(self) -> int:
        """d, the number of parameters."""
        return sum(parameter.numel() for parameter in self._parameters)

    def __call__(
        self,
        weights: NDArray[np.float64] | NDArray[np.float32],
        features: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64],
        labels: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64] | NDArray[np.bool_],
        include: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """The sum of the clipped mean gradients of the entities that ``include`` marks, float64 ``(d,)``.

        Args:
            weights, features, labels: as ``ClippedGradientSum`` takes them.
            include: ``(slots,)``; equal for all rows of one entity.

        Raises:
            ConfigError: shapes do not fit.
        """
        slots = (self._slots,)
        if weights.shape != (self.dimension,) or not len(features) == self._slots:
            raise ConfigError("weights or features do not have the shape of the model and of the bank's slots")
        if labels.shape != slots or include.shape != slots:
            raise ConfigError("labels or include do not have the shape of the bank's slots")
        torch.nn.utils.vector_to_parameters(single(weights), self._parameters)
        padded = self._pad(features), self._pad(labels), self._pad(include & self._counted)
        batches = [self._books(*(rows[part] for rows in padded), shares=self._shares[part]) for part in self._parts]
        with torch.no_grad():
            kept = [_joined([batch[layer] for batch in batches]) for layer in range(len(batches[0]))]
            coefficients = self._coefficients(kept)
            sums: dict[Tensor, Tensor] = {
                p: torch.zeros_like(p, dtype=torch.float64, requires_grad=False) for p in self._parameters
            }
            for part in self._parts:
                for layer in kept:
                    layer.reduce(sums, part, coefficients[part])
        return torch.cat([sums[parameter].flatten() for parameter in self._parameters]).numpy()

    def _pad(self, rows: NDArray[np.generic], *, fill: int = 0) -> NDArray[np.generic]:
        return np.concatenate([rows, np.full((self._padding, *rows.shape[1:]), fill, dtype=rows.dtype)])

    def _books(
        self,
        features: NDArray[np.generic],
        labels: NDArray[np.generic],
        include: NDArray[np.generic],
        *,
        shares: Tensor,
    ) -> list[_Kept]:
        """Every layer's book of one micro-batch, each row cut to B C and divided by its entity's rows."""
        inputs = single(features) if features.dtype.kind == "f" else torch.from_numpy(features)
        losses = self._loss(self._model(inputs), single(labels))
        counted = torch.from_numpy(include)
        books = self._model.books(losses)
        with torch.no_grad():
            squared = torch.zeros_like(shares)
            for book in books:
                if isinstance(book, Factors):
                    counted &= _in_range(book.activations) & _in_range(book.backprops)
                    of_inputs = book.activations.square().sum(1) + (0.0 if book.layer.bias is None else 1.0)
                    squared += book.backprops.square().sum(1) * of_inputs
                else:
                    counted &= _in_range(book.gradients)
                    squared += book.gradients.square().sum(1)
            cut = (ROW_CUT * self._clip / squared.sqrt()).clamp(max=1.0) * shares
            return [_cut(book, cut, ~counted) for book in books]

    def _coefficients(self, kept: list[_Kept]) -> Tensor:
        """c of each row's entity, float64 ``(padded slots,)``: point 2 of the module's docstring."""
        most = self._mates.shape[1]
        products = torch.zeros(len(self._mates) + 1, dtype=torch.float64)
        for part in self._parts:
            for mates in self._mates[part].T:
                for layer in kept:
                    products[part] += layer.products(part, mates)
        squared = products[self._mates].sum(1)
        roundings = (max(layer.width for layer in kept) + (len(kept) + 1) * most + 8) * UNIT_ROUNDOFF
        tau = roundings / (1 - roundings) * (ROW_CUT * self._clip) ** 2 * (1 + 2.0**-10)
        return (self._clip / (squared.clamp(min=0.0) + tau).sqrt()).clamp(max=1.0)


def _cut(book: Factors | Rows, cut: Tensor, zeroed: Tensor) -> _Kept:
    """``book`` with each row times its ``cut``, and zeros where ``zeroed``: 0 * inf never arises after this."""
    if isinstance(book, Rows):
        gradients = (book.gradients * cut[:, None]).masked_fill_(zeroed[:, None], 0.0)
        return _Kept(parameters=(book.parameter,), left=gradients, right=None)
    layer = book.layer
    return _Kept(
        parameters=(layer.weight,) if layer.bias is None else (layer.weight, layer.bias),
        left=(book.backprops * cut[:, None]).masked_fill_(zeroed[:, None], 0.0),
        right=book.activations.masked_fill(zeroed[:, None], 0.0),
    )


def _joined(parts: list[_Kept]) -> _Kept:
    """The micro-batches' books of one layer on top of one another, and a last row of zeros for absent mates."""

    def stacked(tensors: list[Tensor]) -> Tensor:
        return torch.cat([*tensors, tensors[0].new_zeros((1, tensors[0].shape[1]))])

    rights = [part.right for part in parts if part.right is not None]
    return _Kept(
        parameters=parts[0].parameters,
        left=stacked([part.left for part in parts]),
        right=stacked(rights) if rights else None,
    )


def _in_range(rows: Tensor) -> Tensor:
    """Which rows of ``(n, k)`` hold no NaN, no infinity and nothing above ``LARGEST``; bool ``(n,)``."""
    return rows.abs().amax(1) <= LARGEST
