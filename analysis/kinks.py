"""The last stretch on an objective that is nearly l1: steps that cross many kinks at once.

Newton's step sees the curvature of the rows inside the corner only. Where that is a few rows of many, it
walks a long valley from kink to kink. Here the law is replaced by its expansion around the point, the robust
sum of *that* is minimised whole (it is convex), and the point moves there within a region of trust:
sequential quadratic programming for composite objectives (Fletcher 1982, Math. Prog. Study 17).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.law import Law
from analysis.objectives import Rho

INNER = 40


def cross(
    law: Law, x: np.ndarray, target: np.ndarray, rho: Rho, theta: np.ndarray, weights=None, steps: int = 60
) -> tuple[np.ndarray, float]:
    """(theta (P,), share of the objective that the last model still promised) from theta (P,).

    x (inputs, n), target (n,), weights (n,) or None. The objective never rises.
    """
    prepared = law.prepare(x)
    low, high = law.bounds
    trust = 1e-4
    value, around = _expand(prepared, theta, target, rho, weights)
    promised = np.inf
    for _ in range(steps):
        residual, slope, bent, spread = around
        quadratic = bent + trust * np.diag(spread)
        step, promised = _model(residual, slope, quadratic, rho, weights, low - theta, high - theta, value)
        if not promised > 1e-13 * abs(value):
            # The inner problem was not solved to the end; nearer it is easier.
            trust = max(trust * 100, 1e-8)
            if promised >= 0 or trust > 1e12:
                break
            continue
        new = np.clip(theta + step, low, high)
        there, after = _expand(prepared, new, target, rho, weights)
        gain = value - there
        if np.isfinite(there) and gain > 0:
            theta, value, around = new, there, after
            trust = trust / 10 if gain > 0.5 * promised else trust
        else:
            trust = max(trust * 10, 1e-8)
        if trust > 1e12:
            break
    return theta, float(promised / value) if value > 0 else 0.0


def _expand(prepared, theta, target, rho: Rho, weights):
    """(objective, (residual (n,), its slope (P, n), the law's own curvature (P, P), scales (P,)))."""
    with np.errstate(all="ignore"):
        law = prepared(theta[None])
        log_loss, jacobian = law.value[0], law.jacobian[0]
        residual = rho.residual(target, log_loss)
        pull = _smoothed(rho, residual).parts(residual)[1]
        if weights is not None:
            pull = weights * pull
        loss = np.exp(log_loss) if rho.raw else np.ones_like(log_loss)
        unit = 1.0 if rho.scale is None else rho.scale
        slope = -jacobian * loss * unit
        outer = -pull * loss * unit if rho.raw else np.zeros_like(pull)
        bent = law.hessian(outer[None], (-pull * loss * unit)[None])[0]
        exact = rho.exact(residual)
        value = float(exact.sum() if weights is None else (weights * exact).sum())
    if not (np.isfinite(value) and np.isfinite(slope).all() and np.isfinite(bent).all()):
        width = len(theta)
        return np.inf, (residual, np.zeros((width, len(target))), np.eye(width), np.ones(width))
    sizes, axes = np.linalg.eigh((bent + bent.T) / 2)
    bent = (axes * np.maximum(sizes, 0.0)) @ axes.T
    stiff = np.abs(pull).mean() / max(np.abs(residual).mean(), 1e-300)
    spread = stiff * np.einsum("pn,pn->p", slope, slope) + 1e-300
    return value, (residual, slope, bent, spread)


def _smoothed(rho: Rho, residual) -> Rho:
    """l1 with a corner far below the residuals; any other objective as it is."""
    if rho.name != "l1":
        return rho
    return replace(rho, smooth=max(1e-7 * float(np.nan_to_num(np.median(np.abs(residual)), nan=1.0)), 1e-14))


def _model(residual, slope, quadratic, rho: Rho, weights, low, high, value: float):
    """(step (P,), promised decrease) of the convex model, by Newton through falling corners."""
    end = rho.delta if rho.name == "huber" else _smoothed(rho, residual).smooth
    start = max(float(np.abs(residual).max()), end)
    corners = np.geomspace(start, end, max(2, 1 + int(np.ceil(np.log2(start / end)))))
    step = np.zeros(len(low))
    for corner in corners:
        name = {"huber": {"delta": corner}, "l1": {"smooth": corner}}.get(rho.name, {})
        step = _convex(residual, slope, quadratic, replace(rho, **name), weights, step, low, high)
    final = rho.exact(residual + step @ slope)
    total = final.sum() if weights is None else (weights * final).sum()
    return step, float(value - total - 0.5 * step @ quadratic @ step)


def _convex(residual, slope, quadratic, rho: Rho, weights, step, low, high):
    def at(point):
        sums, pull, bend = rho.parts(residual + point @ slope)
        if weights is not None:
            sums, pull, bend = weights * sums, weights * pull, weights * bend
        return sums.sum() + 0.5 * point @ quadratic @ point, pull, bend

    value, pull, bend = at(step)
    for _ in range(INNER):
        gradient = slope @ pull + quadratic @ step
        held = ((step <= low) & (gradient > 0)) | ((step >= high) & (gradient < 0))
        hessian = (slope * bend) @ slope.T + quadratic
        scale = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
        scaled = hessian / np.outer(scale, scale) + 1e-12 * np.eye(len(step))
        scaled[held], scaled[:, held] = 0.0, 0.0
        scaled[held, held] = 1.0
        move = -np.linalg.solve(scaled, np.where(held, 0.0, gradient) / scale) / scale
        promise = -move @ np.where(held, 0.0, gradient)
        if not promise > 1e-15 * abs(value):
            break
        size = 1.0
        for _ in range(30):
            trial = np.clip(step + size * move, low, high)
            there = at(trial)
            if there[0] < value:
                break
            size *= 0.4
        else:
            break
        step, (value, pull, bend) = trial, there
    return step
