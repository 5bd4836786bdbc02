"""Maximum-likelihood curves for many data sets at once, by Newton's method on tabulated profiles.

A family of curves is a stack of designs (P, K, Q): P alternatives (places of the elbow), K sizes, Q
coefficients; eta = design @ coefficients. Every data set is fitted under every alternative in one call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.thresholds.likelihood import LINKS, Scale


@dataclass(frozen=True)
class Fit:
    """coefficients (B, P, Q) and the log-likelihood they reach (B, P)."""

    coefficients: np.ndarray
    loglik: np.ndarray

    def best(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each data set: index of the best alternative (B,), its coefficients (B, Q), its value (B,)."""
        which = self.loglik.argmax(1)
        rows = np.arange(len(which))
        return which, self.coefficients[rows, which], self.loglik[rows, which]


def flat_design(x: np.ndarray) -> np.ndarray:
    return np.ones((1, x.size, 1))


def line_design(x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x], -1)[None]


def quadratic_design(x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x, x * x], -1)[None]


def hinge_design(x: np.ndarray, elbows: np.ndarray) -> np.ndarray:
    """eta = a + b x + c max(x - elbow, 0)."""
    bent = np.maximum(x[None] - elbows[:, None], 0.0)
    ones = np.ones_like(bent)
    return np.stack([ones, ones * x, bent], -1)


def two_kinks_design(x: np.ndarray, elbows: np.ndarray) -> np.ndarray:
    """eta = a + b x + c max(x - first, 0) + d max(x - second, 0), for every pair of elbows."""
    bent = hinge_design(x, elbows)
    first, second = np.triu_indices(len(elbows), 1)
    return np.concatenate([bent[first], bent[second][..., 2:]], -1)


