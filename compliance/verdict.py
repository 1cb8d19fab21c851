"""What the report says first and last: a verdict in plain words, what is still open, and what to do next.

All of it follows from the facts by fixed rules, worst first, in fixed sentences. A verdict never says more than that
nothing was found to contradict the promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compliance.attacks.record import AttackRecord
from compliance.facts import Data, Evaluation, Facts, Mode, Unit


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The first words of a report.

    Attributes:
        tone: "void": do not rely on it; "caution": something has to be known first; "plain": neither.
        headline: one or two sentences.
        mind: what to know before relying on it, most important first.
    """

    tone: Literal["void", "caution", "plain"]
    headline: str
    mind: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Risk:
    """Something that is not protected, not measured or only assumed; ``title`` is a sentence of its own."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """Something to do, and the command that does it from the run's own directory; "" where no command does."""

    what: str
    command: str


def verdict_of(facts: Facts, attacks: AttackRecord | None) -> Verdict:
    """The verdict on ``facts`` and on the attacks that were played, None where none were."""
    tone: Literal["void", "caution", "plain"] = "void"
    if not facts.private:
        headline = (
            "Not private. No privacy figure on this page holds, and the model must not be passed on as if one did."
        )
    elif facts.audit is not None and facts.audit.disproved:
        headline = "The privacy claim does not hold: an audit of these settings measured more than is claimed."
    elif attacks is not None and attacks.wrong:
        headline = "An attack did not end as claimed. Do not rely on these settings before that is explained."
    elif facts.overspent:
        headline = "A privacy budget is overspent: an account has spent more than it is allowed."
    elif facts.simulated_keys:
        tone = "caution"
        headline = (
            "A simulation on one machine. It shows what the promise costs and what the model is worth, but no bank's"
            " records were kept from another: one process held them all."
        )
    else:
        tone = "caution" if _mind(facts, attacks) else "plain"
        headline = (
            "Nothing was found that contradicts the promise below. It rests on assumptions that no record of a run can"
            " show."
        )
    return Verdict(tone=tone, headline=headline, mind=_mind(facts, attacks))


def _mind(facts: Facts, attacks: AttackRecord | None) -> tuple[str, ...]:
    if not facts.private:
        return ()
    said = (
        (facts.audit is not None and facts.audit.controls_missed > 0, "The audit itself did not work."),
        (
            any(balance.spent_epsilon is None for balance in facts.balances),
            "An account has no bound: no ε covers all that was released from its records.",
        ),
        (facts.holdout_exposed, "The coordinator sees the held-out records in clear."),
        (not facts.conservative, "ε is above this project's conservative setting, 1."),
        (not facts.budgeted, "No privacy budget was set, so nothing could be refused."),
        (facts.quality is None, "The model's quality is withheld."),
        (facts.audit is None, "No audit has tried to disprove the promise."),
        (attacks is None and facts.unit is Unit.RECORD, "No attacks were played against these settings."),
    )
    return tuple(text for holds, text in said if holds)


