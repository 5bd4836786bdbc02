"""The needle's map: where in a haystack, how long it is, and how large the model."""

from __future__ import annotations

import re

import numpy as np

from analysis.plots.plot import Plot, settle
from analysis.plots.style import INK, MUTED, PAPER, axes, count, look

_COLUMNS = 3


def needle(answers, task: str = "needle", chance: float | None = None) -> Plot:
    """Heat maps of exact match over depth and length of the haystack, a panel for each size, seeds pooled.

    answers: a DataFrame with columns params, length, depth, right, items
    (`analysis.tables.answers.by_factors`).
    Raises ValueError when it is empty.
    """
    if not len(answers):
        raise ValueError("needle() needs answers by length and depth")
    table = answers.groupby(["params", "length", "depth"], as_index=False)[["right", "items"]].sum()
    table["score"] = table["right"] / table["items"]
    sizes, lengths, depths = (np.unique(table[name]) for name in ("params", "length", "depth"))
    rows = -(-len(sizes) // _COLUMNS)
    with look():
        height = 0.75 + (0.55 + 0.2 * len(lengths)) * rows
        figure, grid = axes(height, rows, min(_COLUMNS, len(sizes)), squeeze=False)
        for number, panel in enumerate(grid.flat):
            if number >= len(sizes):
                panel.set_axis_off()
                continue
            here = table[table["params"] == sizes[number]]
            image = _panel(panel, here, lengths, depths)
            panel.set_title(count(sizes[number]), fontsize=8.5, pad=3)
            panel.tick_params(
                labelleft=number % _COLUMNS == 0, labelbottom=number + _COLUMNS >= len(sizes), pad=2
            )
        figure.supxlabel("depth of the needle (% of the haystack before it)", fontsize=9, color=MUTED)
        figure.supylabel("symbols", fontsize=9, color=MUTED)
        bar = figure.colorbar(image, ax=grid, shrink=0.9, aspect=28, pad=0.02)
        bar.set_ticks([0, 0.5, 1], labels=["0", "50", "100%"])
        bar.ax.tick_params(labelsize=8)
        bar.outline.set_visible(False)
        settle(figure)
    said = "" if chance is None else f" Chance is {100 * chance:.0f}%."
    caption = (
        "Percent of items answered exactly, all seeds of a size together. Panels are sizes in parameters, "
        f"rows lengths of the haystack, columns the place of the needle.{said}"
    )
    ends = [table[table["params"] == size] for size in (sizes[0], sizes[-1])]
    low, high = (float(end["right"].sum() / end["items"].sum()) for end in ends)
    alt = f"From {low:.0%} right at {count(sizes[0])} parameters to {high:.0%} at {count(sizes[-1])}."
    slug = re.sub(r"[^a-z0-9]+", "-", task.lower()).strip("-")[:40]
    return Plot(f"needle_{slug}", f"{task}: depth, length and size", caption, alt, figure, table)


def _panel(panel, here, lengths: np.ndarray, depths: np.ndarray):
    scores = here.pivot_table(index="length", columns="depth", values="score", observed=False)
    values = scores.reindex(index=lengths, columns=depths).to_numpy(float)
    image = panel.pcolormesh(
        np.ma.masked_invalid(values), cmap="viridis", vmin=0, vmax=1, edgecolors=PAPER, linewidth=0.6
    )
    for row, column in np.ndindex(values.shape):
        if np.isfinite(values[row, column]):
            panel.text(
                column + 0.5,
                row + 0.5,
                f"{100 * values[row, column]:.0f}",
                ha="center",
                va="center",
                fontsize=6.2,
                color=INK if values[row, column] > 0.6 else PAPER,
            )
    panel.set_xticks(np.arange(len(depths)) + 0.5, [f"{depth:g}" for depth in depths], fontsize=7)
    panel.set_yticks(np.arange(len(lengths)) + 0.5, [f"{length:g}" for length in lengths], fontsize=7)
    panel.tick_params(length=0)
    panel.grid(False)
    return image
