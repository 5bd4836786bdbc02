"""Bootstrap draws of a fitted law that respect how the runs depend on each other."""

from __future__ import annotations

from dataclasses import replace
from math import erf

import numpy as np

from analysis.intervals.freedom import Freedom, corrected, forms
from analysis.intervals.polish import polished
from analysis.laws.law import Law
from analysis.solve.estimator import ENOUGH, Optimum, curvature, minimise
from analysis.solve.objectives import Rho

# Webb's six-point weights: with few clusters the two-point ones repeat themselves (Webb 2023, Can. J. Econ.).
WEBB = np.sqrt(np.array([1.5, 1.0, 0.5]))
# Below this many clusters, drawing them with replacement leaves whole sizes out of too many draws.
FEW = 12
# Of the leverage that a cluster's residuals are freed from: CR2, unbiased, as degrees of freedom suppose.
LEVERAGE = 0.5
# The share of normal noise in the variance of smoothed draws.
SMOOTHED = 0.75
# The mean of the square of a standard normal that is cut at 1.5.
WINSORISED = 0.778465


def pairs(clusters: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Weights (draws, n): how often each row's cluster was drawn."""
    count = int(clusters.max()) + 1
    counts = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return counts[:, clusters].astype(float)


def shares(clusters: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Weights (draws, n) of mean and variance 1, exponential, one a cluster (Rao and Zhao 1992, Sankhya 54).

    For objectives close to l1: a draw that leaves a third of the clusters out, as counts do, moves such a fit
    from kink to kink, and intervals from small tables come out a fifth too wide.
    """
    count = int(clusters.max()) + 1
    return np.random.default_rng(seed).exponential(size=(draws, count))[:, clusters]


def wild(clusters: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Factors (draws, n) on the residuals, one a cluster: mean 0, variance 1. Signs, which leave the density
    of residuals at zero as it is (Feng, He and Hu 2011, Biometrika 98); Webb's weights for few clusters.
    """
    count = int(clusters.max()) + 1
    rng = np.random.default_rng(seed)
    sizes = WEBB if count < FEW else np.ones(1)
    factors = rng.choice(np.concatenate([-sizes, sizes]), size=(draws, count))
    return factors[:, clusters]


def inflated(jacobian: np.ndarray, residual: np.ndarray, clusters: np.ndarray, power: float) -> np.ndarray:
    """Residuals (n,) freed from the pull of the fit on its own rows: (I - H_g)^-power r_g for each cluster.

    jacobian (P, n) of the log loss. power 1/2 makes residual variances unbiased under independent noise (CR2,
    Bell and McCaffrey 2002), power 1 is the jackknife's (CR3).
    """
    return corrected(np.linalg.qr(jacobian.T)[0], clusters, residual, power)


def draws_of_rows(law: Law, x, target, rho: Rho, optima, weights: np.ndarray) -> Optimum:
    """Refits with weights (draws, n) on the rows, each from whichever of the optima (C, P) suits it best."""
    costs = rho.exact(rho.residual(target, law.log_loss(optima, x))) @ weights.T
    drawn = minimise(law, x, target, rho, optima[np.argmin(costs, axis=0)], weights, tolerance=ENOUGH)
    return polished(law, x, target, rho, drawn, weights)


def draws_wild(
    law: Law, x, target, rho: Rho, optima, clusters, draws: int, seed: int, smooth: bool
) -> tuple[Optimum, Freedom]:
    """Refits to the fitted losses plus residuals whose signs are redrawn cluster by cluster, and how far to
    widen what follows from them.

    The residuals are those of a fit with a corner at 1.345 of their spread: an objective close to l1 passes
    through a few rows exactly. Nor would their sizes do as they are, unless `smooth`: how precise such a fit
    is hangs on how dense residuals are at zero, and of a dozen runs the two or three smallest would say that.
    A smoothed bootstrap takes it from all of them (Hall, DiCiccio and Romano 1989, Ann. Statist. 17): half of
    each draw's variance is normal noise, shared and single as the residuals have it.
    """
    fitted = law.log_loss(optima[:1], x)
    in_logs = replace(rho, raw=False, over=1.0)
    pilot, corner = in_logs, np.inf
    if rho.name != "squared":
        spread = 1.4826 * float(np.median(np.abs(in_logs.residual(target, fitted[0]))))
        freedom = max(len(target) - optima.shape[1], 1)
        corner = max(1.345 * spread * np.sqrt(len(target) / freedom), 1e-12)
        pilot = replace(in_logs, name="huber", delta=corner)
    around = law.evaluate(minimise(law, x, target, pilot, optima[:1]).theta, x)
    # In units of each row's own noise, where that is stated: a quiet row's residual says nothing of a loud
    # one's.
    unit = np.ones(len(target)) if rho.scale is None else rho.scale
    residual, jacobian = (target - around.value[0]) * unit, around.jacobian[0] * unit
    # The fit yields to an outlier as far as its corner lets it.
    held = np.clip(residual, -corner, corner)
    residual = residual + inflated(jacobian, held, clusters, LEVERAGE) - held
    noise = wild(clusters, draws, seed) * residual
    shared, own = components(residual, clusters)
    if not smooth:
        rng = np.random.default_rng(seed + 1)
        count = int(clusters.max()) + 1
        normal = shared * rng.standard_normal((draws, count))[:, clusters]
        normal += own * rng.standard_normal(noise.shape)
        noise = np.sqrt(1 - SMOOTHED) * noise + np.sqrt(SMOOTHED) * normal
    targets = fitted + noise / unit
    costs = [rho.exact(rho.residual(targets, law.log_loss(theta[None], x))).sum(axis=1) for theta in optima]
    drawn = minimise(law, x, targets, rho, optima[np.argmin(costs, axis=0)], tolerance=ENOUGH)
    drawn = polished(law, x, targets, rho, drawn)
    widths = forms(jacobian, clusters, shared, own, LEVERAGE)
    return drawn, Freedom(drawn.theta, widths, max(int(clusters.max()), 1))


def draws_linear(
    law: Law, x, target, rho: Rho, theta, clusters, draws: int, seed: int
) -> tuple[Optimum, Freedom]:
    """`draws_wild` without refits, for so many rows that the law is straight over their noise: normal draws
    from the covariance that CR2 residuals of the clusters have, and how far to widen what follows from them.

    How many rows there are is no matter: eight runs of three thousand checkpoints each are eight. Residuals
    are cut at 1.345 of their spread, and a smaller corner than that costs what it costs under normal noise
    (pi/2 for l1).
    """
    around = law.evaluate(theta[None], x)
    unit = np.ones(len(target)) if rho.scale is None else rho.scale
    residual, jacobian = (target - around.value[0]) * unit, around.jacobian[0] * unit
    shared, own = components(residual, clusters)
    spread = max(float(np.hypot(shared, own)), 1e-300)
    corner = np.inf if rho.name == "squared" else 1.345 * spread
    held = inflated(jacobian, np.clip(residual, -corner, corner), clusters, LEVERAGE)
    scale = np.maximum(np.sqrt((jacobian**2).sum(axis=1)), 1e-300)
    basis, upper = np.linalg.qr((jacobian / scale[:, None]).T)
    moves = basis @ (np.linalg.pinv(upper, rcond=1e-10).T / scale)
    pulls = np.zeros((int(clusters.max()) + 1, len(theta)))
    np.add.at(pulls, clusters, moves * held[:, None])
    if rho.name != "squared":
        # The typical residual stands for the corner's unit where residuals are no logarithms.
        wide = spread * (float(np.exp(target).mean()) if rho.raw else 1.0)
        pulls *= np.sqrt(variance_of(rho.delta / wide if rho.name == "huber" else 0.0)) / inside(1.345)
    moved = np.random.default_rng(seed).standard_normal((draws, len(pulls))) @ pulls
    found = np.clip(theta + moved, *law.bounds)
    drawn = Optimum(found, np.zeros(draws), np.zeros(draws), np.ones(draws, bool))
    widths = forms(jacobian, clusters, shared, own, LEVERAGE)
    return drawn, Freedom(drawn.theta, widths, max(int(clusters.max()), 1))


def inside(corner: float) -> float:
    """The share of normal residuals within this many standard deviations."""
    return float(erf(corner / np.sqrt(2)))


def variance_of(corner: float) -> float:
    """The variance under normal noise of an M-estimate with this corner, in standard deviations of the noise,
    over that of one with 1.345."""

    def squares(at: float) -> float:
        density = np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi)
        return inside(at) - 2 * at * density + at**2 * (1 - inside(at))

    corner = min(max(corner, 1e-4), 8.0)
    return float(squares(corner) / inside(corner) ** 2 / (squares(1.345) / inside(1.345) ** 2))


def components(residual: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Standard deviations of the noise that rows of a cluster share and of what each has alone, from
    residuals (n,), whatever a few outliers say."""
    sizes = np.bincount(clusters)
    if len(sizes) == len(residual):
        return 0.0, spread_of(residual)
    middle = np.array([np.median(residual[clusters == cluster]) for cluster in range(len(sizes))])
    several = sizes[clusters] > 1
    own = (residual - middle[clusters])[several] / np.sqrt(1 - 1 / sizes[clusters][several])
    alone = spread_of(own)
    shared = spread_of(middle) ** 2 - alone**2 * float(np.mean(1 / sizes))
    return float(np.sqrt(max(shared, 0.0))), alone


def spread_of(values: np.ndarray) -> float:
    """The standard deviation about zero of (m,) normal values among outliers: Huber's proposal 2 (1964, Ann.
    Math. Statist. 35) with corner 1.5, which wastes a tenth of what the median of sizes wastes."""
    spread = 1.4826 * float(np.median(np.abs(values)))
    if spread == 0.0:
        return float(np.sqrt(np.mean(values**2)))
    for _ in range(30):
        spread *= float(np.sqrt(np.mean(np.minimum(np.abs(values) / spread, 1.5) ** 2) / WINSORISED))
    return spread


def asymptotic(law: Law, x, target, rho: Rho, theta, clusters, draws: int, seed: int) -> Optimum:
    """Draws of the normal distribution that the optimum has for many rows: covariance H^-1 G H^-1 with G the
    sum over clusters of outer products of their gradients (Huber 1967; Liang and Zeger 1986).
    """
    around = law.evaluate(theta[None], x)
    residual = np.abs(rho.residual(target, around.value[0]))
    # The density at zero, which is what curvature is for a corner, needs a window with rows in it.
    corner = max(rho.delta if rho.name == "huber" else 0.0, 0.3 * float(np.median(residual)))
    smooth = rho if rho.name == "squared" else replace(rho, name="huber", delta=corner)
    hessian = curvature(law, x, target, smooth, theta)
    slope = smooth.in_log_loss(target, around.value[0])[1]
    gradient = np.zeros((int(clusters.max()) + 1, len(theta)))
    np.add.at(gradient, clusters, (around.jacobian[0] * slope).T)
    scale = np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-300))
    inverse = np.linalg.pinv(hessian / np.outer(scale, scale), rcond=1e-12, hermitian=True)
    middle = (gradient / scale).T @ (gradient / scale)
    sizes, axes = np.linalg.eigh(inverse @ middle @ inverse)
    root = axes * np.sqrt(np.maximum(sizes, 0.0)) / scale[:, None]
    moved = np.random.default_rng(seed).standard_normal((draws, len(theta))) @ root.T
    found = np.clip(theta + moved, *law.bounds)
    return Optimum(found, np.zeros(draws), np.zeros(draws), np.ones(draws, bool))