def step_design(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """eta = a + b x + c [x > step], and the steps tried: between neighbours, two sizes on either side."""
    steps = 0.5 * (x[1:-2] + x[2:-1])
    above = (x[None] > steps[:, None]).astype(float)
    ones = np.ones_like(above)
    return np.stack([ones, ones * x, above], -1), steps


def elbow_grid(x: np.ndarray, points: int = 18) -> np.ndarray:
    """Places tried for the elbow: from the second size to the last but one, so that both sides have two."""
    return np.linspace(x[1], x[-2], points)


@dataclass(frozen=True, eq=False)
class Tables:
    """Profiles (B, K, G) as `fit` reads them: flat, with two values more at either end of each.

    start (B, K): where the first value of a profile stands. mean, weight (B, K): of the likelihood over eta.
    Several fits of the same profiles share one.
    """

    scale: Scale
    values: np.ndarray
    start: np.ndarray
    mean: np.ndarray
    weight: np.ndarray


def tabulate(scale: Scale, profiles: np.ndarray) -> Tables:
    """Tables of profiles (B, K, G). The values beyond the ends are those whose central differences are the
    one-sided ones of the profile's own, for slope and for bend."""
    count, sizes, points = profiles.shape
    wide = np.empty((count, sizes, points + 4))
    wide[..., 2:-2] = profiles
    for end, inner in ((wide[..., :5], (1, 0)), (wide[..., :-6:-1], (1, 0))):
        first, second, third = end[..., 2], end[..., 3], end[..., 4]
        end[..., inner[0]] = 2 * first - second
        end[..., inner[1]] = 4 * first - 4 * second + third
    start = np.arange(count * sizes).reshape(count, sizes) * (points + 4) + 2
    return Tables(scale, wide.reshape(-1), start, *_moments(scale, profiles))


def fit(scale: Scale, profiles: np.ndarray, designs: np.ndarray, iterations: int = 40) -> Fit:
    """`fit_tables` of profiles (B, K, G) that are fitted once."""
    return fit_tables(tabulate(scale, profiles), designs, iterations)


def fit_tables(tables: Tables, designs: np.ndarray, iterations: int = 40) -> Fit:
    """Maximise sum_i L[b, i](eta_i) for the tables of B data sets under designs (P, K, Q).

    Damped Newton: a step is kept only where it gains, and no eta moves by more than 2.5 at once, because
    profiles of exact zeros are flat far out. Beyond the grid a profile keeps its edge value.

    Alternatives go first here, (P, B, ...): one product of matrices each serves all data sets.
    """
    across = np.swapaxes(designs, 1, 2)
    products = _products(designs)
    theta = _solve(tables.weight @ products, (tables.weight * tables.mean) @ designs, 0.0)
    value = _value(tables, tables.start, theta @ across)
    damping = np.ones(value.shape)
    active = np.ones(len(tables.start), bool)
    for _ in range(iterations):
        rows = np.flatnonzero(active)
        if rows.size == 0:
            break
        start, here, reached = tables.start[rows], theta[:, rows], value[:, rows]
        slope, bend = _slope_and_bend(tables, start, here @ across)
        step = _solve(np.maximum(-bend, 1e-4) @ products, slope @ designs, 1e-7)
        reach = np.abs(step @ across).max(-1)
        pace = damping[:, rows]
        trial = here + step * (pace * np.minimum(1.0, 2.5 / np.maximum(reach, 1e-12)))[..., None]
        tried = _value(tables, start, trial @ across)
        gain = tried - reached
        better = gain > 0
        theta[:, rows] = np.where(better[..., None], trial, here)
        value[:, rows] = np.where(better, tried, reached)
        damping[:, rows] = pace = np.where(better, np.minimum(1.0, 2 * pace), 0.25 * pace)
        active[rows] = ((gain > 1e-5) | (~better & (pace > 0.01))).any(0)
    return Fit(np.swapaxes(theta, 0, 1), value.T)


def _moments(scale: Scale, profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inner = np.abs(scale.eta) < 8 if scale.link in LINKS else np.ones(scale.eta.size, bool)
    eta = scale.eta[inner]
    weight = profiles[..., inner]
    weight = np.exp(weight - weight.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    mean = weight @ eta
    spread = (weight * (eta - mean[..., None]) ** 2).sum(-1)
    return mean, 1 / (spread + scale.step**2)


def _products(designs: np.ndarray) -> np.ndarray:
    """Columns times columns (P, K, Q (Q + 1) / 2), the lower triangle by rows."""
    rows, columns = np.tril_indices(designs.shape[-1])
    return designs[..., rows] * designs[..., columns]


def _solve(matrix: np.ndarray, right: np.ndarray, ridge: float) -> np.ndarray:
    """Solve positive definite systems, all at once: matrix (..., Q (Q + 1) / 2) as of `_products`, right
    (..., Q). ridge is added to the diagonal, and a billionth of the trace.

    By elimination written out: for so small and so many systems the calls of a library are most of its time.
    """
    order = right.shape[-1]
    lower = iter(np.ascontiguousarray(np.moveaxis(matrix, -1, 0)))
    a = [[next(lower) for _ in range(row + 1)] for row in range(order)]
    out = list(np.ascontiguousarray(np.moveaxis(right, -1, 0)))
    extra = ridge + 1e-9 * sum(a[row][row] for row in range(order))
    for row in range(order):
        a[row][row] = a[row][row] + extra
    for pivot in range(order):
        factors = [a[row][pivot] / a[pivot][pivot] for row in range(pivot + 1, order)]
        for row in range(order - 1, pivot, -1):
            factor = factors[row - pivot - 1]
            for column in range(pivot + 1, row + 1):
                a[row][column] = a[row][column] - factor * a[column][pivot]
            out[row] = out[row] - factor * out[pivot]
    for row in range(order - 1, -1, -1):
        for below in range(row + 1, order):
            out[row] = out[row] - a[below][row] * out[below]
        out[row] = out[row] / a[row][row]
    return np.stack(out, -1)


def _value(tables: Tables, start: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """(P, B) at eta (P, B, K), of the profiles that begin at start (B, K)."""
    scale = tables.scale
    position = np.clip((eta - scale.eta[0]) / scale.step, 0.0, scale.eta.size - 1.0)
    index = np.clip(position.astype(int), 1, scale.eta.size - 3)
    t = position - index
    index += start - 1
    before, here, after, beyond = (tables.values[offset:].take(index) for offset in range(4))
    up, down = t * (t + 1), (t - 1) * (t - 2)
    value = here * (t + 1) * down / 2 - before * t * down / 6
    value += beyond * up * (t - 1) / 6 - after * up * (t - 2) / 2
    return value.sum(-1)


def _slope_and_bend(tables: Tables, start: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative (P, B, K) of the profiles at eta, linear between the grid's points, where
    they are central differences."""
    scale = tables.scale
    position = np.clip((eta - scale.eta[0]) / scale.step, 0.0, scale.eta.size - 1.000001)
    index = position.astype(int)
    t = position - index
    index += start - 2
    l0, l1, l2, l3, l4, l5 = (tables.values[offset:].take(index) for offset in range(6))
    slope = l3 - l1
    slope += t * (l4 - l2 - slope)
    bend = l4 - 2 * l2 + l0
    bend += t * (l5 - 2 * l3 + l1 - bend)
    return slope / (2 * scale.step), bend / (4 * scale.step**2)
