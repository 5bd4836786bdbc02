"""An ability against size and against loss, its thresholded and its continuous metric side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.plots.panel import CHANCE, Weight, elbow_of, log_x, runs_and_shape
from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    FORMATS,
    INK,
    LABELS,
    LAW,
    MUTED,
    PAPER,
    axes,
    log_ticks,
    look,
    palette,
    plain,
    power,
    spread,
)
from analysis.thresholds.result import Series

# A curve of more rows than this tells a reader of the CSV nothing more.
_CURVE_ROWS = 60
_WEIGHT = Weight(elbow=1.1, shape=1.7, mark=26, rim=0.6, shade=0.11)
_AXES = ("params", "tokens", "flops", "loss_nats")


def chosen(series: Sequence[Series]) -> tuple[Series, ...]:
    """Of one task's series, those to draw: on each axis one metric that jumps, and one that does not."""
    kept = []
    for axis in _AXES:
        there = {one.metric: one for one in series if one.axis == axis}
        sharp = [name for name in there if not _continuous(name)]
        sharp.sort(key=lambda name: (name != "exact_match", name))
        smooth = [name for name in there if _continuous(name)] or sharp[1:2]
        kept += [there[name] for name in (*sharp[:1], *smooth[:1])]
    return tuple(kept)


def ability(series: Sequence[Series], colours=None, ids: Mapping[tuple, str] | None = None) -> Plot:
    """One task: columns are metrics, rows are axes; seeds as points, the leading shape and the smooth null.

    series: those of one task, at least one (on several axes where there are). ids: `run_key` -> the run's id.
    Raises ValueError without a series.
    """
    import pandas

    if not series or len({one.task for one in series}) > 1:
        raise ValueError("ability() draws the series of one task")
    drawn = chosen(series)
    kinds = list(dict.fromkeys(one.axis for one in drawn))
    metrics = list(dict.fromkeys(one.metric for one in drawn))
    sizes = [value for one in series if one.axis == "params" for value in one.x]
    colours = colours or palette(sizes)
    hints, runs = {}, {}
    with look():
        figure, grid = axes(0.3 + 2.15 * len(kinds), len(kinds), len(metrics), squeeze=False)
        for one in drawn:
            panel = grid[kinds.index(one.axis)][metrics.index(one.metric)]
            gid = f"ability-{one.axis}-{one.metric}".replace("_", "-")
            hints[gid] = _panel(panel, one, colours, gid)
            if ids:
                cells = zip(one.seed, one.x, one.score, strict=True)
                runs[gid] = [ids.get(run_key(one.metric, one.axis, *cell), "") for cell in cells]
        for panel in grid.flat:
            if not panel.has_data():
                panel.set_axis_off()
        _key(figure, grid[0][0])
        settle(figure)
    first = drawn[0]
    title = f"{first.task}: {verdict_words(first)}"
    slug = re.sub(r"[^a-z0-9]+", "-", first.task.lower()).strip("-")[:40] or "task"
    caption = (
        "Points are runs, one a seed. Red: the best-supported shape, pale where that is undecided; grey "
        "dashes: the smooth curve that a "
        "break must beat. Red bar: the elbow with its 95% interval; diamond: half-way; triangle: the first "
        "size that surely beats chance."
    )
    caption += " On the loss axis better models stand to the right." if "loss_nats" in kinds else ""
    alt = "; ".join(f"{label(one.metric)} against {LABELS[one.axis]}: {words(one.verdict)}" for one in drawn)
    data = pandas.concat([_data(one) for one in series], ignore_index=True)
    return Plot(f"ability_{slug}", title, caption, f"Ability {first.task}. {alt}.", figure, data, hints, runs)


def run_key(metric: str, axis: str, seed, x: float, score: float) -> tuple:
    """What tells a cell of a series from others, as rows of scores have it too."""
    return metric, axis, str(seed), f"{x:.6g}", f"{score:.6g}"


def words(verdict: str) -> str:
    return verdict.replace("_", " ")


def verdict_words(one: Series) -> str:
    """The verdict of a series, with the metric of its task that breaks where it does not itself."""
    if not one.breaks_in:
        return words(one.verdict)
    return f"emergent in {'nats' if _continuous(one.breaks_in) else label(one.breaks_in)}"


def label(metric: str) -> str:
    known = {"exact_match": "exact match", "gold_nats": "nats per answer token"}
    return known.get(metric, metric.replace("_", " "))


def _continuous(metric: str) -> bool:
    return metric.endswith("nats")


