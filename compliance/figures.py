"""The report's pictures, as SVG that follows the page: text stays text, and colours are the page's own variables."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from compliance.facts import FEWEST_BANKS, Facts, Interval, Quality
from compliance.prompt import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# matplotlib wants colours, the page wants variables: unlikely colours stand in and are replaced in the SVG
_VARIABLES = {
    "#010203": "var(--ink)",
    "#020304": "var(--faint)",
    "#030405": "var(--series-1)",
    "#040506": "var(--series-2)",
    "#050607": "var(--alarm)",
    "#060708": "var(--band)",
}
Section = Literal["", "result", "budget", "training", "cohorts", "audit"]
INK, FAINT, FIRST, SECOND, ALARM, BAND = _VARIABLES
SIZE = (4.6, 2.9)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture.

    Attributes:
        title: heading, plain text.
        svg: an ``<svg>`` element without title and size, for use inside a page.
        alternative: what it shows, for who cannot see it.
        caption: how to read it.
        section: where in a report it belongs.
        columns, rows: what is drawn, as a table for who reads numbers; empty where a table stands beside it anyway.
    """

    title: str
    svg: str
    alternative: str
    caption: str
    section: Section = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def pictures(facts: Facts) -> list[Picture]:
    """The pictures that ``facts`` have data for, in reading order."""
    drawn = [
        _quality(facts),
        _accuracy(facts),
        _loss(facts),
        _final(facts),
        _burn_down(facts),
        _budget(facts),
        _cohorts(facts),
        _audit(facts),
    ]
    return [picture for picture in drawn if picture is not None]


def _series(facts: Facts, value: Callable[[Quality], float | None]) -> tuple[list[int], list[float]]:
    points = [
        (attempt.round, measured)
        for attempt in facts.attempts
        if attempt.round is not None and attempt.quality is not None
        for measured in [value(attempt.quality)]
        if measured is not None
    ]
    return [x for x, _ in points], [y for _, y in points]


def _quality(facts: Facts) -> Picture | None:
    rounds, auc = _series(facts, lambda quality: quality.roc_auc)
    _, precision = _series(facts, lambda quality: quality.average_precision)
    if len(rounds) < 2 or len(precision) != len(rounds):
        return None

    def draw(axes: Axes) -> None:
        _line(axes, rounds, auc, label="ROC AUC")
        _line(axes, rounds, precision, colour=SECOND, label="average precision", style="--")
        axes.set(xlabel="training round", ylim=(0, 1.02))
        axes.legend(loc="lower right", frameon=False, labelcolor=INK, fontsize=10)

    return Picture(
        title="Ranking quality by round",
        svg=inline_svg(draw, "quality"),
        alternative=f"ROC AUC goes from {auc[0]:.3f} to {auc[-1]:.3f} and average precision from {precision[0]:.3f} to"
        f" {precision[-1]:.3f} over {len(rounds)} training rounds.",
        caption="Both between 0 and 1, larger is better. Guessing scores 0.5 in ROC AUC, and the share of fraud in"
        " average precision.",
        section="training",
        columns=("round", "ROC AUC", "average precision"),
        rows=tuple((str(r), figure(a), figure(b)) for r, a, b in zip(rounds, auc, precision, strict=True)),
    )


def _accuracy(facts: Facts) -> Picture | None:
    return _single(
        facts,
        lambda quality: quality.accuracy,
        "Accuracy by round",
        "accuracy",
        "Misleading where fraud is rare: never raising an alarm scores one minus the share of fraud. Mind that the"
        " axis does not start at 0.",
    )


def _loss(facts: Facts) -> Picture | None:
    return _single(
        facts,
        lambda quality: quality.loss,
        "Loss by round",
        "cross-entropy, nats",
        "Mean cross-entropy on held-out rows, smaller is better. Noise can make it rise for a round.",
    )


