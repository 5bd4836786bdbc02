"""Loss against what it takes: energy, FLOPs, bytes, and FLOPs a token served."""

from __future__ import annotations

import numpy as np

from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    FORMATS,
    LAW,
    MUTED,
    axes,
    count,
    draw_runs,
    hinted,
    log_axis,
    look,
    palette,
    plain,
    power,
    spread,
)
from analysis.resources.sobriety import RESOURCES, Sobriety

_LABELS = {
    "joules": "training energy (J)",
    "flops": "training compute (FLOPs)",
    "bytes": "parameters (bytes)",
    "serving": "FLOPs a token served",
}


def sobriety(found: Sobriety, colours=None) -> Plot:
    """A panel for each resource: all runs, the frontier, its knee, and the baseline where one is known."""
    import pandas

    runs = found.runs
    colours = colours or palette([one.params for one in runs])
    columns = {name: [getattr(one, name) for one in runs] for name in ("run_id", "params", "tokens", "loss")}
    data = pandas.DataFrame(columns)
    hints: dict[str, list[str]] = {}
    ids: dict[str, list[str]] = {}
    with look():
        figure, panels = axes(4.6, 2, 2, sharey=True)
        for panel, name in zip(panels.ravel(), RESOURCES, strict=True):
            data[name] = [one.takes[name] for one in runs]
            front = next((front for front in found.fronts if front.resource == name), None)
            data[f"{name}_frontier"] = [front is not None and one in front.runs for one in runs]
            values = np.array(data[name], float)
            known = np.isfinite(values)
            if front is None or not known.any():
                panel.set_visible(False)
                continue
            loss, params = np.array(columns["loss"])[known], np.array(columns["params"])[known]
            gid = f"runs-{name}"
            draw_runs(panel, values[known], loss, params, colours, False, 16, 0.5, gid)
            ids[gid] = [str(run) for run in np.array(columns["run_id"], object)[known]]
            hints[gid] = [
                f"{count(n)} params: loss {plain(x)}, {power(v)} {_LABELS[name]}"
                for n, x, v in zip(params, loss, values[known], strict=True)
            ]
            x, y = [one.takes[name] for one in front.runs], [one.loss for one in front.runs]
            panel.step(x, y, where="post", color=LAW, lw=1.3, zorder=4)
            if front.knee is not None:
                at = (front.knee.takes[name], front.knee.loss)
                panel.plot(*at, "D", ms=9, mfc="none", mec=LAW, mew=1.5, zorder=6)
            if found.baseline is not None:
                panel.axhline(found.baseline, color=MUTED, lw=1, ls=(0, (2, 2)), zorder=2)
            kind = name if name in FORMATS else "flops"
            log_axis(panel, "x", kind, spread(values[known], 0.08, 2), 4)
            panel.set_xlabel(_LABELS[name])
        for panel in panels[:, 0]:
            panel.set_title("loss (nats per token)", fontsize=9.5)
        settle(figure)
    said = str(found.enough[0])
    caption = (
        f"{said[:1].upper()}{said[1:]}. The line is the frontier: no run is as good for less; the diamond "
    )
    caption += (
        f"its knee. Energy is {'measured' if found.basis == 'measured' else 'an estimate, not measured'}."
    )
    if found.baseline is not None:
        caption += f" Dashed: the baseline without a network, {found.baseline:.4g}."
    counts = ", ".join(f"{len(front.runs)} by {RESOURCES[front.resource]}" for front in found.fronts)
    least = power(float(np.nanmin(data["joules"]))) if np.isfinite(data["joules"]).any() else "unknown"
    alt = (
        f"Four charts of loss against resources for {len(runs)} runs, from {least} J on; frontiers: {counts}."
    )
    return Plot("sobriety", "What quality takes", caption, alt, figure, data, hinted(hints), ids)