def _panel(panel, one: Series, colours, gid: str) -> list[str]:
    falling = one.axis == "loss_nats"
    x, score = np.asarray(one.x, float), np.asarray(one.score, float)
    wide = not falling or x.max() > 5 * x.min() > 0
    room = 0.07 * np.ptp(x) + 0.01
    limits = spread(x, 0.1, 2) if wide else (x.min() - room, x.max() + room)
    _x_axis(panel, one.axis, limits, wide)
    nats = _continuous(one.metric)
    curves = [np.asarray(curve, float) for curve in (one.leading_curve, one.smooth_curve) if len(curve)]
    _y_axis(panel, nats, score, curves)
    if len(one.smooth_curve):
        panel.plot(one.grid, one.smooth_curve, color=MUTED, lw=1.2, ls=(0, (4, 2)), zorder=2)
    runs_and_shape(panel, one, colours, _WEIGHT, limits, gid)
    _places(panel, one)
    show = FORMATS.get(one.axis, plain)
    elbow = elbow_of(one).value
    # Inside the panel the elbow's name would lie on runs, above it never.
    at = "" if elbow is None else f", elbow {f'{elbow:.3g}' if one.axis == 'loss_nats' else show(elbow)}"
    panel.set_title(f"{label(one.metric)}\n{words(one.verdict)}{at}", fontsize=9.5)
    unit = " nats" if nats else ""
    return [
        f"seed {seed}, {show(a)} {one.axis}: {plain(b)}{unit}"
        for seed, a, b in zip(one.seed, x, score, strict=True)
    ]


def _x_axis(panel, kind: str, limits, logarithmic: bool) -> None:
    if logarithmic:
        log_x(panel, kind, limits, 4)
    else:
        panel.locator_params(axis="x", nbins=4)
    names = {"params": "parameters", "flops": "FLOPs", "loss_nats": "loss (nats per token)"}
    panel.set_xlabel(names.get(kind, kind))
    panel.set_xlim(*(reversed(limits) if kind == "loss_nats" else limits))


def _y_axis(panel, nats: bool, score, curves) -> None:
    if not nats:
        panel.set_ylim(-0.04, 1.04)
        panel.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        return
    values = np.concatenate([score, *curves])
    low, high = spread(
        np.clip(values, score[score > 0].min() / 3 if (score > 0).any() else 1e-9, None), 0.08, 1.6
    )
    if high / low < 8:
        panel.set_ylim(max(0.0, low - 0.1 * (high - low)), high)
        panel.locator_params(axis="y", nbins=5)
        return
    panel.set_yscale("log")
    panel.set_ylim(low, high)
    ticks = log_ticks(low, high, 5)
    panel.set_yticks(ticks, [plain(tick) if tick >= 1e-3 else power(tick) for tick in ticks])
    panel.set_yticks([], minor=True)


def _places(panel, one: Series) -> None:
    half, seen = one.thresholds.half, one.thresholds.detectable
    if half.value is not None and len(one.leading_curve) > 1:
        order = np.argsort(one.grid)
        y = float(np.interp(half.value, np.asarray(one.grid)[order], np.asarray(one.leading_curve)[order]))
        if half.interval is not None:
            panel.plot(half.interval, [y, y], color=LAW, lw=1.6, alpha=0.55, zorder=4)
        panel.plot(half.value, y, "D", ms=5.5, color=LAW, mec=PAPER, mew=0.8, zorder=6)
    if seen.value is not None:
        bottom = panel.get_xaxis_transform()
        panel.plot(
            seen.value,
            0.0,
            "^",
            ms=7,
            color=INK,
            mec=PAPER,
            mew=0.8,
            zorder=6,
            clip_on=False,
            transform=bottom,
        )


def _key(figure, panel) -> None:
    handles = [
        panel.plot([], [], color=LAW, lw=1.7, label="leading shape")[0],
        panel.plot([], [], color=MUTED, lw=1.2, ls=(0, (4, 2)), label="best smooth curve")[0],
        panel.plot([], [], color=CHANCE, lw=1, ls=(0, (1, 2)), label="chance")[0],
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=8.5, handlelength=1.8)


def _data(one: Series):
    import pandas

    common = {"task": one.task, "metric": one.metric, "axis": one.axis}
    cells = {**common, "kind": "run", "x": one.x, "score": one.score, "seed": one.seed, "items": one.items}
    parts = [pandas.DataFrame(cells)]
    for kind, curve in (("leading shape", one.leading_curve), ("smooth curve", one.smooth_curve)):
        if len(curve):
            few = slice(None, None, max(1, len(curve) // _CURVE_ROWS))
            rows = {**common, "kind": kind, "x": one.grid[few], "score": curve[few]}
            parts.append(pandas.DataFrame(rows))
    for kind, place in (vars(one.thresholds) | {"elbow": elbow_of(one)}).items():
        if place.value is not None:
            low, high = place.interval or (np.nan, np.nan)
            parts.append(
                pandas.DataFrame({**common, "kind": kind, "x": [place.value], "low": [low], "high": [high]})
            )
    return pandas.concat(parts, ignore_index=True)
