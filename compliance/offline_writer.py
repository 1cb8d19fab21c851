"""The narrative in fixed sentences: what a report says when no language model is asked or none gave a usable answer."""

from __future__ import annotations

from compliance.facts import Data, Evaluation, Facts, Mode, Part, Unit
from compliance.narrative import Sections
from compliance.prompt import figure, odds


def write_offline(facts: Facts) -> Sections:
    """Four paragraphs about ``facts``."""
    return Sections(summary=_summary(facts), result=_result(facts), privacy=_privacy(facts), limits=_limits(facts))


def _summary(facts: Facts) -> str:
    records = "synthetic records" if facts.data is Data.SYNTHETIC else "their own records"
    simulated = ", simulated on one machine," if facts.simulated_keys else ""
    least = (
        "some opened sum held the inputs of fewer than 5 banks"
        if facts.survivors_least is None
        else f"every opened sum held the inputs of at least {facts.survivors_least} banks"
    )
    failed = {0: "No attempt failed.", 1: "1 attempt failed and was charged all the same."}.get(
        facts.attempts_aborted, f"{facts.attempts_aborted} attempts failed and were charged all the same."
    )
    masked = (
        "Each bank added its share of the noise and masked its contribution"
        if facts.mode is Mode.DISTRIBUTED
        else "Each bank made its own update private before it masked it"
    )
    where = (
        f"{masked}; in the protocol, the server sees only sums over the banks, here one process ran all roles"
        if facts.simulated_keys
        else f"{masked}, so the server saw only sums over the banks"
    )
    return (
        f"{facts.banks} banks{simulated} trained one fraud detection model on {records} in {facts.rounds_opened} of"
        f" {facts.rounds_planned} planned rounds. {where}; {least}. {failed}"
    )


def _result(facts: Facts) -> str:
    quality = facts.quality
    if quality is None:
        return "The model's quality is withheld, because fewer than 5 banks stand behind the measurement."
    measured = (
        "Measured once, from private histograms summed over the banks, so the figures carry noise"
        if facts.evaluation is Evaluation.FEDERATED
        else "Measured without noise on held-out rows that the coordinator may see"
    )
    parts = [
        f"{name} is {figure(value)}"
        + (f" (95 % interval: {figure(interval.low)} to {figure(interval.high)})" if interval is not None else "")
        for name, value, interval in (
            ("ROC AUC", quality.roc_auc, facts.intervals.roc_auc),
            ("average precision", quality.average_precision, facts.intervals.average_precision),
            ("accuracy", quality.accuracy, facts.intervals.accuracy),
        )
        if value is not None
    ]
    share = "" if facts.fraud_share is None else f", {figure(facts.fraud_share)}"
    stated = ", ".join(parts) if parts else "no figure is available"
    if facts.holdout_too_small and facts.intervals.average_precision is not None:
        between = facts.intervals.average_precision
        stated += (
            f". The holdout is too small for this ε to state average precision: it lies between {figure(between.low)}"
            f" and {figure(between.high)} (95 %)"
        )
    return (
        f"{measured}: {stated}. Where fraud is rare, accuracy is misleading, since a model that never raises an alarm"
        " is almost always right; average precision should be read against the share of fraud among the held-out"
        f" records{share}, which is what guessing scores."
    )


def _privacy(facts: Facts) -> str:
    if facts.epsilon is None:
        return (
            "This run gives NO privacy. Its noise was deterministic, for debugging only, and none of the privacy"
            " figures in this report holds."
        )
    unit = (
        "one record (replaced by an empty slot)"
        if facts.unit is Unit.RECORD
        else "all records of one entity at one bank (replaced by empty slots)"
    )
    bound = (
        f"The run spent ε = {figure(facts.epsilon)} at δ = {figure(facts.delta)} for {unit},"
        f" against {facts.against}, after the worst dropouts that were allowed."
    )
    exposed = " The held-out records are not protected: the coordinator sees them." if facts.holdout_exposed else ""
    released = "whatever an account paid for" if facts.releases_outside else "what was released"
    meaning = (
        f" In words: except with a chance governed by δ, nobody among them can tell from {released} whether that"
        f" contribution was there, beyond a change of odds by a factor of at most e to the power ε, here {odds(facts)}."
    )
    above = "" if facts.conservative else " ε is above 1; this project takes ε ≤ 1 as the conservative setting."
    accounts = [
        f"the {balance.part.value} account has spent "
        + (
            "more than any ε bounds"
            if balance.spent_epsilon is None
            else f"ε = {figure(balance.spent_epsilon)} at δ = {figure(balance.delta)}"
        )
        + (", without a budget" if balance.budget_epsilon is None else f", of {figure(balance.budget_epsilon)} allowed")
        for balance in facts.balances
        if balance.part is not Part.OTHER
    ]
    balances = (
        " Over all runs that this ledger charged to this data-set id, each against its own target adversary, "
        + "; ".join(accounts)
        + "."
        if accounts
        else ""
    )
    return bound + exposed + meaning + above + balances


def _limits(facts: Facts) -> str:
    simulated = (
        " One process held every bank's keys, so secrecy between banks was simulated." if facts.simulated_keys else ""
    )
    outside = f" Releases that no account paid for: {facts.releases_outside}." if facts.releases_outside else ""
    return (
        "Banks are not protected as units: statistics of a whole bank can show through the noise. A dishonest bank can"
        " spoil the model unseen. That each honest bank clipped and added its noise is assumed; nobody outside it can"
        f" see that.{simulated}{outside}"
    )
