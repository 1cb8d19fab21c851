"""Several runs side by side: what each promises and what its model is worth.

Two figures may stand in one table only if they are of the same kind: same δ, unit, adversary, records and way of
measuring. Runs that differ in one of them go into groups of their own, each with the words that tell it apart; a run
that is NOT PRIVATE is never beside one that is. What runs on the same records cost together is the ledger's to say:
its course in the later run tells what all others had spent without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from compliance.facts import Facts, Part, Unit
from compliance.prompt import TEMPLATES, figure
from compliance.reading import RunRecords, facts_of, read_run
from compliance.templating import environment
from fedsec.errors import ConfigError
from fl_engine.records import AccountBalance
from fl_engine.settings import RunSettings, read_config, validated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from compliance.figures import Picture

_SAME = 1e-9  # relative: an account's ε is the same number, computed by the same program from the same entries


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run: its letter in table and picture, its facts, its records and public settings."""

    letter: str
    run: str
    started: str
    facts: Facts
    records: RunRecords
    settings: RunSettings


@dataclass(frozen=True, kw_only=True)
class Together:
    """What runs on one part of the same records cost together, in one sentence.

    Attributes:
        part: of the records.
        epsilon: of all of them; None: nothing bounds it, or no ledger knows it.
        text: the sentence.
    """

    part: Part
    epsilon: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs whose figures can be compared.

    Attributes:
        kind: what they have in common, by name.
        runs: in the order given.
    """

    kind: dict[str, str]
    runs: tuple[Compared, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs side by side.

    Attributes:
        groups: in the order of their first runs.
        differs: the names of ``kind`` in which they are not alike.
        together: what runs on the same records cost, whatever group they are in.
    """

    groups: tuple[Group, ...]
    differs: tuple[str, ...]
    together: tuple[Together, ...]


