"""How far the same forecast missed on scales that are known, and by how much that widens the next one.

A law's bootstrap says how far its parameters may be off if the law is right. Whether it is right beyond its
runs only earlier forecasts can tell: each window (`windows`) forecasts what came after it, with laws ranked
and weighed by the windows before it alone, and its errors in units of its own interval give the factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.audits.blend import Blend, about, weights_of
from analysis.audits.windows import Past
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_window
from analysis.fits.prediction import prediction_interval

DRAWS = 100
# The nearest windows widen: those further back forecast from so little that their intervals hold anything.
MOST = 2


@dataclass(frozen=True, eq=False)
class Misses:
    """scores (m,): |log error| over the interval's half-width on that side; window (m,): which fit made it;
    distances: for each window, the highest predicted compute over the highest fitted."""

    scores: np.ndarray
    window: np.ndarray
    distances: tuple[float, ...]


def misses(past: Past, settings: Settings, source: str) -> Misses:
    """Scores of the forecasts from the windows of `past`, the nearest first."""
    scores, window, distances = [], [], []
    for stage, one in enumerate(past.windows):
        if len(distances) == MOST:
            break
        blend = blend_of(past, stage)
        law, values = blend.laws[0]
        few = replace(settings, bootstrap=min(settings.bootstrap, DRAWS))
        try:
            fitted = fit_window(past.rows.where(one.early), law, source, few, [values])
        except InputError:
            continue
        late = past.rows.where(one.late)
        own = prediction_interval(fitted, late.inputs, settings.level, True)
        loss, low, high = about(blend, late.inputs, *own, settings.level)
        found = _scores(late.loss, loss, low, high)
        scores += found
        window += [len(distances)] * len(found)
        distances.append(one.distance)
    return Misses(np.array(scores), np.array(window, int), tuple(distances))


def blend_of(past: Past, stage: int) -> Blend:
    """The laws that the window's rows determine, weighed by the windows before it."""
    known = [index for index, values in enumerate(past.values[stage]) if values is not None]
    errors = past.errors(stage)
    known.sort(key=lambda index: np.inf if errors[index] is None else errors[index])
    laws = tuple((past.laws[index], past.values[stage][index]) for index in known)
    return Blend(laws, weights_of([errors[index] for index in known]))


def _scores(measured: np.ndarray, loss: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[float]:
    with np.errstate(all="ignore"):
        half = np.abs(np.log(np.where(measured > loss, high, low) / loss))
        score = np.abs(np.log(measured / loss)) / np.maximum(half, 1e-12)
    return np.where(np.isfinite(score), score, np.inf).tolist()


def widening(found: Misses, level: float, distance: float, together: bool = False) -> float | None:
    """The factor on the interval of a forecast at `distance` times the fitted compute, at least 1.

    Of each window the quantile of its scores, at the rank of split conformal intervals (Lei et al. 2018,
    arXiv 1604.04173), whose promise it does not have: cells along compute are not exchangeable, and share the
    law's error. Windows are the trials, not cells. A window that reached less far is taken further by the
    square root of log compute, as if the law's error were a walk along it. A law that forecasts alone has its
    form's error in no interval but through these misses: the largest counts. Where laws forecast `together`
    their distance is in the interval already; what it misses beyond that is as likely to be more as less than
    in an earlier window, and the mean is taken. None where no window could be scored: then nothing but the
    bootstrap stands behind the interval.
    """
    if not found.distances:
        return None
    factors = []
    for index, reach in enumerate(found.distances):
        scores = np.sort(found.scores[found.window == index])
        rank = min(int(np.ceil((len(scores) + 1) * level)), len(scores)) - 1
        further = np.log(max(distance, 1.0)) / np.log(max(reach, 1.01))
        factors.append(float(scores[rank]) * np.sqrt(max(further, 1.0)))
    return max(1.0, float(np.mean(factors)) if together else max(factors))
