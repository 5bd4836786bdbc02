"""What a method does to a law's own losses at a level's sizes, and how well that is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from analysis.fits.results import Fit
from analysis.isoflops.curves import CurveFit
from analysis.isoflops.levels import Level
from analysis.laws.frontier import optimum

# A spline's minimum is searched draw by draw: so many of the law's draws tell its bias well enough.
SPLINES = 100
# Steps of log params over which an optimum without closed form is sought, from one e-fold below the sizes to
# one above; a parabola through the lowest three finds it between them.
STEPS = 801


def spent_at(one: Level, params: ArrayLike) -> np.ndarray:
    """FLOPs for each of params times tokens at these sizes: 6, or what the table's compute says it was."""
    log_n, first = np.unique(np.log(one.params), return_inverse=True)
    ratio = np.log(one.spent / (one.params * one.tokens))
    return np.exp(np.interp(np.log(params), log_n, np.bincount(first, ratio) / np.bincount(first)))


def bias_of(
    one: Level, valley: CurveFit, law: Fit, centre: float, draws: int
) -> tuple[float | None, np.ndarray]:
    """log(the method's minimum / the law's optimum) on the law's own losses at the level's sizes, and draws
    (draws,) of it as the law's draws differ, NaN where one has no such minimum. A law without draws is taken
    as known."""
    alone = {name: np.array([value]) for name, value in law.params.items()}
    value = float(_bias(one, valley, law, centre, alone)[0])
    if not np.isfinite(value):
        return None, np.full(draws, np.nan)
    if not law.draws or not draws:
        return value, np.full(draws, value)
    count = len(next(iter(law.draws.values())))
    # Not the runs' own draws: the law's are of all levels together.
    picked = np.random.default_rng(0).permutation(count)[: SPLINES if valley.method == "akima" else count]
    drawn = _bias(one, valley, law, centre, {name: values[picked] for name, values in law.draws.items()})
    return value, drawn[np.arange(draws) % len(drawn)]


def _bias(
    one: Level, valley: CurveFit, law: Fit, centre: float, values: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(draws,) for parameters (draws,)."""
    columns = {name: each[:, None] for name, each in values.items()}

    def loss(params: np.ndarray) -> np.ndarray:
        tokens = one.flops / (spent_at(one, params) * params)
        with np.errstate(all="ignore"):
            return law.law.loss(columns, {"params": params, "tokens": tokens, "flops": 6 * params * tokens})

    at = valley.minima(loss(one.params))
    ratio = one.spent / (one.params * one.tokens)
    if np.ptp(ratio) < 1e-6 * ratio.mean():
        true = optimum(law.law, values, one.flops * 6 / float(ratio.mean()))
    else:
        # Where the share of attention or of a head changes with size, the optimum has no closed form.
        grid = np.linspace(np.log(one.params.min()) - 1, np.log(one.params.max()) + 1, STEPS)
        curve = loss(np.exp(grid))
        lowest = np.argmin(np.where(np.isfinite(curve), curve, np.inf), axis=1)
        inner = (lowest > 0) & (lowest < STEPS - 1)
        index = np.clip(lowest, 1, STEPS - 2)
        left, here, right = (curve[np.arange(len(index)), index + step] for step in (-1, 0, 1))
        with np.errstate(all="ignore"):
            between = 0.5 * (left - right) / np.maximum(left - 2 * here + right, 1e-300)
        true = np.where(inner, grid[index] + (grid[1] - grid[0]) * np.clip(between, -1, 1), np.nan)
    return np.log(centre) + at - true
