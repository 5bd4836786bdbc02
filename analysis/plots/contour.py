"""The fitted law as a map: loss over compute and params, with the frontier and the runs on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from analysis.audits.results import Forecast
from analysis.fits.results import Fit
from analysis.plots.frontier_band import frontier_band
from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    INK,
    LABELS,
    LAW,
    MUTED,
    PAPER,
    axes,
    count,
    draw_runs,
    few,
    halo,
    log_axis,
    look,
    named,
    palette,
    plain,
    power,
    size_key,
    spread,
)

_AXES = ("flops", "params")
_ROOM = 0.1  # between the middle of a label and a run, as a part of the axes: half a label's length and a dot
_DEPTH = LinearSegmentedColormap.from_list("depth", ["#dfe7f2", "#ffffff"])


def law_contour(
    fit: Fit,
    forecast: Forecast | None = None,
    colours=None,
    ax: Axes | None = None,
    ids: Sequence[str] = (),
) -> Plot:
    """Contours of the fitted loss in (flops, params) and the efficient frontier (arXiv 2203.15556, figure 4).

    forecast: its cells are drawn open, as held out. ids: of the runs, by row of their table.
    For a law of a single input: the loss along that input.
    """
    if not {"params", "tokens"} <= set(fit.law.inputs):
        return _along(fit, colours, ax)
    cells = () if forecast is None else forecast.cells
    runs = _points(fit, cells)
    colours = colours or palette(runs["params"])
    flops, params = spread(runs["flops"], 0.1, 4), spread(runs["params"], 0.14, 2)
    with look():
        figure, axis = axes(3.7, ax=ax)
        _map(axis, fit, flops, params, runs)
        best = frontier_band(fit, np.geomspace(*flops, 60))
        if best is not None:
            if best.params_band is not None:
                low, high = (np.clip(edge, params[0] / 10, params[1] * 10) for edge in best.params_band)
                axis.fill_between(best.flops, low, high, color=LAW, alpha=0.14, lw=0, zorder=3)
            axis.plot(best.flops, best.params, color=LAW, lw=1.8, zorder=4)
            _name_frontier(axis, best, flops, params)
        hints, rows = _marks(axis, runs, colours)
        log_axis(axis, "x", "flops", flops)
        log_axis(axis, "y", "params", params)
        size_key(figure, runs["params"].unique(), colours)
        if ax is None:
            settle(figure)
    band = best is not None and best.params_band is not None
    caption = "Lines of equal fitted loss. The red line is the best size for each budget of compute"
    caption += f", its band the {fit.level:.0%} interval" if band else ""
    caption += "; runs far from it spend their compute less well."
    caption += " Open points were held out of the fit." if len(cells) else ""
    alt = (
        f"Contour map of the fitted loss over compute and parameters with {len(runs)} runs; the "
        "compute-optimal frontier rises from lower left to upper right."
    )
    data = _with_frontier(runs, best)
    marked = named(rows, ids)
    return Plot("law_contour", "The fitted law and its frontier", caption, alt, figure, data, hints, marked)


def _points(fit: Fit, cells):
    import pandas

    fields = ("params", "tokens", "flops", "loss", "fitted")
    frame = pandas.DataFrame({name: np.asarray(fit.data[name], float) for name in fields})
    frame["row"], frame["kind"] = np.asarray(fit.data["row"]), "fitted run"
    held = [(c.params, c.tokens, c.flops, c.measured, c.predicted, c.row, "held-out run") for c in cells]
    return pandas.concat([frame, pandas.DataFrame(held, columns=[*fields, "row", "kind"])]) if held else frame


def _map(axis, fit: Fit, flops, params, runs) -> None:
    c = np.geomspace(*flops, 120)
    n = np.geomspace(*params, 100)
    grid_c, grid_n = np.meshgrid(c, n)
    inputs = {"params": grid_n, "tokens": grid_c / (6 * grid_n), "flops": grid_c}
    for name in fit.law.inputs:
        if name not in inputs:
            inputs[name] = np.full_like(grid_n, float(np.median(fit.data[name])))
    loss = np.asarray(fit.law.loss(fit.params, inputs), float)
    measured = np.asarray(fit.data["loss"], float)
    low, high = max(np.nanmin(loss), 0.9 * measured.min()), min(np.nanmax(loss), 1.25 * measured.max())
    levels = np.geomspace(low, max(high, low * 1.001), 12)
    digits = max(0, int(np.ceil(1 - np.log10(levels[1] - levels[0]))))
    levels = np.unique(np.round(levels, min(digits, 6)))
    if len(levels) < 3:
        return
    axis.contourf(grid_c, grid_n, loss, levels=levels, cmap=_DEPTH, extend="both", zorder=0)
    lines = axis.contour(grid_c, grid_n, loss, levels=levels, colors="#9aa6b8", linewidths=0.8, zorder=1)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(*flops)
    axis.set_ylim(*params)
    marked, places = _label_places(lines.levels[::2], loss, flops, params, runs)
    if marked:
        axis.clabel(lines, marked, manual=places, fmt=plain, fontsize=8, colors=MUTED, inline_spacing=3)
    axis.grid(False)


def _label_places(levels, loss, flops, params, runs) -> tuple[list[float], list[tuple[float, float]]]:
    """The levels that can be named, and where: near the top, where each line is crossed once, off the
    runs and whole within the axes."""
    spans = [np.log(np.asarray(limits)) for limits in (flops, params)]
    places = [
        (np.log(runs[name]) - low) / (high - low) for name, (low, high) in zip(_AXES, spans, strict=True)
    ]
    taken = np.stack([np.asarray(place, float) for place in places], axis=1)
    across, up = (np.linspace(0, 1, size) for size in loss.shape[::-1])
    marked, found = [], []
    for level in levels:
        best, room = None, _ROOM / 2
        for row in np.flatnonzero((up >= 0.6) & (up <= 0.9))[::-1]:
            order = np.argsort(loss[row])
            if not loss[row][order[0]] < level < loss[row][order[-1]]:
                continue
            x = float(np.interp(level, loss[row][order], across[order]))
            if not 0.06 <= x <= 0.94:
                continue
            off = min(np.hypot(*(taken - (x, up[row])).T).min(initial=1.0), _ROOM)
            if off > room + 1e-9:
                best, room = (x, up[row]), off
        if best is not None:
            marked.append(float(level))
            ends = zip(best, spans, strict=True)
            found.append(tuple(float(np.exp(low + at * (high - low))) for at, (low, high) in ends))
    return marked, found


def _name_frontier(axis, best, flops, params) -> None:
    inside = np.flatnonzero((best.params > params[0]) & (best.params < params[1]))
    if not len(inside):
        return
    at = inside[int(0.62 * (len(inside) - 1))]
    text = axis.annotate(
        "best size",
        (best.flops[at], best.params[at]),
        xytext=(5, -13),
        textcoords="offset points",
        ha="left",
        color=LAW,
        fontsize=9.5,
        zorder=6,  # above the runs, which may be many
    )
    halo(text)


def _marks(axis, runs, colours) -> tuple[dict[str, list[str]], dict[str, list]]:
    hints, rows = {}, {}
    for kind, part in runs.groupby("kind", sort=True):
        part = part.iloc[few(len(part))]
        held = kind != "fitted run"
        gid = "map-" + kind.replace(" ", "-")
        draw_runs(axis, part["flops"], part["params"], part["params"], colours, held, 26, 0.6, gid)
        hints[gid] = [
            f"{count(r.params)} params, {count(r.tokens)} tokens: {plain(r.loss)}, law {plain(r.fitted)}"
            for r in part.itertuples()
        ]
        rows[gid] = part["row"].tolist()
    return hints, rows


def _with_frontier(runs, best):
    import pandas

    if best is None:
        return runs
    line = {"kind": "frontier", "flops": best.flops, "params": best.params, "tokens": best.tokens}
    line |= {"fitted": best.loss}
    if best.params_band is not None:
        line |= {"params_low": best.params_band[0], "params_high": best.params_band[1]}
    return pandas.concat([runs, pandas.DataFrame(line)], ignore_index=True)


def _along(fit: Fit, colours, ax: Axes | None) -> Plot:
    """A law of one input: its line over the runs."""
    import pandas

    name = fit.law.inputs[0]
    x, loss = np.asarray(fit.data[name], float), np.asarray(fit.data["loss"], float)
    params = np.asarray(fit.data.get("params", np.full(len(x), np.nan)), float)
    colours = colours or palette(params)
    limits = spread(x, 0.12, 2)
    fine = np.geomspace(*limits, 100)
    line = fit.predict(**{name: fine})
    with look():
        figure, axis = axes(3.5, ax=ax)
        axis.plot(fine, line, color=LAW, lw=1.8, zorder=3)
        shown = [colours(value) if np.isfinite(value) else INK for value in params]
        axis.scatter(x, loss, s=24, c=shown, edgecolors=PAPER, linewidths=0.5, zorder=4, gid="map-runs")
        log_axis(axis, "x", name, limits)
        axis.set_xlabel(LABELS.get(name, name))
        log_axis(axis, "y", "loss", spread(np.concatenate([loss, line]), 0.08, 1.05))
        if ax is None:
            settle(figure)
    hints = {"map-runs": [f"{name} {power(a)}: {plain(b)}" for a, b in zip(x, loss, strict=True)]}
    data = pandas.concat(
        [
            pandas.DataFrame({"kind": "fitted run", name: x, "loss": loss, "fitted": fit.data["fitted"]}),
            pandas.DataFrame({"kind": "law", name: fine, "fitted": line}),
        ]
    )
    alt = f"Loss against {name} for {len(x)} runs with the fitted law through them."
    return Plot(
        "law_contour", "The fitted law", f"Runs and the fitted law along {name}.", alt, figure, data, hints
    )
