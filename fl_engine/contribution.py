"""What a bank computes from its records in an attempt, before rounding, noise and mask: one real vector.

| sum | distributed mode | local mode |
| --- | --- | --- |
| scaling | clipped moments of the training records | the same |
| training | clipped gradient sum of the training records | declared weight x update of private local training |
| evaluation | histogram of the held-out records' scores by class | the same |

Where the unit is an entity, the moments and gradients of its counted rows are averaged before they are clipped, and
only counted rows are in the histogram. The shape of every computation follows from the declared slots, and the most
rows of an entity that count, alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp.training.clipped_sum import ClippedGradientSum
from dp.training.entities import EntityRows
from dp.training.entity_sum import EntityGradientSum
from dp.training.local import local_train
from fedsec.errors import ConfigError, RemoteProtocolError
from fedsec.keystream import KeyStream
from fl_engine.data.dataset import BankData
from fl_engine.evaluation import score_histogram
from fl_engine.messages import RoundInputs
from fl_engine.model import predict, record_loss
from fl_engine.plan import PlannedSum, TaskPlan
from fl_engine.scaling import Standardiser, moment_sum


class Contribution:
    """One bank's computations in one task.

    Args:
        plan: the accepted plan.
        index: the bank's place in the roster, for its declared weight.
        data: its records.

    Raises:
        ConfigError: the plan's unit is another than the bank's, or an entity has rows on both sides of the split.
    """

    def __init__(self, plan: TaskPlan, *, index: int, data: BankData) -> None:
        self._plan = plan
        self._data = data
        self._entities = _entity_rows(plan, data)
        self._train = ~data.holdout
        self._held_out = data.holdout if self._entities is None else data.holdout & self._entities.counted
        self._labels = data.labels.astype(np.float64)
        self._weight = plan.slots[index] / sum(plan.slots)
        model, clip = plan.model.build(), plan.sum("training").mechanism.clip
        self._gradient = (
            ClippedGradientSum(model, record_loss, clip=clip)
            if self._entities is None
            else EntityGradientSum(model, record_loss, self._entities, clip=clip)
        )
        self._scaled: tuple[Standardiser, NDArray[np.float64]] | None = None

    def vector(
        self, planned: PlannedSum, inputs: RoundInputs, *, coins: KeyStream | None = None
    ) -> NDArray[np.float64]:
        """The vector of ``planned``, float64[dimension], in units of the quantiser.

        ``coins`` are those of local training; the operating system's where they are left out.

        Raises:
            RemoteProtocolError: the inputs lack what this sum is computed from.
        """
        if planned.name == "scaling":
            return moment_sum(
                self._data.features[:, : self._plan.numeric_width],
                self._train,
                clip=planned.mechanism.clip,
                entities=self._entities,
            )
        if inputs.standardiser is None or not self._fit(inputs.weights, inputs.standardiser):
            raise RemoteProtocolError(
                "the inputs of the round lack a scaling, are of another size, or start training from no number",
                peer=None,
                rule="inputs",
            )
        weights = np.frombuffer(inputs.weights, "<f4")
        features = self._standardised(inputs.standardiser)
        if planned.name == "evaluation":
            scores = predict(self._plan.model, weights, features)
            return score_histogram(scores, self._data.labels, self._held_out)
        if self._plan.local is None:
            return self._gradient(weights, features, self._labels, self._train)
        update = local_train(
            self._gradient,
            weights,
            features,
            self._labels,
            include=self._train,
            mechanism=planned.mechanism,
            steps=self._plan.local.steps,
            learning_rate=self._plan.local.learning_rate,
            entities=self._entities,
            stream=coins,
        )
        return self._weight * update

    def _fit(self, weights: bytes, standardiser: Standardiser) -> bool:
        """Whether the inputs have the plan's sizes; in local mode weights must be finite too."""
        width = 8 * self._plan.numeric_width
        if (len(standardiser.means), len(standardiser.deviations)) != (width, width):
            return False
        if len(weights) != 4 * self._plan.model.parameters:
            return False
        return self._plan.local is None or bool(np.isfinite(np.frombuffer(weights, "<f4")).all())

    def _standardised(self, standardiser: Standardiser) -> NDArray[np.float64]:
        if self._scaled is None or self._scaled[0] != standardiser:
            self._scaled = (standardiser, standardiser.apply(self._data.features))
        return self._scaled[1]


def _entity_rows(plan: TaskPlan, data: BankData) -> EntityRows | None:
    """Which rows are one entity's and count, or None where both plan and bank have records as units."""
    if (plan.unit_rows is None) != (data.entities is None):
        raise ConfigError("the plan and the bank's records do not have the same unit of privacy")
    if plan.unit_rows is None or data.entities is None:
        return None
    rows = EntityRows.choose(data.entities, most=plan.unit_rows)
    if (data.holdout != data.holdout[rows.first]).any():
        raise ConfigError("an entity has rows on both sides of the split")
    return rows
