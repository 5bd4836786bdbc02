"""All abilities of a study on one sheet: a small panel for each task, in the order of their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.plots.ability import chosen, label, verdict_words
from analysis.plots.panel import Weight, log_x, runs_and_shape
from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    LABELS,
    MUTED,
    axes,
    halo,
    look,
    palette,
    spread,
)
from analysis.thresholds.result import Series

_COLUMNS = 3
_WEIGHT = Weight(elbow=1.0, shape=1.4, mark=11, rim=0.4, shade=0.13)
_LONGEST = 22  # letters of a task's name that fit over a panel


def abilities(tasks: Mapping[str, Sequence[Series]]) -> Plot:
    """Small multiples of the metric that jumps, against the first axis: seeds, leading shape, elbow, chance.

    tasks: name -> its series, at least one task. Raises ValueError without any.
    """
    import pandas

    shown = [first for series in tasks.values() if (first := _first(series)) is not None]
    if not shown:
        raise ValueError("abilities() needs at least one task with scores")
    rows = -(-len(shown) // _COLUMNS)
    axis = shown[0].axis
    colours = palette(np.concatenate([one.x for one in shown]))
    limits = spread(np.concatenate([one.x for one in shown]), 0.06, 2)
    with look():
        figure, grid = axes(0.45 + 1.28 * rows, rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        for number, panel in enumerate(grid.flat):
            if number < len(shown):
                _panel(panel, shown[number], colours)
            else:
                panel.set_axis_off()
        for number, panel in enumerate(grid.flat):
            last = number + _COLUMNS >= len(shown)
            _ticks(panel, axis, limits, bottom=last, left=number % _COLUMNS == 0)
        figure.supxlabel(LABELS.get(axis, axis), fontsize=9, color=MUTED)
        settle(figure)
    alt = "; ".join(f"{one.task}: {verdict_words(one)}" for one in shown)
    caption = (
        f"Each panel is a task by {_metrics(shown)}. Points are runs, one a seed; red: the best-supported "
        "shape; red bar: the elbow with its 95% interval; dots: chance."
    )
    data = pandas.concat([_data(one) for one in shown], ignore_index=True)
    return Plot("abilities", "All abilities against size", caption, f"Abilities. {alt}.", figure, data)


def _first(series: Sequence[Series]) -> Series | None:
    found = [one for one in chosen(series) if one.x.size and not one.metric.endswith("nats")]
    return found[0] if found else None


def _metrics(shown: Sequence[Series]) -> str:
    return " or ".join(dict.fromkeys(label(one.metric) for one in shown))


def _panel(panel, one: Series, colours) -> None:
    runs_and_shape(panel, one, colours, _WEIGHT)
    name = one.task if len(one.task) <= _LONGEST else one.task[: _LONGEST - 1] + "…"
    panel.set_title(name, fontsize=8, pad=3)
    left = float(np.mean(one.score[one.x <= np.median(one.x)])) > 0.5
    said = panel.text(
        0.04,
        0.06 if left else 0.94,
        verdict_words(one),
        transform=panel.transAxes,
        ha="left",
        va="bottom" if left else "top",
        fontsize=7.5,
        color=MUTED,
        zorder=6,
    )
    halo(said)


def _ticks(panel, axis: str, limits: tuple[float, float], bottom: bool, left: bool) -> None:
    panel.set_ylim(-0.04, 1.04)
    panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    if axis != "loss_nats":
        log_x(panel, axis, limits, 3)
        panel.set_xlim(*limits)
    panel.tick_params(labelsize=7.5, labelbottom=bottom, labelleft=left, pad=2)


def _data(one: Series):
    import pandas

    cells = {"task": one.task, "metric": one.metric, "axis": one.axis, "verdict": one.verdict}
    return pandas.DataFrame(cells | {"x": one.x, "score": one.score, "seed": one.seed})
