"""Conformal intervals for the next scale: how far the same forecast missed on scales that are known.

A law's bootstrap says how far its parameters may be off if the law is right. Whether it is right beyond its
runs only earlier forecasts can tell: the law is fitted below a limit of compute, predicts what lies between,
and the errors in units of its own interval give the factor by which that interval must be wider.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.cells import cells_of, flops_of
from analysis.errors import InputError
from analysis.fitting import fit_sample
from analysis.sample import Sample
from analysis.table import Runs

# The last stretches of compute that play the future.
FACTORS = (10.0, 5.0, 3.0, 2.0)
DRAWS = 100
# Windows beyond the second repeat what the first two said, at the price of a fit each.
MOST = 2
# Predictions from which a quantile of their misses can be taken.
ENOUGH = 5


@dataclass(frozen=True, eq=False)
class Misses:
    """scores (m,): |log error| over the interval's half-width on that side; window (m,): which fit made it;
    distances: for each window, the highest predicted compute over the highest fitted."""

    scores: np.ndarray
    window: np.ndarray
    distances: tuple[float, ...]


def misses(rows: Sample, options, runs: Runs, level: float, distance: float) -> Misses:
    """Scores of forecasts within `rows`, from the windows that say something about one at `distance`.

    That is, those that reach half as far on a log scale; where none does, the one that reaches furthest.
    options: as `forecasting` fits, (law, rho, bootstrap draws, method, level, seed, source).
    """
    flops = flops_of(rows)
    needed = 0.5 * np.log(max(distance, 1.0))
    law, rho, draws, method, _, seed, source = options
    scores, window, distances = [], [], []
    for factor in FACTORS:
        held = flops > flops.max() / factor
        if held.sum() < ENOUGH or held.all():
            continue
        reach = float(flops.max() / flops[~held].max())
        if distances and (np.log(reach) < needed or len(distances) == MOST):
            break
        try:
            earlier = fit_sample(rows.where(~held), law, rho, min(draws, DRAWS), method, level, seed, source)
        except InputError:
            continue
        found = [_score(cell) for cell in cells_of(earlier, rows.where(held), runs, level)]
        scores += found
        window += [len(distances)] * len(found)
        distances.append(reach)
    return Misses(np.array(scores), np.array(window, int), tuple(distances))


def _score(cell) -> float:
    edge = cell.high if cell.measured > cell.predicted else cell.low
    half = max(abs(np.log(edge / cell.predicted)), 1e-12)
    score = abs(np.log(cell.measured / cell.predicted)) / half
    return float(score) if np.isfinite(score) else float("inf")


def widening(found: Misses, level: float, distance: float) -> float | None:
    """The factor on the intervals of a forecast at `distance` times the fitted compute, at least 1.

    Of each window the conformal quantile of its scores (Lei et al. 2018, arXiv 1604.04173, split along
    compute); of the windows, those that reach as far as half of `distance` on a log scale, and of these the
    median. Cells of a window share its law, so that more windows say more than more cells. None where no
    window could be scored: then nothing but the bootstrap stands behind the interval.
    """
    if not found.distances:
        return None
    reach = np.log(np.array(found.distances))
    far = np.flatnonzero(reach >= min(0.5 * np.log(max(distance, 1.0)), reach.max()))
    factors = []
    for index in far:
        scores = np.sort(found.scores[found.window == index])
        rank = min(int(np.ceil((len(scores) + 1) * level)), len(scores)) - 1
        factors.append(scores[rank])
    return max(1.0, float(np.median(factors)))
