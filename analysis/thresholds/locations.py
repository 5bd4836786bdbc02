"""Where it happens: elbow, half and detectable, each with an interval in the axis' own unit."""

from __future__ import annotations

import numpy as np

from analysis.thresholds import fits, likelihood
from analysis.thresholds.null import Design, placed, profiles_of, simulate
from analysis.thresholds.result import Places, Threshold
from analysis.thresholds.scores import Cells
from analysis.thresholds.shapes import Shape
from analysis.thresholds.tails import binomial_at_least, f_quantile

_LEVEL = 0.95


def cutoff(freedom: int) -> float:
    """Drop of twice the log-likelihood for one parameter; wider when the seed sd rests on few seeds."""
    return f_quantile(_LEVEL, 1, freedom)


def detectable_sizes(correct: np.ndarray, items: np.ndarray, size: np.ndarray, chance: float) -> np.ndarray:
    """Sizes (B, K) whose pooled count is too high for chance (one-sided 2.5 %); for chance 0, one lucky hit
    is allowed for. correct (B, C), effective."""
    sums = np.zeros((size.max() + 1, size.size))
    sums[size, np.arange(size.size)] = 1
    total = np.maximum(np.rint(items @ sums.T), 1)
    hits = np.rint(correct @ sums.T)
    return binomial_at_least(hits, total, np.maximum(chance, 1 / total)) < 0.025


def locate(
    cells: Cells, design: Design, data: np.ndarray, shape: Shape, freedom: int, rng: np.random.Generator
) -> Places:
    """The three thresholds of a series under its fitted `shape`.

    elbow: profile likelihood over its place, none for a shape without one. half and detectable: tables are
    drawn from the fitted shape with its seed noise and items, and refitted (200 of them). Nothing is
    extrapolated: a threshold outside the sizes measured is None.
    """
    elbow = _elbow(cells, design, data, shape, freedom)
    if cells.continuous:
        return Places(elbow=elbow)
    seen = np.flatnonzero(detectable_sizes(data[None], design.items, design.size, cells.chance)[0])
    first = float(cells.place[seen[0]]) if seen.size else None
    if shape.mixture is not None or shape.name in ("flat", "non_monotone"):
        return Places(elbow, Threshold(), Threshold(first, None))
    tables = simulate(design, shape.scale, shape.eta(design.x), shape.sd, rng, 200)
    found = detectable_sizes(tables, design.items, design.size, cells.chance)
    firsts = cells.place[found.argmax(1)][found.any(1)]
    spread = None
    if first is not None and firsts.size > 20:
        low, high = np.quantile(np.append(firsts, first), (0.025, 0.975), method="nearest")
        spread = (float(min(low, first)), float(max(high, first)))
    return Places(elbow, _half(cells, design, shape, tables), Threshold(first, spread))


def _elbow(cells: Cells, design: Design, data: np.ndarray, shape: Shape, freedom: int) -> Threshold:
    if shape.elbow is None or shape.name == "non_monotone":
        return Threshold()
    x = design.x
    if shape.kind == "step":
        return _between(cells, design, data, shape, freedom)
    fine = np.linspace(x[0] + 0.02 * np.ptp(x), x[-1] - 0.02 * np.ptp(x), 121)
    profiles = profiles_of(design, shape.scale, data[None], np.array([shape.sd]))
    full = fits.fit(shape.scale, profiles, fits.hinge_design(x, fine))
    level = fits.fit(shape.scale, profiles, fits.hinge_design(x, fine)[..., [0, 2]])
    bent = full.coefficients[0, :, 2] > 0
    rising = bent & (full.coefficients[0, :, 1] >= 0)
    value = np.where(rising, full.loglik[0], np.where(bent, level.loglik[0], -np.inf))
    value = np.where(placed(design, data[None], fine)[0], value, -np.inf)
    if not np.isfinite(value).any():
        return Threshold(_unit(cells, shape.elbow), None)
    inside = 2 * (value.max() - value) <= cutoff(freedom)
    ends = [_unit(cells, v) for v in (fine[inside].min(), fine[inside].max())]
    return Threshold(_unit(cells, float(fine[value.argmax()])), (min(ends), max(ends)))


def _between(cells: Cells, design: Design, data: np.ndarray, shape: Shape, freedom: int) -> Threshold:
    """A step lies somewhere between two sizes, and nothing tells where."""
    designs, places = fits.step_design(design.x)
    profiles = profiles_of(design, shape.scale, data[None], np.array([shape.sd]))
    value = fits.fit(shape.scale, profiles, designs).loglik[0]
    value = np.where(placed(design, data[None], places)[0], value, -np.inf)
    likely = np.flatnonzero(2 * (value.max() - value) <= cutoff(freedom)) + 1
    ends = [_unit(cells, v) for v in (design.x[likely.min()], design.x[likely.max() + 1])]
    return Threshold(_unit(cells, shape.elbow), (min(ends), max(ends)))


def _half(cells: Cells, design: Design, shape: Shape, tables: np.ndarray) -> Threshold:
    x = design.x
    grid = np.linspace(x[0], x[-1], 400)
    target = 0.5 * (design.chance + shape.scale.ceiling)
    here = _crossing(grid, shape.score(grid)[None], target)[0]
    if np.isnan(here):
        return Threshold()
    profiles = profiles_of(design, shape.scale, tables, np.full(len(tables), shape.sd))
    designs, elbows = fits.line_design(x), np.zeros(1)
    if shape.elbow is not None and shape.kind == "step":
        designs, elbows = fits.step_design(x)
    elif shape.elbow is not None:
        designs, elbows = fits.hinge_design(x, design.elbows), design.elbows
    which, coefficients, _ = fits.fit(shape.scale, profiles, designs).best()
    eta = coefficients[:, :1] + coefficients[:, 1:2] * grid
    if shape.elbow is not None:
        beyond = grid - elbows[which][:, None]
        eta += coefficients[:, 2:] * (beyond > 0 if shape.kind == "step" else np.maximum(beyond, 0))
    spread = _crossing(grid, likelihood.mean_score(shape.scale, eta), target)
    spread = spread[~np.isnan(spread)]
    if spread.size < 20:
        return Threshold(_unit(cells, here), None)
    ends = [_unit(cells, float(v)) for v in np.quantile(spread, (0.025, 0.975))]
    return Threshold(_unit(cells, here), (min(ends), max(ends)))


def _crossing(grid: np.ndarray, curves: np.ndarray, target: float) -> np.ndarray:
    """First place (B,) where a curve (B, G) reaches the target; NaN where it starts above or never does."""
    above = curves >= target
    at = grid[above.argmax(1)]
    return np.where(above.any(1) & ~above[:, 0], at, np.nan)


def _unit(cells: Cells, x: float) -> float:
    value = -x if cells.axis == "loss_nats" else 10.0**x
    return float(f"{value:.12g}")  # a size comes back as the size it was, whatever the logarithm did
