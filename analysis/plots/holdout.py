"""Predicted against measured: the runs that were held out, beside the residuals of those that were fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.audits.results import Cell, Forecast
from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    LAW,
    MUTED,
    PAPER,
    axes,
    count,
    few,
    log_axis,
    look,
    named,
    palette,
    plain,
    power,
    spread,
)

_MOST = 14


def holdout(forecast: Forecast, colours=None, ids: Sequence[str] = ()) -> Plot:
    """Left: residuals of the fitted runs against compute. Right: each held-out run and its interval.

    Both in percent of the law's loss, measured minus law: above zero the run is worse than the law says.
    ids: of the runs, by row of their table.
    """
    import pandas

    fit = forecast.fit
    flops = np.asarray(fit.data["flops"], float)
    params = np.asarray(fit.data["params"], float)
    logs = np.asarray(fit.data["residual"], float)
    residual = 100 * np.expm1(logs)
    cells = tuple(sorted(forecast.cells, key=lambda cell: (cell.flops, cell.params, cell.name)))
    shown = [cell for cell in cells if cell.measured is not None] or list(cells)
    if len(shown) > _MOST:  # the widest errors are the ones to see
        worst = sorted(shown, key=lambda cell: -abs(cell.error_percent or 0.0))[:_MOST]
        shown = [cell for cell in shown if cell in worst]
    colours = colours or palette([*params, *(cell.params for cell in cells)])
    with look():
        share = [1.0, float(np.clip(0.13 * len(shown), 0.5, 1.5))]
        figure, (left, right) = axes(3.3, 1, 2, sharey=True, width_ratios=share)
        for axis in (left, right):
            axis.axhline(0, color=LAW, lw=1.4, zorder=2)
        limit = _limit(residual, shown)
        kept = few(len(flops))
        off = np.abs(residual) > limit
        hue = [colours(value) for value in params[kept]]
        place = np.clip(residual, -0.96 * limit, 0.96 * limit)
        rim = [LAW if far else PAPER for far in off[kept]]
        marks = {"s": 22, "c": hue, "edgecolors": rim, "linewidths": np.where(off[kept], 1.3, 0.5)}
        left.scatter(flops[kept], place[kept], zorder=3, gid="residuals", **marks)
        left.set_ylim(-limit, limit)
        left.yaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
        log_axis(left, "x", "flops", spread(flops, 0.1, 3), 4)
        left.set_xlabel("compute (FLOPs)")
        left.set_ylabel("measured minus law (%)")
        left.set_title("fitted")
        right.set_title("held out")
        hints = {"residuals": _said(fit, residual, kept)} | _cells(right, shown, colours)
        rows = {"residuals": np.asarray(fit.data["row"])[kept].tolist()}
        rows["held-out-cells"] = [cell.row for cell in shown if cell.measured is not None]
        settle(figure)
    columns = {"kind": "fitted", "flops": flops, "params": params, "tokens": fit.data["tokens"]}
    columns |= {
        "measured": fit.data["loss"],
        "predicted": fit.data["fitted"],
        "error_percent": 100 * np.expm1(-logs),
    }
    table = pandas.DataFrame([vars(cell) | {"kind": "held out"} for cell in cells])
    data = pandas.concat([pandas.DataFrame(columns), table], ignore_index=True)
    caption = "Zero is the law. Left, what the fit leaves over; right, runs it never saw: the grey bar is the"
    caption += f" {forecast.level:.0%} interval predicted for a new run, the point what was measured."
    if off.any():
        furthest = residual[np.argmax(np.abs(residual))]
        caption += f" {off.sum()} residuals, red rims, lie beyond the axis, the furthest at {furthest:+.0f}%."
    if len(cells) > len(shown):
        caption += f" Shown are the {len(shown)} of {len(cells)} with the largest errors; the table has all."
    alt = f"Residuals of {len(flops)} fitted runs in percent and errors of {len(cells)} held-out runs"
    if forecast.score is not None:
        alt += f", which average {forecast.score.mean_abs_error_percent:.2g} percent"
    marked = named(rows, ids)
    return Plot("holdout", "Predicted against measured", caption, alt + ".", figure, data, hints, marked)


def _said(fit, residual, kept) -> list[str]:
    columns = (fit.data["params"], fit.data["tokens"], residual)
    rows = zip(*(np.asarray(values, float)[kept] for values in columns), strict=True)
    return [f"{count(n)} params, {count(d)} tokens: {r:+.2f}% against the law" for n, d, r in rows]


def _cells(axis, cells: list[Cell], colours) -> dict[str, list[str]]:
    hints = []
    places = np.arange(len(cells))
    for place, cell in zip(places, cells, strict=True):
        if cell.low is not None and cell.high is not None:
            # An end that the table does not bound leaves the axis.
            low, high = np.clip(
                [100 * (edge / cell.predicted - 1) for edge in (cell.low, cell.high)], -1e9, 1e9
            )
            axis.plot([place, place], [low, high], color="#c9ced8", lw=6, solid_capstyle="butt", zorder=1)
    measured = [(place, cell) for place, cell in zip(places, cells, strict=True) if cell.measured is not None]
    if measured:
        axis.scatter(
            [place for place, _ in measured],
            [100 * (cell.measured / cell.predicted - 1) for _, cell in measured],
            s=34,
            facecolors=[colours(cell.params) for _, cell in measured],
            edgecolors=[LAW if cell.inside is False else PAPER for _, cell in measured],
            linewidths=1.2,
            zorder=3,
            gid="held-out-cells",
        )
    for _, cell in measured:
        where = {True: "inside its interval", False: "OUTSIDE its interval", None: "no interval"}[cell.inside]
        hints.append(
            f"{count(cell.params)} params, {count(cell.tokens)} tokens, {power(cell.flops)} FLOPs: measured "
            f"{plain(cell.measured)}, predicted {plain(cell.predicted)}, {where}"
        )
    axis.set_xlim(-0.7, max(len(cells), 1) - 0.3)
    axis.set_xticks(
        places, [f"{count(c.params)} × {count(c.tokens)}" for c in cells], rotation=90, fontsize=8
    )
    axis.tick_params(axis="x", length=0)
    axis.grid(False, axis="x")
    axis.set_xlabel("params × tokens", color=MUTED)
    return {"held-out-cells": hints}


def _limit(residual: np.ndarray, cells: Sequence[Cell]) -> float:
    """Percent to show either way: all of the held-out runs, and the fitted ones but for a few outliers."""
    found = np.abs(residual[np.isfinite(residual)])
    values = [1.3 * float(np.quantile(found, 0.97)) if len(found) else 0.0]
    for cell in cells:
        for edge in (cell.low, cell.high, cell.measured):
            if edge is not None and np.isfinite(edge):
                values.append(100 * abs(edge / cell.predicted - 1))
    return 1.12 * max(values) + 0.01
