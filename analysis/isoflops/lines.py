"""How minima grow with compute: a line through their logarithms, with everything that moves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from analysis.intervals.bootstrap import interval
from analysis.intervals.freedom import student
from analysis.isoflops.results import PowerLaw, Spread

# Draws with a minimum at three levels or more from which percentiles are taken, and fewer say nothing.
USABLE = 20


@dataclass(frozen=True, eq=False)
class Slopes:
    """Draws (draws,) of a line: its slope, and its height at the middle of log compute, NaN where too few
    levels have a minimum."""

    slope: np.ndarray
    height: np.ndarray


def power_law(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """(exponent, coefficient) of y = coefficient x^exponent by (weighted) least squares on the logs."""
    log_x, log_y = np.log(x), np.log(y)
    weight = np.ones(len(log_x)) if weight is None else np.asarray(weight, float)
    middle_x, middle_y = np.average(log_x, weights=weight), np.average(log_y, weights=weight)
    moved = log_x - middle_x
    exponent = float((weight * moved * (log_y - middle_y)).sum() / (weight * moved**2).sum())
    return exponent, float(np.exp(middle_y - exponent * middle_x))


def slopes_of(flops: np.ndarray, draws: np.ndarray) -> Slopes:
    """The lines through draws of log values (levels, draws); a draw may lack some minima."""
    x = np.log(flops) - np.log(flops).mean()
    seen = np.isfinite(draws)
    count = seen.sum(axis=0)
    y, weight = np.where(seen, draws, 0.0), seen * 1.0
    total = np.maximum(weight.sum(axis=0), 1e-300)
    middle = (weight * x[:, None]).sum(axis=0) / total
    moved = (x[:, None] - middle) * seen
    slope = (weight * moved * y).sum(axis=0) / np.maximum((weight * moved**2).sum(axis=0), 1e-300)
    height = (weight * y).sum(axis=0) / total - slope * middle
    enough = count >= 3
    return Slopes(np.where(enough, slope, np.nan), np.where(enough, height, np.nan))


def line_through(
    flops: np.ndarray, values: np.ndarray, draws: np.ndarray, level: float, freedom: float
) -> PowerLaw | None:
    """The power law through minima (levels,), None with fewer than two.

    Its interval is the wider of two. Noise within the levels, as draws (levels, draws) of the log minima show
    it, is known from `freedom` points that the curves leave free. But levels are tuned and stopped each for
    itself, and minima scatter about the line by more than their runs tell: that is known from the levels less
    two. Adding the two as variances, with Satterthwaite's degrees of freedom, holds the truth less often than
    it says wherever the scatter is underrated by chance (`python -m benchmarks.isoflop_coverage lines`).
    """
    if len(flops) < 2:
        return None
    exponent, coefficient = power_law(flops, values)
    lines = slopes_of(flops, draws)
    usable = np.isfinite(lines.slope)
    if len(flops) < 3 or usable.sum() <= USABLE:
        return PowerLaw(exponent, coefficient)
    slope, height = lines.slope[usable], lines.height[usable]
    factor = float(student(freedom, level))
    low, high = interval(exponent, slope, level, factor)
    middle = float(np.log(flops).mean())
    x = np.log(flops) - middle
    free = len(flops) - 2
    off = np.log(values) - (np.log(coefficient) + exponent * np.log(flops))
    variance = float((off**2).sum()) / free
    wide = float(student(free, level))
    half = wide * float(ndtri(0.5 + level / 2)) * float(np.sqrt(variance / (x**2).sum()))
    covariance = np.cov(height, slope)
    spread = Spread(middle, *(float(covariance[i]) for i in ((0, 0), (0, 1), (1, 1))), factor)
    if 2 * half > high - low:
        spread = Spread(middle, variance / len(x), 0.0, variance / float((x**2).sum()), wide)
    pair = (min(low, exponent - half), max(high, exponent + half))
    return PowerLaw(exponent, coefficient, pair, spread, float(np.sqrt(variance)))
