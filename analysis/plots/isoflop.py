"""IsoFLOP curves: loss against params at one compute, with the minima and those that are refused."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from analysis.isoflops.results import Curve, IsoFlop
from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    LAW,
    MUTED,
    PAPER,
    axes,
    count,
    few,
    halo,
    hinted,
    log_axis,
    look,
    palette,
    plain,
    power,
    size_key,
    spread,
)

# Compute is another quantity than params, so it has another scale: slate, darker with more compute.
_COMPUTE = LinearSegmentedColormap.from_list("compute", ["#b3bccb", "#1d2433"])


def isoflop_curves(iso: IsoFlop, colours=None, nats: bool = False, ax: Axes | None = None) -> Plot:
    """One curve a compute level (approach 2 of arXiv 2203.15556); minima as diamonds with their intervals.

    nats: the loss is known to be in nats a token, and the axis says so.
    """
    import pandas

    params = np.concatenate([curve.params for curve in iso.curves] or [np.ones(0)])
    loss = np.concatenate([curve.loss for curve in iso.curves] or [np.ones(0)])
    colours = colours or palette(params)
    rows, hints, drawn = [], {}, 0
    with look():
        figure, axis = axes(3.7, ax=ax)
        for rank, curve in enumerate(iso.curves):
            shade = _COMPUTE(rank / max(1, len(iso.curves) - 1))
            hints |= _curve(axis, curve, shade, colours, rank)
            drawn += _bottom(axis, curve)
            part = {"flops": curve.flops, "params": curve.params, "tokens": curve.tokens, "loss": curve.loss}
            part |= {"kind": np.where(curve.rows < 0, "interpolated", "run"), "refusal": curve.refusal}
            rows.append(pandas.DataFrame(part))
        if found := [curve for curve in iso.curves if curve.minimum is not None]:
            part = [
                (c.flops, c.minimum.params, c.minimum.tokens, c.minimum.loss, "minimum", None) for c in found
            ]
            rows.append(
                pandas.DataFrame(part, columns=["flops", "params", "tokens", "loss", "kind", "refusal"])
            )
            trail = sorted((c.minimum.params, c.minimum.loss) for c in found)
            axis.plot(*zip(*trail, strict=True), color=LAW, lw=1, ls=(0, (1, 2)), zorder=2)
        low, high = spread(params)
        log_axis(axis, "x", "params", (low, high * (high / low) ** 0.16))
        low, high = spread(loss, 0.08, 1.05)
        log_axis(axis, "y", "loss_nats" if nats else "loss", (low, high))
        size_key(figure, np.unique(params), colours)
        if ax is None:
            settle(figure)
    refused = [curve for curve in iso.curves if curve.refusal]
    caption = (
        "Each curve spends one amount of compute on models of different size; its bottom is the best size."
    )
    caption += " Small rings are interpolated along tokens." if iso.interpolated else ""
    caption += (
        f" Diamonds: {drawn} minima of the fitted curves ({iso.method}), with their intervals."
        if drawn
        else ""
    )
    if refused:
        reasons = "; ".join(f"{power(curve.flops)}: {curve.refusal}" for curve in refused[:4])
        caption += f" Triangles: no minimum claimed ({reasons}{'; ...' if len(refused) > 4 else ''})."
    alt = (
        f"{len(iso.curves)} curves of loss against parameters at equal compute; {drawn} have a minimum inside"
    )
    alt += f", {len(refused)} do not." if refused else "."
    data = pandas.concat(rows, ignore_index=True) if rows else pandas.DataFrame({"flops": [], "params": []})
    return Plot("isoflop", "IsoFLOP curves", caption, alt, figure, data, hinted(hints))


def _curve(axis, curve: Curve, shade, colours, rank: int) -> dict[str, list[str]]:
    hints = {}
    if curve.parabola is not None:
        fine = np.geomspace(curve.params.min(), curve.params.max(), 60)
        axis.plot(fine, curve.fitted(fine), color=shade, lw=1.3, zorder=2)
    else:
        axis.plot(curve.params, curve.loss, color=shade, lw=1, ls=(0, (3, 2)), zorder=2)
    for kind, mask in (("run", curve.rows >= 0), ("interpolated", curve.rows < 0)):
        mask = np.flatnonzero(mask)[few(int(mask.sum()), 120)]
        if not len(mask):
            continue
        colour = [colours(value) for value in curve.params[mask]]
        ring = kind == "interpolated"
        axis.scatter(
            curve.params[mask],
            curve.loss[mask],
            s=14 if ring else 22,
            facecolors=PAPER if ring else colour,
            edgecolors=colour if ring else PAPER,
            linewidths=1.1 if ring else 0.5,
            zorder=3,
            gid=f"iso-{rank}-{kind}",
        )
        points = zip(curve.params[mask], curve.tokens[mask], curve.loss[mask], strict=True)
        hints[f"iso-{rank}-{kind}"] = [
            f"{count(n)} params, {count(d)} tokens ({power(curve.flops)} FLOPs): loss {plain(loss)}"
            for n, d, loss in points
        ]
    last = int(np.argmax(curve.params))
    label = axis.annotate(
        power(curve.flops),
        (curve.params[last], curve.loss[last]),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=shade,
        fontsize=8.5,
    )
    halo(label)
    return hints


def _bottom(axis, curve: Curve) -> int:
    """The mark of the minimum, or of its refusal; 1 where there is a minimum."""
    if curve.minimum is None:
        lowest = int(np.argmin(curve.loss))
        edge = lowest in (0, len(curve.loss) - 1)
        mark = ("<" if lowest == 0 else ">") if edge else "v"
        axis.plot(
            curve.params[lowest], curve.loss[lowest], mark, ms=8, mfc=PAPER, mec=MUTED, mew=1.3, zorder=4
        )
        return 0
    bottom = curve.minimum
    if bottom.params_interval is not None:
        axis.plot(bottom.params_interval, [bottom.loss] * 2, color=LAW, lw=2.4, alpha=0.45, zorder=3.5)
    axis.plot(bottom.params, bottom.loss, "D", ms=6.5, color=LAW, mec=PAPER, mew=0.9, zorder=5)
    return 1
