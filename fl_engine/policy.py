"""A bank's own terms for a whole task: what it checks, once, before it takes part (docs/releases.md).

A plan can be honest about itself and still not be one that this bank agrees to. Whatever the reason, the answer on the
wire is the same word; the sentence is for the bank's own operator.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedsec.errors import RemoteProtocolError
from fl_engine.plan import TaskPlan
from secagg.policy import ClientPolicy


@dataclass(frozen=True, kw_only=True)
class BankPolicy:
    """The least that a bank asks of a task.

    Attributes:
        sessions: what it asks of each secure-aggregation session: cohort, noise, tasks, key exchange.
        max_epsilon: largest ε that a task may be planned for, each split part.
        max_delta: largest δ.
        architectures: hidden widths of the networks that it trains, e.g. ``{(64, 32)}``.
        insecure_deterministic_noise: whether it takes part in a run for debugging, whose noise anybody can repeat.
    """

    sessions: ClientPolicy
    max_epsilon: float
    max_delta: float
    architectures: frozenset[tuple[int, ...]]
    insecure_deterministic_noise: bool = False

    def check(self, plan: TaskPlan, *, roster_digest: bytes) -> None:
        """Accept ``plan`` or decline it.

        Raises:
            RemoteProtocolError: rule "policy", one sentence for this bank's operator; never sent.
        """
        for declines, reason in (
            (plan.epsilon > self.max_epsilon, f"an ε of {plan.epsilon:g} is too large"),
            (plan.delta > self.max_delta, f"a δ of {plan.delta:g} is too large"),
            (plan.model.hidden not in self.architectures, f"hidden layers {plan.model.hidden} are not accepted"),
            (
                plan.insecure_deterministic_noise and not self.insecure_deterministic_noise,
                "its noise could be repeated by anybody",
            ),
        ):
            if declines:
                raise RemoteProtocolError(
                    f"declined by this bank's policy: {reason}",
                    peer=None,
                    rule="policy",
                    remedy="Change the policy or leave the task; the coordinator is not told the reason.",
                )
        for planned in plan.sums:
            self.sessions.check(plan.session(planned, plan.first_attempt(planned.name), roster_digest))