def _single(
    facts: Facts, value: Callable[[Quality], float | None], title: str, label: str, caption: str
) -> Picture | None:
    rounds, values = _series(facts, value)
    if len(rounds) < 2:
        return None

    def draw(axes: Axes) -> None:
        _line(axes, rounds, values, label=label)
        axes.set(xlabel="training round", ylabel=label)

    return Picture(
        title=title,
        svg=inline_svg(draw, re.sub(r"\W+", "-", title.lower())),
        alternative=f"{label.capitalize()} goes from {values[0]:.4g} to {values[-1]:.4g} in {len(rounds)} rounds.",
        caption=caption,
        section="training",
        columns=("round", label),
        rows=tuple((str(r), figure(value)) for r, value in zip(rounds, values, strict=True)),
    )


def _final(facts: Facts) -> Picture | None:
    names = ("roc_auc", "average_precision", "accuracy")
    shown: list[tuple[str, float, Interval]] = []
    for name in names if facts.quality is not None else ():
        value, interval = getattr(facts.quality, name), getattr(facts.intervals, name)
        if value is not None and interval is not None:
            shown.append((name.replace("_", " ").replace("roc auc", "ROC AUC"), value, interval))
    if not shown:
        return None

    def draw(axes: Axes) -> None:
        for row, (_, value, interval) in enumerate(reversed(shown)):
            axes.plot(
                [interval.low, interval.high], [row, row], color=FIRST, linewidth=5, alpha=0.35, solid_capstyle="butt"
            )
            axes.plot([value], [row], marker="o", color=FIRST, markersize=6)
        axes.set_yticks(range(len(shown)), [name for name, _, _ in reversed(shown)])
        axes.set(
            xlim=(min(0.5, *(interval.low for _, _, interval in shown)) - 0.02, 1.02), ylim=(-0.6, len(shown) - 0.4)
        )
        axes.grid(visible=False, axis="y")

    said = "; ".join(f"{name} {value:.3f}, between {i.low:.3f} and {i.high:.3f}" for name, value, i in shown)
    return Picture(
        title="Final quality with its noise",
        svg=inline_svg(draw, "final", left=0.32),
        alternative=f"Final quality with 95 % intervals: {said}.",
        caption="Dots: measured from private histograms. Bars: 95 % intervals that include the histograms' noise.",
        section="result",
    )


def _budget(facts: Facts) -> Picture | None:
    reserved = facts.planned_epsilon
    if not facts.attempts or reserved is None:
        return None
    index = [attempt.index for attempt in facts.attempts]
    spent = [attempt.epsilon for attempt in facts.attempts]
    aborted = [attempt for attempt in facts.attempts if not attempt.opened]

    def draw(axes: Axes) -> None:
        axes.step(index, spent, where="post", color=FIRST, linewidth=2)
        _limit(axes, reserved, "reserved for this run")
        if aborted:
            x, y = [a.index for a in aborted], [a.epsilon for a in aborted]
            axes.plot(x, y, "x", color=ALARM, markersize=7, markeredgewidth=2, label="aborted, charged")
            axes.legend(loc="lower right", frameon=False, labelcolor=INK, fontsize=10)
        axes.set(xlabel="attempt", ylabel="ε spent, training", ylim=(0, reserved * 1.15 or 1))

    return Picture(
        title="Privacy spent by attempt",
        svg=inline_svg(draw, "budget"),
        alternative=f"The training account's ε of this run rises to {spent[-1]:.3g} over {len(index)} attempts;"
        f" {reserved:.3g} was reserved.",
        caption=f"ε at δ = {figure(facts.delta)} for one {facts.unit.value}, against"
        f" {facts.against}. The dashed line was reserved before the run and cannot be passed.",
        section="budget",
        columns=("attempt", "ε spent so far", "attempt's end"),
        rows=tuple((str(a.index), figure(a.epsilon), "opened" if a.opened else "aborted") for a in facts.attempts),
    )


