"""What the runs cost: FLOPs and device seconds, by size."""

from __future__ import annotations

import numpy as np

from analysis.costs.ledger import ledger
from analysis.errors import InputError
from analysis.plots.plot import Plot, settle
from analysis.plots.style import INK, MUTED, axes, count, look, palette, power
from analysis.tables.table import Runs, numbers

_MOST = 14


def cost(runs: Runs, colours=None) -> Plot:
    """Sums over the runs of each grid and size, of all that spent something, whatever became of them."""
    import pandas

    columns = runs.columns
    try:
        spent = ledger(runs).entries  # of a trunk each step once; a cell that was never trained spent nothing
        rows = np.array([one.row for one in spent], int)
        flops, seconds = [one.flops for one in spent], [one.spent.seconds for one in spent]
    except InputError:  # a table that says nothing of time
        rows = np.arange(len(runs))
        name = next(name for name in ("flops_exact", "flops_6nd", "flops") if name in columns)
        flops, seconds = numbers(columns[name]), np.zeros(len(runs))
    frame = pandas.DataFrame({"params": np.asarray(columns["params"], float)[rows]})
    grids = columns.get("grid", [None] * len(runs))
    frame["grid"] = [str(grids[row]) if grids[row] is not None else "" for row in rows.tolist()]
    frame["flops"], frame["device_seconds"] = flops, seconds
    frame = frame[np.isfinite(frame["params"])]
    groups = frame.groupby(["grid", "params"], sort=True)
    table = groups.agg(
        runs=("flops", "size"), flops=("flops", "sum"), device_seconds=("device_seconds", "sum")
    ).reset_index()
    colours = colours or palette(frame["params"])
    shown = table.sort_values("flops", kind="stable").tail(_MOST).sort_index()
    several = table["grid"].nunique() > 1
    with look():
        figure, panels = axes(0.9 + 0.3 * max(len(shown), 2), 1, 2, sharey=True)
        places = np.arange(len(shown))[::-1]
        names = [
            f"{row.grid + '  ' if several and row.grid else ''}{count(row.params)}  ×{row.runs}"
            for row in shown.itertuples()
        ]
        for panel, column, title, text in (
            (panels[0], "flops", "FLOPs", power),
            (panels[1], "device_seconds", "device seconds", lambda v: f"{v:,.0f}" if v >= 10 else f"{v:.1f}"),
        ):
            values = shown[column].to_numpy(float)
            panel.barh(places, values, height=0.62, color=[colours(value) for value in shown["params"]])
            for place, value in zip(places, values, strict=True):
                panel.annotate(
                    text(value) if value > 0 else "–",
                    (max(value, 0.0), place),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                    color=INK,
                )
            panel.set_title(title)
            panel.set_xlim(0, max(float(np.nanmax(values, initial=0.0)), 1e-9) * 1.42)
            panel.set_xticks([])
            panel.grid(False)
            panel.spines["bottom"].set_visible(False)
        panels[0].set_yticks(places, names)
        panels[0].set_ylabel("params × runs", color=MUTED)
        panels[0].tick_params(axis="y", labelcolor=INK)
        settle(figure)
    seconds = float(table["device_seconds"].sum())
    caption = f"Together {power(float(table['flops'].sum()))} FLOPs and {seconds:,.0f} device seconds"
    caption += " (a device is a core or an accelerator; compilation and evaluation are counted)."
    if len(shown) < len(table):
        caption += f" Shown are the {len(shown)} most costly of {len(table)} sizes."
    alt = f"Bars of FLOPs and device seconds for {len(table)} sizes."
    return Plot("cost", "What it cost", caption, alt, figure, table)
