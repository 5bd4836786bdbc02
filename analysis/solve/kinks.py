"""The last stretch on an objective that is nearly l1: steps that cross many kinks at once.

Newton's step sees the curvature of the rows inside the corner only. Where that is a few rows of many, it
walks a long valley from kink to kink. Here the law is replaced by its expansion around the point, the robust
sum of *that* is minimised whole (it is convex), and the point moves there within a region of trust:
sequential quadratic programming for composite objectives (Fletcher 1982, Math. Prog. Study 17).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.laws.law import Law
from analysis.solve.estimator import STALLED, Optimum
from analysis.solve.interior import regress
from analysis.solve.objectives import Rho

# Of a residual of the log: what is taken for none, and what rounding does to one on average.
ROUNDING, BLUR = 1e-14, 1e-15
# The trust at which a stopped walk is asked what it could still gain: nearly free.
FREE = 1e-4
LAST_TRUST = 1e12


@dataclass(frozen=True, eq=False)
class Around:
    """The law expanded at B points: residual (B, n), its slope (B, P, n), the law's own curvature, made
    positive, bent (B, P, P), scales of the parameters spread (B, P), and the objective there value (B,).
    """

    value: np.ndarray
    residual: np.ndarray
    slope: np.ndarray
    bent: np.ndarray
    spread: np.ndarray

    def model(self, trust: np.ndarray, bend: np.ndarray) -> np.ndarray:
        """The quadratic term (B, P, P) of the models: the law's curvature times bend, and damping."""
        damping = trust[:, None, None] * self.spread[:, :, None] * np.eye(self.spread.shape[1])
        return bend[:, None, None] * self.bent + damping

    def promise(self, step: np.ndarray, model: np.ndarray, rho: Rho) -> np.ndarray:
        """By how much the models fall along the steps (B, P): (B,)."""
        final = rho.exact(self.residual + _rows(self, step)).sum(axis=1)
        return self.value - final - 0.5 * (step * (model @ step[:, :, None])[:, :, 0]).sum(axis=1)

    def where(self, take: np.ndarray, other: Around) -> Around:
        """`other` where take (B,), else self."""
        parts = {}
        for name, mine in vars(self).items():
            parts[name] = np.where(take.reshape(-1, *[1] * (mine.ndim - 1)), getattr(other, name), mine)
        return Around(**parts)

    def __getitem__(self, index) -> Around:
        return Around(**{name: part[index] for name, part in vars(self).items()})


def cross(
    law: Law, x: np.ndarray, target: np.ndarray, rho: Rho, theta: np.ndarray, steps: int = 60
) -> Optimum:
    """Optima from the starts theta (B, P); x (inputs, n), target (n,). The objective never rises.

    decrement: the share of the objective that the last model still promises, where it is hardly damped.
    """
    prepared = law.prepare(x)
    low, high = law.bounds
    theta = np.clip(theta, low, high)
    trust, bend = np.full(len(theta), 1e-4), np.ones(len(theta))
    here = _expand(prepared, theta, target, rho)
    floor = exactly(target, rho)
    walking = here.value < np.inf
    for _ in range(steps):
        walking &= here.value > floor
        some = np.flatnonzero(walking)
        if not len(some):
            break
        around, at = here[some], theta[some]
        model = around.model(trust[some], bend[some])
        step, pull = regress(around.residual, around.slope, model, rho, low - at, high - at)
        promised = around.promise(step, model, rho)
        hopeful = promised > 1e-13 * around.value
        trial = np.where(hopeful[:, None], np.clip(at + step, low, high), at)
        after = _expand(prepared, trial, target, rho, pull)
        better = hopeful & (after.value < around.value)
        gain = (around.value - after.value) / np.where(hopeful, promised, 1.0)
        # Rows on their kink leave it again as the square of the step, since edges bend: a second step with
        # the rows as they are at the first one's end comes back to the edge.
        off = np.flatnonzero(hopeful & (np.abs(gain - 1.0) > 0.1) & np.isfinite(after.value))
        if len(off):
            part, limits = around[off], (low - at[off], high - at[off])
            bent = after.residual[off] - _rows(part, trial[off] - at[off])
            step, pull = regress(bent, part.slope, model[off], rho, *limits)
            second = np.clip(at[off] + step, low, high)
            corrected = _expand(prepared, second, target, rho, pull)
            lower = corrected.value < after.value[off]
            trial[off] = np.where(lower[:, None], second, trial[off])
            after = _put(after, off, after[off].where(lower, corrected))
            better = hopeful & (after.value < around.value)
            gain = (around.value - after.value) / np.where(hopeful, promised, 1.0)
        here = _put(here, some, around.where(better, after))
        theta[some] = np.where(better[:, None], trial, at)
        # An inner problem that was not solved to the end is easier nearer by.
        wider = np.where(hopeful, np.maximum(trust[some] * 10, 1e-8), np.maximum(trust[some] * 100, 1e-8))
        trust[some] = np.where(better & (gain > 0.5), trust[some] / 10, np.where(better, trust[some], wider))
        # Curvature that costs less than it was thought to does not bend the edge.
        looser = np.where(better & (gain > 1.3), bend[some] / 4, bend[some])
        bend[some] = np.where(better & (gain > 0.5), looser, np.minimum(bend[some] * 10, 1.0))
        walking[some] = (trust[some] <= LAST_TRUST) & ~(~hopeful & (promised >= 0))
    finite = np.isfinite(here.value)
    promised = np.full(len(theta), np.inf)
    if finite.any():
        around = here[finite]
        model = around.model(np.full(int(finite.sum()), FREE), np.ones(int(finite.sum())))
        step, _ = regress(
            around.residual, around.slope, model, rho, low - theta[finite], high - theta[finite]
        )
        promised[finite] = around.promise(step, model, rho)
    share = np.full(len(theta), np.inf)  # of a walk that never found a finite value
    share[finite] = np.where(
        here.value[finite] <= floor, 0.0, np.maximum(promised[finite], 0.0) / (here.value[finite] + floor)
    )
    with np.errstate(invalid="ignore"):
        blur = blurred(target, rho, here.residual, here.value)
    return Optimum(theta, here.value, share, share <= STALLED + blur)