def risks_of(facts: Facts) -> tuple[Risk, ...]:
    """What remains open after the run of ``facts``, what follows from its own settings first."""
    several = (
        "A person with several records is covered by each on its own."
        if facts.unit is Unit.RECORD
        else f"Of an entity at most {facts.unit_rows} records count, and one with several banks is covered at each."
    )
    of_this_run = (
        (
            facts.simulated_keys,
            "Keys were simulated.",
            "One process held every bank's key and saw every record. That banks on machines of their own keep their"
            " secrets was not put to the test.",
        ),
        (
            facts.holdout_exposed,
            "Held-out records are exposed.",
            "Quality was measured on rows that the coordinator sees; no ε is about them.",
        ),
        (
            facts.private and not facts.conservative,
            "The promise is a weak one.",
            "ε is above 1: the odds of anything released may change by more than e for one contribution.",
        ),
        (
            not facts.budgeted,
            "Nothing limits the next run.",
            "Without a budget the ledger counts what is spent and refuses nothing.",
        ),
        (
            facts.releases_outside > 0,
            "Something was released that no account paid for.",
            "It is listed above; ε does not cover it.",
        ),
        (
            facts.mode is Mode.LOCAL,
            "Local noise costs quality.",
            "Each bank adds all the noise by itself; fewer banks need to be trusted, and the model is worse for it.",
        ),
        (
            facts.data is Data.SYNTHETIC,
            "The records are invented.",
            "How good the model is on real ones is not known.",
        ),
    )
    always = (
        (
            "A bank is not protected as a unit.",
            "Differences between the sums of two rounds can show statistics of a whole bank through the noise.",
        ),
        (
            "Poisoning is not prevented.",
            "The server cannot look at single updates, so it cannot reject a harmful one. Clipping bounds what one"
            " record can do at an honest bank; a dishonest bank is bound only by the largest value that fits its masked"
            " input.",
        ),
        (
            "Nobody outside a bank sees that it clipped and added noise.",
            f"That {facts.assumed} is assumed; the bound against everyone else together stands on one bank's noise"
            " alone.",
        ),
        (
            "Choices made by looking at the same records are not covered.",
            "Features, rounds and learning rate cost privacy where records decided them, and no ledger account paid for"
            " that.",
        ),
        ("One person can be several contributions.", several),
        (
            "The number of records is public.",
            "Banks declare it; that a bank has many or few is told to all.",
        ),
        (
            "The figures hold for the rows they were measured on.",
            "Where the records are a selection, such as all frauds and a sample of the rest (case-control), precision"
            " and calibration in production will be lower, and the shares of fraud differ.",
        ),
        (
            "Accuracy is misleading where fraud is rare.",
            "Never raising an alarm scores one minus the share of fraud. Read average precision against that share.",
        ),
        (
            "Not measured here:",
            "whether the model treats groups of customers fairly, how it ages, and what an explanation of a single"
            " decision would say.",
        ),
    )
    return (
        *(Risk(title=title, text=text) for holds, title, text in of_this_run if holds),
        *(Risk(title=title, text=text) for title, text in always),
    )


def next_steps(facts: Facts, attacks: AttackRecord | None) -> tuple[NextStep, ...]:
    """What to do after the run of ``facts``; commands as given in the run's own directory."""
    steps: list[tuple[bool, str, str]] = [
        (True, "Check this folder without trusting who wrote it", "fedsec verify ."),
        (not facts.private, "Run again with noise from the operating system, before anything is passed on", ""),
        (
            facts.private and facts.audit is None,
            "Try to disprove the promise with canaries, then write this report again",
            "fedsec audit . && fedsec report .",
        ),
        (
            attacks is None and facts.unit is Unit.RECORD,
            "Play the dishonest server against these settings, then write this report again",
            "fedsec attack . && fedsec report .",
        ),
        (
            bool(facts.overspent),
            "See which runs spent the budget, and start none before it is settled",
            "fedsec ledger show",
        ),
        (
            facts.private and not facts.budgeted,
            "Set what may be spent in all before the next run; DATASET is in the first command's answer",
            "fedsec ledger show && fedsec ledger budget DATASET --epsilon 8",
        ),
        (
            facts.holdout_exposed,
            "At the next run, measure quality without showing anybody held-out records (--evaluation federated)",
            "",
        ),
        (
            facts.evaluation is Evaluation.FEDERATED and facts.holdout_too_small,
            "Hold more frauds out, or spend a larger ε on evaluation",
            "",
        ),
        (True, "Weigh this run against others: privacy beside quality", "fedsec report --compare . ../OTHER-RUN"),
        (True, "Hand the page on as a document", "fedsec report . --pdf"),
        (True, "Decide, outside this page: who approves the model, for what, and until when", ""),
    ]
    return tuple(NextStep(what=what, command=command) for holds, what, command in steps if holds)
