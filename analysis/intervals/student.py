"""Draws for few independent rows: normal noise whose size is itself drawn, as a few residuals leave it."""

from __future__ import annotations

import numpy as np

from analysis.intervals.polish import polished
from analysis.laws.law import Law
from analysis.solve.estimator import ENOUGH, Optimum, minimise
from analysis.solve.objectives import Rho
from analysis.solve.scale import few_factor, noise_of, spanned, tangent


def draws_student(law: Law, x, target, rho: Rho, optima, draws: int, seed: int) -> Optimum:
    """Refits to the fitted losses plus normal noise, all rows of a draw with one more factor, the root of a
    chi-square over its degrees of freedom: what follows from the draws is Student's for a law that is linear,
    and bends with the law where that bends. optima (C, P): the best one, then its rivals.

    Nine rows that are drawn with replacement leave a law of five parameters undetermined half of the time,
    and their signs say nothing of a noise that four residuals know of.
    """
    free = max(len(target) - optima.shape[1], 1)
    rng = np.random.default_rng(seed)
    fitted = law.log_loss(optima[0][None], x)[0]
    sizes = np.sqrt(free / rng.chisquare(free, size=(draws, 1)))
    noise = draw_size(law, x, target, rho, optima[0]) * sizes * rng.standard_normal((draws, len(target)))
    if rho.scale is not None:
        noise = noise / rho.scale
    if rho.raw:
        noise = noise / np.exp(fitted)
    targets = fitted + noise
    costs = [rho.exact(rho.residual(targets, law.log_loss(theta[None], x))).sum(axis=1) for theta in optima]
    drawn = minimise(law, x, targets, rho, optima[np.argmin(costs, axis=0)], tolerance=ENOUGH)
    return polished(law, x, targets, rho, drawn)


def draw_size(law: Law, x, target, rho: Rho, theta: np.ndarray) -> float:
    """The standard deviation of the noise to draw: the one under which refits scatter as an M-estimate does
    (Huber 1981, 7.6), so that also what an outlier adds within its corner is in it."""
    residual, jacobian = tangent(law, x, target, rho, theta)
    free = max(len(residual) - len(theta), 1)
    if rho.name == "squared":
        return float(np.sqrt((residual**2).sum() / free))
    held = np.clip(residual, -rho.delta, rho.delta)
    inside = max(float(np.mean(np.abs(residual) <= rho.delta)), 1 / len(residual))
    leverage = np.minimum((spanned(jacobian) ** 2).sum(axis=1), 1.0)
    size = max(float(np.sqrt((held**2).sum() / free)) / inside, noise_of(law, x, target, rho, theta).size)
    return few_factor(residual, leverage, rho) * size
