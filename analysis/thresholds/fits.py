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


def fit(scale: Scale, profiles: np.ndarray, designs: np.ndarray, iterations: int = 40) -> Fit:
    """Maximise sum_i L[b, i](eta_i) for profiles (B, K, G) under designs (P, K, Q).

    Damped Newton: a step is kept only where it gains, and no eta moves by more than 2.5 at once, because
    profiles of exact zeros are flat far out. Beyond the grid a profile keeps its edge value.
    """
    slope = np.gradient(profiles, scale.step, axis=-1)
    bend = np.gradient(slope, scale.step, axis=-1)
    start, weight = _moments(scale, profiles)
    theta = _least_squares(designs, start, weight)
    value = _total(scale, profiles, designs, theta)
    damping = np.ones(value.shape)
    active = np.ones(len(profiles), bool)
    unit = np.eye(designs.shape[-1])
    for _ in range(iterations):
        rows = np.flatnonzero(active)
        if rows.size == 0:
            break
        eta = np.einsum("bpq,pkq->bpk", theta[rows], designs)
        g, h = _look_up(scale, (slope[rows], bend[rows]), eta)
        curvature = np.maximum(-h, 1e-4)
        gradient = np.einsum("bpk,pkq->bpq", g, designs)
        hessian = np.einsum("bpk,pkq,pkr->bpqr", curvature, designs, designs, optimize=True)
        hessian += (1e-7 + 1e-9 * np.trace(hessian, axis1=-2, axis2=-1))[..., None, None] * unit
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        reach = np.abs(np.einsum("bpq,pkq->bpk", step, designs)).max(-1)
        step *= (damping[rows] * np.minimum(1.0, 2.5 / np.maximum(reach, 1e-12)))[..., None]
        trial = theta[rows] + step
        reached = _total(scale, profiles[rows], designs, trial)
        gain = reached - value[rows]
        better = gain > 0
        theta[rows] = np.where(better[..., None], trial, theta[rows])
        value[rows] = np.where(better, reached, value[rows])
        damping[rows] = np.where(better, np.minimum(1.0, 2 * damping[rows]), 0.25 * damping[rows])
        active[rows] = ((gain > 1e-5) | (~better & (damping[rows] > 0.01))).any(1)
    return Fit(theta, value)


def _moments(scale: Scale, profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inner = np.abs(scale.eta) < 8 if scale.link in LINKS else np.ones(scale.eta.size, bool)
    eta = scale.eta[inner]
    weight = np.exp(profiles[..., inner] - profiles[..., inner].max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    mean = weight @ eta
    spread = (weight * (eta - mean[..., None]) ** 2).sum(-1)
    return mean, 1 / (spread + scale.step**2)


def _least_squares(designs: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    normal = np.einsum("bk,pkq,pkr->bpqr", weight, designs, designs, optimize=True)
    normal += 1e-9 * np.trace(normal, axis1=-2, axis2=-1)[..., None, None] * np.eye(designs.shape[-1])
    return np.linalg.solve(normal, np.einsum("bk,pkq->bpq", weight * target, designs)[..., None])[..., 0]


def _total(scale: Scale, profiles: np.ndarray, designs: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return curve_loglik(scale, profiles, np.einsum("bpq,pkq->bpk", theta, designs))


def curve_loglik(scale: Scale, profiles: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Log-likelihood (B, P) of curves eta (B, P, K), by cubic interpolation of the profiles (B, K, G)."""
    position = np.clip((eta - scale.eta[0]) / scale.step, 0.0, scale.eta.size - 1.0)
    index = np.clip(position.astype(int), 1, scale.eta.size - 3)
    t = position - index
    rows = np.arange(len(profiles))[:, None, None]
    sizes = np.arange(profiles.shape[1])
    before, here, after, beyond = (profiles[rows, sizes, index + o] for o in (-1, 0, 1, 2))
    value = (
        -before * t * (t - 1) * (t - 2) / 6
        + here * (t + 1) * (t - 1) * (t - 2) / 2
        - after * (t + 1) * t * (t - 2) / 2
        + beyond * (t + 1) * t * (t - 1) / 6
    )
    return value.sum(-1)


def _look_up(scale: Scale, tables: tuple[np.ndarray, ...], eta: np.ndarray) -> list[np.ndarray]:
    position = np.clip((eta - scale.eta[0]) / scale.step, 0.0, scale.eta.size - 1.000001)
    index = position.astype(int)
    t = position - index
    rows = np.arange(len(eta))[:, None, None]
    sizes = np.arange(eta.shape[-1])
    return [(1 - t) * table[rows, sizes, index] + t * table[rows, sizes, index + 1] for table in tables]
