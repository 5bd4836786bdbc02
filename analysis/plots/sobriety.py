"""Loss against what it takes: energy, FLOPs, bytes, and FLOPs a token served."""

from __future__ import annotations

import numpy as np

from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    FORMATS,
    INK,
    LAW,
    MUTED,
    SECOND,
    THIRD,
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
_COLOURS = (SECOND, LAW, THIRD, INK)


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
        shown = _shown(found)
        figure, panels = axes(6.9 if shown else 4.6, 3 if shown else 2, 2, sharey="row")
        for panel, name in zip(panels[:2].ravel(), RESOURCES, strict=True):
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
            if found.grams is not None and np.isfinite(found.grams.takes[name]):
                panel.plot(found.grams.takes[name], found.grams.loss, "X", ms=6, color=MUTED, zorder=5)
                values = np.append(values, found.grams.takes[name])
                known = np.isfinite(values)
            panel.step(x, y, where="post", color=LAW, lw=1.3, zorder=4)
            if front.knee is not None:
                at = (front.knee.takes[name], front.knee.loss)
                panel.plot(*at, "D", ms=9, mfc="none", mec=LAW, mew=1.5, zorder=6)
            if found.baseline is not None:
                panel.axhline(found.baseline, color=MUTED, lw=1, ls=(0, (2, 2)), zorder=2)
            kind = name if name in FORMATS else "flops"
            log_axis(panel, "x", kind, spread(values[known], 0.08, 2), 4)
            panel.set_xlabel(_LABELS[name])
        for panel in panels[:2, 0]:
            panel.set_title("loss (nats per token)", fontsize=9.5)
        for panel, name in zip(panels[2] if shown else (), ("joules", "serving"), strict=False):
            _abilities(panel, name, shown, found)
        settle(figure)
    said = str(found.enough[0])
    caption = (
        f"{said[:1].upper()}{said[1:]}. The line is the frontier: no run is as good for less; the diamond "
    )
    caption += (
        f"its knee. Energy is {'measured' if found.basis == 'measured' else 'an estimate, not measured'}."
    )
    if found.baseline is not None:
        which = "the baseline" if found.grams is None else f"{found.grams.run_id} (crosses)"
        caption += f" Dashed: {which} without a network, {found.baseline:.4g}."
    if shown:
        caption += " Below: the frontiers of abilities, above chance."
    counts = ", ".join(f"{len(front.runs)} by {RESOURCES[front.resource]}" for front in found.fronts)
    least = power(float(np.nanmin(data["joules"]))) if np.isfinite(data["joules"]).any() else "unknown"
    alt = (
        f"Four charts of loss against resources for {len(runs)} runs, from {least} J on; frontiers: {counts}."
    )
    return Plot("sobriety", "What quality takes", caption, alt, figure, data, hinted(hints), ids)


def _shown(found: Sobriety) -> list[str]:
    """At most as many abilities as there are colours."""
    return list(dict.fromkeys(front.what for front in found.ability_fronts))[: len(_COLOURS)]


def _abilities(panel, name: str, shown: list[str], found: Sobriety) -> None:
    places = []
    for colour, what in zip(_COLOURS, shown, strict=False):
        front = next((one for one in found.ability_fronts if one.what == what and one.resource == name), None)
        if front is None:
            continue
        x = [one.takes[name] for one in front.runs]
        panel.step(
            x, front.values, where="post", color=colour, lw=1.3, marker="o", ms=3, label=what.split(" ")[0]
        )
        places += x
    if not places:
        panel.set_visible(False)
        return
    log_axis(panel, "x", name if name in FORMATS else "flops", spread(places, 0.08, 2), 4)
    panel.set_xlabel(_LABELS[name])
    panel.legend(fontsize=8)
    if name == "joules":
        panel.set_title("ability above chance", fontsize=9.5)
