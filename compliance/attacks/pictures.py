"""The page's pictures: a record beside what was recovered of it, and measured advantages beside their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compliance.attacks.results import Recovery, Result
from compliance.figures import ALARM, BAND, FIRST, INK, SECOND, Picture, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EDGE = 6.0  # standard deviations; what lies beyond is drawn at the edge
_RECORD_SIZE = (4.6, 2.5)


def pictures(results: Sequence[Result]) -> list[Picture]:
    """The pictures that ``results`` have data for, in reading order."""
    by_name = {result.attack.name: result for result in results}
    drawn = []
    for name, plain, fedsec in (
        ("first-layer", "From one bank's update, unprotected", "From fedsec's update on the same record, masked"),
        ("gradient-inversion", "By fitting, unprotected", "By fitting, under fedsec's masks"),
        ("sum-record", "From a sum without noise, all else known", "From the sum that fedsec opens, all else known"),
    ):
        recovery = by_name[name].findings.recovery if name in by_name else None
        if recovery is not None:
            drawn.append(_record(recovery, recovery.from_plain, f"{name}-plain", plain))
            drawn.append(_record(recovery, recovery.from_fedsec, f"{name}-fedsec", fedsec))
    bounded = [result for result in results if result.findings.fedsec.bound is not None]
    if bounded:
        drawn.append(_advantages(bounded))
    return drawn


def _record(recovery: Recovery, found: NDArray[np.float64], name: str, title: str) -> Picture:
    places = np.arange(1, len(found) + 1)
    outside = np.abs(found) > _EDGE
    close = int((np.abs(found - recovery.real) <= 0.05).sum())

    def draw(axes: Axes) -> None:
        axes.bar(places, np.clip(recovery.real, -_EDGE, _EDGE), width=0.8, color=BAND, alpha=0.45, label="the record")
        axes.plot(places[~outside], found[~outside], "o", color=FIRST, markersize=4, label="recovered")
        for edge, marker in ((_EDGE, "^"), (-_EDGE, "v")):
            beyond = outside & (np.sign(found) == np.sign(edge))
            axes.plot(places[beyond], np.full(int(beyond.sum()), edge), marker, color=SECOND, markersize=5)
        axes.set(ylim=(-_EDGE - 0.8, _EDGE + 3.2), ylabel="value")
        axes.legend(loc="upper right", frameon=False, labelcolor=INK, fontsize=9, ncols=2, handlelength=1)

    beyond = int(outside.sum())
    return Picture(
        title=title,
        svg=inline_svg(draw, name, size=_RECORD_SIZE, left=0.13),
        alternative=f"{close} of {len(found)} recovered values lie on the record's; {beyond} lie beyond the picture.",
        caption=f"Each place is one value of the record, in standard deviations. {close} of {len(found)} are right"
        f" to a twentieth{', as some are by chance' if 0 < close < len(found) / 2 else ''}"
        + (f"; {beyond} lie beyond the edge, as triangles." if beyond else "."),
    )


def _advantages(results: Sequence[Result]) -> Picture:
    rows = list(reversed(results))

    def draw(axes: Axes) -> None:
        for row, result in enumerate(rows):
            found, control = result.findings.fedsec, result.findings.plain.measured
            measured, bound = found.measured, found.bound
            assert measured is not None and bound is not None and control is not None
            first = row == 0
            axes.plot([0, bound], [row, row], color=BAND, linewidth=9, alpha=0.25, solid_capstyle="butt")
            axes.plot(
                [bound, bound], [row - 0.3, row + 0.3], color=ALARM, linewidth=2.5, label="bound" if first else None
            )
            axes.plot(
                [max(measured.low, 0), max(measured.high, 0)],
                [row, row],
                color=FIRST,
                linewidth=5,
                alpha=0.4,
                solid_capstyle="butt",
                label="interval" if first else None,
            )
            axes.plot(
                [max(measured.advantage, 0)], [row], "o", color=FIRST, markersize=6, label="measured" if first else None
            )
            if found.best is not None:
                axes.plot(
                    [found.best] * 2,
                    [row - 0.2, row + 0.2],
                    color=INK,
                    linewidth=1.5,
                    label="best possible" if first else None,
                )
            axes.plot(
                [control.advantage], [row], "D", color=SECOND, markersize=5, label="without noise" if first else None
            )
        axes.set_yticks(range(len(rows)), [result.attack.title for result in rows])
        axes.set(xlim=(-0.01, 1.04), ylim=(-0.6, len(rows) + 0.25))
        axes.grid(visible=False, axis="y")
        axes.legend(
            loc="upper center", frameon=False, labelcolor=INK, fontsize=9, ncols=5, columnspacing=1.2, handlelength=1
        )

    said = "; ".join(f"{result.attack.title}: {result.findings.fedsec.evidence}" for result in results)
    return Picture(
        title="Measured advantage beside its bound",
        svg=inline_svg(draw, "advantages", left=0.31, size=(9.4, 0.75 + 0.46 * len(rows))),
        alternative=said,
        caption="0: no better than a coin. 1: certain. The bound is what (ε, δ) proves for every attack by the stated"
        " adversary. Best possible is what the noise leaves to the best guess in this very game: a dot on it cannot be"
        " bettered here, however far to the left of the bound it lies. The bound is loose, the attack is not weak.",
    )
