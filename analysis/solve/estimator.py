"""Newton's method on many fits of one law at once: the global search and the bootstrap are batches.

Each fit has an exact Hessian, its own damping, and leaves the batch when it has converged.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from analysis.laws.law import Law
from analysis.solve.objectives import Rho

# Half the squared Newton decrement is the objective that is still to be gained. Below these shares of the
# objective a fit has converged; the second is what rounding may leave of it on a kinked objective.
CONVERGED = 1e-14
STALLED = 1e-9
# What bootstrap draws stop at: four digits below what would show in an interval.
ENOUGH = 1e-11
# Rounding alone keeps the squared residual of a log this high.
ROUNDING = 1e-30
CHUNK = 250
# Rows times fits of a chunk: what the cache holds.
CELLS = 60_000
# A corner this many times below the typical residual is approached in steps.
ROUGH = 20.0
# Up to this damping a step that fails is tried in the factors themselves before it is shortened.
BENT = 1e3
# How many of the corners are left to go through from a start that is near: wider ones have other optima.
NEAR = {"squared": 1, "huber": 1, "l1": 4}
# Chunks are independent, and numpy lets go of the interpreter while it works.
THREADS = 8


@dataclass(frozen=True, eq=False)
class Optimum:
    """theta (B, P), value (B,) of the objective, decrement (B,) relative to it, converged (B,)."""

    theta: np.ndarray
    value: np.ndarray
    decrement: np.ndarray
    converged: np.ndarray

    def __getitem__(self, index) -> Optimum:
        return Optimum(self.theta[index], self.value[index], self.decrement[index], self.converged[index])


def minimise(
    law: Law,
    x: np.ndarray,
    target: np.ndarray,
    rho: Rho,
    theta: np.ndarray,
    weights: np.ndarray | None = None,
    steps: int = 400,
    direct: bool = False,
    tolerance: float = CONVERGED,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
) -> Optimum:
    """Local optima from the starts theta (B, P), in chunks that fit the cache.

    x (inputs, n) centred log inputs; target (n,) or (B, n) log of the measured loss; weights (n,), (B, n) or
    None. A corner far below the residuals at the starts is approached in steps, unless `direct`. tolerance:
    the share of the objective that may be left to gain. bounds: (low, high), each (B, P), within the law's;
    a parameter whose two are equal is held.
    """
    prepared = law.prepare(x)
    factors = np.array([parameter.vanishes for parameter in law.parameters])
    lows, highs = (np.broadcast_to(limit, theta.shape) for limit in bounds or law.bounds)
    size = max(1, min(CHUNK, CELLS // max(x.shape[1], 1)))

    def one(start: int) -> Optimum:
        chunk = slice(start, start + size)
        some = theta[chunk]
        batch = (some.shape[0], x.shape[1])
        y = np.broadcast_to(target[chunk] if target.ndim == 2 else target, batch)
        w = None
        if weights is not None:
            w = np.broadcast_to(weights[chunk] if weights.ndim == 2 else weights, batch)
        corners = _corners(prepared, some, y, rho)
        for corner in corners[-NEAR[rho.name] :] if direct else corners:
            last = corner == rho.delta or rho.name == "squared"
            smoothed = rho if last else replace(rho, name="huber", delta=corner)
            if rho.name == "l1":
                smoothed = replace(rho, smooth=corner)
            # Far starts and exact tables overflow on the way; what is not finite is never a better point.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                limits = (lows[chunk], highs[chunk])
                found = _newton(prepared, y, smoothed, some, w, steps, tolerance, *limits, factors)
            some = found.theta
        if rho.name == "l1":
            exact = rho.exact(rho.residual(y, prepared(some).value))
            found = replace(found, value=exact.sum(axis=1) if w is None else (w * exact).sum(axis=1))
        return found

    chunks = range(0, len(theta), size)
    if len(chunks) < 2:
        parts = [one(start) for start in chunks]
    else:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, THREADS)) as pool:
            parts = list(pool.map(one, chunks))
    fields = zip(*((part.theta, part.value, part.decrement, part.converged) for part in parts), strict=True)
    return Optimum(*(np.concatenate(field) for field in fields))


def _corners(prepared: Callable, theta, y, rho: Rho) -> list[float]:
    """Huber corners to go through, the last one the objective's own.

    Newton sees only the rows inside the corner; far below the residuals that is none, and it would stop
    anywhere. l1 is the limit of huber(r; d)/d: it ends at 1e-7 of the typical residual, where the optimum
    differs from the kink's by about 1e-9 of the objective.
    """
    if rho.name == "squared":
        return [rho.delta]
    with np.errstate(all="ignore"):
        residual = np.abs(rho.residual(y, prepared(theta).value))
    scale = float(np.nanmedian(residual)) if np.isfinite(residual).any() else 1.0
    end = max(1e-7 * scale, 1e-14) if rho.name == "l1" else rho.delta
    if rho.name == "huber" and scale <= ROUGH * end:
        return [end]
    count = max(2, 1 + int(np.ceil(np.log10(max(scale / end, 1.0)))))
    return [*np.geomspace(max(scale, end), end, count)[:-1].tolist(), end]


def _newton(
    prepared: Callable, y, rho: Rho, theta, w, steps: int, tolerance: float, low, high, factors
) -> Optimum:
    count = len(theta)
    theta = np.clip(theta, low, high)
    best = Optimum(theta.copy(), np.full(count, np.inf), np.full(count, np.inf), np.zeros(count, bool))
    here = np.arange(count)
    value, gradient, hessian, metric = _local(prepared, theta, y, rho, w)
    damping = np.full(count, 1e-6)
    floor = ROUNDING * y.shape[1]
    for _ in range(steps):
        step, decrement = _step(theta, gradient, hessian, damping, metric, low, high)
        # A heavily damped step promises little wherever it stands, and a free one anything along an edge
        # between kinks. Damped by the rows' smooth curvature it tells what a typical residual could gain.
        doubt = (damping > 1) & ((decrement <= STALLED * value + floor) | (damping > 1e12))
        if doubt.any():
            free = (theta[doubt], gradient[doubt], hessian[doubt], np.ones(doubt.sum()), metric[doubt])
            decrement[doubt] = _step(*free, low[doubt], high[doubt])[1]
        done = decrement <= tolerance * value + floor
        leaving = done | (damping > 1e12)
        left = int(np.count_nonzero(leaving))
        if left > 0.25 * len(leaving):
            best.theta[here], best.value[here] = theta, value
            best.decrement[here] = decrement / (value + floor)
            best.converged[here] = done | (decrement <= STALLED * value + floor)
            if left == len(leaving):
                return best
            stay = ~leaving
            decrement, done = decrement[stay], done[stay]
            here, theta, value, gradient = here[stay], theta[stay], value[stay], gradient[stay]
            hessian, damping, step, y = hessian[stay], damping[stay], step[stay], y[stay]
            metric, low, high = metric[stay], low[stay], high[stay]
            w = None if w is None else w[stay]
            leaving = leaving[stay]
        trial = np.minimum(np.maximum(theta + step, low), high)
        new_value, new_gradient, new_hessian, new_metric = _local(prepared, trial, y, rho, w)
        better = (new_value <= value) & ~leaving
        again = np.flatnonzero(~better & ~leaving & (damping <= BENT))
        if len(again):
            # A factor on its way to 0 leads along a valley that bends in logarithms: hundreds of short steps.
            part = (theta[again], gradient[again], hessian[again], damping[again], metric[again])
            straight = _in_factors(*part, low[again], high[again], factors)
            second = np.minimum(np.maximum(theta[again] + straight, low[again]), high[again])
            found = _local(prepared, second, y[again], rho, None if w is None else w[again])
            good = found[0] <= value[again]
            some = again[good]
            trial[some], better[some] = second[good], True
            new_value[some], new_gradient[some], new_hessian[some], new_metric[some] = (
                part[good] for part in found
            )
        base = value
        kept = ~better
        if kept.any():
            new_value = np.where(better, new_value, value)
            old = ((trial, theta), (new_gradient, gradient), (new_hessian, hessian), (new_metric, metric))
            for mine, theirs in old:
                mine[kept] = theirs[kept]
        theta, value, gradient, hessian, metric = trial, new_value, new_gradient, new_hessian, new_metric
        damping = np.where(better, np.where(damping < 1e-8, 0.0, damping / 30), np.maximum(damping * 8, 1e-5))
    best.theta[here], best.value[here] = theta, value
    best.decrement[here] = decrement / (base + floor)
    best.converged[here] = done | (decrement <= STALLED * base + floor)
    return best


def _local(prepared: Callable, theta, y, rho: Rho, w):
    """Objective (B,), gradient (B, P), Hessian (B, P, P), and the metric (B, P) in which steps are damped.

    The metric is the curvature that the rows would have on a smooth objective. The Hessian's own diagonal
    will not do: one row at its kink outweighs all others there, and nothing moves along the edge any more.
    What overflows on the way is for the caller to ignore.
    """
    law = prepared(theta)
    jacobian = law.jacobian
    rhos, slope, bend = rho.in_log_loss(y, law.value)
    if w is not None:
        rhos, slope, bend = w * rhos, w * slope, w * bend
    value = rhos.sum(axis=1)
    gradient = (jacobian @ slope[:, :, None])[:, :, 0]
    hessian = law.hessian(bend, slope)
    count = y.shape[1]
    apart = np.abs(y - law.value).sum(axis=1) / count
    stiff = np.abs(slope).sum(axis=1) / count / np.maximum(apart, 1e-300)
    metric = stiff[:, None] * np.einsum("bpn,bpn->bp", jacobian, jacobian)
    if not _finite(value, gradient, hessian):
        bad = (
            ~np.isfinite(value) | ~np.isfinite(gradient).all(axis=1) | ~np.isfinite(hessian).all(axis=(1, 2))
        )
        value[bad], gradient[bad], hessian[bad], metric[bad] = np.inf, 0.0, np.eye(theta.shape[1]), 1.0
    return value, gradient, hessian, metric


def _finite(*arrays: np.ndarray) -> bool:
    """Whether all numbers surely are finite: a sum says so in a fraction of the time of looking at each."""
    return all(math.isfinite(array.sum()) for array in arrays)


def _step(theta, gradient, hessian, damping, metric, low, high):
    """The damped Newton step (B, P), and half of -step . gradient (B,): half the squared decrement.

    Parameters that lie on a bound and are pushed against it stay. Where the Hessian is not positive definite
    its eigenvalues are taken by their size, so that every step goes down.
    """
    width = theta.shape[1]
    below, above = theta <= low, theta >= high
    some_held = bool(below.any() or above.any())
    if some_held:
        held = (below & (gradient > 0)) | (above & (gradient < 0))
        gradient = np.where(held, 0.0, gradient)
        free = ~held
        hessian = hessian * (free[:, :, None] & free[:, None])
    diagonal = np.abs(hessian.diagonal(axis1=1, axis2=2))
    ceiling = diagonal.max(axis=1, keepdims=True)
    lowest = np.maximum(1e-14 * ceiling, 1e-9 * metric) + 1e-200
    scale = np.maximum(diagonal, lowest)
    scale = np.sqrt(np.where(held, 1.0, scale) if some_held else scale)
    damped = hessian / (scale[:, :, None] * scale[:, None])
    own = damped.reshape(len(damped), -1)[:, :: width + 1]  # a view of the diagonals
    if some_held:
        own += held
    slope = gradient / scale
    ridge = np.minimum(damping[:, None] * metric / scale**2, 1e200)
    ridge[np.isnan(ridge)] = 0.0
    own += ridge + 1e-13
    lost = None
    if not _finite(damped, slope):
        lost = ~(np.isfinite(damped).all(axis=(1, 2)) & np.isfinite(slope).all(axis=1))
        damped[lost], slope[lost] = np.eye(width), 0.0
    try:
        step = -np.linalg.solve(damped, slope[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:  # one is exactly singular: all go by their eigenvalues below
        step = np.full_like(slope, np.nan)
    gain = -(step * slope).sum(axis=1)
    wrong = ~(gain >= 0)
    # What promises a rise is not positive definite, whatever its pivots are.
    rest = damped[~wrong] if wrong.any() else damped
    if len(rest):
        wrong[~wrong] = ~_positive(rest)
    if wrong.any():
        sizes, axes = np.linalg.eigh(damped[wrong])
        sizes = np.maximum(np.abs(sizes), 1e-7)
        along = (np.swapaxes(axes, 1, 2) @ slope[wrong, :, None])[:, :, 0]
        step[wrong] = -(axes @ (along / sizes)[:, :, None])[:, :, 0]
        gain[wrong] = -(step[wrong] * slope[wrong]).sum(axis=1)
    if lost is not None:
        gain[lost] = np.inf
    step = step / scale
    # Logs of coefficients and exponents move by at most this much at a time; a quadratic is not global.
    longest = np.abs(step).max(axis=1)
    step *= np.minimum(1.0, 4.0 / np.maximum(longest, 1e-300))[:, None]
    return step, 0.5 * gain


def _positive(matrices: np.ndarray) -> np.ndarray:
    """Which of the symmetric matrices (B, P, P) are positive definite, by pivots of elimination."""
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        pass
    else:
        return np.ones(len(matrices), bool)
    left = matrices.copy()
    good = np.ones(len(matrices), bool)
    last = matrices.shape[1] - 1
    for k in range(last):
        pivot = left[:, k, k]
        good &= pivot > 1e-12
        # Beyond a pivot that is none the numbers mean nothing, and the matrix has failed already.
        part = left[:, k + 1 :, k, None] * left[:, k, None, k + 1 :]
        part /= pivot[:, None, None]
        left[:, k + 1 :, k + 1 :] -= part
    return good & (left[:, last, last] > 1e-12)


def curvature(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho, theta: np.ndarray) -> np.ndarray:
    """Hessian (P, P) of the objective at theta (P,)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _local(law.prepare(x), theta[None], target[None], rho, None)[2][0]


def _in_factors(theta, gradient, hessian, damping, metric, low, high, factors):
    """The step (B, P) of Newton's method in the factors themselves instead of their logarithms.

    A sum of terms is straight in them: with u = exp(theta) the step, as a share of u, is that of the Hessian
    less the gradient on the diagonal.
    """
    turned = hessian.copy()
    index = np.flatnonzero(factors)
    turned[:, index, index] -= gradient[:, index]
    share = _step(theta, gradient, turned, damping, metric, low, high)[0]
    least = np.where(factors, share, 0.0).min(axis=1)
    share *= np.where(least < -0.98, 0.98 / np.maximum(-least, 1e-300), 1.0)[:, None]
    return np.where(factors, np.log1p(np.where(factors, share, 0.0)), share)
