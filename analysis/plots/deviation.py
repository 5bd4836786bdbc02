"""What it costs to be off the compute-optimal size, at one budget."""

from __future__ import annotations

import numpy as np

from analysis.allocations.limits import Limits, Search
from analysis.allocations.optimum import allocate
from analysis.fits.results import Fit
from analysis.plots.plot import Plot, settle
from analysis.plots.style import LAW, MUTED, axes, count, look, power

# Sizes drawn on each side of the optimum, how far they reach, and draws behind the bands.
_SIDE, _FAR, _DRAWS = 12, 8.0, 60


def deviation(fit: Fit, flops: float) -> Plot:
    """Extra loss, and the share of the budget wasted, at 1/8 to 8 times the compute-optimal params.

    Bands are the level of the fit over its draws. Raises InputError where the law has no optimum at `flops`.
    """
    import pandas

    best = allocate(fit, flops)
    factors = np.geomspace(1 / _FAR, _FAR, 2 * _SIDE + 1)
    here = _costs(fit, {name: np.array([value]) for name, value in fit.params.items()}, flops, factors)
    lines = [part[:, 0] for part in here]
    bands = [None, None]
    if fit.draws:
        some = {name: np.asarray(values)[:_DRAWS] for name, values in fit.draws.items()}
        tails = [50 * (1 - fit.level), 50 * (1 + fit.level)]
        bands = [np.nanpercentile(part, tails, axis=1) for part in _costs(fit, some, flops, factors)]
    x = best.params * factors
    with look():
        figure, panels = axes(2.9, 1, 2)
        for axis, line, band, label in zip(
            panels, lines, bands, ("extra loss", "compute wasted (%)"), strict=True
        ):
            if band is not None:
                axis.fill_between(x, *band, color=LAW, alpha=0.15, lw=0, zorder=1)
            axis.plot(x, line, color=LAW, lw=1.8, zorder=3)
            axis.axvline(best.params, color=MUTED, lw=0.9, ls=(0, (2, 2)), zorder=2)
            axis.set_xscale("log")
            ticks = [best.params * factor for factor in (1 / 8, 1 / 2, 2, 8)]
            axis.set_xticks(ticks, [count(float(f"{tick:.2g}")) for tick in ticks])
            axis.set_xticks([], minor=True)
            axis.set_xlabel("parameters")
            axis.set_title(label, fontsize=9.5)
            axis.set_ylim(0, None)
        settle(figure)
    twice = next(one for one in best.deviations if one.factor == 2.0)
    caption = (
        f"Runs of {power(flops)} FLOPs at other sizes than the compute-optimal {count(best.params)}. Twice "
        f"that size costs {twice.extra_loss:.2g} of loss, as if {100 * twice.extra_flops:.2g}% of the "
        "compute had not been spent."
    )
    alt = f"Two charts against parameters around {count(best.params)}: extra loss, and compute wasted."
    columns = {"params": x, "factor": factors, "extra_loss": lines[0], "wasted_percent": lines[1]}
    for name, band in zip(("extra_loss", "wasted_percent"), bands, strict=True):
        if band is not None:
            columns |= {f"{name}_low": band[0], f"{name}_high": band[1]}
    data = pandas.DataFrame(columns)
    return Plot("deviation", "The price of another size", caption, alt, figure, data)


def _costs(fit: Fit, params, flops: float, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(extra loss, percent of the budget wasted), each (factors, draws), around the fit's own optimum."""
    search = Search(fit.law, Limits())
    budget = np.log(flops)
    at, _ = search.best(params, budget)
    lowest = search.loss(params, at, budget)
    own, _ = search.best(dict(fit.params), budget)
    loss = search.loss(params, own + np.log(factors)[:, None], budget)
    # A draw's own optimum lies elsewhere, so that even factor 1 may waste a little by it.
    same = search.budget(params, np.log(loss), budget, 15.0)
    return loss - lowest, 100 * (1 - np.exp(np.minimum(same - budget, 0.0)))
