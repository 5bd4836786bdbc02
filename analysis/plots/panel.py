"""An ability in one panel: what the sheet of all abilities and the figure of a single one draw alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.plots.style import FORMATS, LAW, PAPER, log_ticks, plain
from analysis.thresholds.result import Series, Threshold

CHANCE = "#aab2c0"


@dataclass(frozen=True)
class Weight:
    """How heavy it is drawn: line widths of the elbow and the leading shape, area of a run's mark and width
    of its rim in points, opacity of the elbow's interval."""

    elbow: float
    shape: float
    mark: float
    rim: float
    shade: float


def elbow_of(one: Series) -> Threshold:
    """The elbow to draw: of a break that was called. Where it is undecided whether there is one, none."""
    return one.thresholds.elbow if one.verdict == "emergent" else Threshold()


def runs_and_shape(
    panel, one: Series, colours, weight: Weight, limits=(-np.inf, np.inf), gid: str | None = None
) -> None:
    """Runs as points, the leading shape, the elbow with its interval (within limits), and chance.

    colours: from params to a colour; other axes have one colour.
    """
    elbow = elbow_of(one)
    if elbow.interval is not None and np.isfinite(elbow.interval).all():
        panel.axvspan(*np.clip(elbow.interval, *limits), color=LAW, alpha=weight.shade, lw=0, zorder=0)
    if elbow.value is not None:
        panel.axvline(elbow.value, color=LAW, lw=weight.elbow, alpha=0.8, zorder=1)
    if len(one.leading_curve):
        # A shape that is not called may still bend: drawn pale, it claims nothing.
        called = 1.0 if one.verdict != "undecided" else 0.4
        panel.plot(one.grid, one.leading_curve, color=LAW, lw=weight.shape, alpha=called, zorder=3)
    if one.chance is not None and not one.metric.endswith("nats"):
        panel.axhline(one.chance, color=CHANCE, lw=1, ls=(0, (1, 2)), zorder=1)
    x = np.asarray(one.x, float)
    shade = [colours(value) for value in x] if one.axis == "params" else ["#44546a"] * len(x)
    style = {"edgecolors": PAPER, "linewidths": weight.rim, "zorder": 5, "clip_on": False}
    panel.scatter(x, one.score, s=weight.mark, c=shade, gid=gid, **style)


def log_x(panel, kind: str, limits: tuple[float, float], most: int) -> None:
    """A logarithmic axis with at most so many ticks, in the words of its kind."""
    panel.set_xscale("log")
    ticks = log_ticks(*limits, most)
    show = FORMATS.get(kind, plain)
    panel.set_xticks(ticks, [show(tick) for tick in ticks])
    panel.set_xticks([], minor=True)
