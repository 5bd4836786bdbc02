"""Conformal intervals for the next scale: how far the same forecast missed on scales that are known.

A law's bootstrap says how far its parameters may be off if the law is right. Whether it is right beyond its
runs only earlier forecasts can tell: the law is fitted below a limit of compute, predicts what lies between,
and the errors in units of its own interval give the factor by which that interval must be wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.audits.blend import blended
from analysis.audits.predictions import cells_of, flops_of
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_sample
from analysis.laws.law import Law
from analysis.tables.sample import Sample
from analysis.tables.table import Runs

# The last stretches of compute that play the future, the furthest first: ten times the fitted compute is the
# distance at which forecasts are compared, less where the table is small.
FACTORS = (10.0, 5.0, 3.0, 2.0)
DRAWS = 100
# Windows beyond the third repeat what the first ones said, at the price of a fit each.
MOST = 3
# Predictions from which the largest of their misses says something.
ENOUGH = 3


@dataclass(frozen=True, eq=False)
class Misses:
    """scores (m,): |log error| over the interval's half-width on that side; window (m,): which fit made it;
    distances: for each window, the highest predicted compute over the highest fitted."""

    scores: np.ndarray
    window: np.ndarray
    distances: tuple[float, ...]


def misses(
    rows: Sample,
    law: Law,
    settings: Settings,
    runs: Runs,
    laws: Sequence[Law] = (),
    weights: Sequence[float] = (),
) -> Misses:
    """Scores of forecasts within `rows`, from the windows that reach furthest.

    laws, weights: of the blend that forecasts, `law` first; none where one law forecasts alone.
    """
    flops = flops_of(rows)
    few = replace(settings, bootstrap=min(settings.bootstrap, DRAWS))
    scores, window, distances = [], [], []
    for factor in FACTORS:
        held = flops > flops.max() / factor
        if held.sum() < ENOUGH or held.all():
            continue
        if len(distances) == MOST:
            break
        reach = float(flops.max() / flops[~held].max())
        try:
            earlier = fit_sample(rows.where(~held), law, runs.source, few)
        except InputError:
            continue
        blend = blended(rows.where(~held), laws, weights, settings, runs.source) if laws else None
        found = [_score(cell) for cell in cells_of(earlier, rows.where(held), runs, settings.level, blend)]
        scores += found
        window += [len(distances)] * len(found)
        distances.append(reach)
    return Misses(np.array(scores), np.array(window, int), tuple(distances))


def _score(cell) -> float:
    edge = cell.high if cell.measured > cell.predicted else cell.low
    half = max(abs(np.log(edge / cell.predicted)), 1e-12)
    score = abs(np.log(cell.measured / cell.predicted)) / half
    return float(score) if np.isfinite(score) else float("inf")


def widening(found: Misses, level: float, distance: float, together: bool = False) -> float | None:
    """The factor on the interval of a forecast at `distance` times the fitted compute, at least 1.

    Of each window the conformal quantile of its scores (Lei et al. 2018, arXiv 1604.04173, split along
    compute). Cells of a window share its law, and so the law's error: windows are the trials, not cells. A
    window that reached less far is taken further by the square root of log compute, as if the law's error
    were a walk along it. A law that forecasts alone has its form's error in no interval but through these
    misses, and of three or fewer trials the conformal quantile is the largest. Where laws forecast
    `together` their distance is in the interval already; what it misses beyond that is as likely to be more
    as less than in an earlier window, and the median is taken. None where no window could be scored: then
    nothing but the bootstrap stands behind the interval.
    """
    if not found.distances:
        return None
    factors = []
    for index, reach in enumerate(found.distances):
        scores = np.sort(found.scores[found.window == index])
        rank = min(int(np.ceil((len(scores) + 1) * level)), len(scores)) - 1
        further = np.log(max(distance, 1.0)) / np.log(max(reach, 1.01))
        factors.append(float(scores[rank]) * np.sqrt(max(further, 1.0)))
    return max(1.0, float(np.median(factors)) if together else max(factors))
