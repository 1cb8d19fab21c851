"""One backward pass for all per-record gradients: Opacus' per-layer rules, kept books instead of a second pass.

Opacus' ghost clipping runs two backward passes: one for the norms, one of the re-weighted loss for the sum.
Here only the first runs, and each layer keeps its pair (activations a, backprops g), from which the sum is
made as (c * g)^T a: the "book-keeping" of Bu, Wang, Zha, Karypis (ICML 2023, arXiv 2210.00038, section 3).

That is for the guarantee; speed comes free. Floating point is not linear: the second pass multiplies numbers
that are already scaled, so its rounding noise is not the scaled rounding noise of the first. Where a
dishonest server chooses weights of 1e25 that cancel in the first pass, the norm comes out small while the
second pass leaves 1e25 * 2^-24 of noise in the gradient: far above C, so that what was measured is not what
is added (``tests/dp/test_training_hostile.py`` shows it). With books, what is measured is what is added.

The passes run in float32, the precision in which weights travel. What they leave behind is float64 from there on,
whose range holds every product and square of float32 numbers (docs/noise.md, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Factors:
    """A Linear layer's per-record gradients as factors: weight g_i a_i^T and bias g_i for record i.

    Attributes:
        layer: whose gradients these are.
        activations: float64 ``(n, in)``, holding float32 numbers.
        backprops: float64 ``(n, out)``, holding float32 numbers.
    """

    layer: nn.Linear
    activations: Tensor
    backprops: Tensor

    def norms(self) -> list[Tensor]:
        """L2 norms of the records' gradients, float64 ``(n,)`` for each of the layer's parameters (Goodfellow 2015)."""
        of_bias = torch.linalg.vector_norm(self.backprops, dim=1)
        of_weight = of_bias * torch.linalg.vector_norm(self.activations, dim=1)
        return [of_weight] if self.layer.bias is None else [of_weight, of_bias]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One parameter's per-record gradients written out, float64 ``(n, parameter.numel())``."""

    parameter: nn.Parameter
    gradients: Tensor

    def norms(self) -> list[Tensor]:
        """L2 norms of the records' gradients, float64 ``(n,)``."""
        return [torch.linalg.vector_norm(self.gradients, dim=1)]


# mypy reads Opacus as Any: it ships no types
class BookKeeping(GradSampleModuleFastGradientClipping):  # type: ignore[misc]
    """Opacus' wrapper around ``model`` (float32, past ``check_architecture``), noting what every layer's book needs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, loss_reduction="sum", use_ghost_clipping=True)

    def add_hooks(self, **_settings: object) -> None:
        """One forward hook a layer, in place of Opacus' two: a full backward hook costs more than a small layer."""
        self._noted: list[tuple[nn.Module, Tensor, Tensor]] = []
        layers = self.iterate_submodules(self._module)
        self._module.autograd_grad_sample_hooks = [layer.register_forward_hook(self._note) for layer in layers]

    def _note(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self._noted.append((layer, inputs[0].detach(), output))

    def forward(self, features: Tensor) -> Tensor:
        """What the model makes of ``features``, and a note of every layer's input and output."""
        self._noted.clear()
        outputs: Tensor = super().forward(features)
        return outputs

    def books(self, losses: Tensor) -> list[Factors | Rows]:
        """Every layer's book of the last forward pass, by one backward pass of its ``losses`` ``(n,)``.

        :class:`Factors` where a norm follows from the factors without a subtraction, :class:`Rows` by Opacus' rule for
        the layer otherwise. A Linear layer over sequences (3-D) is written out, because its ghost norm subtracts large
        terms, and hostile weights could make it come out as 0.
        """
        backprops = torch.autograd.grad(losses, [output for _, _, output in self._noted], torch.ones_like(losses))
        books: list[Factors | Rows] = []
        for (layer, inputs, _), backprop in zip(self._noted, backprops, strict=True):
            activations = inputs.double() if inputs.is_floating_point() else inputs
            if isinstance(layer, nn.Linear) and backprop.dim() == 2:
                books.append(Factors(layer=layer, activations=activations, backprops=backprop.double()))
                continue
            for parameter, rows in self.GRAD_SAMPLERS[type(layer)](layer, [activations], backprop.double()).items():
                books.append(Rows(parameter=parameter, gradients=rows.reshape(len(rows), -1)))
        self._noted.clear()
        return books
