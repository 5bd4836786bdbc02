"""A threshold over sizes and token budgets: scores in the plane, and the line D*(N) through it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from analysis.plots.ability import label
from analysis.plots.plot import Plot, settle
from analysis.plots.style import INK, LAW, PAPER, axes, count, log_axis, look, spread

if TYPE_CHECKING:
    from analysis.thresholds.frontier import Frontier


def threshold(line: Frontier, ax: Axes | None = None) -> Plot:
    """Cells of (params, tokens), as dark as their score is high, and the frontier with its interval by size.

    Raises ValueError for a series without a frontier.
    """
    import pandas

    if line.kind == "none":
        raise ValueError(f"{line.task}/{line.metric} has no frontier: {line.text}")
    inside = [point for point in line.points if point.tokens.value is not None]
    with look():
        figure, panel = axes(3.3, ax=ax)
        log_axis(panel, "x", "params", spread(line.params, 0.1), 5)
        log_axis(panel, "y", "tokens", spread(line.budgets, 0.12), 5)
        shown = panel.scatter(
            line.params,
            line.budgets,
            c=line.score,
            s=70,
            cmap="viridis_r",
            vmin=0,
            vmax=max(1.0, float(line.score.max())),
            edgecolors=INK,
            linewidths=0.5,
            zorder=3,
        )
        sizes = [point.params for point in inside]
        panel.plot(sizes, [point.tokens.value for point in inside], color=PAPER, lw=4.5, zorder=4)
        panel.plot(sizes, [point.tokens.value for point in inside], color=LAW, lw=1.8, zorder=5)
        for point in inside:
            panel.plot([point.params] * 2, point.tokens.interval, color=LAW, lw=1.6, alpha=0.7, zorder=5)
        bar = figure.colorbar(shown, ax=panel, shrink=0.9, aspect=26, pad=0.02)
        bar.set_label(label(line.metric), fontsize=9)
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
        if ax is None:
            settle(figure)
    what = "the elbow" if line.kind == "elbow" else "half of the way from chance to 1"
    b = line.exponent
    caption = (
        f"Points are cells, seeds averaged, coloured by their score. Red: {what}, at tokens that go as "
        f"params to the power {b.value:.2g} ({b.interval[0]:.2g} to {b.interval[1]:.2g}); bars are 95% "
        "intervals. It is not drawn beyond the budgets measured."
    )
    alt = f"From {count(inside[0].tokens.value)} tokens at {count(inside[0].params)} parameters to "
    alt += f"{count(inside[-1].tokens.value)} at {count(inside[-1].params)}."
    cells = pandas.DataFrame({"params": line.params, "tokens": line.budgets, "score": line.score}).assign(
        kind="cell"
    )
    rows = [(p.params, p.tokens.value, *p.tokens.interval) for p in inside]
    drawn = pandas.DataFrame(rows, columns=["params", "tokens", "low", "high"]).assign(kind=line.kind)
    slug = re.sub(r"[^a-z0-9]+", "-", line.task.lower()).strip("-")[:40] or "task"
    title = f"{line.task}: the threshold over sizes and tokens"
    return Plot(
        f"threshold_{slug}", title, caption, alt, figure, pandas.concat([cells, drawn], ignore_index=True)
    )
