"""Whether an account can pay: charges composed as Rényi curves, compared with the account's privacy filter.

Runs are chosen after looking at earlier results, so an account is a privacy filter (Feldman & Zrnic, NeurIPS
2021, arXiv 2008.11193; Lécuyer 2021, arXiv 2103.01379) and not a sum of epsilons. The order that certifies
must not depend on results, so the account's first reservation fixes it: the order at which repeating that
reservation would exhaust the budget last. Where all charges are full-batch sums, whose curves have one shape,
this refuses nothing that the best order would admit. The noise's statistical distance eta adds up beside the
curves (``PrivacyFilter.eta``).
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dp.accounting import ORDERS, PrivacyFilter, converted, rdp
from dp.events import DpEvent, NonPrivate
from dp.ledger.accounts import Account, Charge
from dp.ledger.payloads import Refused, Reserved
from dp.ledger.state import Budget, State
from fedsec.errors import BudgetError, LocalProtocolError


@dataclass(frozen=True, kw_only=True)
class Total:
    """What an account has to bear.

    Attributes:
        rdp: Rényi divergence at each of ``ORDERS``, float64, nats.
        eta: summed statistical distance of the noise.
        unbounded: something was or will be released without noise.
    """

    rdp: NDArray[np.float64]
    eta: float
    unbounded: bool

    def plus(self, charges: Iterable[tuple[Charge, int, bool]]) -> Total:
        """With more on top: charges, how many openings of each, and whether these have their noise."""
        vector, eta, unbounded = self.rdp.copy(), self.eta, self.unbounded
        for charge, count, private in charges:
            if count and isinstance(charge.event, NonPrivate):
                unbounded = True
            elif count:
                vector += count * _rdp(charge.event)
                eta += count * charge.eta
                unbounded = unbounded or not private
        return Total(rdp=vector, eta=eta, unbounded=unbounded)


_NOTHING = Total(rdp=np.zeros(len(ORDERS)), eta=0.0, unbounded=False)


def total(state: State, account: Account) -> Total:
    """What ``account`` has to bear now; open reservations count in full.

    Where entries are lost nobody knows what they charged, so nothing bounds any account.
    """
    start = replace(_NOTHING, unbounded=bool(state.lost))
    return start.plus(
        (charge, run.charged(charge.release), run.reservation.private) for run, charge in state.charges_on(account)
    )


def course(state: State, account: Account, *, run: str, attempts: Sequence[str], delta: float) -> list[float]:
    """What ``account`` had spent without ``run``, and then after each of its ``attempts``, given by their releases."""
    charges = state.charges_on(account)
    start = replace(_NOTHING, unbounded=bool(state.lost))
    others = start.plus(
        (charge, each.charged(charge.release), each.reservation.private)
        for each, charge in charges
        if each.reservation.run != run
    )
    own = [(each, charge) for each, charge in charges if each.reservation.run == run]
    counts: Counter[str] = Counter()
    result = [spent(others, delta)]
    for release in attempts:
        counts[release] += 1
        load = others.plus((charge, counts[charge.release], each.reservation.private) for each, charge in own)
        result.append(spent(load, delta))
    return result


def spent(load: Total, delta: float) -> float:
    """The epsilon of ``load`` at ``delta``; infinite where it is unbounded."""
    return math.inf if load.unbounded else converted(load.rdp, delta, load.eta)


def refusal(state: State, plan: Reserved) -> Refused | None:
    """The first account that cannot pay for ``plan``, as the entry to record; ``None`` where all can.

    Raises:
        LocalProtocolError: an event is out of range.
    """
    for account in dict.fromkeys(charge.account for charge in plan.charges):
        asked = [charge for charge in plan.charges if charge.account == account]
        now = total(state, account)
        then = now.plus((charge, charge.count, plan.private) for charge in asked)
        budget = state.budget(account)
        if budget is None:
            continue
        earlier = state.charges_on(account)
        first = [charge for known, charge in earlier if known is earlier[0][0]] or asked
        if not _admits(budget, then, first=first):
            return Refused(
                run=plan.run,
                account=account,
                private=plan.private,
                asked_epsilon=finite_or_none(spent(then, budget.delta)),
                asked_eta=then.eta,
                spent_epsilon=finite_or_none(spent(now, budget.delta)),
                budget_epsilon=budget.epsilon,
                delta=budget.delta,
                salt=plan.salt,
                at=plan.at,
            )
    return None


def budget_error(refused: Refused) -> BudgetError:
    """The error that tells of ``refused``."""
    asked, before, budget = refused.asked_epsilon, refused.spent_epsilon, refused.budget_epsilon
    at = f"(δ = {f'{refused.delta:g}'.replace('e-0', 'e-')})"
    remedy = (
        "lower --epsilon, or have the budget raised with "
        f"`fedsec ledger budget {refused.account.dataset} --epsilon … --delta …`"
    )
    allowance = PrivacyFilter(budget, refused.delta).eta
    if before is None:
        why = f"its {budget:.2f} {at} cannot cover what has no bound: a release without a guarantee, or lost entries"
        remedy = "no budget covers that; `fedsec ledger show` names the run or the loss"
    elif not refused.private:
        why = f"the run's noise protects nobody, so it has no finite ε, and the budget is {budget:.2f} {at}"
        remedy = "for debugging, use a data set id without a budget"
    elif refused.asked_eta > allowance:
        why = f"its noise is {refused.asked_eta:.1g} from ideal, and {budget:.2f} {at} leaves {allowance:.1g} for that"
        remedy = "set a budget with a smaller epsilon: the larger it is, the more that distance counts"
    elif asked is None:
        why = f"it would reach an ε without bound, of {budget:.2f} {at}"
        remedy = "with --evaluation public, use federated: it is noised and charged; else lower --epsilon"
    elif asked <= budget:
        remedy = "use the --dp-mode and sampling of the account's first run, or have the budget raised"
        why = f"its noise does not fit the account's earlier runs, {before:.2f} of {budget:.2f} {at} is spent"
    else:
        digits = 2 if f"{asked:.2f}" != f"{budget:.2f}" else 6
        why = f"it would reach ε = {asked:.{digits}f} of {budget:.{digits}f} {at}, {before:.{digits}f} is spent"
    return BudgetError(
        f"the privacy budget of {refused.account.name} refuses this run: {why}",
        account=refused.account.name,
        asked_epsilon=math.inf if asked is None else asked,
        spent_epsilon=math.inf if before is None else before,
        budget_epsilon=budget,
        delta=refused.delta,
        remedy=remedy,
    )


def finite_or_none(epsilon: float) -> float | None:
    """``None`` for an infinite epsilon: JSON has no infinity."""
    return epsilon if math.isfinite(epsilon) else None


def _admits(budget: Budget, load: Total, *, first: list[Charge]) -> bool:
    if load.unbounded:
        return False
    curve = _NOTHING.plus((charge, charge.count, True) for charge in first).rdp
    return PrivacyFilter(budget.epsilon, budget.delta).pinned(curve).admits(load.rdp, load.eta)


@functools.lru_cache(maxsize=512)
def _rdp(event: DpEvent) -> NDArray[np.float64]:
    vector = rdp(event)
    if not (vector > 0).all():
        raise LocalProtocolError("a privacy event is out of range: it claims no loss at all")
    vector.setflags(write=False)
    return vector