def _burn_down(facts: Facts) -> Picture | None:
    """What the accounts with a budget have left, over all runs; without any budget there is nothing to burn down."""
    shown = [
        (f"{balance.part.value} records", [balance.budget_epsilon - spent for spent in balance.course])
        for balance in facts.balances
        if balance.budget_epsilon is not None and len(balance.course) > 1
    ]
    if not shown:
        return None
    top = max(balance.budget_epsilon for balance in facts.balances if balance.budget_epsilon is not None)
    lowest = min(min(left) for _, left in shown)
    longest = max(len(left) - 1 for _, left in shown)
    styles = ((FIRST, "-"), (SECOND, (0, (4, 2))), (INK, ":"))

    def draw(axes: Axes) -> None:
        for (name, left), (colour, style) in zip(shown, styles, strict=False):
            axes.step(range(len(left)), left, where="post", color=colour, linestyle=style, linewidth=2, label=name)
            axes.plot([len(left) - 1], [left[-1]], "o", color=colour, markersize=5)
            axes.annotate(f"{left[-1]:.2f}", (len(left) - 1, left[-1]), xytext=(6, 0), textcoords="offset points",
                          color=INK, fontsize=9.5, va="center")  # fmt: skip
        _limit(axes, top, "budget")
        axes.axhline(0, color=ALARM, linewidth=1.5)
        axes.annotate("used up", (0.01, 0), xycoords=("axes fraction", "data"), xytext=(0, 4),
                      textcoords="offset points", color=INK, fontsize=9.5)  # fmt: skip
        axes.set(xlabel="attempts of this run", ylabel="ε left", ylim=(min(0, lowest) - 0.06 * top, top * 1.18))
        axes.set_xlim(-0.02 * longest, 1.13 * longest)
        axes.legend(
            loc="upper right", frameon=False, labelcolor=INK, fontsize=9.5, ncols=len(shown), columnspacing=1,
            handlelength=1.8, borderaxespad=0.1
        )  # fmt: skip

    said = "; ".join(f"{name} had {left[0]:.3g} left before the run and {left[-1]:.3g} after" for name, left in shown)
    delta = next(balance.delta for balance in facts.balances if balance.budget_epsilon is not None)
    return Picture(
        title="Budget left, over all runs",
        svg=inline_svg(draw, "burn-down"),
        alternative=f"Of a budget of ε = {top:.3g} at δ = {figure(delta)}, over all runs: {said}.",
        caption=f"The budget less what all runs on the account spent, composed, at δ = {figure(delta)}. A line starts"
        " where other runs left it. ε does not add up: equal attempts take unequal steps.",
        section="budget",
        columns=("attempts of this run", *(f"ε left, {name}" for name, _ in shown)),
        rows=tuple(
            (str(step), *(figure(left[step]) if step < len(left) else "–" for _, left in shown))
            for step in range(longest + 1)
        ),
    )


def _cohorts(facts: Facts) -> Picture | None:
    opened = [attempt for attempt in facts.attempts if attempt.opened]
    if not opened:
        return None

    def draw(axes: Axes) -> None:
        counted = {a.index: a.survivors for a in opened if a.survivors is not None}
        if counted:
            axes.bar(list(counted), list(counted.values()), width=0.72, color=FIRST, label="banks in the sum")
        fewer = [a.index for a in opened if a.survivors is None]
        if fewer:  # as high as the line itself, whatever the count: the height says nothing more
            axes.bar(
                fewer,
                FEWEST_BANKS,
                width=0.72,
                facecolor="none",
                edgecolor=BAND,
                hatch="////",
                linewidth=0,
                label=f"fewer than {FEWEST_BANKS}",
            )
        aborted = [a.index for a in facts.attempts if not a.opened]
        if aborted:
            axes.plot(
                aborted, [0.35] * len(aborted), "x", color=ALARM, markersize=7, markeredgewidth=2, label="aborted"
            )
        _limit(axes, facts.banks, "all banks")
        axes.set(xlabel="attempt", ylabel="banks", ylim=(0, facts.banks * 1.35))
        axes.set_yticks([tick for tick in axes.get_yticks() if tick == int(tick) and tick <= facts.banks * 1.35])
        axes.legend(
            loc="upper center", frameon=False, labelcolor=INK, fontsize=9, ncols=3, columnspacing=1, handlelength=1
        )

    least = f"fewer than {FEWEST_BANKS}" if facts.survivors_least is None else str(facts.survivors_least)
    return Picture(
        title="Banks in each sum",
        svg=inline_svg(draw, "cohorts"),
        alternative=f"Of {facts.banks} banks, at least {least} are in every opened sum; {facts.attempts_aborted} of"
        f" {len(facts.attempts)} attempts were aborted.",
        caption=f"One bar for each opened sum. A hatched bar up to {FEWEST_BANKS} means fewer than {FEWEST_BANKS}, and"
        " not how many.",
        section="cohorts",
    )


