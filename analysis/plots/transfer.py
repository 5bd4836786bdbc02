"""Loss against learning rate by size: whether the best rate stays where it is as models grow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from analysis.plots.plot import Plot, settle
from analysis.plots.style import (
    INK,
    PAPER,
    WIDTH,
    axes,
    count,
    hinted,
    log_axis,
    look,
    palette,
    plain,
    size_key,
    spread,
)
from analysis.rates import RateCurve, Rates

# A loss this much above the lowest of all says only that the rate is far too high; it would flatten the rest.
_TOP = 0.35


def transfer(found: Mapping[str, Rates], colours=None) -> Plot:
    """A panel a grid, the one with the largest drift first: mean losses over seeds by rate, a line a size.

    Diamonds: best rates with their intervals. found: grid name -> its rates, at least one
    (:func:`analysis.rates.by_grid`). Raises ValueError otherwise.
    """
    import pandas

    if not found:
        raise ValueError("transfer() draws at least one grid of learning rates")
    order = sorted(found, key=lambda name: (-(found[name].drift_octaves or 0.0), name))
    found = {name: found[name] for name in order}
    curves = [curve for rates in found.values() for curve in rates.curves]
    colours = colours or palette(curve.params for curve in curves)
    rows, hints = [], {}
    with look():
        width = WIDTH * (1 if len(found) == 1 else 1.5)
        figure, grid = axes(3.4, 1, len(found), width=width, sharey=True, squeeze=False)
        low, high = _limits(curves)
        for number, (panel, (name, rates)) in enumerate(zip(grid[0], found.items(), strict=True)):
            for curve in rates.curves:
                hints |= _curve(panel, curve, colours(curve.params), (low, high), f"rates{number}")
                rows.append(_data(name, curve))
            panel.set_title(name, loc="left")
            rate = np.concatenate([curve.rate for curve in rates.curves])
            _rate_axis(panel, spread(rate), np.unique(rate))
            log_axis(panel, "y", "loss_nats", (low, high))
            if number:
                panel.set_ylabel("")
        size_key(figure, np.unique([curve.params for curve in curves]), colours)
        settle(figure)
    words = [f"{name or 'best rate'}: {_drift(rates)}" for name, rates in found.items()]
    refused = sum(curve.refusal is not None for curve in curves)
    caption = (
        "Mean loss over seeds against the peak learning rate, a line a size. Diamonds: the bottom of a "
        f"parabola through the rates next to the lowest, with its interval. {'; '.join(words)}."
    )
    caption += f" {refused} valleys have their lowest loss at an end of the grid." if refused else ""
    alt = f"Loss against learning rate for {len(curves)} sizes in {len(found)} panels. {'; '.join(words)}."
    data = pandas.concat(rows, ignore_index=True)
    title = "Transfer of the learning rate"
    return Plot("transfer", title, caption, alt, figure, data, hinted(hints))


def _drift(rates: Rates) -> str:
    if rates.drift_octaves is None:
        return "fewer than two best rates inside the grid"
    params = [curve.params for curve in rates.curves if curve.best is not None]
    return (
        f"best rates of {len(params)} sizes over {max(params) / min(params):.3g} times the parameters lie "
        f"within {rates.drift_octaves:.1f} factors of two"
    )


def _limits(curves: list[RateCurve]) -> tuple[float, float]:
    loss = np.concatenate([curve.loss for curve in curves])
    worst = max(curve.loss.min() for curve in curves)
    return spread([*loss[loss < (1 + _TOP) * worst], worst], 0.06, 1.05)


def _curve(panel, curve: RateCurve, colour, limits, gid: str) -> dict[str, list[str]]:
    shown = curve.loss <= limits[1]
    panel.plot(curve.rate, curve.loss, color=colour, lw=1.2, zorder=2, clip_on=True)
    group = f"{gid}_{count(curve.params)}"
    panel.plot(
        curve.rate[shown], curve.loss[shown], "o", color=colour, ms=3.8, mew=0, ls="", zorder=3, gid=group
    )
    if curve.best is not None:
        if curve.interval is not None:
            panel.plot(curve.interval, [curve.best_loss] * 2, color=INK, lw=1.4, zorder=4)
        panel.plot(
            [curve.best], [curve.best_loss], "D", color=colour, ms=6.5, mec=PAPER, mew=1.0, ls="", zorder=5
        )
    lines = [
        f"{count(curve.params)} params, rate {plain(rate)}: loss {loss:.3f} ({runs} runs)"
        for rate, loss, runs in zip(curve.rate[shown], curve.loss[shown], curve.runs[shown], strict=True)
    ]
    return {group: lines}


def _rate_axis(panel, limits, rates) -> None:
    panel.set_xscale("log")
    panel.set_xlim(*limits)
    ticks = rates[:: max(1, -(-len(rates) // 5))]
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FixedFormatter([plain(rate) for rate in ticks]))
    panel.set_xlabel("peak learning rate")


def _data(name: str, curve: RateCurve):
    import pandas

    frame = pandas.DataFrame(
        {"learning_rate": curve.rate, "loss": curve.loss, "runs": curve.runs, "kind": "mean over seeds"}
    )
    if curve.best is not None:
        low, high = curve.interval or (np.nan, np.nan)
        best = {
            "learning_rate": curve.best,
            "loss": curve.best_loss,
            "runs": curve.runs.sum(),
            "kind": "best",
        }
        frame = pandas.concat(
            [frame, pandas.DataFrame([best | {"low": low, "high": high}])], ignore_index=True
        )
    frame.insert(0, "grid", name)
    frame.insert(1, "params", curve.params)
    frame.insert(2, "tokens", curve.tokens)
    return frame
