"""Errors of forecasts against how far they reach: the rollouts of an audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.plots.plot import Plot, settle
from analysis.plots.style import LABELS, LAW, MUTED, PAPER, axes, few, look, palette

if TYPE_CHECKING:
    from analysis.audits.audit import Audit

_FACTORS = (1, 2, 3, 5, 10, 20, 50, 100, 300, 1000)


def rollouts(audit: Audit) -> Plot:
    """A panel an axis: signed error of each prediction against its distance beyond the fitted window.

    Colours tell the windows apart (darker: earlier); the line is the mean size of the error by distance.
    Raises ValueError when the audit holds no rollout.
    """
    import pandas

    if not audit.rollouts:
        raise ValueError("this audit holds no rollout")
    parts = []
    with look():
        figure, panels = axes(1.2 + 1.55 * len(audit.rollouts), len(audit.rollouts), 1, squeeze=False)
        for axis, one in zip(panels[:, 0], audit.rollouts, strict=True):
            parts.append(_panel(axis, one))
        settle(figure)
    name = audit.fit.law.name
    slopes = ", ".join(
        f"{one.slope:+.2f} along {one.axis}" for one in audit.rollouts if one.slope is not None
    )
    caption = (
        f"The {name} law fitted to growing windows and scored on the runs beyond: dots are predictions, "
        "above zero too high. Red: the mean size of the error by distance, on both sides of zero."
    )
    caption += f" Each factor of ten adds, in points: {slopes}." if slopes else ""
    alt = f"{len(audit.rollouts)} charts of forecast error in percent against distance beyond the window."
    data = pandas.concat(parts, ignore_index=True)
    return Plot("rollout", "Forecast error against distance", caption, alt, figure, data)


def _panel(axis, one):
    import pandas

    distance = np.array([miss.distance for miss in one.misses])
    error = np.array([miss.error_percent for miss in one.misses])
    limit = np.array([miss.limit for miss in one.misses])
    colours = palette(limit)
    top = max(1e-3, 1.15 * float(np.quantile(np.abs(error), 0.98)))
    kept = few(len(error), 500)
    axis.axhline(0, color=MUTED, lw=0.9, zorder=1)
    axis.scatter(
        distance[kept],
        np.clip(error[kept], -0.97 * top, 0.97 * top),
        s=14,
        c=[colours(value) for value in limit[kept]],
        edgecolors=PAPER,
        linewidths=0.4,
        zorder=3,
    )
    x = [float(np.sqrt(d.low * d.high)) for d in one.distances]
    y = np.array([d.mean_abs_error_percent for d in one.distances])
    for sign in (1, -1):
        axis.plot(x, sign * y, color=LAW, lw=1.5, marker="o", ms=3, zorder=4)
    axis.set_xscale("log")
    far = float(distance.max()) * 1.15
    ticks = [factor for factor in _FACTORS if factor <= far]
    axis.set_xticks(ticks, [f"{tick}×" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlim(1.0, far)
    axis.set_ylim(-top, top)
    axis.set_ylabel("error (%)")
    axis.set_xlabel(f"beyond the window in {LABELS[one.axis]}")
    common = {"axis": one.axis, "law": one.law}
    parts = {"limit": limit, "distance": distance, "row": [miss.row for miss in one.misses]}
    return pandas.DataFrame({**common, **parts, "error_percent": error})