def blurred(target: np.ndarray, rho: Rho, residual: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The share (B,) of the objective, value (B,), that rounding of its residuals (B, n) may be. Of losses
    that a law gives to ten digits it is far above what is asked of an optimum elsewhere."""
    over = np.where(residual < 0, rho.over, 1.0)
    pull = over if rho.name == "l1" else np.abs(rho.parts(residual)[1])
    unit = np.exp(target) if rho.raw else np.ones_like(target)
    unit = unit if rho.scale is None else unit * rho.scale
    return BLUR * (pull * unit).sum(axis=-1) / np.maximum(value, 1e-300)


def exactly(target: np.ndarray, rho: Rho) -> float:
    """What rounding alone leaves of the objective where a law fits exactly; target (n,) log loss."""
    unit = float(np.exp(target).mean()) if rho.raw else 1.0
    scale = 1.0 if rho.scale is None else float(rho.scale.mean())
    left = ROUNDING * unit * scale
    return len(target) * (left if rho.name == "l1" else left**2)


def _put(all_of: Around, some: np.ndarray, part: Around) -> Around:
    for name, values in vars(part).items():
        getattr(all_of, name)[some] = values
    return all_of


def _expand(prepared, theta: np.ndarray, target: np.ndarray, rho: Rho, pull=None) -> Around:
    """pull (B, n): the slopes of rho at the rows, where they are known better than from the residuals. Along
    an edge, on which residuals stay zero, they alone tell how the edge bends.
    """
    with np.errstate(all="ignore"):
        law = prepared(theta)
        log_loss, jacobian = law.value, law.jacobian
        residual = rho.residual(target, log_loss)
        if pull is None:
            pull = _smoothed(rho, residual).parts(residual)[1]
        loss = np.exp(log_loss) if rho.raw else np.ones_like(log_loss)
        unit = loss if rho.scale is None else loss * rho.scale
        slope = -jacobian * unit[:, None]
        bent = law.hessian(-pull * unit if rho.raw else np.zeros_like(pull), -pull * unit)
        value = rho.exact(residual).sum(axis=1)
        bad = ~(np.isfinite(value) & np.isfinite(slope).all(axis=(1, 2)) & np.isfinite(bent).all(axis=(1, 2)))
        value[bad], slope[bad], bent[bad] = np.inf, 0.0, np.eye(theta.shape[1])
        sizes, axes = np.linalg.eigh((bent + np.swapaxes(bent, 1, 2)) / 2)
        bent = (axes * np.maximum(sizes, 0.0)[:, None]) @ np.swapaxes(axes, 1, 2)
        stiff = np.abs(pull).mean(axis=1) / np.maximum(np.abs(residual).mean(axis=1), 1e-300)
        spread = stiff[:, None] * (slope**2).sum(axis=2) + 1e-300
    return Around(value, residual, slope, bent, spread)


def _smoothed(rho: Rho, residual: np.ndarray) -> Rho:
    """l1 with a corner far below the residuals (B, n); any other objective as it is."""
    if rho.name != "l1":
        return rho
    typical = np.nan_to_num(np.median(np.abs(residual), axis=-1, keepdims=True), nan=1.0)
    return replace(rho, smooth=np.maximum(1e-7 * typical, 1e-14))


def _rows(around: Around, step: np.ndarray) -> np.ndarray:
    """What a step (B, P) adds to the residuals (B, n) of the expansion."""
    return (step[:, None] @ around.slope)[:, 0]