def compare(runs: Sequence[Path]) -> Comparison:
    """The finished runs in the directories ``runs``, grouped by what can be compared.

    Raises:
        ConfigError: fewer than two different runs, or one is not the directory of a finished run.
    """
    found = [_read(chr(ord("A") + number % 26) * (1 + number // 26), path) for number, path in enumerate(runs)]
    if len({each.run for each in found}) < max(2, len(found)):
        raise ConfigError("a comparison needs two or more different runs", remedy="Name each run's directory once.")
    groups: dict[tuple[tuple[str, str], ...], list[Compared]] = {}
    on_the_same: dict[str, list[Compared]] = {}
    for each in found:
        groups.setdefault(tuple(_kind(each).items()), []).append(each)
        on_the_same.setdefault(_kind(each)["records"], []).append(each)
    kinds = [dict(kind) for kind in groups]
    return Comparison(
        groups=tuple(Group(kind=dict(kind), runs=tuple(members)) for kind, members in groups.items()),
        differs=tuple(name for name in kinds[0] if len({kind[name] for kind in kinds}) > 1),
        together=tuple(cost for members in on_the_same.values() for cost in _together(members)),
    )


def _read(letter: str, path: Path) -> Compared:
    records = read_run(path)
    return Compared(
        letter=letter,
        run=records.summary.run,
        started=records.summary.started,
        facts=facts_of(records),
        records=records,
        settings=validated(RunSettings, read_config(path / "config.toml"), where=f"{path / 'config.toml'}: "),
    )


def _kind(run: Compared) -> dict[str, str]:
    """What figures have to have in common to be compared; the data by what tells two sets apart without naming one."""
    facts, settings = run.facts, run.settings
    return {
        "privacy": "private" if facts.private else "NOT PRIVATE",
        "δ": figure(facts.delta) if float(figure(facts.delta)) == facts.delta else repr(facts.delta),
        "unit": facts.unit.value
        if facts.unit is Unit.RECORD
        else f"{facts.unit.value}, at most {facts.unit_rows} rows",
        "adversary": facts.against,
        "records": f"{facts.data.value}, {figure(facts.slots)} in all, seed {settings.seed}",
        "evaluation": f"{facts.evaluation.value}, {figure(100 * settings.holdout)} % held out",
    }


def _together(runs: Sequence[Compared]) -> tuple[Together, ...]:
    parts = {run.letter: _accounts(run) for run in runs}
    shared = [part for part in Part if sum(part in accounts for accounts in parts.values()) > 1]
    return tuple(_cost(part, [run for run in runs if part in parts[run.letter]]) for part in shared)


def _accounts(run: Compared) -> dict[Part, AccountBalance]:
    return {fact.part: balance for fact, balance in zip(run.facts.balances, run.records.summary.ledger, strict=True)}


def _cost(part: Part, runs: list[Compared]) -> Together:
    """From the run that the ledger settled last: what all had spent without it, and what they have spent with it."""
    names = ", ".join(run.letter for run in runs)
    if not all(run.facts.private for run in runs):
        return Together(part=part, epsilon=None, text=f"{names}: nothing bounds it, since not all are private.")
    if len({run.records.summary.ledger_head.public_key for run in runs}) > 1:
        spent = [_accounts(run)[part].spent_epsilon for run in runs]
        known = [value for value in spent if value is not None]
        if len(known) < len(spent):
            return Together(part=part, epsilon=None, text=f"{names}: nothing bounds it.")
        delta = sum(_accounts(run)[part].delta for run in runs)
        text = (
            f"{names} are in different ledgers, and none of these knows them together. If their records are the same,"
            f" the accounts add up to at most ε = {figure(sum(known))} at δ = {figure(delta)}."
        )
        return Together(part=part, epsilon=None, text=text)
    ordered = sorted(runs, key=lambda run: run.records.summary.ledger_head.entry)
    last = _accounts(ordered[-1])[part]
    if last.spent_epsilon is None:
        return Together(part=part, epsilon=None, text=f"{names}: nothing bounds what this account has spent.")
    without = [_accounts(run)[part].course[:1] for run in ordered]
    if any(
        first and first[0] is not None and first[0] < spent * (1 - _SAME)
        for run, first in zip(ordered[:-1], without[1:], strict=True)
        for spent in [_accounts(run)[part].spent_epsilon or 0.0]
    ):
        return Together(
            part=part, epsilon=None, text=f"{names}: the ledger charged them to different accounts, each for itself."
        )
    before = [0.0, *(_accounts(run)[part].spent_epsilon or 0.0 for run in ordered[:-1])]
    alone = all(
        first and first[0] is not None and abs(first[0] - left) <= _SAME * max(left, 1.0)
        for first, left in zip(without, before, strict=True)
    )
    whom = f"{names} together" if alone else f"{names}, and other runs that this ledger charged to the same account,"
    text = (
        f"{whom} have spent ε = {figure(last.spent_epsilon)} at δ = {figure(last.delta)}, composed by the ledger as it"
        f" stood after {ordered[-1].letter}; ε does not simply add up."
    )
    return Together(part=part, epsilon=last.spent_epsilon, text=text)


def picture_of(group: Group, name: str) -> Picture | None:
    """Average precision against ε, with 95 % intervals where there are any; None with fewer than two points."""
    from compliance.figures import FIRST, INK, Picture, inline_svg

    points = [
        (run.letter, epsilon, value, run.facts.intervals.average_precision)
        for run in group.runs
        for epsilon, value in [
            (run.facts.epsilon, run.facts.quality.average_precision if run.facts.quality is not None else None)
        ]
        if epsilon is not None and value is not None
    ]
    if len(points) < 2 or not all(run.facts.private for run in group.runs):
        return None

    def draw(axes: Axes) -> None:
        for letter, epsilon, value, interval in points:
            if interval is not None:
                axes.plot([epsilon, epsilon], [interval.low, interval.high], color=FIRST, linewidth=5, alpha=0.35,
                          solid_capstyle="butt")  # fmt: skip
            axes.plot([epsilon], [value], "o", color=FIRST, markersize=6)
            axes.annotate(letter, (epsilon, value), xytext=(8, 0), textcoords="offset points", color=INK, va="center")
        top = max(epsilon for _, epsilon, _, _ in points)
        axes.set(ylim=(0, 1.02), xlim=(-0.04 * top, 1.15 * top or 1), ylabel="average precision")
        axes.text(0.5, -0.2, "ε spent by the run", transform=axes.transAxes, ha="center", color=INK)

    said = "; ".join(f"{letter}: ε {figure(epsilon)}, {figure(value)}" for letter, epsilon, value, _ in points)
    return Picture(
        title="Average precision against ε",
        svg=inline_svg(draw, name),
        alternative=f"Average precision by ε at δ = {group.kind['δ']} for one {group.kind['unit']}: {said}.",
        caption=f"Up and to the left is better. ε at δ = {group.kind['δ']}, per {group.kind['unit']}, against"
        f" {group.kind['adversary']}. Bars: 95 % intervals that include the evaluation's noise, where it has any.",
    )


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON has it."""
    return {
        "version": 1,
        "differs": list(comparison.differs),
        "together": [
            {"part": each.part.value, "epsilon": each.epsilon, "text": each.text} for each in comparison.together
        ],
        "groups": [
            {
                "kind": group.kind,
                "runs": [
                    {
                        "letter": run.letter,
                        "run": run.run,
                        "started": run.started,
                        "facts": run.facts.model_dump(mode="json", exclude={"attempts"}),
                    }
                    for run in group.runs
                ],
            }
            for group in comparison.groups
        ],
    }


def write_comparison(folder: Path, comparison: Comparison) -> tuple[Path, Path, Path]:
    """Write ``compare.html``, ``compare.md`` and ``compare.json`` into ``folder``.

    Raises:
        OSError: one cannot be written.
    """
    pictures = [picture_of(group, f"group-{number}") for number, group in enumerate(comparison.groups, start=1)]
    context = {
        "comparison": comparison,
        "drawn": [(picture, Markup(picture.svg)) if picture else None for picture in pictures],  # noqa: S704 - our own SVG of numbers
        "css": Markup((TEMPLATES / "report.css").read_text("utf-8")),  # noqa: S704 - our own file
    }
    files = (folder / "compare.html", folder / "compare.md", folder / "compare.json")
    texts = (
        environment(markup=True).get_template("compare.html.j2").render(context),
        environment(markup=False).get_template("compare.md.j2").render(context),
        json.dumps(document(comparison), ensure_ascii=False, indent=2, allow_nan=False) + "\n",
    )
    for path, text in zip(files, texts, strict=True):
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, "utf-8")
        partial.replace(path)
    return files
