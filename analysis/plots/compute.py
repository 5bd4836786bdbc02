"""Loss against compute: the way of every run, its end, the lower envelope, and what the law expects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.fits.results import Fit
from analysis.isoflops.results import Envelope
from analysis.plots.frontier_band import frontier_band
from analysis.plots.learning import LearningCurve
from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    INK,
    LAW,
    PAPER,
    axes,
    count,
    draw_runs,
    few,
    halo,
    log_axis,
    look,
    palette,
    plain,
    power,
    size_key,
    spread,
)
from analysis.tables.table import Runs

_LARGEST = (
    4  # times the lowest loss: a model that guesses has about 3 times the loss of a small one that learned
)


def loss_compute(
    runs: Runs,
    fit: Fit | None = None,
    curves: Sequence[LearningCurve] = (),
    envelope: Envelope | None = None,
    colours=None,
    ax: Axes | None = None,
) -> Plot:
    """Loss against training compute (Hoffmann et al., arXiv 2203.15556, figure 2).

    runs: their finite losses are the points, filled where fitted, open where held out. fit: adds the loss on
    the law's compute-optimal frontier. envelope: adds the line through the runs that no cheaper run beats.
    """
    import pandas

    frame = finished(runs)
    colours = colours or palette(runs.columns["params"])
    with look():
        figure, axis = axes(3.7, ax=ax)
        rows = [frame.assign(kind="run")]
        for curve in curves:
            flops = 6 * curve.params * curve.tokens
            axis.plot(flops, curve.loss, lw=0.8, alpha=0.45, color=colours(curve.params), zorder=1)
            part = {"kind": "learning curve", "run_id": curve.run_id, "params": curve.params}
            part |= {"tokens": curve.tokens, "flops": flops, "loss": curve.loss}
            rows.append(pandas.DataFrame(part))
        # Of a study that has just begun there is but the way of its runs; later some are ahead of all ends.
        ways = [flops for curve in curves for flops in 6 * curve.params * curve.tokens]
        most = frame["flops"].max() if len(frame) else 0.0
        limits = spread([*frame["flops"], *(flops for flops in ways if flops > most)], 0.12, 3)
        if envelope is not None and len(envelope.flops) > 1:
            axis.plot(
                envelope.flops, envelope.loss, color=INK, lw=1.2, zorder=3, label="envelope of the runs"
            )
            part = {"kind": "envelope", "params": envelope.params, "tokens": envelope.tokens}
            rows.append(pandas.DataFrame(part | {"flops": envelope.flops, "loss": envelope.loss}))
        if fit is not None:
            rows += _frontier(axis, fit, limits)
        hints, ids = _points(axis, frame, colours)
        ends = list(frame["loss"]) or _shown_losses(curves)
        low, top = float(min(ends)), float(max(ends))
        log_axis(axis, "x", "flops", limits)
        log_axis(axis, "y", "loss_nats" if runs.store else "loss", (low * 0.96, top * 1.12))
        size_key(figure, [*frame["params"], *(curve.params for curve in curves)], colours)
        _legend(axis, bool(frame["held_out"].any()))
        if ax is None:
            settle(figure)
    held = int(frame["held_out"].sum())
    said = "Each point is the validated end of a run"
    said += f"; thin lines are {_losses(curves)} on the way ({len(curves)})." if curves else "."
    said += " Open points were held out of the fit." if held else ""
    if len(few(len(frame))) < len(frame):
        said += f" Of {len(frame)} runs, evenly chosen ones are drawn; the CSV has all."
    if fit is not None:
        said += (
            " The dashed line is the loss that the law expects of the best split of each budget; runs above "
            "it were too small or too large for their compute."
        )
    alt = f"Scatter of validation loss against training compute for {len(frame)} runs of "
    alt += f"{frame['params'].nunique()} sizes, on logarithmic axes."
    if len(frame):
        alt += f" The lowest loss is {plain(frame['loss'].min())},"
        alt += f" the most compute {power(frame['flops'].max())} FLOPs."
    data = pandas.concat(rows, ignore_index=True)
    return Plot("loss_compute", "Loss against compute", said, alt, figure, data, hints, ids)


def finished(runs: Runs):
    """Runs that are ok with finite positive params, tokens, flops and loss, as a small DataFrame."""
    import pandas

    frame = pandas.DataFrame(
        {name: np.asarray(runs.columns[name], float) for name in ("params", "tokens", "flops", "loss")}
    )
    for name, role in (("run_id", None), ("seed", "seed"), ("held_out", "held_out")):
        values = runs.columns.get(name) if role is None else runs.role(role)
        if values is not None:
            frame[name] = list(values)
    if "held_out" not in frame:
        frame["held_out"] = False
    frame["held_out"] = frame["held_out"].map(lambda v: str(v).strip().lower() in ("true", "1", "1.0", "yes"))
    keep = np.isfinite(frame[["params", "tokens", "flops", "loss"]]).all(axis=1) & (frame["loss"] > 0)
    status = runs.role("status")
    if status is not None:
        keep &= np.asarray(status) == "ok"
    return frame[keep].sort_values(["params", "flops"], kind="stable").reset_index(drop=True)


def _frontier(axis, fit: Fit, limits) -> list:
    import pandas

    best = frontier_band(fit, np.geomspace(*limits, 60), band=False)
    if best is None:
        return []
    axis.plot(best.flops, best.loss, color=LAW, lw=1.6, ls=(0, (4, 2)), zorder=4, label="law, best split")
    part = {"kind": "law frontier", "params": best.params, "tokens": best.tokens}
    return [pandas.DataFrame(part | {"flops": best.flops, "loss": best.loss})]


def _points(axis, frame, colours) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Of each group of marks the hints, and the ids of its runs."""
    hints: dict[str, list[str]] = {}
    ids: dict[str, list[str]] = {}
    for held, part in frame.groupby("held_out", sort=True):
        part = part.iloc[few(len(part))]
        gid = "held-out-runs" if held else "runs"
        draw_runs(axis, part["flops"], part["loss"], part["params"], colours, held, 24, 0.5, gid)
        hints[gid] = [
            f"{count(row.params)} params, {count(row.tokens)} tokens: loss {plain(row.loss)}"
            for row in part.itertuples()
        ]
        ids[gid] = [str(name) for name in part.get("run_id", ())]
    return hints, ids


def _shown_losses(curves: Sequence[LearningCurve]) -> list[float]:
    """Those that the axis is made for while no run has ended: one that diverges leaves it at the top."""
    losses = [loss for curve in curves for loss in curve.loss if np.isfinite(loss)]
    return [loss for loss in losses if loss <= _LARGEST * min(losses)] or [1.0]


def _legend(axis, held: bool) -> None:
    handles, labels = [], []
    for line in axis.get_lines():
        if str(line.get_label()).startswith(("law", "envelope")):
            handles.append(line)
            labels.append(line.get_label())
    if held:
        handles.append(axis.plot([], [], "o", ms=5, mfc=PAPER, mec=INK, mew=1.2)[0])
        labels.append("held out")
    if handles:
        for text in axis.legend(handles, labels, loc="upper right", handlelength=1.8, fontsize=9).get_texts():
            halo(text)


def _losses(curves: Sequence[LearningCurve]) -> str:
    validated = sum(curve.validated for curve in curves)
    if validated in (0, len(curves)):
        return "validation losses" if validated else "training losses"
    return f"losses of training, or of validation for {validated} runs,"
