"""The specification curve of a multiverse: every exponent, and under which choices it arises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.plots.plot import Plot, settle
from analysis.plots.style import INK, LAW, MUTED, RULE, SECOND, axes, few, look

if TYPE_CHECKING:
    from analysis.universes.multiverse import Multiverse


def specification(multiverse: Multiverse) -> Plot:
    """Above: exponents by size, with the plain fit's interval. Below: the options of each, a row an option.

    (Simonsohn, Simmons and Nelson 2020, Nature Human Behaviour 4.) Raises ValueError without any exponent.
    """
    import pandas

    found = [one for one in multiverse.universes if one.exponent is not None]
    if not found:
        raise ValueError("no universe has an exponent")
    values = np.array([one.exponent for one in found])
    rows = [(choice, option) for choice in multiverse.choices for option in choice.means]
    baseline = multiverse.baseline.exponents
    with look():
        height = 2.3 + 0.19 * (len(rows) + len(multiverse.choices))
        figure, (top, below) = axes(
            height, 2, 1, sharex=True, height_ratios=[2.0, 0.19 * (len(rows) + len(multiverse.choices))]
        )
        place = np.arange(len(found))
        if baseline is not None:
            if baseline.interval is not None:
                top.axhspan(*baseline.interval, color=LAW, alpha=0.14, lw=0, zorder=0)
            top.axhline(baseline.params_exponent, color=LAW, lw=1.4, zorder=1)
        shown = few(len(found), 600)
        top.scatter(place[shown], values[shown], s=9, c=INK, linewidths=0, zorder=3)
        top.set_ylabel("exponent of params")
        _options(below, found, rows, multiverse.choices)
        below.set_xlim(-0.02 * len(found) - 0.5, 1.02 * len(found))
        below.set_xlabel(f"{len(found)} analyses, by rising exponent")
        settle(figure)
    low, high = values.min(), values.max()
    first = multiverse.choices[0] if multiverse.choices else None
    caption = (
        f"Every dot above is one way to analyse the same runs: exponents from {low:.2f} to {high:.2f}. "
        "The marks below it say how. Red: the plain fit with its interval, which knows of noise alone."
    )
    if first is not None:
        caption += (
            f" Of the variance {first.share:.0%} goes with the choice of {first.dimension}, which moves "
            f"the mean by {first.moves:.2f}."
        )
    alt = (
        f"Specification curve of {len(found)} exponents of compute-optimal params, from {low:.3f} to "
        f"{high:.3f}, above a grid of marks that shows the choices behind each."
    )
    data = pandas.DataFrame([{"exponent": one.exponent, **one.choices} for one in found])
    return Plot("multiverse", "One table, many exponents", caption, alt, figure, data)


def _options(axis, found, rows, choices) -> None:
    """A row for each option, options of a dimension together, its share of the variance beside its name."""
    y, labels, places = 0.0, [], []
    shares = {choice.dimension: choice for choice in choices}
    last = None
    for choice, option in rows:
        if choice.dimension != last:
            y += 1.0
            said = f"{choice.dimension} ({shares[choice.dimension].share:.0%})"
            labels.append(said)
            places.append(y)
            last = choice.dimension
        y += 1.0
        at = [index for index, one in enumerate(found) if one.choices.get(choice.dimension) == option]
        at = np.array(at)[few(len(at), 400)] if at else np.array([])
        axis.plot(at, np.full(len(at), y), "|", ms=4.5, mew=0.7, color=SECOND, zorder=3)
        mean = choice.means[option]
        labels.append(f"{option}  {mean:.2f}")
        places.append(y)
    axis.set_yticks(places, labels, fontsize=7.5)
    for tick, text in zip(places, axis.get_yticklabels(), strict=True):
        heading = text.get_text().endswith("%)")
        text.set_color(INK if heading else MUTED)
        text.set_fontweight("bold" if heading else "normal")
        if not heading:
            axis.axhline(tick, color=RULE, lw=0.6, zorder=1)
    axis.set_ylim(y + 0.8, 0.2)
    axis.grid(False)
    axis.tick_params(length=0)