def _audit(facts: Facts) -> Picture | None:
    """The measured lower bound of ε beside the claim."""
    audit = facts.audit
    if audit is None or not facts.private:
        return None
    bars = (("claimed, at most", audit.claimed_epsilon, BAND), ("measured, at least", audit.lower_bound, FIRST))

    def draw(axes: Axes) -> None:
        for row, (_, value, colour) in enumerate(reversed(bars)):
            axes.barh([row], [value], height=0.5, color=ALARM if audit.disproved and row == 0 else colour)
            axes.annotate(figure(value), (value, row), xytext=(5, 0), textcoords="offset points", color=INK,
                          fontsize=11, va="center")  # fmt: skip
        axes.set_yticks(range(len(bars)), [name for name, _, _ in reversed(bars)])
        axes.set(xlim=(0, 1.2 * max(value for _, value, _ in bars) or 1), ylim=(-0.6, len(bars) - 0.4))
        axes.grid(visible=False, axis="y")

    return Picture(
        title="ε claimed and ε measured",
        svg=inline_svg(draw, "audit", left=0.37, size=(4.6, 1.7)),
        alternative=f"An ε of at most {figure(audit.claimed_epsilon)} is claimed; at least {figure(audit.lower_bound)}"
        f" was measured, both at δ = {figure(facts.delta)} for one {facts.unit.value}.",
        caption="A measured bar longer than the claimed one disproves the claim. A shorter one does not prove it: a"
        " better attack may measure more.",
        section="audit",
    )


def _line(
    axes: Axes, x: Sequence[float], y: Sequence[float], *, colour: str = FIRST, label: str, style: str = "-"
) -> None:
    marker = "o" if len(x) <= 20 else None
    axes.plot(x, y, style, color=colour, linewidth=2, marker=marker, markersize=3.5, label=label)


def _limit(axes: Axes, value: float, label: str) -> None:
    axes.axhline(value, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.annotate(label, (0.01, value), xycoords=("axes fraction", "data"), xytext=(0, 4), textcoords="offset points",
                  color=INK, fontsize=9.5)  # fmt: skip


def inline_svg(draw: Callable[[Axes], None], name: str, *, left: float = 0.15, size: tuple[float, float] = SIZE) -> str:
    """The picture that ``draw`` makes, as an ``<svg>`` element in the page's own colours and font.

    Args:
        name: makes the element's ids unique in the page.
        left: share of the width that is left to labels of the y axis; size: inches, for the proportions.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fedsec",
        "font.family": "sans-serif",
        "font.size": 11,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        bottom = 0.49 / size[1]  # inches below the axes: ticks and their label
        axes = figure.add_axes((left, bottom, 0.97 - left, 0.96 - bottom))
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        draw(axes)
        if axes.get_xlabel():
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.tick_params(colors=INK, length=0)
        axes.xaxis.label.set_color(INK)
        if named := axes.get_ylabel():  # upright and above the axis: turned by 90° it is hard to read, and is cut off
            axes.set_ylabel("")
            axes.set_position((left, bottom, 0.97 - left, 0.96 - bottom - 0.24 / size[1]))
            axes.annotate(named, (0, 1), xycoords="axes fraction", xytext=(-left * size[0] * 72, 7),
                          textcoords="offset points", color=INK, fontsize=11)  # fmt: skip
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(INK)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), name)


def _inline(document: str, name: str) -> str:
    """The ``<svg>`` element alone, ids made unique in the page, stand-in colours replaced, page's own font."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'<svg [^>]*viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg, count=1
    )
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"font: ([^;\"]*?[\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg
